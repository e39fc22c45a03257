"""What was decided in a span of time beside what people did about it: the cases of a parallel run, from the trail."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import apsw

from agent.store import decisions
from agent.store.decisions import Decided
from agent.store.encode import from_us, readable, to_us

PEOPLE: Final = ("approved", "refused", "superseded", "reversal_signed")
_ACTS: Final = (  # by the index of what the agent did not do itself: the trail is not walked
    "SELECT seq, action, event_id, posting_id, at_us, actor, CAST(detail AS BLOB) FROM audit WHERE seq > ? "
    "AND actor <> 'agent' AND (action = 'approved' OR action = 'refused' OR action = 'superseded' "
    "OR action = 'reversal_signed') ORDER BY seq LIMIT ?"
)


class Did(NamedTuple):
    """What a person did about one posting."""

    action: str
    at: datetime
    by: str
    why: str


class Made(NamedTuple):
    """One posting that was made, or would have been."""

    id: int | None  # None: it was only advised
    kind: str
    payload: Mapping[str, Any]
    value: Decimal
    state: str
    document: str | None


class Happened(NamedTuple):
    """One decision, what it made, and what people did about that."""

    decided: Decided
    made: tuple[Made, ...]
    people: tuple[Did, ...]


def happened(
    live: apsw.Connection, since: datetime, until: datetime, archives: Sequence[apsw.Connection] = ()
) -> Iterator[Happened]:
    """Every decision from `since` to before `until` that made a posting or would have, oldest first.

    `archives` are read too, from the oldest on: a decision may lie in one and what a person did in the next.
    """
    files = (*archives, live)
    acts: dict[int, list[Did]] = {}
    for file in files:
        _read_acts(file, acts)
    for file in files:
        for decided in decisions.between(file, to_us(since), to_us(until)):
            made = tuple(_advised(decided)) or tuple(one for other in files for one in _postings(other, decided))
            if made:
                did = [act for one in made if one.id is not None for act in acts.get(one.id, ())]
                yield Happened(decided, made, tuple(sorted(did, key=lambda one: one.at)))


def _advised(decided: Decided) -> Iterator[Made]:
    for one in decided.detail.get("would_post", ()):
        yield Made(None, one["kind"], one["payload"], Decimal(one["value"]), "advised", None)


def _postings(connection: apsw.Connection, decided: Decided) -> Iterator[Made]:
    """Those of the decision itself; what people put in their place is told by the act."""
    wanted = [id for id, _ in decided.detail.get("postings", ())]
    if not wanted:
        return
    rows: list[Any] = list(
        connection.execute(
            "SELECT id, kind, CAST(payload AS BLOB), value, state, document FROM posting "
            "WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (json.dumps(wanted),),
        )
    )
    for id, kind, payload, value, state, document in rows:
        yield Made(id, kind, readable(payload), Decimal(value), state, document)


def _read_acts(connection: apsw.Connection, found: dict[int, list[Did]]) -> None:
    seq = 0
    while rows := list(connection.execute(_ACTS, (seq, decisions.PIECE))):
        for seq, action, _event, posting, at_us, actor, raw in rows:  # noqa: B007  # the last one begins the next piece
            detail = readable(raw)
            if posting is not None and (action != "refused" or detail.get("meaning") == "refuse"):
                found.setdefault(posting, []).append(Did(action, from_us(at_us), actor, str(detail.get("reason", ""))))


def ours(live: apsw.Connection, documents: Iterable[str], archives: Sequence[apsw.Connection] = ()) -> set[str]:
    """Which of these documents of the ERP this agent booked, whenever and for whatever."""
    asked = json.dumps(sorted(set(documents)))
    return {
        document
        for file in (live, *archives)
        for (document,) in file.execute(
            "SELECT document FROM posting WHERE document IN (SELECT value FROM json_each(?))", (asked,)
        )
    }
