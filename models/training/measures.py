"""How well a classifier does, and how honest it is about doubt: pure functions of probabilities and the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.training.learners import Classes, Probabilities

BINS: Final = 10
VERY_FEW: Final = 4  # different deciles
FLOOR: Final = 1e-4  # of a share in the stability index: an empty bin is no infinite drift


class OfClass(NamedTuple):
    """How one class is told; NaN where nothing was told or nothing was there."""

    precision: float
    recall: float
    f1: float
    rows: int


class Bin(NamedTuple):
    """Rows of like confidence: what was said and how often it was right."""

    confidence: float
    right: float
    rows: int


class Shares(NamedTuple):
    """Accepting the most certain rows first: after each, the share accepted, how often right, and its confidence."""

    accepted: NDArray[np.float64]
    right: NDArray[np.float64]
    confidence: NDArray[np.float64]

    def at(self, wanted: float) -> float:
        """The largest share that can be accepted while so many of it are right; 0 where there is none."""
        fit = np.flatnonzero(self.right >= wanted)
        return float(self.accepted[fit[-1]]) if len(fit) else 0.0


def confusion(told: Classes, truth: Classes, classes: int) -> NDArray[np.intp]:
    """Row: the truth, column: what was told."""
    table = np.zeros((classes, classes), np.intp)
    np.add.at(table, (truth, told), 1)
    return table


def by_class(table: NDArray[np.intp]) -> list[OfClass]:
    """The figures of each class of a confusion table."""
    right, told, there = np.diag(table), table.sum(axis=0), table.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = (right / told, right / there, 2 * right / (told + there))
    precision, recall, f1 = ([float(value) for value in one] for one in figures)
    return [OfClass(*told) for told in zip(precision, recall, f1, there.tolist(), strict=True)]


def accuracy(told: Classes, truth: Classes) -> float:
    """The share that is right."""
    return float((told == truth).mean())


def macro_f1(told: Classes, truth: Classes, classes: int) -> float:
    """The mean F1 of the classes that are there or were told."""
    return float(np.nanmean([one.f1 for one in by_class(confusion(told, truth, classes))]))


def brier(probabilities: Probabilities, truth: Classes) -> float:
    """The mean squared distance to the truth, summed over the classes."""
    return float(((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1).mean())


def reliability(probabilities: Probabilities, truth: Classes) -> list[Bin]:
    """Ten bins of equal width of the confidence in what is told; empty ones are left out."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    chosen = (place == at for at in range(BINS))
    return [Bin(float(confidence[c].mean()), float(right[c].mean()), int(c.sum())) for c in chosen if c.any()]


def calibration_error(probabilities: Probabilities, truth: Classes) -> float:
    """ECE: how far what is said lies from how often it is right, over the bins of `reliability`."""
    bins = reliability(probabilities, truth)
    return sum(abs(one.confidence - one.right) * one.rows for one in bins) / len(truth)


def risk_coverage(probabilities: Probabilities, truth: Classes) -> Shares:
    """The most certain first. Rows of equal confidence are accepted together: a bar cannot part them."""
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(axis=1) == truth)[order]
    last = np.append(confidence[order][:-1] != confidence[order][1:], True)
    counted = np.arange(1, len(truth) + 1)
    return Shares((counted / len(truth))[last], (np.cumsum(right) / counted)[last], confidence[order][last])


def coverage(probabilities: Probabilities, truth: Classes, q: float) -> tuple[float, float]:
    """Of conformal sets (1 − p ≤ q): how often the truth is inside, and how many classes they hold on average."""
    inside = 1 - probabilities <= q
    return float(inside[np.arange(len(truth)), truth].mean()), float(inside.sum(axis=1).mean())


def stability(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """PSI of two lists of shares of the same bins: below 0.1 alike, above 0.25 another population."""
    expected, found = np.maximum(before, FLOOR), np.maximum(after, FLOOR)
    return float(((found - expected) * np.log(found / expected)).sum())


class Bins(NamedTuple):
    """Between deciles: the upper edges of all bins but the last, and the share of the reference in each bin."""

    edges: NDArray[np.float64]
    shares: NDArray[np.float64]

    def shares_of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The shares of other values; what is missing is left out."""
        known = values[~np.isnan(values)]
        counts = np.bincount(np.searchsorted(self.edges, known, side="left"), minlength=len(self.shares))
        return counts / max(len(known), 1)


def bins(deciles: Sequence[float]) -> Bins:
    """Ten bins between nine deciles. Where some are equal, the number has few values: the highest bins are one.

    Of very few values a decile by itself says their share only within a tenth: such a value is one with the next.
    """
    edges, counts = np.unique(np.array(deciles), return_counts=True)
    if len(edges) == len(deciles):
        return Bins(edges, np.append(counts, 1) / 10)
    several = counts[:-1] > (1 if len(edges) <= VERY_FEW else 0)
    starts = np.append(0, np.flatnonzero(several) + 1)
    return Bins(edges[:-1][several], np.add.reduceat(np.append(counts[:-1], counts[-1] + 1), starts) / 10)


def shares_of_words(values: Sequence[str | None], known: Mapping[str, float]) -> NDArray[np.float64]:
    """The shares of the known values among those that are there, and last of all others."""
    there = [value for value in values if value is not None]
    counts = [sum(value == word for value in there) for word in known]
    return np.array([*counts, len(there) - sum(counts)]) / max(len(there), 1)
