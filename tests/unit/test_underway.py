"""What was being decided when a life ended: counted where it is the same again, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.store.underway import ARRIVALS, Underway


def test_a_life_that_ended_elsewhere_blames_no_report(tmp_path: Path):
    """Only what was being decided when a life ended is counted, and only in lives one behind the other."""
    store = tmp_path / "gp.db"
    one = Underway(store)
    one.begin("7")
    one.end()
    assert Underway(store).ended("7") == 0, "it was decided"
    for count in range(3):
        one = Underway(store)
        assert (one.ended("7"), one.ended("8"), one.ended(ARRIVALS)) == (count, 0, 0)
        one.begin("7")
    Underway(store).begin("8")
    assert Underway(store).ended("7") == 0


@pytest.mark.parametrize("content", [b"", b"7", b"7 x", b"\xff" * 64, b"\0" * 64])
def test_a_damaged_note_is_no_note(tmp_path: Path, content: bytes):
    """Whatever stands beside the store: the agent starts."""
    (tmp_path / "gp.db.deciding").write_bytes(content)
    assert Underway(tmp_path / "gp.db").ended("7") == 0
