"""Online backup, restore, and the rescue of a damaged file.

A restored or rescued store is a time machine: it does not know what was posted since. It therefore starts in
RECONCILE (see `file.py`): posting is off, and what is open is looked up at the ERP before it is sent.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw

from agent.errors import NotFound, StoreCorrupt, StoreError
from agent.store import audit, file
from agent.store.encode import encode, to_us
from agent.store.schema import migrate

BESIDE = ("", "-wal", "-shm", ".mark")  # the files that belong together


def backup(store: Path, copy: Path, now: datetime) -> None:
    """Copy the live store while the agent works. Raises StoreError when the copy is there already."""
    if copy.exists():
        raise StoreError(f"{copy} is there already; name another file")
    source = file.reader(store)
    target = apsw.Connection(str(copy))
    try:
        with target.backup("main", source, "main") as run:
            while not run.done:
                run.step(500)
        target.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('run', ?)", (f"backup {now.isoformat()}",))
        check(target, str(copy))
    finally:
        target.close()
        source.close()


def check(connection: apsw.Connection, name: str) -> audit.Verdict:
    """The slow, full check: SQLite's own, and the audit chain. Raises StoreCorrupt."""
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(5)") if row[0] != "ok"]
    if problems:
        raise StoreCorrupt(f"{name} is damaged: {'; '.join(problems)}; run `gatepost recover`")
    verdict = audit.verify_file(connection)
    if verdict.broken_at is not None:
        raise StoreCorrupt(f"{name}: the audit trail is broken at row {verdict.broken_at}: {verdict.why}")
    return verdict


def set_aside(store: Path, now: datetime) -> Path:
    """Move the store's files out of the way, together, into a folder beside it; nothing is deleted."""
    folder = store.parent / f"set-aside-{now:%Y%m%dT%H%M%S}"
    folder.mkdir()
    for end in BESIDE:
        path = store.with_name(store.name + end)
        if path.exists():
            path.rename(folder / path.name)
    return folder


def restore(store: Path, copy: Path, now: datetime) -> Path | None:
    """Put a backup in the store's place; returns where the old files went.

    Raises StoreLocked, NotFound, StoreCorrupt.
    """
    if not copy.exists():
        raise NotFound(f"there is no backup {copy}")
    with file.owned(store):
        connection = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READONLY)
        check(connection, str(copy))
        connection.close()
        old = set_aside(store, now) if any(store.with_name(store.name + end).exists() for end in BESIDE) else None
        shutil.copyfile(copy, store)
        return old


@dataclass(slots=True)
class Rescue:
    """What could be saved of a damaged store."""

    set_aside: Path
    rows: dict[str, int] = field(default_factory=dict)
    lost_pages: dict[str, int] = field(default_factory=dict)
    audit: audit.Verdict | None = None


ROWID_TABLES = ("event", "posting", "audit")
KEYED_TABLES = ("meta", "tally", "pause", "state", "checkpoint", "masterdata", "command", "lane")


def recover(store: Path, now: datetime, *, by: str, reason: str) -> Rescue:
    """Save what can be read of a damaged store into a new file, run by a named person.

    The damaged files are set aside, never deleted. De-duplication ids and idempotency keys are rebuilt from the
    rows. The next start is in RECONCILE. Raises StoreLocked, NotFound.
    """
    if not store.exists():
        raise NotFound(f"there is no store {store}")
    with file.owned(store):
        rescue = Rescue(set_aside(store, now))
        damaged = apsw.Connection(str(rescue.set_aside / store.name))
        fresh = apsw.Connection(str(store))
        file.configure(fresh)
        migrate(fresh)
        with fresh:
            for table in (*ROWID_TABLES, *KEYED_TABLES):
                _save_table(damaged, fresh, table, rescue)
            _rebuild(fresh)
            _note(fresh, now, by, reason, rescue)
        rescue.audit = audit.verify_file(fresh)
        fresh.close()
        damaged.close()
        return rescue


def _save_table(damaged: apsw.Connection, fresh: apsw.Connection, table: str, rescue: Rescue) -> None:
    saved = lost = 0
    rows = _by_rowid(damaged, table) if table in ROWID_TABLES else _by_scan(damaged, table)
    for row in rows:
        if row is None:
            lost += 1
            continue
        marks = ", ".join("?" * len(row))
        try:
            fresh.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)  # noqa: S608  # own table names
        except apsw.Error:  # a row that breaks a constraint was damaged
            lost += 1
            continue
        saved += 1
    rescue.rows[table], rescue.lost_pages[table] = saved, lost


def _by_rowid(damaged: apsw.Connection, table: str) -> Iterator[tuple[Any, ...] | None]:
    """Rows in order, stepping over what cannot be read; None for each unreadable stretch."""
    key, last = ("seq" if table == "audit" else "id"), 0
    top = _highest(damaged, table, key)
    while last < top:
        try:
            for row in damaged.execute(f"SELECT * FROM {table} WHERE {key} > ? ORDER BY {key}", (last,)):  # noqa: S608
                last = row[0]
                yield row
            return
        except apsw.Error:
            yield None
            last += 1


def _highest(damaged: apsw.Connection, table: str, key: str) -> int:
    for sql in (f"SELECT max({key}) FROM {table}", f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'"):  # noqa: S608
        try:
            row = damaged.execute(sql).fetchone()
        except apsw.Error:
            continue
        if row and row[0]:
            return int(row[0])
    return 0


def _by_scan(damaged: apsw.Connection, table: str) -> Iterator[tuple[Any, ...] | None]:
    try:
        yield from damaged.execute(f"SELECT * FROM {table}")  # noqa: S608  # own table names
    except apsw.Error:
        yield None


def _rebuild(fresh: apsw.Connection) -> None:
    """What follows from the rows: known messages, known keys, lanes, running totals."""
    seen: list[Any] = fresh.execute(
        "SELECT message_key, payload, id FROM event WHERE message_key IS NOT NULL AND state != 'duplicate' ORDER BY id"
    ).fetchall()
    for message_key, payload, event_id in seen:
        fresh.execute(
            "INSERT OR IGNORE INTO identity VALUES (?, ?, ?)", (message_key, sha256(payload).digest(), event_id)
        )
    fresh.execute("INSERT OR IGNORE INTO idempotency SELECT idempotency_key, id FROM posting")
    fresh.execute("DELETE FROM lane")
    fresh.execute(
        "INSERT INTO lane (target, ordering_key, head, head_seq, line, state) "
        "SELECT target, ordering_key, id, min(lane_seq), line, "
        "CASE WHEN state IN ('ready', 'in_doubt') THEN 'ready' WHEN state = 'sending' THEN 'busy' ELSE 'blocked' END "
        "FROM posting WHERE state IN ('ready', 'sending', 'in_doubt', 'doubtful', 'dead') GROUP BY target, ordering_key"
    )
    fresh.execute("DELETE FROM tally WHERE name LIKE 'events %' OR name LIKE 'postings %'")
    fresh.execute("INSERT INTO tally SELECT 'events ' || state, count(*) FROM event GROUP BY state")
    fresh.execute("INSERT INTO tally SELECT 'postings ' || state, count(*) FROM posting GROUP BY state")
    fresh.execute("INSERT INTO tally SELECT 'events received', count(*) FROM event")
    fresh.execute("INSERT INTO tally SELECT 'postings created', count(*) FROM posting")
    fresh.execute("INSERT OR REPLACE INTO tally SELECT 'lane_seq', coalesce(max(lane_seq), 0) FROM posting")


def _note(fresh: apsw.Connection, now: datetime, by: str, reason: str, rescue: Rescue) -> None:
    """The rescue itself is audited, behind whatever is left of the chain."""
    fresh.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('run', 'recovered')")
    detail = encode({"reason": reason, "rows": rescue.rows, "lost": rescue.lost_pages})
    record = (to_us(now), by, "recovered", None, None, 1, detail)
    rows, _ = audit.chain(audit.read_head(fresh), [record])
    fresh.executemany(audit.INSERT, rows)
