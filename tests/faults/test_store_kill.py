"""Killed, unplugged, started twice, its clock moved: what was acknowledged is there, and the trail verifies."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest

from agent.store import archive, audit, file, outbox
from agent.store.writer import Writer
from tests.storefaults import child, mounted, shim, stored_batches, strace
from tests.stores import Clock, add, arrive, assert_sound, claim, drain, fill, opened, posting, reading

EXT4_SHUTDOWN = 0x8004587D
WITHOUT_FLUSH = 2


def _killed_at(path: Path, call: str, n: int) -> bool:
    """False: the run ended by itself before its n-th call."""
    with child(path, 30, prefix=strace(f"{call}:signal=SIGKILL:when={n}")) as storing:
        killed = storing.end() != 0
    if not path.exists():
        assert storing.acknowledged == []
        return killed
    with opened(path) as writer:
        assert writer.findings == []
    stored = stored_batches(path)
    assert stored == list(range(len(stored))), n
    assert set(storing.acknowledged) <= set(stored), n
    return killed


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_killed_at_the_nth_call_what_was_acknowledged_is_there(tmp_path: Path, call: str):
    """kill -9 at a write or a sync, early and late: the store opens by itself, whole, without a false alarm."""
    for n in {"pwrite64": (3, 40, 70, 101), "fdatasync": (1, 4, 9)}[call]:
        (tmp_path / str(n)).mkdir()
        assert _killed_at(tmp_path / str(n) / "gp.db", call, n)


@pytest.mark.soak
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_killed_at_every_call(tmp_path: Path, call: str):
    """The same for every n until the run passes unharmed."""
    for n in itertools.count(1):
        folder = tmp_path / str(n)
        folder.mkdir()
        if not _killed_at(folder / "gp.db", call, n):
            break
        shutil.rmtree(folder)
    assert n > {"pwrite64": 300, "fdatasync": 40}[call], "fewer calls than batches can need"


def _power_cuts(tmp_path: Path, rounds: int) -> None:
    image = tmp_path / "image"
    with image.open("wb") as stream:
        stream.truncate(64 << 20)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("needs mkfs.ext4 for a file system of its own")
    subprocess.run(["mkfs.ext4", "-qF", image], check=True)
    for cut in range(rounds):
        with mounted(tmp_path / "disk", "-o", "loop", str(image)) as disk:
            path = disk / f"{cut}.db"
            with child(path, 100_000) as storing:
                storing.until(random.randrange(3, 60))
                _freeze(storing.process.pid)  # a sync under way comes back first: whether it counts nobody could tell
                folder = os.open(disk, os.O_RDONLY)
                try:
                    fcntl.ioctl(folder, EXT4_SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
                except OSError as error:
                    pytest.skip(f"this kernel cannot shut a file system down: {error}")
                finally:
                    os.close(folder)
                storing.process.kill()
                storing.end()
        with mounted(tmp_path / "disk", "-o", "loop", str(image)):
            with opened(path) as writer:
                assert writer.findings == []
            stored = stored_batches(path)
            assert set(storing.acknowledged) <= set(stored), f"cut {cut}"


def _freeze(pid: int) -> None:
    """Stop every thread of a process; a thread in a system call stops when the call is over."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    deadline = time.monotonic() + 60
    while not all(_state_of(task) == "T" for task in tasks.iterdir()):
        assert time.monotonic() < deadline, "not every thread has stopped"
        time.sleep(0.005)


def _state_of(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.root
def test_a_power_cut_costs_nothing_that_was_acknowledged(tmp_path: Path):
    """Everything that was not synced is gone, what was acknowledged is not."""
    _power_cuts(tmp_path, 2)


@pytest.mark.root
@pytest.mark.soak
def test_many_power_cuts(tmp_path: Path):
    """The same two hundred times."""
    _power_cuts(tmp_path, 200)


def test_a_second_agent_is_refused_and_changes_nothing(tmp_path: Path):
    """Started twice on one store: the second ends with its sentence, the first goes on."""
    path = tmp_path / "gp.db"
    with child(path, 100_000) as first:
        first.until(2)
        with child(path, 1) as second:
            assert second.process.wait(30) == 1
            assert second.process.stderr is not None
            assert f"in use by another agent (process {first.process.pid})" in second.process.stderr.read()
            assert second.acknowledged == []
        first.until(len(first.acknowledged) + 2)


def _locked(path: Path, seconds: float) -> None:
    with child(path, 100_000) as storing:
        storing.until(2)
        foreign = sqlite3.connect(path, isolation_level=None)
        foreign.execute("BEGIN IMMEDIATE")
        while not storing.stuck(seconds):
            pass
        before = len(storing.acknowledged)
        foreign.execute("ROLLBACK")
        foreign.close()
        storing.until(before + 5)
        storing.process.send_signal(signal.SIGKILL)
        storing.end()
        assert storing.process.stderr is not None
        told = storing.process.stderr.read()
    assert told.count("cannot commit") == told.count("committing to") == 1, told
    assert set(storing.acknowledged) <= set(stored_batches(path))


def test_a_foreign_lock_delays_and_loses_nothing(tmp_path: Path):
    """Somebody's sqlite3 holds the file for longer than SQLite waits: one line in the log, and it goes on after it."""
    assert ("busy_timeout", 5000) in file.PRAGMAS
    _locked(tmp_path / "gp.db", 6)


@pytest.mark.soak
def test_a_foreign_lock_of_a_minute(tmp_path: Path):
    """F9 at full size: the same for sixty seconds, still with one line in the log."""
    _locked(tmp_path / "gp.db", 60)


def test_a_reader_that_does_not_end_is_named_and_the_log_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """While a foreign reader holds its snapshot the log grows and that is said; when it ends the log shrinks again."""
    path = tmp_path / "gp.db"
    blob = bytes(2 << 20)

    def grow(writer: Writer) -> None:
        writer.call(lambda tx: tx.execute("INSERT OR REPLACE INTO checkpoint VALUES ('x', ?)", (blob,)))

    with opened(path) as writer:
        arrive(writer, b"{}")
        foreign = file.reader(path)  # not sqlite3: a second library in one process does not see the locks of the first
        foreign.execute("BEGIN")
        foreign.execute("SELECT * FROM event").fetchall()
        while writer.figures.wal_bytes <= 64 << 20:
            grow(writer)
        assert "a reader does not end" in caplog.text
        foreign.execute("ROLLBACK")
        foreign.close()
        while writer.figures.wal_bytes > 17 << 20:
            grow(writer)


def test_the_file_stays_small_over_outages_and_drains(tmp_path: Path):
    """Ten outages, each drained and archived: the live file does not grow, nothing unsent leaves it (F5, F8)."""
    path, clock = tmp_path / "gp.db", Clock()
    sizes = []
    with opened(path, clock) as writer:
        unsent = add(writer, posting(10_000_000, "order/unsent", reasons=("value",)))
        arrive(writer, b"never decided")
        for _ in range(10):
            fill(writer, 120, orders=40)
            clock.forward(days=4)
            assert drain(writer, 120) == 120
            clock.forward(days=2)
            with reading(path) as live:
                full = live.pragma("page_count")
                moved = archive.archive(writer, live, tmp_path / "archive", clock(), timedelta(days=1))
            assert (moved.events, moved.postings) == (120, 120)
            with reading(path) as live:
                assert_sound(live)
                assert live.execute("SELECT id FROM posting").fetchall() == [(one,) for one in unsent]
                assert live.execute("SELECT state FROM event").fetchall() == [("undecided",)]
                keys = live.execute(
                    "SELECT sum(pgsize) / 4096 FROM dbstat WHERE name IN ('identity', 'idempotency')"
                ).get  # these are kept for ever: 90 bytes an event
                sizes.append(live.pragma("page_count") - keys)
                assert live.pragma("page_count") < full - 20  # space goes back to the disk
    assert max(sizes) <= sizes[0] + 5, sizes
    chain, head = [], audit.Head(0, audit.GENESIS)
    for one in sorted((tmp_path / "archive").glob("*.db")):
        with reading(one) as connection:
            verdict = audit.verify(head, audit.rows(connection, head.seq))
            assert verdict.broken_at is None
            chain.append(verdict.rows)
            head = verdict.head
    assert sum(chain) > 1200


@pytest.mark.parametrize("days", [-14, 14])
def test_a_wrong_clock_changes_neither_order_nor_trail(tmp_path: Path, days: int):
    """The wall clock jumps by two weeks: order stays, waits last as meant, the chain verifies, also after a restart."""
    path, clock = tmp_path / "gp.db", Clock()
    with opened(path, clock) as writer:
        fill(writer, 4, orders=1)
        (first,) = claim(writer)
        due = int(clock().timestamp() * 1e6) + 120_000_000
        writer.call(lambda tx: outbox.in_doubt(tx, first.posting, due, "lost"))
        clock.forward(days=days)
    with opened(path, clock) as writer:
        assert writer.findings == []
        writer.call(lambda tx: outbox.recover_sending(tx, {"s4": 120_000_000}))
        clock.forward(hours=1, seconds=1)
        (found,) = claim(writer)
        assert found.posting.id == first.posting.id
        fill(writer, 2)
    with reading(path) as connection:
        assert_sound(connection)
        seqs = [seq for (seq,) in connection.execute("SELECT lane_seq FROM posting ORDER BY id")]
        assert seqs == sorted(seqs)


def test_a_process_whose_clock_jumps_goes_on(tmp_path: Path):
    """Two weeks back and forth under a running process: it acknowledges on, in order, with an unbroken trail."""
    environment, rules = shim(tmp_path)
    path = tmp_path / "gp.db"
    with child(path, 100_000, environment=environment) as storing:
        for days in (-14, 14, 0):
            rules.write_text(f"time {days * 86400} -\n")
            storing.until(len(storing.acknowledged) + 5)
        storing.process.kill()
        storing.end()
    stored = stored_batches(path)
    assert stored == list(range(len(stored)))
    with reading(path) as connection:
        at = [at for (at,) in connection.execute("SELECT at_us FROM audit ORDER BY seq")]
    assert max(at) - min(at) > 27 * 86_400_000_000
