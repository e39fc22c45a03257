"""What moved, as the trail has it: reports that were decided, what the ERP booked of them, and what the ERP told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import apsw

from agent.ports import Event
from agent.store.encode import from_us, readable

PIECE: Final = 100
_ROWS: Final = (
    "SELECT a.seq, a.at_us, a.action, a.event_id, CAST(a.detail AS BLOB), e.source, e.topic, e.payload, e.received_us, "
    "e.properties, p.kind, p.payload, p.document, p.idempotency_key, p.workflow FROM audit a "
    "LEFT JOIN event e ON e.id = a.event_id LEFT JOIN posting p ON p.id = a.posting_id "
    "WHERE a.seq > ? AND (a.action = 'decided' OR a.action = 'master_data' OR a.action = 'acknowledged' "
    "OR a.action = 'refused' OR a.action = 'superseded') ORDER BY a.seq LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Moved:
    """One row of the trail with what it is about; `event` is None where it has left the store."""

    seq: int
    at: datetime
    action: str
    detail: Mapping[str, Any]
    event: Event | None
    kind: str = ""  # of the posting, where it is about one
    payload: Mapping[str, Any] | None = None
    document: str = ""
    key: str = ""
    workflow: str = ""  # that made the posting


def since(connection: apsw.Connection, seq: int, most: int = PIECE) -> list[Moved]:
    """The next rows behind `seq`."""
    return [_moved(row) for row in connection.execute(_ROWS, (seq, most))]


def head(connection: apsw.Connection) -> int:
    """The newest row of the trail."""
    row: Any = connection.execute("SELECT max(seq) FROM audit").fetchone()
    return int(row[0] or 0)


def booked(
    connection: apsw.Connection, name: str, kinds: Iterable[str] = ()
) -> tuple[str, str, str, Mapping[str, Any]] | None:
    """Document, kind, key and payload of the one posting of this agent that has this document.

    With `kinds`, `name` may also be the id of a report of one of these kinds.
    """
    rows: list[Any] = connection.execute(
        "SELECT document, kind, idempotency_key, payload FROM posting WHERE document = ? LIMIT 2", (name,)
    ).fetchall()
    for kind in kinds if not rows else ():
        rows += connection.execute(
            "SELECT p.document, p.kind, p.idempotency_key, p.payload FROM identity i JOIN posting p "
            "ON p.event_id = i.event_id WHERE i.message_key = ? AND p.state = 'acknowledged' "
            "AND p.kind <> 'reversal' LIMIT 2",
            (f"{kind}:{name}",),
        ).fetchall()
    return (*rows[0][:3], json.loads(rows[0][3])) if len(rows) == 1 else None


def _moved(row: Any) -> Moved:
    seq, at, action, id, detail, source, topic, payload, received, properties, kind, posting, document, key, flow = row
    event = None
    if source is not None:
        event = Event(id, source, topic, payload, from_us(received), json.loads(properties) if properties else {})
    return Moved(
        seq, from_us(at), action, readable(detail), event, kind or "", json.loads(posting) if posting else None,
        document or "", key or "", flow or "",
    )  # fmt: skip
