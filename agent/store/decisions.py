"""Decisions on record: the rows ``decided`` of the trail and what they were about, in the live file or an archive."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import apsw

from agent.ports import Event
from agent.store.encode import from_us, readable

PIECE: Final = 5000  # rows of the trail that one read looks at
COLUMNS: Final = "seq, at_us, event_id, CAST(detail AS BLOB)"


@dataclass(frozen=True, slots=True)
class Decided:
    """One row. `detail` is as `record` wrote it; empty where the row was damaged."""

    seq: int
    at: datetime
    event: int
    detail: Mapping[str, Any]


def asked(detail: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The parts of a decision's record that may hold the answer of a model: the whole, and that about its account."""
    account = detail.get("account")
    return (detail,) if account is None else (detail, account)


def of_event(connection: apsw.Connection, event: int) -> Decided | None:
    """The decision about this event: the last one, where it was read again out of quarantine."""
    row = connection.execute(
        f"SELECT {COLUMNS} FROM audit WHERE event_id = ? AND action = 'decided' ORDER BY seq DESC LIMIT 1",  # noqa: S608  # own columns
        (event,),
    ).fetchone()
    return _decided(row) if row is not None else None


def between(connection: apsw.Connection, since_us: int, until_us: int) -> Iterator[Decided]:
    """Every decision from `since_us` to before `until_us`, in order; read in pieces, so that no read is long."""
    first, last = connection.execute("SELECT min(seq), max(seq) FROM audit").fetchone() or (None, None)
    for start in range(first or 0, (last or 0) + 1, PIECE):
        rows = connection.execute(
            f"SELECT {COLUMNS} FROM audit WHERE seq >= ? AND seq < ? AND action = 'decided' "  # noqa: S608  # own columns
            "AND at_us >= ? AND at_us < ? ORDER BY seq",
            (start, start + PIECE, since_us, until_us),
        )
        yield from map(_decided, rows.fetchall())


def event(connection: apsw.Connection, id: int) -> Event | None:
    """What arrived, if it is still here."""
    row: Any = connection.execute(
        "SELECT source, topic, payload, received_us, properties FROM event WHERE id = ?", (id,)
    ).fetchone()
    if row is None:
        return None
    source, topic, payload, received, properties = row
    return Event(id, source, topic, payload, from_us(received), json.loads(properties) if properties else {})


def ran_with(connection: apsw.Connection, seq: int) -> Mapping[str, str]:
    """What the agent computed with when row `seq` was written, as its start told; empty where it is not known."""
    row: Any = connection.execute(
        "SELECT CAST(detail AS BLOB) FROM audit WHERE action = 'started' AND seq < ? ORDER BY seq DESC LIMIT 1", (seq,)
    ).fetchone()
    return dict(readable(row[0]).get("computes_with", {})) if row is not None else {}


def _decided(row: Any) -> Decided:
    seq, at_us, about, detail = row
    return Decided(seq, from_us(at_us), about, readable(detail))
