"""Simulated runs → rows and classes: what training and evaluation of order feasibility both start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.features.order_feasibility import CLASSES, features
from models.order_feasibility.simulate import Case, Route, run

LATE_FINISH, LATE_START, ON_TIME = range(len(CLASSES))
FOLDS: Final = 4


class Rows(NamedTuple):
    """One row per order: features, class, and the run it is of."""

    features: NDArray[np.float32]
    classes: NDArray[np.intp]
    runs: NDArray[np.intp]

    def of(self, chosen: NDArray[np.bool_]) -> Rows:
        """Some of them."""
        return Rows(self.features[chosen], self.classes[chosen], self.runs[chosen])


def rows(seeds: Sequence[int], choices: Sequence[Route], orders: int) -> Rows:
    """The orders of these runs over these routes."""
    cases = [case for seed in seeds for case in run(seed, choices, orders)]
    return Rows(
        np.array([features(case.asked, case.shop) for case in cases], np.float32),  # as the graph computes
        np.array([outcome(case) for case in cases], np.intp),
        np.array([case.run for case in cases], np.intp),
    )


def outcome(case: Case) -> int:
    """The class of an order: a late finish says more than a late start."""
    if not case.finished_on_time:
        return LATE_FINISH
    return ON_TIME if case.started_on_time else LATE_START


def folds(runs: NDArray[np.intp], count: int = FOLDS) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Whole runs on either side: orders of one run know of each other."""
    place = np.searchsorted(np.unique(runs), runs) % count
    for at in range(count):
        yield np.flatnonzero(place != at), np.flatnonzero(place == at)
