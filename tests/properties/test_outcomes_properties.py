"""What people decide against what a model says: chance is no alarm, being wrong is one, and a shift mends the mean."""

from __future__ import annotations

from datetime import datetime
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.configuration.settings import Drift
from agent.scoring import drift
from agent.scoring.drift import State
from agent.scoring.outcomes import Level, Outcome, Outcomes, judged, shift, worst
from agent.scoring.recalibration import SHIFT, shifted

AT = "2026-11-20T12:00:00+00:00"
NOW = datetime.fromisoformat(AT)
COUNT = 300
WANTED = Drift(labels=100, recalibrate=True)


def cases(seed: int, off: float = 0.0, *, count: int = COUNT, share: float = 0.95) -> list[Outcome]:
    """Answers between 0.3 and 1, as often so as the odds moved by `off` say; a set that holds it so often."""
    random = Random(seed)
    found = []
    for _ in range(count):
        said = random.uniform(0.3, 1.0)
        held = (("0.05", random.random() < share),)
        found.append(Outcome(said, random.random() < shifted(said, off), held))
    return found


def known(outcomes: Outcomes | None) -> Outcomes:
    assert outcomes is not None
    return outcomes


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6))
def test_chance_is_no_alarm(seed):
    """A model that is as often right as it says, and whose sets hold what they promise: not even a warning."""
    assert known(judged(cases(seed), 100)).level is Level.GREEN


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([-2.0, 2.5]))
def test_being_more_often_wrong_or_right_than_it_says_is_an_alarm(seed, off):
    """Both ways: what is worse is posted in vain, what is better is held in vain."""
    found = known(judged(cases(seed, off), 100))
    assert found.level is Level.ALARM
    assert (found.observed < found.said) == (off < 0)
    assert f"of {COUNT} reports otherwise than proposed" in found.words


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_sets_that_hold_less_than_they_promise_are_an_alarm(seed):
    """95 % promised, 70 % held; and it is said."""
    found = known(judged(cases(seed, share=0.7), 100))
    assert found.level is Level.ALARM
    assert "promised are 95%" in found.words


def test_a_model_that_is_sure_both_ways_and_wrong_is_an_alarm_though_its_mean_is_right():
    """So the mean alone is not enough: its Brier score is far above what it expects of itself."""
    mixed = [Outcome(said, right) for said in (0.05, 0.95) for right in (True, False)] * 50
    found = known(judged(mixed, 100))
    assert found.said == pytest.approx(found.observed)
    assert found.level is Level.ALARM
    assert found.calibration_error == pytest.approx(0.45)


@given(st.lists(st.builds(Outcome, st.floats(0, 1), st.booleans(), st.just(())), max_size=99))
def test_few_labels_are_no_alarm_whatever_they_say(found):
    """Below the least number the level is learning; nothing fails at any answers."""
    told = judged(found, 100)
    assert told is None if not found else known(told).level is Level.LEARNING
    assert abs(shift(found)) <= SHIFT


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3))
def test_the_shift_makes_the_mean_what_people_found(seed, off):
    """Whatever it was off by."""
    found = cases(seed, off)
    by = shift(found)
    moved = [shifted(one.said, by) for one in found]
    assert sum(moved) == pytest.approx(sum(one.right for one in found), abs=1)


# ── step by step ────────────────────────────────────────────────────────────────────────────────────────────


def test_it_goes_up_the_ladder_and_down_again():
    """Alarm and bar, then another intercept, then people know that it was enough; or they are asked for a version."""
    off = cases(1, -2.0)
    state = drift.heard(State(sha256="a", inputs=Level.GREEN, level=Level.GREEN), off, WANTED, AT)
    assert (state.level, state.raised, state.since) == (Level.ALARM, True, AT)
    assert "look at the sensor" in drift.advice("m/1", state, NOW)
    assert "`drift.recalibrate: true`" in drift.advice("m/1", state, NOW)
    assert drift.to_recalibrate(state, WANTED)
    assert not drift.to_recalibrate(state, Drift())
    moved = drift.recalibrated(state, off, 77)
    assert moved.shift == pytest.approx(-2.0, abs=0.6)
    assert moved.judged_after == 77
    assert not drift.to_recalibrate(moved, WANTED)
    waiting = drift.heard(moved, [], WANTED, AT)
    assert (waiting.level, waiting.raised) == (Level.GREEN, True)  # nobody knows yet whether it was enough
    well = drift.heard(waiting, cases(2), WANTED, AT)
    assert (well.level, well.raised, well.shift) == (Level.GREEN, False, moved.shift)
    badly = drift.heard(waiting, cases(2, -2.0), WANTED, AT)
    assert badly.level is Level.ALARM
    assert "train a version on what people decided" in drift.advice("m/1", badly, NOW)
    assert drift.accepted(badly, 99) == State(sha256="a", after=99, judged_after=99, accepted=True, shift=moved.shift)


def test_few_labels_keep_no_bar_up_that_the_inputs_raised():
    """Where nothing was recalibrated, what people have not decided yet is no reason."""
    figures = drift.Figures(rows=1, psi={}, level=Level.GREEN, missing=0, unanswered=0, abstained=0, mean=0)
    state = drift.heard(State(raised=True, level=Level.ALARM, inputs=Level.ALARM), cases(1, count=5), WANTED, AT)
    assert state.raised
    assert not drift.moved(state, figures, AT).raised


def test_the_worst_counts():
    """Learning is less than green: what is not known yet takes nothing back."""
    assert worst(Level.LEARNING, Level.GREEN) is Level.GREEN
    assert worst(Level.WARN, Level.ALARM, Level.GREEN) is Level.ALARM
