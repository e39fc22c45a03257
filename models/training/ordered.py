"""Boosted trees for classes in rising order that are never lower where an input that raises them is higher.

One boosting per step up answers *higher than this class, given that it is not lower* (continuation ratios: Fienberg,
The Analysis of Cross-Classified Categorical Data, 1980); the probability of the highest class is their product. Each is
monotone by construction, so the product is, whatever temperature follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

Table = NDArray[np.float32]
Classes = NDArray[np.intp]
Probabilities = NDArray[np.float64]


class OrderedBoosting(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classes 0 to n − 1; `step` makes the boosting of one step, of `max_iter` rounds where that is said.

    Fitted it has `steps_`, the lowest step first.
    """

    def __init__(self, step: Callable[[], Any], classes: int, max_iter: int | None = None) -> None:
        self.step = step
        self.classes = classes
        self.max_iter = max_iter

    def fit(self, rows: Table, truth: Classes) -> OrderedBoosting:
        """Each step from the rows that get as far. Raises ValueError where a class is missing."""
        self.classes_ = np.arange(self.classes)
        self.steps_ = [
            self._made().fit(rows[truth >= lower], (truth[truth >= lower] > lower).astype(np.intp))
            for lower in range(self.classes - 1)
        ]
        return self

    def _made(self) -> Any:
        return self.step().set_params(**({"max_iter": self.max_iter} if self.max_iter else {}))

    def predict_proba(self, rows: Table) -> Probabilities:
        """One column per class."""
        return _joined([step.predict_proba(rows)[:, 1] for step in self.steps_])

    def staged_predict_proba(self, rows: Table) -> Iterator[Probabilities]:
        """The same after each round, which every step has alike."""
        for stages in zip(*(step.staged_predict_proba(rows) for step in self.steps_), strict=True):
            yield _joined([stage[:, 1] for stage in stages])

    @property
    def n_iter_(self) -> int:
        """Rounds of each step."""
        return int(self.steps_[0].n_iter_)


def _joined(higher: list[Probabilities]) -> Probabilities:
    """From the chances of each step up to those of the classes."""
    reached = np.cumprod([np.ones_like(higher[0]), *higher], axis=0)
    stays = [1 - one for one in higher] + [np.ones_like(higher[0])]
    return np.stack([here * one for here, one in zip(reached, stays, strict=True)], axis=1)
