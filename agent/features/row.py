"""Named values → a model's row: numbers as they are, each category as one 0 or 1 per value that training knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan, nan

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


def unknown(values: Mapping[str, Value], categories: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The values of categories that have no place in the row."""
    told = {name: values.get(name) for name in categories}
    return {name: value for name, value in told.items() if isinstance(value, str) and value not in categories[name]}


def values(told: Sequence[float], names: Sequence[str], categories: Mapping[str, Sequence[str]]) -> dict[str, Value]:
    """The named values that a row was made of; a value that was unknown to the model is absent, like a missing one."""
    by_name = dict(zip(names, told, strict=True))
    expanded = {f"{name}={value}" for name, known in categories.items() for value in known}
    numbers: dict[str, Value] = {
        name: None if isnan(value) else value for name, value in by_name.items() if name not in expanded
    }
    words = {name: next((one for one in known if by_name[f"{name}={one}"]), None) for name, known in categories.items()}
    return numbers | words
