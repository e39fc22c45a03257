"""Opening the store file: one owner, the right library and pragmas, never an empty file in a corrupt one's place.

Beside the file lies its high-water mark (``<file>.mark``): how far commits have been counted, and in which run. When
file and mark disagree, the file is a restored backup and forgets what was posted since: every target is paused
(`reconcile`) until a person resumes it, and open postings are looked up at the ERP before they are sent.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from agent.durable import replace_durably
from agent.errors import StoreCorrupt, StoreError, StoreLocked
from agent.ports import Clock
from agent.store.encode import to_us
from agent.store.schema import migrate, require_library

log = logging.getLogger("gatepost.store")

BLOCK = 1000  # commits reserved at a time
MARK_EVERY_S = 60.0
STATEMENTS = 256  # kept planned: each of many rows has a form for every power of two
PRAGMAS = (
    ("busy_timeout", 5000),  # first: after a crash a reader may be recovering the log while the agent starts
    ("auto_vacuum", 2),  # incremental: space goes back after archiving; only a new file hears it, so before all others
    ("journal_mode", "wal"),
    ("synchronous", "full"),
    ("trusted_schema", "off"),
    ("cell_size_check", "on"),
    ("mmap_size", 0),
    ("temp_store", "memory"),
    ("cache_size", -16384),  # KiB
    ("wal_autocheckpoint", 2000),  # pages: 8 MiB
    ("journal_size_limit", 16 << 20),
)


def configure(connection: apsw.Connection) -> None:
    """Set the pragmas the promise rests on, and read back the two that matter."""
    for name, value in PRAGMAS:
        connection.pragma(name, value)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)  # plan once, not for each value bound
    if connection.pragma("journal_mode") != "wal" or connection.pragma("synchronous") != 2:
        raise StoreError(f"{connection.filename}: cannot use WAL with synchronous=FULL here; use a local file system")


def reader(path: Path) -> apsw.Connection:
    """A read-only connection; keep its transactions short, a long one lets the write-ahead log grow."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.pragma("busy_timeout", 2000)
    connection.pragma("query_only", 1)
    return connection


class Vanished(StoreError):  # noqa: N818  # named as in errors.py
    """The store was moved, removed or replaced under the running agent; nothing is acknowledged until it is back."""


class OpenFile:
    """The open store: its connection, its lock and its high-water mark. Used by the writer's thread only."""

    def __init__(self, path: Path, clock: Clock, lock: int) -> None:
        self.path = path
        self.findings: list[str] = []
        self._clock = clock
        self._lock = lock
        self._mark_path = path.with_name(path.name + ".mark")
        self._run = secrets.token_hex(8)
        self._pending: int | None = None
        self._mark_late = False
        self._mark_at = time.monotonic()
        self.connection = self._connect()
        found = os.stat(path)
        self._identity = (found.st_dev, found.st_ino)
        self._reserved = self._compare_mark()

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), statementcachesize=STATEMENTS)
        configure(connection)
        migrate(connection)
        return connection

    def reopen(self) -> None:
        """Throw the connection away and open the file again, after an I/O error. Raises Vanished, apsw.Error.

        What an fsync refused may be readable and still not be on disk; therefore everything found in the log is
        moved into the file and synced before anybody believes it.
        """
        self.connection.close(True)
        self.require_present()
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=STATEMENTS)
        configure(connection)
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(FULL)").get
        if busy:
            connection.close(True)
            raise apsw.BusyError("a reader keeps the write-ahead log from being synced after an I/O error")
        self.connection = connection

    def require_present(self) -> None:
        """The path still names the file that is open: commits into a removed file would be lost. Raises Vanished."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise Vanished(f"{self.path} cannot be found any more ({error.strerror}); put it back") from error
        if (found.st_dev, found.st_ino) != self._identity:
            raise Vanished(f"{self.path} was replaced while the agent was running; stop the agent, then replace it")

    def wal_bytes(self) -> int:
        """The size of the write-ahead log."""
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except OSError:
            return 0

    def close(self) -> None:
        """Close the file and give up the lock."""
        try:
            self.connection.close(True)
        finally:
            os.close(self._lock)

    # ── high-water mark ─────────────────────────────────────────────────────────────────────────────────

    def _compare_mark(self) -> int:
        """Notice a restored backup, begin a run of our own, and return how far ids are reserved."""
        meta = dict(self.connection.execute("SELECT key, value FROM meta"))
        outside = self._read_mark() or {}
        used = self._commits()
        here, beside = int(meta.get("reserved", 0)), int(outside.get("reserved", 0))
        known = {meta.get("run"), meta.get("run_before")}  # killed before it wrote its mark: the mark is the run before
        restored = bool(used or outside) and (outside.get("run") not in known or beside > here)
        reserved = max(used, here, beside) + BLOCK
        with self.connection:
            if restored:
                self._begin_reconcile(used, outside)
            self._put_meta("run_before", str(outside.get("run", "")))
            self._put_meta("run", self._run)
            self._put_meta("reserved", str(reserved))
        self._write_mark(reserved)
        return reserved

    def _begin_reconcile(self, used: int, outside: dict[str, str]) -> None:
        now = to_us(self._clock())
        told = f"the mark says {outside.get('reserved')}" if outside else "there is no mark beside it"
        why = f"the store looks like a restored backup or a moved file: it ends at commit {used}, {told}"
        self.findings.append(f"RECONCILE: {why}; posting is off until `gatepost resume target '*'`")
        self._put_meta("reconciled_us", str(now))
        self.connection.execute(
            "INSERT OR REPLACE INTO pause (scope, key, by, reason, since_us) VALUES ('target', '*', 'agent', ?, ?)",
            (why, now),
        )
        self.connection.execute(
            "UPDATE posting SET check_first = 1 "
            "WHERE state IN ('held', 'ready', 'sending', 'in_doubt', 'doubtful', 'dead')"
        )

    def reserve(self, connection: apsw.Connection, commit: int) -> None:
        """Inside a commit: move the reserved mark when the block is used up or the minute is over."""
        if self._pending is None:
            if commit < self._reserved and time.monotonic() - self._mark_at < MARK_EVERY_S:
                return
            self._mark_at = time.monotonic()
            self._pending = max(commit, self._reserved) + BLOCK
        self._put_meta("reserved", str(self._pending))  # again while pending: the commit before may have failed

    def publish_mark(self) -> None:
        """After COMMIT, before anybody is told: write the new mark outside the file.

        Where that fails, what is committed stays committed and the mark is tried again with the next commit: an
        older mark only notices a restored backup later.
        """
        if self._pending is None:
            return
        try:
            self._write_mark(self._pending)
        except OSError as error:
            if not self._mark_late:
                log.warning("cannot write %s: %s; tried again with every commit", self._mark_path, error.strerror)
            self._mark_late = True
            return
        self._reserved, self._pending, self._mark_late = self._pending, None, False

    def _commits(self) -> int:
        row = self.connection.execute("SELECT n FROM tally WHERE name = 'commit'").fetchone()
        return int(row[0]) if row else 0

    def _put_meta(self, key: str, value: str) -> None:
        self.connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def _read_mark(self) -> dict[str, str] | None:
        try:
            mark = json.loads(self._mark_path.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return mark if isinstance(mark, dict) else None

    def _write_mark(self, reserved: int) -> None:
        replace_durably(self._mark_path, json.dumps({"run": self._run, "reserved": reserved}).encode())


def lock(path: Path) -> int:
    """Become the owner of the store for as long as the returned descriptor is open. Raises StoreLocked."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreLocked(
            f"{path} is in use by another agent (process {owner}); stop that one, or give this agent its own store.path"
        ) from None
    with suppress(OSError):  # on a full disk the lock holds without saying whose it is
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Own the store for a while, with no agent running on it. Raises StoreLocked."""
    held = lock(path)
    try:
        yield
    finally:
        os.close(held)


def refuse_corrupt(path: Path) -> None:
    """Look at the file before SQLite does: what is no database is refused, never overwritten. Raises StoreCorrupt."""
    remains = [path.with_name(path.name + end) for end in ("-wal", ".mark")]
    if not path.exists():
        left = [str(one) for one in remains if one.exists() and one.stat().st_size]
        if left:
            raise StoreCorrupt(
                f"{path} is missing but {', '.join(left)} is there: put the store back, or run "
                f"`gatepost restore`; an empty store would forget what was posted"
            )
        return
    with path.open("rb") as stream:
        head = stream.read(16)
    if not head and not any(one.exists() for one in remains):
        return  # killed while it was being created: nothing was ever stored
    if head != b"SQLite format 3\0":
        what = "is empty" if not head else f"does not begin like a SQLite file ({head[:8].hex()} …)"
        raise StoreCorrupt(f"{path} {what}: set it aside and run `gatepost recover` or `gatepost restore`")


def open_file(path: Path, clock: Clock) -> OpenFile:
    """Open or create the store. Raises StoreLocked, StoreCorrupt, StoreUnfit, StoreError."""
    require_library()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock(path)
    except OSError as error:
        raise StoreError(f"{path.parent}: {error.strerror}; the agent needs a writable data folder") from error
    try:
        refuse_corrupt(path)
        return OpenFile(path, clock, held)
    except (apsw.CorruptError, apsw.NotADBError) as error:
        os.close(held)
        raise StoreCorrupt(f"{path}: {error}; set it aside and run `gatepost recover`") from error
    except (apsw.Error, OSError) as error:
        os.close(held)
        raise StoreError(f"{path}: {error}; free space or make the folder writable, then start again") from error
    except BaseException:
        os.close(held)
        raise
