"""The benchmark's score for all thresholds at once is what its rules give for each threshold alone."""

from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation.nab_score import Labelled, Weights, best, steps

STANDARD = Weights(1.0, 0.11, 1.0)


def sigmoid(behind: float) -> float:
    return -1.0 if behind >= 3 else 2 / (1 + exp(5 * behind)) - 1


def by_the_rules(file: Labelled, scores: list[float], weights: Weights, threshold: float) -> tuple[float, int]:
    """One threshold, sample by sample: what was gained and lost, and how many windows count."""
    probation = min(int(0.15 * file.length), 750)
    gained, counted, found = 0.0, 0, set()
    for at in range(probation, file.length):
        window = next(((first, last) for first, last in file.windows if first <= at <= last), None)
        if scores[at] < threshold or window in found:
            continue
        if window is not None:
            width = window[1] - window[0] + 1
            gained += weights.found * sigmoid(-(window[1] - at + 1) / width) / sigmoid(-1)
            found.add(window)
            continue
        before = [(first, last) for first, last in file.windows if last < at]
        behind = (at - before[-1][1]) / (before[-1][1] - before[-1][0]) if before else 3.0
        gained += weights.false * sigmoid(behind)
    counted = sum(last >= probation for _, last in file.windows)
    return gained - weights.missed * (counted - len(found)), counted


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]), min_size=60, max_size=60),
    st.lists(st.integers(0, 59), min_size=4, max_size=4, unique=True).map(sorted),
    st.sampled_from([STANDARD, Weights(1.0, 0.22, 1.0), Weights(1.0, 0.11, 2.0)]),
)
@settings(max_examples=50)
def test_the_best_of_all_thresholds_is_found(scores, edges, weights):
    """With ties, two windows and a probation that may cut into the first: the maximum over every threshold."""
    file = Labelled(60, [(edges[0], edges[1]), (edges[2], edges[3])])
    each = [by_the_rules(file, scores, weights, threshold) for threshold in (*sorted(set(scores)), 2.0)]
    counted = each[0][1]
    if not counted:
        return
    most = max(gained for gained, _ in each)
    expected = 100 * (most + weights.missed * counted) / (counted * (weights.found + weights.missed))
    value, _ = best([steps(file, np.array(scores), weights)], weights)
    assert value == pytest.approx(expected)


def test_a_perfect_detector_has_100_and_silence_0():
    """The first sample of every window and nothing else; and no alarm at all."""
    file = Labelled(1000, [(400, 450), (700, 800)])
    perfect = np.zeros(1000)
    perfect[[400, 700]] = 1.0
    value, threshold = best([steps(file, perfect, STANDARD)], STANDARD)
    assert value == pytest.approx(100)
    assert threshold == 1.0
    nothing, threshold = best([steps(file, np.zeros(1000), STANDARD)], STANDARD)
    assert (nothing, threshold) == (0.0, np.inf)
