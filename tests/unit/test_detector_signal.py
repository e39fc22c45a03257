"""The detector of process signals gives every sample the same score however they come, and finds what is new."""

import json

import numpy as np
import pytest

from agent.detectors import signal

DAY = 48


def plant(seed: int, days: int = 16) -> signal.Values:
    """A signal with a day's rhythm, noise, and values that repeat exactly, as sensors of few digits give them."""
    random = np.random.default_rng(seed)
    at = np.arange(days * DAY)
    return np.round(20 + 5 * np.sin(2 * np.pi * at / DAY) + random.normal(0, 0.3, len(at)), 1)


def in_parts(values: signal.Values, *cuts: int) -> signal.Scores:
    """The scores of a stream that comes in parts, its state written and read between them."""
    state, told = signal.fresh(DAY), []
    for part in np.split(values, cuts):
        state, scores = signal.follow(signal.restored(json.loads(json.dumps(signal.written(state)))), part)
        told.append(scores)
    return np.concatenate(told)


def test_sample_by_sample_gives_what_a_block_gives():
    """To the last bit: a block as long as a file looks no further than a single sample does."""
    values, state, told = plant(1, days=12), signal.fresh(DAY), []
    for at in range(len(values)):
        state, scores = signal.follow(state, values[at : at + 1])
        told.append(scores)
    assert np.array_equal(np.concatenate(told), in_parts(values))


@pytest.mark.parametrize("cuts", [(1, 2, 3), (77, 78, 200), (143, 143, 560), (511, 512, 513)])
def test_any_split_of_a_stream_gives_the_same_scores(cuts):
    """Through JSON at every cut, also where nothing came between two cuts."""
    values = plant(2)[:700]
    assert np.array_equal(in_parts(values, *cuts), in_parts(values))


@pytest.mark.parametrize("constant", [0.0, 0.1, 45.0])
def test_a_signal_that_stands_still_and_one_that_climbs_are_as_even_in_parts(constant):
    """Equal distances everywhere, but for the rounding of numbers."""
    for values in (np.full(700, constant), constant * np.arange(700)):
        assert np.array_equal(in_parts(values, 1, 2, 77, 500, 599), in_parts(values))


def test_what_comes_later_changes_no_score():
    """No look ahead: neither the end of a file nor its range is known before it has come."""
    values = plant(4)
    longer = np.concatenate([values, np.full(300, 1e6)])
    assert np.array_equal(in_parts(longer)[: len(values)], in_parts(values))


def test_the_state_is_bounded():
    """Twice the samples, the same memory."""
    state, _ = signal.follow(signal.fresh(DAY), plant(5, days=100))
    later, _ = signal.follow(state, plant(6, days=100))
    assert len(json.dumps(signal.written(later))) == len(json.dumps(signal.written(state))) < 120_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(value):
    """It would stay in the memory for a week."""
    with pytest.raises(ValueError, match="NaN or infinity"):
        signal.follow(signal.fresh(DAY), np.array([1.0, value]))
    with pytest.raises(ValueError, match="one at least"):
        signal.fresh(0)


def test_a_day_without_its_rhythm_stands_out_and_is_told_once():
    """No value of it is unusual; that it stands still at noon is. One event is one alarm."""
    values = plant(7, days=30)
    values[25 * DAY + 20 : 25 * DAY + 40] = values[25 * DAY + 20]
    scores = in_parts(values)
    event = slice(25 * DAY + 20, 25 * DAY + 60)
    usual = np.concatenate([scores[10 * DAY : event.start], scores[event.stop :]])
    assert scores[event].max() > usual.max()
    assert (scores[event] > usual.max()).sum() <= 5  # each of them larger than the one before


def test_an_empty_block_changes_nothing():
    """A source that had nothing to tell."""
    state, _ = signal.follow(signal.fresh(DAY), plant(8))
    after, told = signal.follow(state, np.empty(0))
    assert len(told) == 0
    assert after is state
