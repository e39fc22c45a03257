"""The one writer: a thread that owns the only read-write connection and commits in groups.

Whatever queued up during the last commit shares the next one; under load it lingers a moment while more is
arriving, when idle never. A job that fails takes no other with it: the group runs again, each job in a savepoint of
its own. Results are handed out only after COMMIT with `synchronous=FULL`. Disk full, a locked file or an I/O error
keep the whole group and try again: jobs are closures that can run twice. The audit chain is computed once, just
before COMMIT.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw

from agent.errors import StoreCorrupt, StoreError
from agent.figures import Written
from agent.ports import Clock
from agent.store import audit as trail
from agent.store import bulk, file
from agent.store.encode import to_us
from agent.store.jobs import Entry, Following, Job, following, hand_out
from agent.store.queue import Queue
from agent.store.transaction import Transaction

T = TypeVar("T")
log = logging.getLogger("gatepost.store")

LINGER_S = 0.002  # under a load of arrivals only: let a few more of them share the commit
ENOUGH = 512 << 10  # bytes of arrivals in one commit: with more of them, whoever asks meanwhile waits longer
ENOUGH_S = 0.1  # how long a sender that can wait holds back at most: where flushes are slow, large commits are right
HELD_BACK_S = (
    1.0  # the same while somebody asks: answers of the ERP would stand behind all that goes little by little then
)
QUIET = 2  # jobs in one commit; where there are more, the writer has enough to do
LOOK_EVERY_S = 0.25  # at free space and the size of the write-ahead log
WAL_ALARM = 64 << 20  # bytes
RETRY_S = 0.5  # between tries while the disk is full or the file locked
WAITING_ERRORS = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
)
NOTHING_WRITTEN = (apsw.FullError, apsw.BusyError, apsw.LockedError)  # these leave no doubt about COMMIT
FATAL_ERRORS = (apsw.CorruptError, apsw.NotADBError)


class _JobFailed(Exception):  # noqa: N818  # named as in errors.py
    """A job failed and left its changes behind: everything is rolled back."""


class Writer:
    """Group commit on one thread. `start` opens the file; jobs are accepted from any thread or event loop."""

    def __init__(self, path: Path, clock: Clock, *, queue_bytes: int = 64 << 20, reserve_bytes: int = 0) -> None:
        self.path = path
        self.figures = Written()
        self.failed: BaseException | None = None
        self._clock = clock
        self._queue_bytes = queue_bytes
        self._reserve_bytes = reserve_bytes
        self._looked_at = 0.0
        self._queue = Queue()
        self._follower: tuple[Following[Any], Callable[[Any, BaseException | None], None]] | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._file: file.OpenFile | None = None
        self._head = trail.Head(0, trail.GENESIS)
        self._sequence = 0
        self._commit_number = 0
        self._mark_due = 0.0

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Open (or create) the file and start the thread. Raises StoreLocked, StoreCorrupt, StoreUnfit."""
        opened: list[BaseException | None] = []
        ready = threading.Event()

        def life() -> None:
            try:
                self._open(first=True)
            except BaseException as error:  # noqa: BLE001  # handed to the caller of start(), who raises it
                opened.append(error)
                ready.set()
                return
            ready.set()
            self._work()

        self._thread = threading.Thread(target=life, name="gatepost-writer", daemon=True)
        self._thread.start()
        ready.wait()
        if opened and opened[0] is not None:
            self._thread.join()
            raise opened[0]

    def stop(self) -> None:
        """Commit what is queued, close the file. What cannot be committed was never acknowledged."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _open(self, *, first: bool = False) -> None:
        if self._file is None:
            self._file = file.open_file(self.path, self._clock)
        else:
            self._file.reopen()
        connection = self._file.connection
        self._head = trail.read_head(connection)
        totals = dict(connection.execute("SELECT name, n FROM tally WHERE name IN ('commit', 'lane_seq')"))
        self._commit_number, self._sequence = totals.get("commit", 0), totals.get("lane_seq", 0)
        if first:
            self.findings = self._file.findings

    # ── the door ────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, job: Job[T]) -> T:
        """Run `job` in the next commit; returns its result after COMMIT, raises what it raised."""
        return await self.submit(job)

    def submit(self, job: Job[T], *, gives_way: bool = False) -> asyncio.Future[T]:
        """The same for who does not wait: the future is told on this loop, in the order of submissions.

        `gives_way`: to others, while somebody asks (see `give_way_while`).
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._enqueue(Entry(job, gives_way=gives_way, loop=loop, future=future))
        return future

    def give_way_while(self, asked: Callable[[], bool]) -> None:
        """Arrivals of senders that can wait, and jobs that say so, get less of the writer while `asked()`."""
        self._queue.asked = asked

    def put(
        self, job: Job[Any], size: int, then: Callable[[BaseException | None], None], timeout: float | None = None
    ) -> bool:
        """Queue `job` from any thread; blocks while the queue holds too many bytes, False after `timeout` seconds.

        Whoever can wait at all waits a moment, too, while as much is queued as one commit should carry.

        `then` runs on the writer's thread: with None after COMMIT, with the error where the job itself failed.
        """
        with self._changed:
            if timeout != 0:
                enough, most_s = (self._queue.little, HELD_BACK_S) if self._queue.asked() else (ENOUGH, ENOUGH_S)
                self._changed.wait_for(lambda: self._queue.bytes < enough or self.failed is not None, most_s)
            if self._queue.bytes and not self._changed.wait_for(lambda: self._has_room(size), timeout):
                return False
            self._raise_if_failed()
            self._queue.add(Entry(job, size, then, gives_way=timeout != 0))
            self._changed.notify_all()
        return True

    def follow(self, job: Following[T], then: Callable[[T | None, BaseException | None], None]) -> None:
        """From now on `job` ends every commit that stores arrivals; it is told whether that has little else to do.

        `then` is called after each of them as in `put`, with the result of the job, or None.
        """
        self._follower = job, then

    def call(self, job: Job[T]) -> T:
        """Run `job` from a plain thread and wait for its commit (command line, tests)."""
        done = threading.Event()
        entry = Entry(job, then=lambda _: done.set())
        self._enqueue(entry)
        while not done.wait(0.2):
            if self.failed is not None:
                self._raise_if_failed()
        if entry.error is not None:
            raise entry.error
        return entry.result  # type: ignore[no-any-return]  # what the job returned

    def _enqueue(self, entry: Entry) -> None:
        with self._changed:
            self._raise_if_failed()
            self._queue.add(entry)
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        queued = self._queue.bytes
        return queued + size <= self._queue_bytes or queued == 0 or self.failed is not None

    def _raise_if_failed(self) -> None:
        if self.failed is not None:
            raise StoreError(f"the store has stopped: {self.failed}") from self.failed
        if self._stopping:
            raise StoreError("the store is closing; nothing more is accepted")

    # ── the thread ──────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        loaded = False
        while True:
            entries, loaded = self._take(loaded=loaded)
            if not entries:
                break
            if self._follower is not None and any(entry.size for entry in entries):
                entries.append(following(*self._follower, quiet=len(entries) <= QUIET))
            try:
                self.figures.busy_since = time.monotonic()
                self._commit(entries)
                self._queue.written(entries, time.monotonic() - self.figures.busy_since)
                self.figures.busy_since = 0.0
            except BaseException as error:  # noqa: BLE001  # the writer must tell everybody who waits before it ends
                self._fail(entries, error)
                break
            hand_out(entries)
        self._file_state.close()

    def _take(self, *, loaded: bool) -> tuple[list[Entry], bool]:
        """Everything queued, waiting for the first; a moment longer while arrivals pour in."""
        with self._changed:
            busy = bool(self._queue)
            if busy and loaded and not self._stopping and self._queue.only_arrivals:
                self._changed.wait(LINGER_S)
            while not self._stopping and (due := self._queue.due_s) != 0:
                self._changed.wait(due)
            while not (entries := self._admitted()) and not self._stopping:
                self._changed.wait(LOOK_EVERY_S)
            self._changed.notify_all()
        return entries, busy

    def _admitted(self) -> list[Entry]:
        """What may be written now: below the reserve all but arrivals, so that decisions and the trail still fit."""
        self._look_around()
        return self._queue.take_all() if self._stopping else self._queue.take(arrivals=not self.figures.short_of_space)

    def _look_around(self) -> None:
        """Every moment: is there room on the disk, and does the write-ahead log come back to its size."""
        if time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        figures = self.figures
        try:
            room = os.statvfs(self.path.parent)
        except OSError:  # the folder is gone: the commit will say so, and wait until it is back
            return
        short = room.f_bavail * room.f_frsize < self._reserve_bytes
        if short and not figures.short_of_space:
            log.error("the disk of %s is nearly full: nothing more is taken in until there is room", self.path)
        figures.short_of_space = short
        wal = self._file_state.wal_bytes()
        if wal > WAL_ALARM >= figures.wal_bytes:
            log.error("%s-wal has grown to %d MiB: a reader does not end, find and stop it", self.path, wal >> 20)
        figures.wal_bytes = wal

    def _commit(self, entries: list[Entry]) -> None:
        """One transaction for all entries, again and again until the disk takes it."""
        unknown = False  # after an I/O error nobody knows what became of COMMIT, until the file is open again
        while True:
            try:
                if not (unknown and self._was_committed()):
                    unknown = False
                    self._transact(entries)
            except FATAL_ERRORS as error:
                raise StoreCorrupt(
                    f"{self.path}: {error}; the agent stops. Set the file aside and run `gatepost recover`"
                ) from error
            except (*WAITING_ERRORS, file.Vanished) as error:
                unknown = unknown or not isinstance(error, NOTHING_WRITTEN)
                self._wait_out(error)
            else:
                self._well()
                return

    def _transact(self, entries: list[Entry]) -> None:
        """All jobs in one transaction; where one of them fails all run again, each in a savepoint of its own."""
        self._file_state.require_present()
        started = time.perf_counter()
        now_us = to_us(self._clock())
        try:
            self._write(entries, now_us, apart=False)
        except _JobFailed:
            self._write(entries, now_us, apart=True)
        self._commit_number += 1
        self._note_commit(len(entries), time.perf_counter() - started)

    def _write(self, entries: list[Entry], now_us: int, *, apart: bool) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            records: list[trail.Record] = []
            counts: dict[str, int] = {}
            sequence = self._sequence
            for entry in entries:
                transaction = Transaction(connection, now_us, sequence, records)
                if self._attempt(entry, transaction, apart=apart):
                    sequence = transaction.sequence
                    records += transaction.records
                    for name, by in transaction.counts.items():
                        counts[name] = counts.get(name, 0) + by
            rows, head = trail.chain(self._head, records)
            bulk.run(connection, trail.INSERT, rows)
            self._write_tally(counts, sequence)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._head, self._sequence = head, sequence

    def _attempt(self, entry: Entry, transaction: Transaction, *, apart: bool) -> bool:
        """Run one job; its own failure is its caller's, the disk's is everybody's."""
        connection = self._connection
        if apart:
            connection.execute("SAVEPOINT job")
        began = time.perf_counter()
        try:
            entry.result, entry.error = entry.job(transaction), None
            entry.took_s = time.perf_counter() - began
        except (*WAITING_ERRORS, *FATAL_ERRORS):
            raise
        except BaseException as error:  # one job's mistake must not lose the others' work
            if not apart:
                raise _JobFailed from error
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            entry.result, entry.error = None, error
            return False
        if apart:
            connection.execute("RELEASE job")
        return True

    def _write_tally(self, counts: dict[str, int], sequence: int) -> None:
        counts["commit"] = 1
        if sequence != self._sequence:
            counts["lane_seq"] = sequence - self._sequence
        places = ", ".join(["(?, ?)"] * len(counts))  # one statement: each gives the interpreter away and wants it back
        self._connection.execute(
            f"INSERT INTO tally (name, n) VALUES {places} ON CONFLICT (name) DO UPDATE SET n = n + excluded.n",  # noqa: S608
            [part for total in counts.items() for part in total],
        )
        self._file_state.reserve(self._connection, self._commit_number + 1)

    def _was_committed(self) -> bool:
        """Open the file again and let the commit number on disk decide; raises while it cannot be opened."""
        before = self._commit_number
        self._open()
        return self._commit_number > before

    def _wait_out(self, error: BaseException) -> None:
        name = type(error).__name__
        self.figures.errors[name] = self.figures.errors.get(name, 0) + 1
        if not self.figures.trouble:
            log.error("cannot commit to %s: %s; nothing is acknowledged until it works again", self.path, error)
        self.figures.trouble = f"{name}: {error}"
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, RETRY_S)
            if self._stopping:
                raise StoreError(f"stopped while the store could not commit ({error}); nothing was acknowledged")

    def _well(self) -> None:
        if self.figures.trouble:
            log.warning("committing to %s again after: %s", self.path, self.figures.trouble)
            self.figures.trouble = ""
        self._file_state.publish_mark()

    def _note_commit(self, jobs: int, seconds: float) -> None:
        self.figures.commits += 1
        self.figures.jobs += jobs
        self.figures.commit_seconds += seconds
        self.figures.commit_times.observe(seconds)
        self.figures.last_commit_at = time.monotonic()

    def _fail(self, entries: list[Entry], error: BaseException) -> None:
        with self._changed:
            self.failed = error
            entries = [*entries, *self._queue.take_all()]
            self._changed.notify_all()
        if not isinstance(error, StoreError) or isinstance(error, StoreCorrupt):
            log.critical("the store has stopped: %s", error)
        for entry in entries:
            entry.error = error
        hand_out([entry for entry in entries if entry.loop is not None])

    @property
    def _connection(self) -> apsw.Connection:
        return self._file_state.connection

    @property
    def _file_state(self) -> file.OpenFile:
        if self._file is None:
            raise StoreError("the store is not open yet; call start() first")
        return self._file
