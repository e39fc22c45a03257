"""What is learnt while a model serves: the mean follows what happens, and quantiles cover what they say."""

from __future__ import annotations

from random import Random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.scoring.recalibration import SHIFT, InterceptShift, QuantileOffsets, shifted

probabilities = st.floats(0, 1)


@given(probabilities, probabilities, st.floats(-SHIFT, SHIFT))
def test_order_is_kept(one, other, shift):
    """A shift keeps probabilities, and which of two is the larger."""
    low, high = sorted((one, other))
    assert 0 < shifted(low, shift) <= shifted(high, shift) < 1


def test_the_mean_follows():
    """After what happens has become three times as frequent, what is said follows; the model alone would not."""
    random = Random(7)
    state, plain, said, seen = InterceptShift(), 0.0, 0.0, 0
    for case in range(6_000):
        told = random.uniform(0.02, 0.2)
        happened = random.random() < (told if case < 2_000 else 3 * told)
        if case >= 3_000:
            plain, said, seen = plain + told, said + state.probability(told), seen + happened
        state = state.learn(told, happened)
    assert said == pytest.approx(seen, rel=0.1)
    assert plain < 0.5 * seen


@given(st.lists(st.tuples(probabilities, st.booleans()), max_size=300))
def test_no_outcome_is_too_much(outcomes):
    """Whatever happens, the shift stays within its limits."""
    state = InterceptShift(rate=1.0)
    for told, happened in outcomes:
        state = state.learn(told, happened)
    assert abs(state.shift) <= SHIFT


@pytest.mark.parametrize("said", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability(said):
    """An answer that is no probability is refused, not shifted."""
    with pytest.raises(ValueError, match="is no probability"):
        shifted(said, 0.0)


def test_quantiles_cover_under_drift():
    """While the spread trebles and the level moves, so many outcomes lie below each quantile as it says."""
    random, levels = Random(11), (0.05, 0.5, 0.9, 0.95)
    said = [NormalDist(10, 1).inv_cdf(level) for level in levels]
    state, below, fixed, count = QuantileOffsets(levels, step=0.1), [0] * 4, [0] * 4, 0
    for slot in range(12_000):
        outcome = random.gauss(10 + slot / 6_000, 1 + slot / 6_000)
        if slot >= 2_000:
            count += 1
            below = [was + (outcome <= value) for was, value in zip(below, state.forecast(said), strict=True)]
            fixed = [was + (outcome <= value) for was, value in zip(fixed, said, strict=True)]
        state = state.learn(state.forecast(said), outcome)
    for level, hit in zip(levels, below, strict=True):
        assert hit / count == pytest.approx(level, abs=0.01)
    assert fixed[2] / count < 0.8


@given(
    st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=1, max_size=40),
    st.floats(0.05, 0.95),
    st.floats(0.01, 1),
)
def test_the_bound_of_conformal_inference(outcomes, level, step):
    """For any outcomes at all, the share below is off by at most (largest error + 2·step)/(step·T)."""
    state, below = QuantileOffsets((level,), step), 0
    for said, outcome in outcomes:
        told = state.forecast([said])
        below += outcome <= told[0]
        state = state.learn(told, outcome)
    largest = max(abs(outcome - said) for said, outcome in outcomes)
    assert abs(below / len(outcomes) - level) <= (largest + 2 * step) / (step * len(outcomes)) + 1e-9


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_quantiles_rise(said, outcomes):
    """What is forecast rises, also where the model's own quantiles cross."""
    state = QuantileOffsets((0.1, 0.5, 0.9), step=1.0)
    for outcome in outcomes:
        state = state.learn(state.forecast(said), outcome)
    told = state.forecast(said)
    assert list(told) == sorted(told)


@pytest.mark.parametrize("said", [[1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_what_is_no_forecast(said):
    """Too few quantiles, or one that is no number, are refused."""
    with pytest.raises(ValueError, match="unfit"):
        QuantileOffsets((0.1, 0.9), step=0.1).forecast(said)
    with pytest.raises(ValueError, match="is no outcome"):
        QuantileOffsets((0.1, 0.9), step=0.1).learn([1.0, 2.0], float("nan"))
    with pytest.raises(ValueError, match="must be above 0"):
        QuantileOffsets((0.1, 0.9), step=0.0)
