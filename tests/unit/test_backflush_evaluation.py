"""The evaluation of backflush: few simulated orders already show what many do."""

from pathlib import Path

import pytest

from models.evaluation import backflush


def test_a_few_orders_meet_every_goal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Within one per cent while running, exact after settlement, and much nearer than the bill of material alone."""
    monkeypatch.setattr(backflush, "SEEDS", range(1))
    monkeypatch.setattr(backflush, "ORDERS", 4)
    figures = {one.name: one for one in backflush.measure(None, tmp_path)}
    assert [one.name for one in figures.values() if one.met is False] == []
    assert figures["backflush: exact after settlement"].value == 1.0
    assert figures[backflush.WHILE_RUNNING].value < 0.6 * figures[backflush.BY_BILL].value
