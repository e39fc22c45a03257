"""Starting on a file that somebody else has in hand for a moment."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import apsw

from agent.store import file
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
