"""Who let which version of a model decide, and why: as the trail has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import apsw

from agent.store.encode import from_us, readable

_ACTS: Final = (  # by the index of what the agent did not do itself: the trail is not walked
    "SELECT action, at_us, actor, CAST(detail AS BLOB) FROM audit WHERE actor <> 'agent' "
    "AND (action = 'model_promoted' OR action = 'model_rolled_back') ORDER BY seq"
)


class Promoted(NamedTuple):
    """One act by which a version came to decide."""

    action: str
    at: str  # ISO 8601, UTC
    by: str
    reason: str


def promotions(files: Sequence[apsw.Connection], model: str, version: str, sha256: str) -> list[Promoted]:
    """The acts by which this version, with this graph, came to decide; oldest first, as `files` are."""
    asked, found = (model, version, sha256), []
    for file in files:
        for action, at_us, actor, raw in file.execute(_ACTS):
            detail = readable(raw)
            if tuple(map(detail.get, ("model", "version", "sha256"))) == asked:
                found.append(Promoted(action, from_us(at_us).isoformat(), actor, str(detail.get("reason", ""))))
    return found
