"""When a model may decide alone: conformal quantiles and bars, from rows that the fitted models had not seen."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.training.learners import Classes, Probabilities

ALPHAS: Final = (0.05, 0.1)  # how often the truth may lie outside of the set
NEVER: Final = 1.0


def conformal(unseen: Probabilities, truth: Classes) -> dict[str, float]:
    """By alpha the q of least ambiguous sets: a class is in the set when 1 − p ≤ q.

    With n rows the ⌈(n+1)(1−alpha)⌉-th smallest score is taken, so that sets cover at least 1 − alpha of rows of the
    same kind (Sadinle, Lei and Wasserman 2019, "Least ambiguous set-valued classifiers").
    """
    scores = np.sort(1 - unseen[np.arange(len(truth)), truth])
    ranks = {alpha: int(np.ceil((len(scores) + 1) * (1 - alpha))) for alpha in ALPHAS}
    return {f"{alpha:g}": float(scores[rank - 1]) if rank <= len(scores) else 1.0 for alpha, rank in ranks.items()}


def bar(unseen: Probabilities, truth: Classes, right: float) -> float:
    """The lowest confidence, in thousandths, from which on so many are right; 1 where even the most certain are not.

    It is none that no row had: nobody knows how often the model is right below what was seen.
    """
    confidence = unseen.max(axis=1)
    order = np.argsort(confidence)
    steps = np.arange(1001) / 1000
    below = np.searchsorted(confidence[order], steps, side="left")
    hits = np.append(np.cumsum((unseen.argmax(axis=1) == truth)[order][::-1])[::-1], 0)
    seen = steps > confidence.min() - 1 / 1000
    fit = np.flatnonzero(seen & (below < len(truth)) & (hits[below] >= right * (len(truth) - below)))
    return float(steps[fit[0]]) if len(fit) else NEVER
