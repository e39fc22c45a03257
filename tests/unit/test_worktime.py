"""Work within people's hours: what is begun is done in them, and a time has no more of them than it has minutes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.worktime import merged, present, present_until, worked, worked_off

times = st.floats(-5_000, 5_000).map(lambda value: round(value, 1))
windows = st.lists(st.tuples(times, st.floats(1, 900)).map(lambda one: (one[0], one[0] + one[1])), max_size=6).map(
    lambda found: tuple(merged(found))
)
minutes = st.floats(1, 2_000)


@given(minutes, times, windows, st.booleans())
def test_what_is_made_takes_as_many_minutes_in_which_somebody_is_there(work, earliest, hours, begun):
    """Between begin and end lies exactly the work, and nothing begins before it may."""
    begin, end = worked(work, earliest, hours, begun=begun)
    assert begin >= earliest
    assert present(begin, end, hours) == pytest.approx(work)


@given(minutes, windows, st.floats(0, 500))
def test_more_work_is_done_no_sooner(work, hours, more):
    """What waits before an order is worked off whenever somebody is there."""
    assert worked_off(work + more, hours) >= worked_off(work, hours) - 1e-6
    assert worked_off(work, hours) >= work - 1e-6
    assert worked_off(0.0, hours) == 0


@given(times, st.floats(0, 5_000), st.floats(0, 5_000), windows)
def test_hours_add_up(start, first, second, hours):
    """Of two times one after the other, and of each no more than there is."""
    middle, end = start + first, start + first + second
    whole = present(start, end, hours)
    assert whole == pytest.approx(present(start, middle, hours) + present(middle, end, hours), abs=1e-6)
    assert -1e-6 <= whole <= first + second + 1e-6


@given(windows, st.lists(st.floats(0.1, 6_000), max_size=5))
def test_many_times_are_told_as_each_alone(hours, ends):
    """From now on, to the last bit: what a model is told must not depend on how it was counted."""
    until = present_until(hours)
    assert [until(end) for end in ends] == [present(0.0, end, hours) for end in ends]


def test_two_shifts_and_a_night():
    """Six hours of work at four in the afternoon, with spare time: not before ten at night, so tomorrow at six."""
    hours = ((0.0, 960.0), (1440.0, 2400.0))  # from six to ten, twice
    assert worked(360, 600, hours) == (1440, 1800)
    assert worked(240, 600, hours) == (600, 840)
    assert worked(1200, 600, hours) == (600, 2280)  # longer than a day of it: begun, and it pauses over the night
    assert worked_off(1000, hours) == 1480
    assert present(900, 1500, hours) == 120
    assert present(2300, 3000, hours) == 700  # behind the last period nobody has planned yet
