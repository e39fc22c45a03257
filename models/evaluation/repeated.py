"""Repeated stratified folds with the functions of the training pipeline: what it says about rows it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.evaluation.figures import Figure
from models.training import doubt, learners, measures, split
from models.training.learners import Classes, Learner, Probabilities, Table

FOLDS: Final = 5
INNER: Final = 3  # folds inside of each, for the temperature and the bar


@dataclass(frozen=True, slots=True)
class Fold:
    """One judged fold: its probabilities, the truth, and the bar that its training part chose."""

    probabilities: Probabilities
    truth: Classes
    bar: float


def judge(rows: Table, truth: Classes, learner: Learner, repeats: int, right: float = 0.95) -> list[list[Fold]]:
    """By repetition its folds; everything that is fitted or chosen saw the other folds only."""
    return [
        [_fold(rows, truth, learner, train, test, right) for train, test in split.folds(truth, FOLDS, seed)]
        for seed in range(repeats)
    ]


def _fold(
    rows: Table, truth: Classes, learner: Learner, train: split.Indices, test: split.Indices, right: float
) -> Fold:
    inner = list(split.folds(truth[train], INNER))
    fitted = learners.fit(rows[train], truth[train], inner, [learner])
    bar = doubt.bar(fitted.unseen, truth[train], right)
    return Fold(fitted.classifier.probabilities(rows[test]), truth[test], bar)


Measure = Callable[[Probabilities, Classes], float]


def figure(name: str, goal: float, found: list[list[Fold]], measure: Measure, protocol: str, **told: bool) -> Figure:
    """The mean over folds; its spread is one fold's standard deviation, and so far short of the goal is still met."""
    values = [measure(one.probabilities, one.truth) for folds in found for one in folds]
    spread = float(np.std(values, ddof=1))
    return Figure(name, float(np.mean(values)), goal, spread=spread, protocol=protocol, slack=spread, **told)


def pooled(name: str, goal: float, found: list[list[Fold]], measure: Measure, protocol: str, **told: bool) -> Figure:
    """The mean over repetitions of what all folds of one give together: for figures that few rows would distort.

    Its spread is that of single folds, and so far short of the goal is still met.
    """
    values = [measure(*together(folds)) for folds in found]
    spread = figure(name, goal, found, measure, protocol).spread or 0.0
    protocol = f"{protocol}, folds pooled"
    return Figure(name, float(np.mean(values)), goal, spread=spread, protocol=protocol, slack=spread, **told)


def together(folds: list[Fold]) -> tuple[Probabilities, Classes]:
    """All folds of one repetition."""
    return np.vstack([one.probabilities for one in folds]), np.concatenate([one.truth for one in folds])


def macro_f1(probabilities: Probabilities, truth: Classes) -> float:
    """Of the most likely class."""
    return measures.macro_f1(probabilities.argmax(axis=1), truth, probabilities.shape[1])


def accuracy(probabilities: Probabilities, truth: Classes) -> float:
    """Of the most likely class."""
    return measures.accuracy(probabilities.argmax(axis=1), truth)
