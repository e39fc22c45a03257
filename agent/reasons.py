"""Why a model answered as it did, in the user's words: what is unlike the training data, and what made the difference.

Each feature by itself is put back to its usual value and the model is asked again, all in one run (single-feature
occlusion; of about the worth of sampled Shapley values for a hundredth of their cost). Where a value is outside of what
training mostly saw, that says more and comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.registry import Input, Manifest, Reference

Table = NDArray[np.float32]
MATTERS: Final = 0.05  # a smaller change of the probability is no reason
MOST: Final = 3


class Reasons:
    """The reasons of one model."""

    def __init__(self, manifest: Manifest, reference: Reference) -> None:
        self._features = manifest.features
        self._usual, self._groups = _usual(manifest, reference)

    def of(self, rows: Table, ask: Callable[[Table], NDArray[np.float32]]) -> list[tuple[str, ...]]:
        """For each row what a person should know, worst first. `ask` gives the probability for rows. Raises ModelUnfit.

        A feature without a text in the manifest is not told.
        """
        width = len(self._groups) + 1
        asked = np.repeat(rows, width, axis=0)
        for at, columns in enumerate(self._groups):
            asked[at + 1 :: width, columns] = self._usual[columns]
        answers = ask(asked).reshape(len(rows), width)
        gains = answers[:, 1:] - answers[:, :1]
        return [self._told(row, gain) for row, gain in zip(rows.tolist(), gains.tolist(), strict=True)]

    def _told(self, row: list[float], gains: list[float]) -> tuple[str, ...]:
        beyond = dict(self._beyond(row))
        told = [text for _, text in sorted(beyond.values(), reverse=True)]
        ranked = sorted(zip(gains, self._groups, strict=True), key=lambda one: -one[0])
        told += [
            self._difference(row, columns, gain)
            for gain, columns in ranked
            if gain >= MATTERS and not beyond.keys() & set(columns) and self._features[columns[0]].text
        ]
        return tuple(told[:MOST])

    def _beyond(self, row: list[float]) -> Iterator[tuple[int, tuple[float, str]]]:
        """What is outside of low to high: by column how far, in widths of that range, and the sentence."""
        for at, (one, value) in enumerate(zip(self._features, row, strict=True)):
            far = max(one.low - value, value - one.high) / ((one.high - one.low) or 1.0)
            if one.text and far > 0:
                usual = f"{_shown(one, one.low)} to {_shown(one, one.high)}"
                yield at, (far, f"{one.text} is {_shown(one, value)}{_unit(one)}, usually {usual}")

    def _difference(self, row: list[float], columns: list[int], gain: float) -> str:
        """What would change if this were as usual."""
        one = self._features[columns[0]]
        points = f"that makes {gain * 100:.0f} points of 100"
        if len(columns) > 1 or "=" in one.name:
            now = next((self._features[at].name for at in columns if row[at] > 0), f"{one.name.partition('=')[0]}=?")
            usual = next((self._features[at].name for at in columns if self._usual[at] > 0), "")
            return f"{one.text} is {_value(now)}, not {_value(usual)}: {points}"
        now = "missing" if row[columns[0]] != row[columns[0]] else f"{_shown(one, row[columns[0]])}{_unit(one)}"
        return f"{one.text} is {now}, not {_shown(one, float(self._usual[columns[0]]))} as in the middle: {points}"


def _usual(manifest: Manifest, reference: Reference) -> tuple[Table, list[list[int]]]:
    """The usual value of every feature, and which features belong together: a category is put back as a whole."""
    places = {one.name: at for at, one in enumerate(manifest.features)}
    usual = np.zeros(len(places), np.float32)
    groups = []
    for name, values in manifest.categories.items():
        shares = reference.inputs[name].shares
        groups.append([places[f"{name}={value}"] for value in values])
        likeliest = max(values, key=lambda value: shares.get(value, 0.0))
        usual[places[f"{name}={likeliest}"]] = 1.0
    grouped = {at for group in groups for at in group}
    for name, at in places.items():
        if at not in grouped:
            groups.append([at])
            seen = reference.inputs[name]
            usual[at] = seen.deciles[4] if seen.deciles else 0.0
    return usual, groups


def _shown(one: Input, value: float) -> str:
    return f"{exp(value) if one.scale == 'log' else value:.3g}"


def _unit(one: Input) -> str:
    return f" {one.unit}" if one.unit else ""


def _value(name: str) -> str:
    return name.partition("=")[2]
