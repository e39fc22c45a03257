"""What moved, as the trail has it: reports that were decided, what the ERP booked of them, and what the ERP told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import apsw

from agent.ports import Event
from agent.store.encode import from_us, readable

PIECE: Final = 100
_ROWS: Final = (
    "SELECT a.seq, a.at_us, a.action, a.event_id, CAST(a.detail AS BLOB), e.source, e.topic, e.payload, e.received_us, "
    "e.properties, p.kind, p.payload, p.document, p.idempotency_key, p.workflow FROM audit a "
    "LEFT JOIN event e ON e.id = a.event_id LEFT JOIN posting p ON p.id = a.posting_id "
    "WHERE a.seq > ? AND (a.action = 'decided' OR a.action = 'master_data' OR a.action = 'acknowledged' "
    "OR a.action = 'refused' OR a.action = 'corrected') ORDER BY a.seq LIMIT ?"
)
_OPEN: Final = (
    "SELECT 1 FROM identity i JOIN posting p ON p.event_id = i.event_id WHERE i.message_key = ? "
    "AND p.kind = 'goods_issue' AND (p.state IN ('held', 'ready', 'sending', 'in_doubt', 'doubtful', 'dead') "
    "OR p.state = 'refused' AND EXISTS (SELECT 1 FROM audit a WHERE a.posting_id = p.id AND a.action = 'refused')) "
    "LIMIT 1"
)

_NEVER: Final = (
    "SELECT 1 FROM identity i JOIN event e ON e.id = i.event_id WHERE i.message_key = ? AND e.state <> 'undecided' "
    "AND NOT EXISTS (SELECT 1 FROM posting p WHERE p.event_id = e.id AND p.kind = 'goods_issue' AND p.state IN "
    "('held', 'ready', 'sending', 'in_doubt', 'doubtful', 'dead', 'acknowledged'))"
)
_FATES: Final = (
    "SELECT p.id, coalesce(p.state, e.state) FROM identity i JOIN event e ON e.id = i.event_id LEFT JOIN posting p "
    "ON p.event_id = e.id AND p.kind = 'goods_issue' WHERE i.message_key = ? ORDER BY p.id DESC"
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


class Document(NamedTuple):
    """What this agent booked."""

    document: str
    kind: str  # of the posting
    key: str
    payload: Mapping[str, Any]
    workflow: str


def booked(connection: apsw.Connection, name: str, kinds: Iterable[str] = ()) -> Document | None:
    """The one posting of this agent that has this document.

    With `kinds`, `name` may also be the id of a report of one of these kinds.
    """
    rows: list[Any] = connection.execute(
        "SELECT document, kind, idempotency_key, payload, workflow FROM posting WHERE document = ? LIMIT 2", (name,)
    ).fetchall()
    for kind in kinds if not rows else ():
        rows += connection.execute(
            "SELECT p.document, p.kind, p.idempotency_key, p.payload, p.workflow FROM identity i JOIN posting p "
            "ON p.event_id = i.event_id WHERE i.message_key = ? AND p.state = 'acknowledged' "
            "AND p.kind <> 'reversal' LIMIT 2",
            (f"{kind}:{name}",),
        ).fetchall()
    if len(rows) != 1:
        return None
    document, kind, key, payload, workflow = rows[0]
    return Document(document, kind, key, json.loads(payload), workflow)


def is_open(connection: apsw.Connection, report: str, kinds: Iterable[str]) -> bool:
    """Whether a goods issue of this report is on its way, waits for a person, or was refused by one.

    A refusal counts before the trail is read so far. `kinds` a report may be of.
    """
    return any(connection.execute(_OPEN, (f"{kind}:{report}",)).fetchone() for kind in kinds)


def is_never(connection: apsw.Connection, report: str, kinds: Iterable[str]) -> bool:
    """Whether this agent never books this report: a dry run, advice only, refused, or not signed in time."""
    return any(connection.execute(_NEVER, (f"{kind}:{report}",)).fetchone() for kind in kinds)


def fate(connection: apsw.Connection, report: str, kinds: Iterable[str]) -> tuple[int | None, str] | None:
    """The newest goods issue of this report and its state, that of the event where it has none; None: no report."""
    rows: list[Any] = [row for kind in kinds for row in connection.execute(_FATES, (f"{kind}:{report}",))]
    return max(rows, key=lambda row: row[0] or 0, default=None)


def _moved(row: Any) -> Moved:
    seq, at, action, id, detail, source, topic, payload, received, properties, kind, posting, document, key, flow = row
    event = None
    if source is not None:
        event = Event(id, source, topic, payload, from_us(received), json.loads(properties) if properties else {})
    return Moved(
        seq, from_us(at), action, readable(detail), event, kind or "", json.loads(posting) if posting else None,
        document or "", key or "", flow or "",
    )  # fmt: skip
