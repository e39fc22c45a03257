"""A classifier's answers about rows that it has not seen, and what follows from them: figures, drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agent.scoring.modelfiles import Reference
from models.training import measures
from models.training.encoding import Rows, column
from models.training.learners import Classes, Probabilities, log_loss


class Drift(NamedTuple):
    """How much one raw input of the judged rows is unlike those that were learnt from."""

    name: str
    stability: float  # PSI
    nulls: tuple[float, float]  # share before and after
    unknown: float  # share of values that training did not know; 0 for a number


@dataclass(frozen=True, slots=True)
class Judged:
    """What was told about the judged rows, beside the truth."""

    classes: tuple[str, ...]
    truth: Classes
    probabilities: Probabilities
    bar: float
    conformal: Mapping[str, float]
    drift: tuple[Drift, ...]

    @property
    def told(self) -> Classes:
        """The most likely class of each row."""
        told: Classes = self.probabilities.argmax(axis=1)
        return told

    def figures(self) -> dict[str, float]:
        """The metrics of the manifest: how well, how honest, and how much a person is spared."""
        accepted = self.probabilities.max(axis=1) >= self.bar
        right = self.told == self.truth
        found = {
            "accuracy": measures.accuracy(self.told, self.truth),
            "macro_f1": measures.macro_f1(self.told, self.truth, len(self.classes)),
            "log_loss": log_loss(self.probabilities, self.truth),
            "brier": measures.brier(self.probabilities, self.truth),
            "ece": measures.calibration_error(self.probabilities, self.truth),
            "most_frequent": float(np.bincount(self.truth).max() / len(self.truth)),
            "accepted": float(accepted.mean()),
        }
        if accepted.any():
            found["right_of_accepted"] = float(right[accepted].mean())
        for alpha, q in self.conformal.items():
            covered, size = measures.coverage(self.probabilities, self.truth, q)
            found |= {f"covered_{alpha}": covered, f"set_size_{alpha}": size}
        return {name: round(value, 4) for name, value in found.items()}


def drift(reference: Reference, rows: Rows) -> tuple[Drift, ...]:
    """Each raw input of `rows` against the reference, the most changed first."""
    found = []
    for name, told in reference.inputs.items():
        missing = float(np.mean([one[name] is None for one in rows]))
        if told.deciles:
            bins = measures.bins(told.deciles)
            before, after, unknown = bins.shares, bins.shares_of(column(rows, name)), 0.0
        else:
            words = [value if isinstance(value := one[name], str) else None for one in rows]
            after = measures.shares_of_words(words, told.shares)
            before = np.array([*told.shares.values(), max(1 - sum(told.shares.values()), 0.0)])
            unknown = float(after[-1])
        found.append(Drift(name, measures.stability(before, after), (told.nulls, missing), unknown))
    return tuple(sorted(found, key=lambda one: -one.stability))
