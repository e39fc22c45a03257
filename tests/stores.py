"""A real store in a temporary folder, and postings to put into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw

from agent.ports import Acknowledgement, Batch, Delivery, Kind
from agent.store import audit, balance, file, inbox, outbox, postings
from agent.store.encode import to_us
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


def posting(number: int, order: str = "order/1", **changes: Any) -> postings.NewPosting:
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
    return postings.NewPosting(**{**fields, **changes})


def add(writer: Writer, *news: postings.NewPosting) -> list[int]:
    """Write postings; returns their ids."""
    return [posting_id for posting_id, _ in writer.call(lambda tx: postings.add_all(tx, news))]


def send(_: postings.Waiting) -> outbox.Admission:
    """Admit everything."""
    return outbox.Send(b"wire")


def claim(writer: Writer, limit: int = 10, admit: outbox.Admit = send, target: str = "s4") -> list[postings.Waiting]:
    """Claim what may be sent."""
    return writer.call(lambda tx: outbox.claim(tx, target, limit, admit))


def state(writer: Writer, posting_id: int) -> str:
    """The state of one posting on disk."""
    return writer.call(lambda tx: postings.read(tx.connection, posting_id).posting.state)


def decide(writer: Writer, first: int, number: int, orders: int = 3) -> None:
    """Settle events `first` … as posted, each with its message key and one posting."""

    def job(tx: Any) -> None:
        for event_id in range(first, first + number):
            payload = tx.execute("SELECT payload FROM event WHERE id = ?", (event_id,)).get
            key = f"consumption:{event_id}"
            inbox.settle(tx, [inbox.Settlement(event_id, "posted", key, sha256(payload).digest())])
            new = posting(event_id, f"order/{event_id % orders}", event_id=event_id)
            postings.add(tx, new)
            tx.audit("decided", {"event": event_id}, event_id=event_id)

    writer.call(job)


def fill(writer: Writer, number: int, *, orders: int = 3) -> None:
    """`number` events that arrived and were decided, each with a posting that waits in its lane."""
    arrive(writer, *(b'{"n": %d, "text": "%s"}' % (n, b"x" * 200) for n in range(number)))
    first = writer.call(lambda tx: tx.execute("SELECT max(id) - ? + 1 FROM event", (number,)).get)
    decide(writer, first, number, orders)


def booked(writer: Writer, issues: Sequence[tuple[datetime, Mapping[str, Any]]]) -> None:
    """Goods issues that were decided at these times and are booked, whatever the ERP thinks, in one commit."""

    def job(tx: Any) -> None:
        first = 1 + (tx.execute("SELECT max(id) FROM posting").get or 0)
        news = [posting(first + n, f"order/{first + n}", payload=payload) for n, (_, payload) in enumerate(issues)]
        for (posting_id, _), (at, _) in zip(postings.add_all(tx, news), issues, strict=True):
            tx.execute(
                "UPDATE posting SET state = 'acknowledged', document = ?1, lane_seq = NULL, created_us = ?2 "
                "WHERE id = ?3", (f"2026/{posting_id}", to_us(at), posting_id),
            )  # fmt: skip
            tx.execute("DELETE FROM lane WHERE head = ?", (posting_id,))
        tx.count("postings ready", -len(news))
        tx.count("postings acknowledged", len(news))

    writer.call(job)


def drain(writer: Writer, number: int) -> int:
    """Acknowledge up to `number` postings as the ERP would; returns how many were sent."""
    sent = 0
    while sent < number and (claimed := claim(writer, number - sent)):
        for one in claimed:
            ack = Acknowledgement(f"2026/{one.posting.id}")
            writer.call(lambda tx, one=one, ack=ack: outbox.acknowledged(tx, one.posting, ack))  # type: ignore[misc]
        sent += len(claimed)
    return sent


def assert_sound(connection: apsw.Connection) -> None:
    """What must hold after every fault: balances, lanes that fit their postings, one in flight per lane, the chain."""
    running, counted = balance.running(connection), balance.counted(connection)
    assert [one.difference for one in (*running, *counted)] == [0, 0, 0, 0], (running, counted)
    assert [one.by_state for one in running] == [one.by_state for one in counted]
    heads: dict[Any, Any] = {}
    flying: dict[Any, int] = {}
    for target, key, posting_id, lane_state, next_us in connection.execute(
        "SELECT target, ordering_key, id, state, next_us FROM posting WHERE lane_seq IS NOT NULL ORDER BY lane_seq"
    ):
        heads.setdefault((target, key), (posting_id, lane_state, next_us))
        flying[target, key] = flying.get((target, key), 0) + (lane_state == "sending")
    lanes = {
        (row[0], row[1]): row[2:]
        for row in connection.execute("SELECT target, ordering_key, head, state, next_us FROM lane")
    }
    assert lanes.keys() == heads.keys()
    for lane, (head, lane_state, next_us) in lanes.items():
        posting_id, posting_state, due = heads[lane]
        assert head == posting_id, lane
        assert next_us == due or lane_state == "busy", lane
        assert lane_state in FITS[posting_state], (lane, lane_state, posting_state)
        assert flying[lane] <= 1, lane
    verdict = audit.verify_file(connection)
    assert verdict.broken_at is None, verdict


FITS = {
    "ready": ("ready",), "sending": ("busy",), "in_doubt": ("ready", "busy"), "doubtful": ("blocked",),
    "dead": ("blocked",),
}  # fmt: skip
"""State of a lane's head → states the lane may have."""
