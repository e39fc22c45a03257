"""Retention: finished rows move into dated archive files, so that the live file stays small.

Only what is finished leaves: settled events without open postings, postings in a final state, and the oldest part
of the audit chain. First the archive is committed and synced, then the rows are deleted, in the same transaction
that moves the `archived_to` mark; a crash between the two repeats the copy and loses nothing. De-duplication ids
and idempotency keys are never archived; what a challenger said about an event goes with it, and so do the marks of
corrections and escalations with their posting. Nonces and kept answers of that age are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import apsw

from agent.store import audit
from agent.store.encode import to_us
from agent.store.file import configure, reader
from agent.store.transaction import Transaction
from agent.store.writer import Writer

CHUNK = 2000  # rows per transaction: the writer is never away for long
FINISHED_POSTINGS = (  # what others of its group still need stays with them
    "SELECT * FROM posting WHERE state IN ('acknowledged', 'refused', 'simulated', 'superseded') AND changed_us < ? "
    "AND NOT EXISTS (SELECT 1 FROM member AS mine JOIN member AS its USING (first) JOIN posting AS other "
    "ON other.id = its.posting_id WHERE mine.posting_id = posting.id "
    "AND other.state NOT IN ('acknowledged', 'refused', 'simulated', 'superseded')) ORDER BY id LIMIT ?"
)
FINISHED_EVENTS = (
    "SELECT * FROM event AS e WHERE settled_us < ? AND state NOT IN ('undecided', 'quarantined') AND NOT EXISTS "
    "(SELECT 1 FROM posting WHERE event_id = e.id AND state NOT IN "
    "('acknowledged', 'refused', 'simulated', 'superseded')) LIMIT ?"
)
TABLES = ("event", "posting", "audit")
OF_A_POSTING = ("member", "correction", "escalation")  # rows that mean nothing without it


@dataclass(frozen=True, slots=True)
class Archived:
    """How many rows one run moved, and where to."""

    path: Path
    events: int
    postings: int
    audit_rows: int


def archive(writer: Writer, live: apsw.Connection, folder: Path, now: datetime, retention: timedelta) -> Archived:
    """Move everything finished before `now - retention`. Blocking; call it from a thread of its own."""
    before, now_us = to_us(now - retention), to_us(now)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%d}.db"
    target = _open_archive(path, live)
    counts = [0, 0, 0]
    try:
        while any(moved := _chunk(writer, live, target, before, now_us)):
            counts = [sum(pair) for pair in zip(counts, moved, strict=True)]
        writer.call(lambda tx: _forget(tx, before))
    finally:
        target.close()
    return Archived(path, *counts)


@contextmanager
def readers(folder: Path) -> Iterator[list[apsw.Connection]]:
    """The archives of this folder in the order of their days; one that is just being begun has nothing in it yet."""
    with ExitStack() as stack:
        every = [stack.enter_context(closing(reader(path))) for path in sorted(folder.glob("*.db"))]
        last = TABLES[-1]
        yield [one for one in every if one.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (last,)).fetchone()]


def _open_archive(path: Path, live: apsw.Connection) -> apsw.Connection:
    """An archive has the tables of the live file without their checks: it keeps, it does not work."""
    connection = apsw.Connection(str(path))
    configure(connection)
    for table in TABLES:
        names = [row[1] for row in live.execute(f"PRAGMA table_info({table})")]
        key = "seq" if table == "audit" else "id"
        columns = ", ".join(f"{name} INTEGER PRIMARY KEY" if name == key else name for name in names)
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
    return connection


def _chunk(
    writer: Writer, live: apsw.Connection, target: apsw.Connection, before: int, now_us: int
) -> tuple[int, int, int]:
    postings = _rows(live, FINISHED_POSTINGS, before)
    events = _rows(live, FINISHED_EVENTS, before)
    rows = _old_part(live, before, now_us)
    with target:  # committed with synchronous=FULL before anything is deleted
        _copy(target, "event", events)
        _copy(target, "posting", postings)
        _copy(target, "audit", rows)
    if events or postings or rows:
        target.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        writer.call(lambda tx: _delete(tx, events, postings, rows))
    return len(events), len(postings), len(rows)


def _rows(connection: apsw.Connection, sql: str, before: int) -> list[tuple[Any, ...]]:
    return list(connection.execute(sql, (before, CHUNK)))


def _old_part(live: apsw.Connection, before: int, now_us: int) -> list[tuple[Any, ...]]:
    """The chain up to its last old row: clock steps may leave younger ones between, and a chain has no holes."""
    rows: list[Any] = live.execute("SELECT * FROM audit ORDER BY seq LIMIT ?", (CHUNK,)).fetchall()
    old = next((n for n in range(len(rows), 0, -1) if rows[n - 1][1] < before), 0)
    if not old and any(row[1] > now_us for row in rows) and _has_old(live, before, behind=rows[-1][0]):
        return rows  # a clock that was ahead wrote all of these: they are older than what follows them
    return rows[:old]


def _has_old(live: apsw.Connection, before: int, *, behind: int) -> bool:
    row = live.execute("SELECT 1 FROM audit WHERE seq > ? AND at_us < ? LIMIT 1", (behind, before)).fetchone()
    return row is not None


def _copy(target: apsw.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        target.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608  # own table names


def _forget(tx: Transaction, before: int) -> None:
    """Old nonces, and answers that were kept for whoever asks the same again: by then nobody does."""
    tx.execute("DELETE FROM challenge WHERE expires_us < ?", (before,))
    tx.execute("DELETE FROM command WHERE at_us < ?", (before,))


def _delete(
    tx: Transaction,
    events: Sequence[tuple[Any, ...]],
    postings: Sequence[tuple[Any, ...]],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """Take the archived rows out of the live file, count them, and move the mark."""
    for table, found, state in (("event", events, 6), ("posting", postings, _state_column(tx))):
        for row in found:
            tx.execute(f"DELETE FROM {table} WHERE id = ?", (row[0],))  # noqa: S608  # own table names
            tx.count(f"archived {table}s {row[state]}")
    for table in OF_A_POSTING:
        tx.executemany(f"DELETE FROM {table} WHERE posting_id = ?", [(row[0],) for row in postings])  # noqa: S608  # own
    tx.executemany("DELETE FROM shadow WHERE event_id = ?", [(row[0],) for row in events])
    if rows:
        head = audit.Head(rows[-1][0], rows[-1][9])
        tx.executemany(
            "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
            [("archived_to", str(head.seq)), ("archived_hash", head.hash.hex())],
        )
        tx.execute("DELETE FROM audit WHERE seq <= ?", (head.seq,))
    tx.execute("PRAGMA incremental_vacuum(4000)").fetchall()


def _state_column(tx: Transaction) -> int:
    names = [row[1] for row in tx.execute("PRAGMA table_info(posting)")]
    return names.index("state")
