"""What is remembered of the OEE of work centres, and what is expected of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.workflows import oee
from agent.workflows.oee import WINDOW

AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SHARES = st.floats(0, 1)


def after(*looks: tuple[float, float]) -> oee.Memory:
    """The memory after looks (minutes, OEE)."""
    memory: oee.Memory = {}
    for minutes, value in looks:
        memory = oee.remembered({"A": value}, memory, AT + timedelta(minutes=minutes))
    return memory


def expected(value: float, memory: oee.Memory, minutes: float, due_h: float = 100) -> oee.Oee:
    at = AT + timedelta(minutes=minutes)
    (one,) = oee.expected({"A": value}, memory, at, at + timedelta(hours=due_h))
    return one


@given(st.lists(st.tuples(st.floats(0, 600), SHARES), max_size=20), SHARES, st.floats(0, 2000), st.floats(-50, 50))
def test_what_is_expected_is_bounded(looks: Any, value: float, minutes: float, due_h: float):
    """Never more than now, never less than half of it; the mean lies among what was seen, in whatever order."""
    memory = after(*looks)
    one = expected(value, memory, minutes, due_h)
    assert value / 2 <= one.expected <= value
    assert bool(one.said) is (one.expected < value)
    seen = [seen for _, seen in looks]
    assert all(min(seen) - 1e-5 <= known["mean"] <= max(seen) + 1e-5 for known in memory.values())
    assert json.loads(json.dumps(memory)) == memory


def test_a_steady_fall_is_found_as_it_falls():
    """0.06 an hour, looked at every quarter of an hour: the mean is what it was four hours ago, give or take."""
    looks = [(15.0 * n, 0.95 - 0.06 * n / 4) for n in range(49)]  # 12 hours
    one = expected(looks[-1][1], after(*looks[:-1]), looks[-1][0])
    assert one.mean - one.now == pytest.approx(0.06 * 4, rel=0.1)
    assert one.hours == 4


@pytest.mark.parametrize(
    ("minutes", "value", "due_h", "then"),
    [
        (60, 0.78, 100, 0.78),  # noise
        (60, 0.60, 2, 0.50),  # due in half of the window: half of the fall
        (60, 0.60, -1, 0.60),  # due already: nothing is ahead
        (60, 0.30, 100, 0.15),  # to no less than half
        (60, 0.90, 100, 0.90),  # a rise is no promise
        (29, 0.60, 100, 0.60),  # not seen for long enough
        (241, 0.60, 100, 0.60),  # forgotten
    ],
)
def test_what_is_expected_goes_by_the_fall_and_the_time_until_the_order_is_due(minutes, value, due_h, then):
    """After one look at 0.80."""
    assert expected(value, after((0, 0.80)), minutes, due_h).expected == pytest.approx(then)


def test_a_memory_is_written_once_a_minute_and_begins_anew_when_it_is_old():
    """Looks that are closer together leave the very same; one after more than four hours counts alone."""
    first = after((0, 0.8))
    assert oee.remembered({"A": 0.2}, first, AT + timedelta(seconds=59)) is first
    assert oee.remembered({}, first, AT + timedelta(hours=1)) is first
    assert oee.remembered({"A": 0.2}, first, AT - timedelta(hours=1)) is first
    anew = oee.remembered({"A": 0.2}, first, AT + WINDOW + timedelta(minutes=1))
    assert (anew["A"]["mean"], anew["A"]["since"]) == (0.2, anew["A"]["at"])
    assert set(oee.remembered({"B": 0.5}, first, AT)) == {"A", "B"}
