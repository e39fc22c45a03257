"""Backup while the agent works, restore, and what a copy says about itself."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import apsw
import pytest

from agent.errors import NotFound, StoreCorrupt, StoreError, StoreLocked
from agent.store import backup
from tests.stores import START, assert_sound, drain, fill, opened, reading


def test_a_copy_made_under_load_is_whole(tmp_path: Path):
    """A backup is one snapshot: it ends although commits keep coming, and it passes the full check."""
    path, copy = tmp_path / "gp.db", tmp_path / "copy.db"
    with opened(path) as writer:
        fill(writer, 500)
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                writer.call(lambda tx: tx.audit("busy", {}))

        thread = threading.Thread(target=load)
        thread.start()
        try:
            backup.backup(path, copy, START)
        finally:
            stop.set()
            thread.join()
    with reading(copy) as connection:
        assert_sound(connection)
    assert [one.name for one in tmp_path.glob("copy.db*")] == ["copy.db"]


def test_a_copy_never_overwrites_another(tmp_path: Path):
    """The name of an existing file is refused."""
    with opened(tmp_path / "gp.db"):
        (tmp_path / "copy.db").write_text("something of value")
        with pytest.raises(StoreError, match="there already"):
            backup.backup(tmp_path / "gp.db", tmp_path / "copy.db", START)
    assert (tmp_path / "copy.db").read_text() == "something of value"


def test_a_copy_that_does_not_fit_leaves_nothing_behind(tmp_path: Path):
    """Where the disk of the copy is full the error says so and no half copy stays."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", small], check=False).returncode:
        pytest.skip("needs root to mount a small tmpfs")
    try:
        with opened(tmp_path / "gp.db") as writer:
            fill(writer, 500)
            with pytest.raises(StoreError, match=r"cannot be written \(FullError\)"):
                backup.backup(tmp_path / "gp.db", small / "copy.db", START)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_restored_backup_starts_in_reconcile(tmp_path: Path):
    """What was sent since the backup is not known: posting is off, and open postings are looked up first."""
    path, copy = tmp_path / "gp.db", tmp_path / "copy.db"
    with opened(path) as writer:
        fill(writer, 9)
        backup.backup(path, copy, START)
        assert drain(writer, 9) == 9
    old = backup.restore(path, copy, START)
    assert old is not None
    assert (old / "gp.db").exists()
    with opened(path) as writer:
        assert "RECONCILE" in writer.findings[0]
        assert drain(writer, 9) == 0
        unchecked = writer.call(lambda tx: tx.execute("SELECT count(*) FROM posting WHERE check_first = 0").fetchone())
    assert unchecked == (0,)
    with reading(path) as connection:
        assert_sound(connection)


def test_a_restart_is_no_restore(tmp_path: Path):
    """Neither a clean restart nor one killed before it wrote its mark looks like a restored backup."""
    path = tmp_path / "gp.db"
    mark = tmp_path / "gp.db.mark"
    with opened(path) as writer:
        fill(writer, 1)
    before = mark.read_bytes()
    with opened(path) as writer:
        assert writer.findings == []
    mark.write_bytes(before)  # as if the second run had been killed between its first commit and its mark
    with opened(path) as writer:
        assert writer.findings == []


def test_restoring_needs_the_store_for_itself(tmp_path: Path):
    """No restore under a running agent, and none from nothing; the store stays as it was."""
    path = tmp_path / "gp.db"
    with opened(path) as writer:
        fill(writer, 1)
        backup.backup(path, tmp_path / "copy.db", START)
        with pytest.raises(StoreLocked):
            backup.restore(path, tmp_path / "copy.db", START)
    with pytest.raises(NotFound):
        backup.restore(path, tmp_path / "other.db", START)
    assert path.exists()


def _flip(path: Path, found: bytes, by: bytes) -> None:
    content = path.read_bytes()
    assert content.count(found) >= 1
    path.write_bytes(content.replace(found, by, 1))


@pytest.mark.parametrize(
    ("found", "by", "named"),
    [
        (b'"material":"RM-RESIN"', b'"material":"RM-RASIN"', "posting 3 is not what was decided"),
        (b'{"n": 0, "text"', b'{"n": 9, "text"', "event 1 is not what arrived"),
        (b'{"event":1}', b'{"event":2}', "audit trail is broken at row 1: was changed after"),
    ],
    ids=["posting", "event", "audit"],
)
def test_a_flipped_byte_is_named(tmp_path: Path, found: bytes, by: bytes, named: str):
    """SQLite's own check finds no flipped byte in a row; the hashes do, name the row, and a restore refuses it."""
    path, copy = tmp_path / "gp.db", tmp_path / "copy.db"
    with opened(path) as writer:
        fill(writer, 3)
        backup.backup(path, copy, START)
    _flip(copy, found, by)
    with apsw.Connection(str(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with pytest.raises(StoreCorrupt, match=named):
        backup.restore(path, copy, START)
    with reading(path) as connection:
        assert_sound(connection)


@pytest.mark.parametrize("keep", [0, 50, 5000, 100_000])
def test_a_truncated_backup_is_refused(tmp_path: Path, keep: int):
    """A copy that lost its end is refused, and the store stays in its place."""
    path, copy = tmp_path / "gp.db", tmp_path / "copy.db"
    with opened(path) as writer:
        fill(writer, 200)
        backup.backup(path, copy, START)
    copy.write_bytes(copy.read_bytes()[:keep])
    with pytest.raises(StoreError):
        backup.restore(path, copy, START)
    with reading(path) as connection:
        assert_sound(connection)
