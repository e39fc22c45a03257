"""A real store in a temporary folder, and postings to put into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw

from agent.ports import Batch, Delivery, Kind
from agent.store import file, inbox, outbox
from agent.store.keys import idempotency_key
from agent.store.writer import Writer

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **parts: float) -> None:
        self.now += timedelta(**parts)


@contextmanager
def opened(path: Path, clock: Clock | None = None) -> Iterator[Writer]:
    """A started writer on this file, stopped at the end."""
    writer = Writer(path, clock or Clock())
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()


@contextmanager
def reading(path: Path) -> Iterator[apsw.Connection]:
    """A read-only look at the file."""
    connection = file.reader(path)
    try:
        yield connection
    finally:
        connection.close()


def arrive(writer: Writer, *payloads: bytes, source: str = "line", topic: str = "plant/x/consumption") -> None:
    """Store events as a source would."""
    batch = Batch(source, [Delivery(topic, one) for one in payloads], START, lambda: None)
    writer.call(lambda tx: inbox.store(tx, batch))


def posting(number: int, order: str = "order/1", **changes: Any) -> outbox.NewPosting:
    """A goods issue that nobody has to approve, unless `reasons` say so."""
    fields: dict[str, Any] = {
        "event_id": None,
        "workflow": "consumption",
        "kind": Kind.GOODS_ISSUE,
        "target": "s4",
        "ordering_key": order,
        "line": "mixing",
        "idempotency_key": idempotency_key(f"consumption:{number}", "consumption", "s4"),
        "payload": {"material": "RM-RESIN", "quantity": "12.500", "unit": "KGM", "number": number},
        "value": Decimal("40.00"),
        "policy": "p1",
    }
    return outbox.NewPosting(**{**fields, **changes})


def add(writer: Writer, *news: outbox.NewPosting) -> list[int]:
    """Write postings; returns their ids."""
    return [posting_id for posting_id, _ in writer.call(lambda tx: outbox.add_all(tx, news))]


def send(_: outbox.Waiting) -> outbox.Admission:
    """Admit everything."""
    return outbox.Send(b"wire")


def claim(writer: Writer, limit: int = 10, admit: outbox.Admit = send, target: str = "s4") -> list[outbox.Waiting]:
    """Claim what may be sent."""
    return writer.call(lambda tx: outbox.claim(tx, target, limit, admit))


def state(writer: Writer, posting_id: int) -> str:
    """The state of one posting on disk."""
    return writer.call(lambda tx: outbox.read(tx.connection, posting_id).posting.state)
