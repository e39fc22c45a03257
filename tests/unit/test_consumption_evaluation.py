"""The evaluation of what is usual: few streams of simulated jobs already show what many do."""

from pathlib import Path

import pytest

from models.evaluation import consumption


def test_a_few_streams_meet_every_goal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Leaks are found in time and without false alarms, and errors of recording are held; good jobs nearly never."""
    monkeypatch.setattr(consumption, "SEEDS", range(1))
    monkeypatch.setattr(consumption, "STREAMS", 6)
    figures = consumption.measure(None, tmp_path)
    assert [one.name for one in figures if one.met is False] == []
    (held,) = [one.value for one in figures if one.name == "good jobs held"]
    assert held < 0.01
