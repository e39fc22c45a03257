"""What quarantined reports wait for: an order, material, defect or cause that was not known lets them in when it is.

One row per waiting report, keyed by what it waits for, so that looking costs the same with any number of events. A
row counts only while its event is still in the quarantine that wrote it: a person's replay ends the wait, or their
word that it shall stay where it is.

The same table says of which order a report in quarantine is, whatever it is there for and however long: the order's
final confirmation must not overtake it unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import apsw

from agent.errors import Conflict, NotFound
from agent.store import inbox
from agent.store.transaction import Transaction

Key = tuple[str, str]
"""Kind of master data (see ANY) and its number."""
Row = tuple[str, str, int, int]
"""Key, event, and when that was put into the quarantine that counts."""

WAITING = (
    "SELECT event.id, event.reason, event.received_us FROM awaited JOIN event ON event.id = awaited.event_id "
    "WHERE awaited.kind = ? AND awaited.key = ? AND event.state = 'quarantined' "
    "AND event.settled_us = awaited.settled_us ORDER BY awaited.event_id"
)
ANY = "SELECT DISTINCT kind, key FROM awaited WHERE kind IN ('material', 'order', 'defect_code', 'scrap_reason')"
OF_ORDER = "report of order"  # in the place of a kind of master data
IN_QUARANTINE = (
    "SELECT awaited.key, event.id FROM awaited JOIN event ON event.id = awaited.event_id "
    "WHERE awaited.kind = ? AND awaited.key = ? AND event.state = 'quarantined' "
    "AND event.settled_us = awaited.settled_us ORDER BY awaited.event_id LIMIT 6"  # one more than is named to a person
)
EXPIRED = (
    "SELECT kind, key, event_id, settled_us FROM awaited WHERE NOT EXISTS (SELECT 1 FROM event "
    "WHERE event.id = awaited.event_id AND event.state = 'quarantined' AND event.settled_us = awaited.settled_us "
    "AND (awaited.kind = ? OR event.received_us >= ?)) LIMIT ?"
)
CHUNK = 2000  # rows forgotten at a time: the writer is never away for long
LONGEST_KEY = 100  # characters: no number in an ERP is longer, and nobody's garbage becomes a key


def wait(tx: Transaction, waiting: Iterable[tuple[Key, int]]) -> None:
    """Remember what quarantined events wait for, in the transaction that quarantined them."""
    tx.executemany(
        "INSERT OR REPLACE INTO awaited (kind, key, event_id, settled_us) VALUES (?, ?, ?, ?)",
        [(kind, key, event_id, tx.now_us) for (kind, key), event_id in waiting if len(key) <= LONGEST_KEY],
    )


def anything(connection: apsw.Connection) -> bool:
    """Whether any report waits for master data; asked before each batch."""
    return connection.execute(f"{ANY} LIMIT 1").fetchone() is not None


def keys(connection: apsw.Connection) -> Iterator[Key]:
    """Everything that is waited for, one by one: senders choose what they name, and how much of it."""
    return connection.execute(ANY)


def in_quarantine(connection: apsw.Connection, orders: Iterable[str]) -> set[tuple[str, int]]:
    """Order and event of the first reports in quarantine that a final confirmation of these orders would overtake."""
    return {(key, event) for one in orders for key, event in connection.execute(IN_QUARANTINE, (OF_ORDER, one))}


def let_in(tx: Transaction, known: Iterable[Key], since_us: int) -> int:
    """Put reports that waited for what is `known` now before the workflows again, each once; returns how many.

    Those that arrived before `since_us` stay in quarantine, for a person. Events keep their numbers, so they are
    decided in the order in which they arrived, before everything that came after them.
    """
    count = 0
    for kind, key in known if anything(tx.connection) else ():
        rows: list[Any] = tx.execute(WAITING, (kind, key)).fetchall()
        for event_id, was, received_us in rows:
            if received_us >= since_us:
                inbox.put_back(tx, event_id, was, by="agent", reason=f"{kind} {key} became known")
                count += 1
        tx.execute("DELETE FROM awaited WHERE kind = ? AND key = ?", (kind, key))
    return count


def keep(tx: Transaction, event_id: int, *, by: str, reason: str) -> None:
    """A person booked it by hand, for example: it stays in quarantine until somebody replays it.

    Its message key becomes known, so that a repeat is a duplicate, also once the order is known. Raises NotFound, and
    Conflict where nothing would read the event again, or where the same message is known as another event.
    """
    row: Any = tx.execute("SELECT state, message_key, payload FROM event WHERE id = ?", (event_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no event {event_id}; `gatepost quarantine list` shows those that can be kept")
    state, key, payload = row
    known = inbox.known(tx.connection, [key]) if key is not None else {}
    for _, other in known.values():
        if other != event_id:
            raise Conflict(f"event {other} is the same message; `gatepost trace {other}` tells what became of it")
    tx.execute("DELETE FROM awaited WHERE event_id = ?", (event_id,))
    waited = tx.connection.changes() > 0
    if state != "quarantined" or known or (key is None and not waited):
        raise Conflict(f"event {event_id} is {state} and waits for nothing: it is not read again by itself")
    if key is not None:
        inbox.make_known(tx, [(key, sha256(payload).digest(), event_id)])
    tx.execute("UPDATE event SET reason = reason || ? WHERE id = ?", (f"; kept by {by}: {reason}", event_id))
    tx.audit("kept", {"reason": reason}, actor=by, event_id=event_id)


def expired(connection: apsw.Connection, before_us: int) -> list[Row]:
    """Some rows to forget: of reports that left the quarantine, and waits of those that arrived before this time.

    The latter are a person's now. Of which order a report is counts as long as it is in quarantine: no age books it.
    """
    rows: list[Any] = connection.execute(EXPIRED, (OF_ORDER, before_us, CHUNK)).fetchall()
    return rows


def forget(tx: Transaction, rows: Iterable[Row]) -> None:
    """Drop rows that were found expired, but what was written anew since."""
    tx.executemany("DELETE FROM awaited WHERE kind = ? AND key = ? AND event_id = ? AND settled_us = ?", rows)
