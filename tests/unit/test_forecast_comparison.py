"""Two versions that forecast, on what was used: figures by whole days, and a gate that only the nearer one passes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss

from agent.configuration.settings import Promotion
from agent.features.shortage_forecast import QUANTILES
from agent.scoring import forecast_comparison
from agent.scoring.forecast_comparison import FEWEST_DAYS, Case, ForecastComparison, Judged, pinball
from agent.scoring.paired import Speed

GATE = Promotion()
FAST = Speed(0.05, 0.1), Speed(0.05, 0.1)
TOLD = 0.3 + 1.4 * np.array(QUANTILES)
MONDAY = date(2026, 1, 5)


def cases(
    days: int = 14, *, each: int = 40, champion: float = 0.3, challenger: float = 0.0, seed: int = 4
) -> list[Case]:
    """What is used lies as the quantiles say; either is off by so much."""
    random = np.random.default_rng(seed)
    return [
        Case(f"M{at % 2}", MONDAY + timedelta(day), tuple(TOLD + champion), tuple(TOLD + challenger), float(used))
        for day in range(days)
        for at, used in enumerate(random.uniform(0.3, 1.7, each))
    ]


def compared(known: Sequence[Case], speed: tuple[Speed, Speed] = FAST) -> ForecastComparison:
    return forecast_comparison.compare(known, QUANTILES, speed, GATE)


def judged(known: Sequence[Case]) -> Judged:
    found = compared(known).judged
    assert found is not None
    return found


def test_the_nearer_one_passes():
    """It is better beyond chance; forecasts, days and places are counted, and each place has its own loss."""
    found = compared(cases())
    assert found.against == ()
    assert (found.forecasts, found.places, found.days) == (560, 2, 14)
    one = judged(cases())
    assert one.pinball.better
    assert [(of.name, of.forecasts) for of in one.by_place] == [("M0", 280), ("M1", 280)]
    assert np.mean([of.pinball.challenger for of in one.by_place]) == pytest.approx(one.pinball.challenger)
    assert [of.quantile for of in one.held] == [0.9, 0.95]
    assert one.held[0].share.challenger == pytest.approx(0.9, abs=0.04)
    assert one.held[0].share.champion == 1.0


def test_the_loss_is_the_usual_one():
    """The mean over the quantiles of what scikit-learn computes of each."""
    used = np.random.default_rng(1).uniform(0, 2, 50)
    said = np.tile(TOLD, (50, 1))
    usual = [mean_pinball_loss(used, said[:, at], alpha=alpha) for at, alpha in enumerate(QUANTILES)]
    assert pinball(said, used, QUANTILES).mean() == pytest.approx(np.mean(usual))


@given(st.lists(st.lists(st.floats(0, 50), min_size=1, max_size=4), min_size=FEWEST_DAYS, max_size=10))
def test_a_version_beside_itself_differs_by_nothing(days):
    """Whatever was used: the difference and both ends of its interval are exactly 0, and it does not pass."""
    told = tuple(TOLD)
    known = [Case("M", MONDAY + timedelta(at), told, told, used) for at, day in enumerate(days) for used in day]
    loss = judged(known).pinball
    assert (loss.challenger - loss.champion, loss.low, loss.high) == (0.0, 0.0, 0.0)
    assert any("is not better than the champion's beyond chance" in why for why in compared(known).against)


@given(st.lists(st.floats(0, 20), min_size=20, max_size=60), st.floats(-5, 5))
def test_who_says_what_was_used_is_not_beaten_by_a_shift(used, off):
    """Quantiles of the very outcomes have the least loss; moved by a constant they lose or are as good."""
    right = np.quantile(used, QUANTILES, method="inverted_cdf")
    known = [
        Case("M", MONDAY + timedelta(at % 8), tuple(right), tuple(right + off), one) for at, one in enumerate(used)
    ]
    loss = judged(known).pinball
    assert loss.challenger >= loss.champion - 1e-9


@pytest.mark.parametrize("off", [-0.4, 0.4])
def test_a_shifted_version_is_worse_beyond_chance(off):
    """In either direction, and the gate says by how much."""
    found = compared(cases(champion=0.0, challenger=off))
    assert found.judged is not None
    assert found.judged.pinball.worse
    assert any(why.startswith("its pinball loss is worse beyond chance: 0.") for why in found.against)


def test_more_forecasts_of_the_same_days_are_no_more_evidence():
    """Neighbouring quarters are not independent: the interval of each forecast told ten times is as wide as before."""
    once = cases(days=8, each=3, champion=0.05)
    loss, again = (judged(known).pinball for known in (once, once * 10))
    assert again.low == pytest.approx(loss.low)
    assert again.high == pytest.approx(loss.high)


def test_few_days_are_no_evidence():
    """Six days, however good, are told as too few; of what only one of both answered nothing counts."""
    found = compared(cases(days=FEWEST_DAYS - 1, champion=2.0))
    assert found.judged is None
    assert found.against == (
        "of 6 days that neither has learnt from both forecasts and what was used are known; fewer than 7 are no "
        "evidence",
    )
    silent = [one._replace(champion=None) for one in cases()]
    assert (compared(silent).days, compared(silent).judged) == (0, None)
    assert compared([]).judged is None


def test_the_gate_says_what_is_missing():
    """Who has no answer, or is slow, does not pass, though its loss is better."""
    silent = [one._replace(challenger=None) if at % 20 == 0 else one for at, one in enumerate(cases())]
    (why,) = compared(silent).against
    assert why == "it has no answer to 5.0% of the forecasts, the champion to 0.0%; 2.0% more are allowed"
    (why,) = compared(cases(), (FAST[0], Speed(4, 8))).against
    assert why.startswith("one answer takes it 8 ms")
