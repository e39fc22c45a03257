"""From rows of a CSV to the model's table, and what the manifest and the reference say about each input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.features import row as features
from agent.features.row import Value
from agent.scoring.modelfiles import Input, InputReference
from models.training.columns import Columns, Number
from models.training.learners import Table

Rows = Sequence[Mapping[str, Value]]
USUAL = (0.005, 0.995)  # quantiles of what training mostly saw


@dataclass(frozen=True, slots=True)
class Encoding:
    """The inputs in the order of the model's row: numbers, then each category's known values."""

    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, rows: Rows, columns: Columns) -> Encoding:
        """The known values of a category are its most frequent ones among these rows; all others are unknown."""
        known = {}
        for name, told in columns.categories.items():
            counts = Counter(value for one in rows if isinstance(value := one[name], str))
            known[name] = tuple(sorted(value for value, _ in counts.most_common(told.at_most)))
        return cls(tuple(columns.numbers), known)

    @property
    def names(self) -> tuple[str, ...]:
        """The features of the model."""
        return features.names(self.numbers, self.categories)

    @property
    def groups(self) -> list[range]:
        """The places of each category in the row."""
        found, at = [], len(self.numbers)
        for known in self.categories.values():
            found.append(range(at, at + len(known)))
            at += len(known)
        return found

    def table(self, rows: Rows) -> Table:
        """float32 before anything is fitted, because the graph computes in it."""
        encoded = [features.row(one, self.numbers, self.categories) for one in rows]
        return np.array(encoded, np.float32).reshape(len(rows), len(self.names))

    def inputs(self, table: Table, columns: Columns) -> tuple[Input, ...]:
        """What the manifest says of each feature, from the rows that were learnt from."""
        told = [_number(name, columns.numbers[name], table[:, at]) for at, name in enumerate(self.numbers)]
        for name, known in self.categories.items():
            text = columns.categories[name].text or name
            told += [
                Input(name=f"{name}={value}", least=0, most=1, low=0, high=1, text=f"{text} {value}") for value in known
            ]
        return tuple(told)

    def reference(self, rows: Rows) -> dict[str, InputReference]:
        """What these rows look like, by raw input: for drift and for reasons."""
        found = {}
        for name in self.numbers:
            values = column(rows, name)
            deciles = np.nanquantile(values, np.arange(1, 10) / 10, method="inverted_cdf")  # values that there are
            found[name] = InputReference(deciles=tuple(deciles.tolist()), nulls=float(np.isnan(values).mean()))
        for name, known in self.categories.items():
            counts = Counter(one[name] for one in rows)
            there = max(len(rows) - counts[None], 1)
            shares = {value: counts[value] / there for value in known}
            found[name] = InputReference(shares=shares, nulls=counts[None] / len(rows))
        return found


def column(rows: Rows, name: str) -> NDArray[np.float64]:
    """One column of numbers; what is missing is NaN."""
    return np.array([np.nan if one[name] is None else one[name] for one in rows], np.float64)


def _number(name: str, told: Number, values: Table) -> Input:
    """Its limits are those of the columns file, else what was seen and half as much again on either side."""
    known = values[~np.isnan(values)].astype(np.float64)
    smallest, largest = float(known.min()), float(known.max())
    margin = (largest - smallest) / 2 or abs(largest) or 1.0
    low, high = (float(value) for value in np.quantile(known, USUAL))
    return Input(
        name=name,
        least=smallest - margin if told.least is None else float(told.least),
        most=largest + margin if told.most is None else float(told.most),
        low=low,
        high=high,
        text=told.text or name,
        unit=told.unit,
        scale=told.scale,
        more=told.more,
        null="allowed" if len(known) < len(values) else "refused",
    )
