"""Shortage forecast: scale-free features, from quantiles to a probability, and a profile where little is known."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.features.shortage_forecast import DAY, FEATURES, HISTORY, QUANTILES, features, unit
from agent.scoring.shortage import exceeds, profile, shortage
from models.evaluation.shortage import bands, shipped
from models.shortage_forecast.quantiles import adapted, pinball, rows
from models.shortage_forecast.simulate import usage

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
rising = st.lists(st.floats(0, 1e6), min_size=len(QUANTILES), max_size=len(QUANTILES)).map(sorted)
SERIES = usage(3, 5)


@settings(max_examples=30)
@given(st.floats(0.001, 1_000), st.integers(1, DAY), st.integers(HISTORY, len(SERIES)))
def test_any_unit(factor, horizon, at):
    """The row is the same in grams and tonnes, has every feature, and looks at two weeks only."""
    told = SERIES[:at]
    row = features(told, horizon, MONDAY)
    assert len(row) == len(FEATURES)
    assert all(isfinite(value) for value in row)
    assert features([value * factor for value in told], horizon, MONDAY) == pytest.approx(row, rel=1e-6, abs=1e-9)
    assert features([1e6, *told[-HISTORY:]], horizon, MONDAY) == row


def test_the_same_hours():
    """What was used a day and a week ago in the hours to come stands where it should."""
    told = [1.0] * HISTORY
    told[-DAY], told[-7 * DAY], told[-1] = 9.0, 17.0, 3.0
    row = dict(zip(FEATURES, features(told, 8, datetime(2026, 1, 10, 23, tzinfo=UTC)), strict=True))
    mean = unit(told, 1)
    assert row["day_ahead"] * mean == pytest.approx((9 + 7) / 8)
    assert row["week_ahead"] * mean == pytest.approx((17 + 7) / 8)
    assert row["last"] * mean == pytest.approx(3)
    assert (row["weekday"], row["ends_weekday"], row["slots"]) == (5, 6, 8)


@pytest.mark.parametrize(
    ("told", "horizon", "words"),
    [
        ([1.0] * (HISTORY - 1), 8, "are needed"),
        ([0.0] * HISTORY, 8, "not zero all the time"),
        ([-1.0] + [1.0] * (HISTORY - 1), 8, "must not be negative"),
        ([float("nan")] * HISTORY, 8, "must not be negative"),
        ([1.0] * HISTORY, 0, "0 slots"),
    ],
)
def test_what_cannot_be_forecast(told, horizon, words):
    """Too short a history, none, or one that cannot be, is refused with what is missing."""
    with pytest.raises(ValueError, match=words):
        features(told, horizon, MONDAY)


@given(rising, st.floats(-1e6, 2e6), st.floats(-1e6, 2e6))
def test_more_stock_is_never_worse(values, one, other):
    """The probability to run short lies between 0 and 1 and never rises with the stock."""
    low, high = sorted((one, other))
    assert 0 <= exceeds(QUANTILES, values, high) <= exceeds(QUANTILES, values, low) + 1e-12 <= 1 + 1e-12


def test_at_the_quantiles():
    """At a quantile, the use exceeds it as often as it says; half-way between two, half-way between both."""
    values = [10.0, 20, 30, 40, 50, 60, 70]
    for level, value in zip(QUANTILES, values, strict=True):
        assert exceeds(QUANTILES, values, value) == pytest.approx(1 - level)
    assert exceeds(QUANTILES, values, 55) == pytest.approx(1 - (0.75 + 0.9) / 2)
    assert exceeds(QUANTILES, values, 80) == pytest.approx(0.025)  # halves as between 60 and 70
    assert exceeds(QUANTILES, values, -1) == 1
    assert shortage(QUANTILES, values, stock=70, safety=30) == pytest.approx(0.5)


@pytest.mark.parametrize("values", [[7.0, 6, 5, 4, 3, 2, 1], [1.0], [float("nan")] * 7])
def test_what_are_no_quantiles(values):
    """Quantiles that fall, are missing or are no numbers are refused."""
    with pytest.raises(ValueError, match="unfit"):
        exceeds(QUANTILES, values, 1)


def test_a_profile_of_few_days():
    """From the sixth day on, the profile's middle half holds about half of what is used, its 90 % about nine tenths."""
    inside, most, count = 0, 0, 0
    for seed in (1, 4, 7, 9):
        told = usage(seed, 2)
        for at in range(5 * DAY, 8 * DAY, 9):
            low, high, top = profile(told[:at], 8, (0.25, 0.75, 0.9))
            used = sum(told[at : at + 8])
            inside, most, count = inside + (low <= used <= high), most + (used <= top), count + 1
    assert inside / count == pytest.approx(0.5, abs=0.15)
    assert most / count == pytest.approx(0.9, abs=0.1)


@settings(max_examples=30)
@given(st.integers(0), st.integers(144, 250), st.sampled_from((0.0, 0.3, 0.99)), st.integers(1, 12))
def test_a_profile_is_a_forecast(seed, length, idle, horizon):
    """Whatever was used, the profile gives rising quantiles that are no less than nothing."""
    random = Random(seed)
    told = [0.0 if random.random() < idle else random.uniform(0, 1e6) for _ in range(length)]
    values = profile(told, horizon, QUANTILES)
    assert all(isfinite(value) and value >= 0 for value in values)
    assert list(values) == sorted(values)


def test_what_is_said_to_run_short_does_so_often():
    """On unseen materials the shipped version is off by no more than some points, also between its quantiles."""
    found = [one for one in bands([shipped(seed, 12, every=4) for seed in range(101, 109)]) if one.stocks >= 300]
    assert len(found) >= 5
    for one in found:
        assert one.came == pytest.approx(one.said, abs=0.07), one


def test_too_little_for_a_profile():
    """With less than about two days there is no forecast, and it is said how much is needed."""
    with pytest.raises(ValueError, match="136 are needed"):
        profile([1.0] * DAY, 8, QUANTILES)


def test_simulated_use():
    """The same seed gives the same use, another one another; nothing is negative and something is used."""
    assert usage(1, 1) == usage(1, 1) != usage(2, 1)
    assert min(SERIES) == 0 < max(SERIES)


def test_no_outcome_before_its_time():
    """What is said does not change when outcomes that are not yet known are others: no look-ahead."""
    part = rows(SERIES, MONDAY, 8, every=4)
    shares = np.tile(np.linspace(0.4, 1.6, len(QUANTILES)), (len(part.used), 1))
    cut = len(part.used) // 2
    other = part.used.copy()
    other[cut:] = np.where(part.used > part.unit, 0.0, 1e9)[cut:]  # on the other side of the median
    first, second = adapted(shares, part, 8), adapted(shares, part._replace(used=other), 8)
    known = cut + 2  # an outcome at `cut` is known eight slots later, two rows on
    assert np.array_equal(first[:known], second[:known])
    assert not np.array_equal(first[known:], second[known:])


def test_pinball():
    """The pinball of the median is half the mean error; of a high quantile, too low is worse than too high."""
    used = np.array([1.0, 3.0])
    assert pinball(np.array([[2.0], [2.0]]), used, (0.5,)) == 0.5
    assert pinball(np.array([[0.0], [2.0]]), used, (0.9,)) > pinball(np.array([[2.0], [4.0]]), used, (0.9,))
