"""The score of the Numenta Anomaly Benchmark, for all thresholds at once: the same rules, the same figures, in numpy.

Lavin, Ahmad, Evaluating Real-Time Anomaly Detection Algorithms, ICMLA 2015. A window of a labelled anomaly is found by
the first sample in it that reaches the threshold, and that is worth the more the earlier it is; an alarm outside costs
the more the farther behind a window it is. 100 is every window found at its first sample and no false alarm, 0 is no
alarm at all. The best threshold is sought over the whole corpus, for every detector alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
PROBATION: Final = 0.15  # of a file, of 5000 samples at most: nothing is scored while a detector learns
EARLIEST: Final = 2 / (1 + exp(-5)) - 1  # what the sigmoid gives the first sample of a window
FAR: Final = 3.0  # window widths behind a window: from here on an alarm costs all


class Weights(NamedTuple):
    """What a find, a false alarm and a miss weigh: a profile of the benchmark."""

    found: float
    false: float
    missed: float


class Labelled(NamedTuple):
    """A file: its number of samples, and its windows as first and last index."""

    length: int
    windows: Sequence[tuple[int, int]]


class Steps(NamedTuple):
    """How the score changes as the threshold sinks: at which score of a sample, and by how much."""

    at: Numbers
    change: Numbers
    windows: int


def steps(file: Labelled, scores: Numbers, weights: Weights) -> Steps:
    """The steps of one file, over a threshold that nothing reaches."""
    probation = min(int(PROBATION * file.length), int(PROBATION * 5000))
    behind, outside = np.full(file.length, FAR), np.ones(file.length, bool)
    at, change, windows = [], [], 0
    for first, last in file.windows:
        outside[first : last + 1] = False
        width, later = last - first + 1, np.arange(last + 1, file.length)
        behind[last + 1 :] = (later - last) / (width - 1)
        begin = max(first, probation)
        if begin <= last:
            windows += 1
            inside = np.arange(begin, last + 1)
            worth = weights.found * _sigmoid(-(last - inside + 1) / width) / EARLIEST
            highest = np.r_[-np.inf, np.maximum.accumulate(scores[inside])[:-1]]
            first_reached = scores[inside] > highest  # sinking thresholds reach these first, from the last one on
            at.append(scores[inside][first_reached])
            change.append(worth[first_reached] - np.r_[worth[first_reached][1:], -weights.missed])
    outside[:probation] = False
    at.append(scores[outside])
    change.append(weights.false * _sigmoid(behind[outside]))
    return Steps(np.concatenate(at), np.concatenate(change), windows)


def best(files: Iterable[Steps], weights: Weights) -> tuple[float, float]:
    """The best score, 100 at most, and its threshold."""
    files = list(files)
    at, change = (np.concatenate([one[part] for one in files]) for part in (0, 1))
    order = np.argsort(-at, kind="stable")
    at, total = at[order], np.cumsum(change[order])
    ends = np.r_[at[1:] != at[:-1], True]  # equal scores are reached together
    at, total = np.r_[np.inf, at[ends]], np.r_[0.0, total[ends]]
    top = int(np.argmax(total))
    windows = sum(one.windows for one in files)
    return float(100 * total[top] / (windows * (weights.found + weights.missed))), float(at[top])


def _sigmoid(behind: Numbers) -> Numbers:
    """From nearly 1 at the first sample of a window (-1) over 0 at its end to -1 behind it."""
    bounded = np.minimum(behind, FAR)
    return np.where(bounded >= FAR, -1.0, 2 / (1 + np.exp(5 * bounded)) - 1)
