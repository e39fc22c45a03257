"""What became of events: an event keeps what was decided about it, and its postings go on from there."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Final

import apsw

# What a person sees first: what stands still, what waits, what is under way, and only then how it ended.
_FIRST: Final = (
    "dead", "doubtful", "held", "in_doubt", "sending", "ready", "acknowledged", "simulated", "refused", "superseded",
)  # fmt: skip


def became(connection: apsw.Connection, events: Collection[int]) -> Mapping[int, str]:
    """Event → the state of that of its postings which a person sees first; an event without postings is left out.

    What only tells people of it (a notification) counts for nothing here.
    """
    rows = connection.execute(
        "SELECT DISTINCT event_id, state FROM posting WHERE event_id IN (SELECT value FROM json_each(?)) "
        "AND kind <> 'notification'",
        (json.dumps(sorted(events)),),
    )
    found: dict[int, str] = {}
    for event, state in rows:
        found[event] = min(found.get(event, state), state, key=_FIRST.index)
    return found
