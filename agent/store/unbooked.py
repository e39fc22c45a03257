"""Postings of which the trail says that they are never booked, booked with another quantity, or taken back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import apsw

from agent.ports import Event
from agent.store import decisions
from agent.store.encode import from_us, readable

PIECE: Final = 5000  # rows of the trail in one look
_ROWS: Final = (
    "SELECT a.seq, a.at_us, a.action, a.actor, CAST(a.detail AS BLOB), p.id, p.kind, p.workflow, p.payload, "
    "p.event_id, p.first_sent_us IS NOT NULL FROM audit a JOIN posting p ON p.id = a.posting_id "
    "WHERE a.seq > ?1 AND a.seq <= ?2 AND (a.action IN ('refused', 'expired', 'superseded') "
    "OR (a.action = 'acknowledged' AND p.kind = 'reversal')) ORDER BY a.seq"
)

_BY_ID: Final = "SELECT id, kind, workflow, payload, event_id FROM posting WHERE id = ?"
_BY_KEY: Final = (
    "SELECT p.id, p.kind, p.workflow, p.payload, p.event_id FROM idempotency i JOIN posting p ON p.id = i.posting_id "
    "WHERE i.idempotency_key = ?"
)


@dataclass(frozen=True, slots=True)
class Unbooked:
    """One posting that is not booked as it was decided; `instead` is what is booked in its place."""

    posting: int
    workflow: str
    kind: str
    at: datetime
    action: str  # refused, expired, superseded, reversed
    by: str
    why: str
    payload: Mapping[str, Any]
    was_sent: bool  # the ERP was asked, and did not take it
    instead: Mapping[str, Any] | None = None
    event: Event | None = None  # that it was decided from, where it is still here


def since(connection: apsw.Connection, seq: int) -> tuple[list[Unbooked], int]:
    """What the next rows behind `seq` tell, and up to which row that is; the same `seq`: there are none."""
    last: Any = connection.execute("SELECT max(seq) FROM audit").get
    first: Any = connection.execute("SELECT min(seq) FROM audit").get  # what was before has left into an archive
    until = min(max(seq, (first or 1) - 1) + PIECE, last or 0)
    rows: Sequence[Any] = connection.execute(_ROWS, (seq, until)).fetchall()
    found = [_of(connection, row) for row in rows]
    return [one for one in found if one is not None], max(seq, until)


def _of(connection: apsw.Connection, row: Any) -> Unbooked | None:
    _, at, action, actor, said, posting, kind, workflow, written, event, sent = row
    detail, payload, instead = readable(said), json.loads(written), None
    why = str(detail.get("reason") or detail.get("why") or "")
    if action == "acknowledged":  # a reversal: what it is about is the posting that it takes back
        original = _posting(connection, _BY_KEY, payload.get("of_key", ""))
        if original is None:
            return None  # archived: its order is long over
        why, action, actor, sent = str(payload.get("reason") or ""), "reversed", "", False
        posting, kind, workflow, payload, event = original
    elif action == "superseded":
        found = _posting(connection, _BY_ID, detail.get("by_posting"))
        instead = found[3] if found is not None else None
    came = decisions.event(connection, event) if event is not None else None
    return Unbooked(posting, workflow, kind, from_us(at), action, actor, why, payload, bool(sent), instead, came)


def _posting(connection: apsw.Connection, statement: str, value: Any) -> tuple[int, str, str, Any, int | None] | None:
    row: Any = connection.execute(statement, (value,)).fetchone()
    return (*row[:3], json.loads(row[3]), row[4]) if row is not None else None
