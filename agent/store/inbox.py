"""Arrivals: stored before they are acknowledged, settled once, recognised for ever."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import apsw

from agent.errors import Conflict, NotFound
from agent.ports import Batch, Delivery, Event
from agent.store import bulk
from agent.store.encode import encode, from_us, to_us
from agent.store.transaction import Transaction

ARRIVES: Final = "INSERT INTO event (source, topic, payload, properties, received_us) VALUES (?, ?, ?, ?, ?)"
NO_ROW: Final = (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError, ValueError, TypeError, OverflowError)
SET_ASIDE: Final = 1 << 20  # bytes that are kept of a payload that is refused

NO_PROPERTIES: MappingProxyType[str, str] = MappingProxyType({})


class Settlement(NamedTuple):
    """How one event ended: its state, the key that makes it unique, and why."""

    event_id: int
    state: str
    message_key: str | None = None
    payload_hash: bytes | None = None  # set: the key is new and becomes known
    reason: str | None = None


def store(tx: Transaction, batch: Batch) -> None:
    """Write a batch of deliveries, the source's checkpoints and what it noticed.

    A delivery or a notice that cannot be kept as it is is kept as far as it can be: a source whose batch is refused
    would wait for ever, or bring it again for ever.
    """
    received = to_us(batch.received_at)
    _arrive(tx, [(batch.source, *_kept(one), received) for one in batch.deliveries])
    tx.count("events received", len(batch.deliveries))
    tx.count("events undecided", len(batch.deliveries))
    put_checkpoints(tx, batch.checkpoints)
    for notice in batch.notices:
        tx.audit(notice.action, _noted(notice.detail), actor=batch.source, alarm=notice.alarm)
        tx.count(f"notices {notice.action}")


def _arrive(tx: Transaction, rows: Sequence[tuple[str, str, bytes, str | None, int]]) -> None:
    """Write rows of `event`; one that SQLite refuses is set aside, and those behind it go on."""
    while rows:
        before = tx.connection.total_changes()
        try:
            tx.executemany(ARRIVES, rows)
        except NO_ROW as error:
            written = tx.connection.total_changes() - before
            source, topic, payload, _, received = rows[written]
            tx.execute(ARRIVES, (source, *_set_aside(topic, payload, error), received))
            rows = rows[written + 1 :]
        else:
            return


def _set_aside(topic: str, payload: object, error: Exception) -> tuple[str, bytes, str]:
    """What can be kept of a refused row: it goes into quarantine with the reason (see `judge`)."""
    why = f"store_refused: the store cannot keep it as it arrived: {type(error).__name__}: {error}"
    left = payload if isinstance(payload, bytes) else ascii(payload).encode()
    return topic[:SET_ASIDE], left[:SET_ASIDE], encode({"refused": why.encode("ascii", "backslashreplace").decode()})


def _kept(one: Delivery) -> tuple[str, bytes, str | None]:
    """Topic, payload and properties as columns keep them; what no column can keep must not hold up its batch."""
    try:
        str.encode(one.topic)
        return one.topic, one.payload, encode(dict(one.properties)) if one.properties else None
    except (ValueError, TypeError) as error:
        topic = str(one.topic).encode("utf-8", "backslashreplace").decode()
        return topic, one.payload, encode({"unreadable": f"{type(error).__name__} in topic or properties"})


def _noted(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a source noticed as the trail keeps it: a foreign word must not hold up its batch and all that follow."""
    try:
        encode(detail)
    except (ValueError, TypeError) as error:
        return {"unreadable": type(error).__name__, "said": ascii(detail)[:1000]}
    return detail


def put_checkpoints(tx: Transaction, checkpoints: Iterable[tuple[str, bytes]]) -> None:
    """Remember source state together with the events that moved it."""
    for key, value in checkpoints:
        tx.execute("INSERT OR REPLACE INTO checkpoint (key, value) VALUES (?, ?)", (key, value))


def checkpoint(connection: apsw.Connection, key: str) -> bytes | None:
    """The source state last committed under `key`."""
    row = connection.execute("SELECT value FROM checkpoint WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None


def undecided(connection: apsw.Connection, limit: int, but: tuple[int, int] = (0, 0)) -> list[Event]:
    """The oldest events that wait for a decision, in order of arrival, but for a range of ids."""
    rows = connection.execute(
        "SELECT id, source, topic, payload, properties, received_us FROM event "
        "WHERE state = 'undecided' AND id NOT BETWEEN ? AND ? ORDER BY id LIMIT ?",
        (*but, limit),
    )
    return [_event(*row) for row in rows]


def undecided_own(connection: apsw.Connection, limit: int, but: tuple[int, int] = (0, 0)) -> list[Event]:
    """The same of what the agent itself noticed or was asked: somebody may be waiting for it."""
    rows = connection.execute(
        "SELECT id, source, topic, payload, properties, received_us FROM event INDEXED BY event_of_the_agent "
        "WHERE state = 'undecided' AND source = 'gatepost' AND id NOT BETWEEN ? AND ? ORDER BY id LIMIT ?",
        (*but, limit),
    )
    return [_event(*row) for row in rows]


def _event(id: int, source: str, topic: str, payload: bytes, properties: str | None, received: int) -> Event:
    return Event(id, source, topic, payload, from_us(received), json.loads(properties) if properties else NO_PROPERTIES)


def event_of(connection: apsw.Connection, message_key: str) -> int | None:
    """The event of a message that was seen."""
    row: Any = connection.execute("SELECT event_id FROM identity WHERE message_key = ?", (message_key,)).fetchone()
    return row[0] if row else None


def is_undecided(connection: apsw.Connection, event_id: int) -> bool:
    """Whether an event waits for its decision."""
    return connection.execute("SELECT 1 FROM event WHERE id = ? AND state = 'undecided'", (event_id,)).get is not None


def waiting(connection: apsw.Connection, source: str, id: str) -> int | None:
    """The event of a message of the agent's own with this id that waits for its decision."""
    row: Any = connection.execute(
        "SELECT id FROM event WHERE state = 'undecided' AND source = ? "
        "AND json_extract(CAST(payload AS TEXT), '$.id') = ?",
        (source, id),
    ).fetchone()
    return row[0] if row else None


def known(connection: apsw.Connection, message_keys: Iterable[str]) -> dict[str, tuple[bytes, int]]:
    """Which of these messages were seen before: key → (payload hash, event id)."""
    select = "SELECT message_key, payload_hash, event_id FROM identity WHERE message_key"
    rows = _among(connection, select, message_keys)
    return {key: (payload_hash, event_id) for key, payload_hash, event_id in rows}


def settle(tx: Transaction, settlements: Sequence[Settlement]) -> None:
    """End the events of a batch. Raises Conflict when one of them was settled already."""
    now = tx.now_us
    before = tx.connection.total_changes()
    bulk.run(
        tx.connection,
        "UPDATE event SET state = told.column2, message_key = told.column3, reason = told.column4, "
        "settled_us = told.column5 FROM (VALUES *) AS told "
        "WHERE event.id = told.column1 AND +event.state = 'undecided'",
        [(event_id, state, key, reason, now) for event_id, state, key, _, reason in settlements],
    )
    if tx.connection.total_changes() - before != len(settlements):
        raise Conflict("an event of this batch was decided elsewhere; the batch is read again")
    make_known(tx, [(key, sha, event_id) for event_id, _, key, sha, _ in settlements if sha is not None])
    tx.count("events undecided", -len(settlements))
    for state, n in Counter([state for _, state, *_ in settlements]).items():
        tx.count(f"events {state}", n)


def make_known(tx: Transaction, identities: Iterable[tuple[str | None, bytes, int]]) -> None:
    """Recognise these messages from now on: key, hash of the payload, event."""
    insert = "INSERT INTO identity (message_key, payload_hash, event_id) VALUES *"
    bulk.run(tx.connection, insert, sorted(identities))


def replay(tx: Transaction, event_id: int, *, by: str, reason: str) -> None:
    """Put a quarantined event before the workflows again, after the mapping was mended. Raises NotFound, Conflict."""
    row = tx.execute("SELECT state, reason FROM event WHERE id = ?", (event_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no event {event_id}; `gatepost quarantine list` shows those that can be replayed")
    if row[0] != "quarantined":
        raise Conflict(f"event {event_id} is {row[0]}, only a quarantined event can be replayed")
    put_back(tx, event_id, row[1], by=by, reason=reason)


def put_back(tx: Transaction, event_id: int, was: object, *, by: str, reason: str) -> None:
    """A quarantined event waits for its decision again; `was` is why it was quarantined."""
    tx.execute(  # where it was kept: it must not be taken for a repeat of itself
        "DELETE FROM identity WHERE event_id = ?1 AND message_key = (SELECT message_key FROM event WHERE id = ?1)",
        (event_id,),
    )
    tx.execute(
        "UPDATE event SET state = 'undecided', message_key = NULL, reason = NULL, settled_us = NULL WHERE id = ?",
        (event_id,),
    )
    tx.count("events quarantined", -1)
    tx.count("events undecided")
    tx.audit("replayed", {"was": was, "reason": reason}, actor=by, event_id=event_id)


def put_states(tx: Transaction, states: Iterable[tuple[str, object]]) -> None:
    """Write streaming state in the transaction of the events that moved it."""
    bulk.run(
        tx.connection,
        "INSERT INTO state (key, value) VALUES * ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [(key, encode(value)) for key, value in states],
    )


def states(connection: apsw.Connection, keys: Iterable[str]) -> dict[str, object]:
    """The streaming state of these keys, where there is one."""
    return {key: json.loads(value) for key, value in _among(connection, "SELECT key, value FROM state WHERE key", keys)}


def _among(connection: apsw.Connection, select: str, keys: Iterable[str]) -> Iterable[Any]:
    """Rows of a batch's keys by one statement: a statement a key opens the file's read lock anew each time."""
    wanted = list(keys)
    return connection.execute(f"{select} IN ({','.join('?' * len(wanted))})", wanted) if wanted else ()
