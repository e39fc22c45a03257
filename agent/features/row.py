"""Named values → a model's row: numbers as they are, each category as one 0 or 1 per value that training knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

Value = float | str | None


def names(numbers: Sequence[str], categories: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The features in the order of the row: the numbers, then ``machine=WC-1`` … of each category."""
    return (*numbers, *(f"{name}={value}" for name, known in categories.items() for value in known))


def row(
    values: Mapping[str, Value], numbers: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> tuple[float, ...]:
    """One row. What is absent is NaN for a number; an absent or unknown value of a category leaves all its places 0."""
    measured = (nan if (value := values.get(name)) is None else float(value) for name in numbers)
    told = (float(values.get(name) == value) for name, known in categories.items() for value in known)
    return (*measured, *told)
