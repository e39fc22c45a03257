"""Starting on a file that somebody else has in hand for a moment."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from agent.errors import StoreUnfit
from agent.store import file, schema
from tests.stores import arrive, opened


def test_a_start_waits_for_whoever_has_the_file_in_hand(tmp_path: Path):
    """After a crash any reader may be recovering the log just when the agent starts: it waits, it does not give up."""
    path = tmp_path / "gatepost.db"
    with opened(path) as writer:
        arrive(writer, b"{}")
    other = apsw.Connection(str(path))
    other.pragma("locking_mode", "exclusive")
    other.execute("BEGIN EXCLUSIVE")
    letting_go = threading.Timer(0.3, lambda: other.close())
    letting_go.start()
    ours = file.open_file(path, lambda: datetime.now(UTC))
    try:
        assert ours.connection.pragma("auto_vacuum") == 2
        assert ours.connection.execute("SELECT count(*) FROM event").fetchone() == (1,)
    finally:
        ours.close()
        letting_go.join()


def test_a_library_that_is_too_old_is_refused_before_a_file_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Row 30: an SQLite below the oldest that is fit ends the start with both versions, and makes nothing."""
    monkeypatch.setattr(schema, "OLDEST_LIBRARY", (99, 0, 0))
    with pytest.raises(StoreUnfit, match=apsw.sqlite_lib_version()):
        file.open_file(tmp_path / "gatepost.db", lambda: datetime.now(UTC))
    assert list(tmp_path.iterdir()) == []
