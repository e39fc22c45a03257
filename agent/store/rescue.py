"""The rescue of a damaged store: what can be read goes into a new file, what could not is counted and audited.

A rescued store is a time machine like a restored one: it starts in RECONCILE (see `file.py`). What SQLite cannot
read is stepped over; a file whose first page is gone is opened with that of a new store.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw

from agent.errors import NotFound, StoreCorrupt
from agent.store import audit, bulk, file
from agent.store.backup import BESIDE, set_aside
from agent.store.encode import encode, to_us
from agent.store.schema import migrate


@dataclass(slots=True)
class Rescue:
    """What could be saved of a damaged store."""

    set_aside: Path
    rows: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)  # rows, or stretches of rows, that could not be read
    changed: list[int] = field(default_factory=list)  # postings that are not what was decided: refused
    trail_broken_at: list[int] = field(default_factory=list)
    audit: audit.Verdict | None = None


ROWID_TABLES = ("event", "posting", "audit")
KEYED_TABLES = (  # what was archived is known by identity and idempotency alone
    "identity", "idempotency", "meta", "tally", "pause", "state", "checkpoint", "masterdata", "awaited",
    "command", "member", "notice",
)  # fmt: skip
UNREADABLE = (apsw.Error, UnicodeDecodeError)  # pages or rows that make no sense; text that is none any more
BLIND_STEPS = 10_000  # row numbers tried behind the last readable row of a table whose end cannot be read


def recover(store: Path, now: datetime, *, by: str, reason: str) -> Rescue:
    """Save what can be read of a damaged store into a new file, run by a named person.

    The damaged files are set aside as they are, never deleted. De-duplication ids and idempotency keys are saved,
    and rebuilt from the rows. The next start is in RECONCILE. Raises StoreLocked, NotFound, and StoreCorrupt when
    nothing can be read: then everything stays where it was.
    """
    if not store.exists():
        raise NotFound(f"there is no store {store}")
    with file.owned(store):
        coming, work = store.with_name(store.name + ".rescued"), store.with_name(store.name + ".damaged")
        rescue = Rescue(store)
        try:
            _rescue(store, work, coming, now, by, reason, rescue)
            rescue.set_aside = set_aside(store, now)
            coming.rename(store)
        finally:
            for path in (coming, work):
                for end in BESIDE:
                    path.with_name(path.name + end).unlink(missing_ok=True)
        return rescue


def _rescue(store: Path, work: Path, coming: Path, now: datetime, by: str, reason: str, rescue: Rescue) -> None:
    """Read a copy of the damaged files, write a new store beside them."""
    for end in ("", "-wal"):
        if store.with_name(store.name + end).exists():
            shutil.copyfile(store.with_name(store.name + end), work.with_name(work.name + end))
    with closing(apsw.Connection(str(coming))) as fresh:
        file.configure(fresh)
        migrate(fresh)
        fresh.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        if not _readable(work):
            _give_first_page(coming, work)
        with closing(apsw.Connection(str(work))) as damaged, fresh:
            for table in (*ROWID_TABLES, *KEYED_TABLES):
                _save_table(damaged, fresh, table, rescue)
            if not any(rescue.rows.values()):
                raise StoreCorrupt(f"nothing can be read from {store}; run `gatepost restore` with a backup")
            _save_sequences(damaged, fresh)
            _refuse_changed(fresh, to_us(now), rescue)
            _rebuild(fresh)
            _mend_trail(fresh, rescue)
            _note(fresh, now, by, reason, rescue)
        rescue.audit = audit.verify_file(fresh)


def _readable(path: Path) -> bool:
    try:
        with closing(apsw.Connection(str(path))) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'posting'").get  # noqa: B018  # reads
            return bool(connection.pragma("user_version"))
    except apsw.Error:
        return False


def _give_first_page(fresh: Path, damaged: Path) -> None:
    """Every store of one version has its tables at the same pages: a new one's first page opens a damaged one's."""
    page = bytearray(fresh.read_bytes()[:4096])
    page[28:32] = (damaged.stat().st_size // 4096).to_bytes(4, "big")  # pages in the file
    page[32:40] = bytes(8)  # no free pages are known
    with damaged.open("r+b") as stream:
        stream.write(page)


def _save_table(damaged: apsw.Connection, fresh: apsw.Connection, table: str, rescue: Rescue) -> None:
    saved = lost = 0
    key = ", ".join(str(row[1]) for row in fresh.execute(f"PRAGMA table_info({table})").fetchall() if row[5])
    rows = _by_rowid(damaged, table, key) if table in ROWID_TABLES else _from_both_ends(damaged, table, key)
    for row in rows:
        if row is None:
            lost += 1
            continue
        marks = ", ".join("?" * len(row))
        try:
            fresh.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608  # own table names
        except apsw.Error:  # a row that breaks a constraint was damaged
            lost += 1
            continue
        saved += fresh.changes()
    rescue.rows[table], rescue.lost[table] = saved, lost


def _save_sequences(damaged: apsw.Connection, fresh: apsw.Connection) -> None:
    """Row numbers are never given twice, also not those of lost or archived rows."""
    with suppress(apsw.Error):
        for name, seq in damaged.execute("SELECT name, seq FROM sqlite_sequence").fetchall():
            fresh.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (seq, name))
            if not fresh.changes():
                fresh.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, seq))


def _by_rowid(damaged: apsw.Connection, table: str, key: str) -> Iterator[tuple[Any, ...] | None]:
    """Rows in order, stepping over what cannot be read; None for each number tried in vain."""
    last, tried, top = 0, 0, _highest(damaged, table, key)
    while top is None or last < top:
        try:
            for row in damaged.execute(f"SELECT * FROM {table} WHERE {key} > ? ORDER BY {key}", (last,)):  # noqa: S608
                last, tried = row[0], 0
                yield row
        except UNREADABLE:
            yield None
            last, tried = last + 1, tried + 1
            if top is None and tried > BLIND_STEPS:
                return
        else:
            return


def _highest(damaged: apsw.Connection, table: str, key: str) -> int | None:
    for sql in (f"SELECT max({key}) FROM {table}", f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'"):  # noqa: S608
        try:
            row = damaged.execute(sql).fetchone()
        except apsw.Error:
            continue
        if row:
            return int(row[0] or 0)
    return None


def _from_both_ends(damaged: apsw.Connection, table: str, key: str) -> Iterator[tuple[Any, ...] | None]:
    """Rows of a table without numbers, up to the damage from either side."""
    try:
        yield from damaged.execute(f"SELECT * FROM {table} ORDER BY {key}")  # noqa: S608  # own table names
    except UNREADABLE:
        yield None
        down = key.replace(",", " DESC,")
        with suppress(*UNREADABLE):
            yield from damaged.execute(f"SELECT * FROM {table} ORDER BY {down} DESC")  # noqa: S608


def _rebuild(fresh: apsw.Connection) -> None:
    """What follows from the rows: known messages, known keys, lanes, running totals.

    A message in quarantine becomes known, too: a person may have kept it there, and its own replay forgets it.
    """
    seen: list[Any] = fresh.execute(
        "SELECT message_key, payload, id FROM event WHERE message_key IS NOT NULL AND state != 'duplicate' "
        "ORDER BY state = 'quarantined', id"
    ).fetchall()
    for message_key, payload, event_id in seen:
        fresh.execute(
            "INSERT OR IGNORE INTO identity VALUES (?, ?, ?)", (message_key, sha256(payload).digest(), event_id)
        )
    fresh.execute("INSERT OR IGNORE INTO idempotency SELECT idempotency_key, id FROM posting")
    fresh.execute(
        "INSERT INTO lane (target, ordering_key, head, head_seq, line, state, next_us) "
        "SELECT target, ordering_key, id, min(lane_seq), line, "
        "CASE WHEN state IN ('ready', 'in_doubt') THEN 'ready' WHEN state = 'sending' THEN 'busy' ELSE 'blocked' END, "
        "next_us "
        "FROM posting WHERE lane_seq IS NOT NULL GROUP BY target, ordering_key"
    )
    _count_again(fresh, "event", "events", "received")
    _count_again(fresh, "posting", "postings", "created")
    top = fresh.execute("SELECT coalesce(max(lane_seq), 0) FROM posting").get
    fresh.execute("INSERT INTO tally VALUES ('lane_seq', ?1) ON CONFLICT DO UPDATE SET n = max(n, ?1)", (top,))
    fresh.execute("INSERT INTO tally VALUES ('commit', 1) ON CONFLICT DO NOTHING")  # used before: never a new store


def _count_again(fresh: apsw.Connection, table: str, name: str, all_of_them: str) -> None:
    """Running totals by counting, archived rows included."""
    archived = f"archived {name} "
    found: dict[Any, Any] = dict(fresh.execute(f"SELECT state, count(*) FROM {table} GROUP BY state"))  # noqa: S608
    for tally, n in fresh.execute("SELECT name, n FROM tally WHERE name GLOB ?", (archived + "*",)).fetchall():
        state = str(tally).removeprefix(archived)
        found[state] = found.get(state, 0) + n
    fresh.execute("DELETE FROM tally WHERE name GLOB ?", (name + " *",))
    totals = {**found, all_of_them: sum(found.values())}
    fresh.executemany("INSERT INTO tally VALUES (?, ?)", [(f"{name} {key}", n) for key, n in totals.items()])


def _refuse_changed(fresh: apsw.Connection, now_us: int, rescue: Rescue) -> None:
    """What was not sent yet and is not what was decided is never sent; a person reports it again."""
    waiting: list[Any] = fresh.execute(
        "SELECT id, CAST(payload AS BLOB), payload_hash FROM posting WHERE state IN ('held', 'ready')"
    ).fetchall()
    for posting_id, payload, hashed in waiting:
        if sha256(payload).digest() != hashed:
            rescue.changed.append(posting_id)
            fresh.execute(
                "UPDATE posting SET state = 'refused', lane_seq = NULL, error = 'damaged on disk', "
                "version = version + 1, changed_us = ? WHERE id = ?",
                (now_us, posting_id),
            )


def _mend_trail(fresh: apsw.Connection, rescue: Rescue) -> None:
    """Begin the chain behind its last break; what is before it can be checked in the files set aside."""
    while (verdict := audit.verify_file(fresh)).broken_at is not None:
        rescue.trail_broken_at.append(verdict.broken_at)
        seq, prev, hashed = fresh.execute(  # type: ignore[misc]  # the check has just seen a row there
            "SELECT seq, prev, hash FROM audit WHERE seq >= ? ORDER BY seq LIMIT 1", (verdict.broken_at,)
        ).fetchone()
        start = audit.Head(seq - 1, prev) if seq > verdict.broken_at else audit.Head(seq, hashed)
        fresh.executemany(
            "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
            [("archived_to", str(start.seq)), ("archived_hash", start.hash.hex())],
        )


def _note(fresh: apsw.Connection, now: datetime, by: str, reason: str, rescue: Rescue) -> None:
    """The rescue itself is audited, behind whatever is left of the chain."""
    fresh.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('run', 'recovered')")
    detail = encode(
        {
            "reason": reason,
            "rows": rescue.rows,
            "lost": rescue.lost,
            "changed": rescue.changed[:1000],
            "trail_broken_at": rescue.trail_broken_at[:1000],
        }
    )
    record = (to_us(now), by, "recovered", None, None, 1, detail)
    rows, _ = audit.chain(audit.read_head(fresh), [record])
    bulk.run(fresh, audit.INSERT, rows)
