"""Why a model answered as it did, in the user's words: what is unlike the training data, and what made the difference.

Each feature by itself is put back to its usual value and the model is asked again, all in one run (single-feature
occlusion; of about the worth of sampled Shapley values for a hundredth of their cost). Where a value is outside of what
training mostly saw, that says more and comes first.

Where a person looks closely, not one usual value takes its place but sixteen, spread as training saw them: one feature
is exchanged at a time, so that only the spread of each by itself matters, and that the reference tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import exp
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelUnfit
from agent.scoring.modelfiles import Input, Manifest, Reference

Table = NDArray[np.float32]
MATTERS: Final = 0.05  # a smaller change of the probability is no reason
MOST: Final = 3
MISSING: Final = "was not measured"
CLOSELY: Final = 16  # usual values in the place of one, where a person looks
Ask = Callable[[Table], NDArray[np.float32]]  # the probability for each row


class Effect(NamedTuple):
    """What one input does to the answer: `points` of 100 that usual values in its place would add."""

    text: str
    value: str  # with its unit, as people read it
    usual: str
    points: float
    beyond: bool  # outside of what training mostly saw

    def sentence(self) -> str:
        """For a person."""
        where = f"{self.text} {MISSING if self.value == MISSING else f'is {self.value}'}, usually {self.usual}"
        points = abs(round(self.points))
        if not points:
            return where
        return f"{where}: that {'costs' if self.points > 0 else 'adds'} {points} point{'s'[: points > 1]} of 100"


class Reasons:
    """The reasons of one model."""

    def __init__(self, manifest: Manifest, reference: Reference) -> None:
        self._manifest, self._reference = manifest, reference
        self._features = manifest.features
        self._usual, self._groups = _usual(manifest, reference)

    def closely(self, row: Table, ask: Ask) -> list[Effect]:
        """What every input of this one row does that people can read, the worst first. Raises ModelUnfit."""
        usual = [_spread(self._manifest, self._reference, columns) for columns in self._groups]
        return self._effects(row, ask, usual)

    def speaking(self, row: Table, ask: Ask) -> list[str]:
        """What speaks for what `ask` is about, at a glance: one usual value in the place of each. Raises ModelUnfit."""
        effects = self._effects(row, ask, [self._usual[None, columns] for columns in self._groups])
        telling = [one for one in effects if one.beyond or -one.points >= MATTERS * 100]
        return [one.sentence() for one in sorted(telling, key=lambda one: (not one.beyond, one.points))[:MOST]]

    def _effects(self, row: Table, ask: Ask, usual: Sequence[Table]) -> list[Effect]:
        """Each input by itself exchanged for these values, all in one run that begins with the row as it is."""
        times = len(usual[0])
        asked = np.repeat(row, 1 + times * len(self._groups), axis=0)
        for number, (columns, values) in enumerate(zip(self._groups, usual, strict=True)):
            at = 1 + number * times
            asked[at : at + times, columns] = values
        answers = ask(asked)
        if not np.isfinite(answers).all():
            raise ModelUnfit("it gives no probability for rows like this one")
        gains = answers[1:].reshape(len(self._groups), times).mean(axis=1) - answers[0]
        found = [
            self._effect(row[0].tolist(), columns, gain)
            for columns, gain in zip(self._groups, gains.tolist(), strict=True)
            if self._features[columns[0]].text
        ]
        return sorted(found, key=lambda one: (not one.beyond, -one.points))

    def _effect(self, row: list[float], columns: list[int], gain: float) -> Effect:
        one, value = self._features[columns[0]], row[columns[0]]
        if len(columns) > 1 or "=" in one.name:
            name = one.name.partition("=")[0]
            shares = self._reference.inputs[name].shares
            usual = ", ".join(sorted(shares, key=lambda value: -shares[value])[:MOST])
            now = next((_value(self._features[at].name) for at in columns if row[at] > 0), "another")
            return Effect(_called(one), now, usual, gain * 100, beyond=False)
        now = MISSING if value != value else f"{_shown(one, value)}{_unit(one)}"
        usual = f"{_shown(one, one.low)} to {_shown(one, one.high)}"
        return Effect(one.text, now, usual, gain * 100, beyond=not one.low <= value <= one.high and value == value)

    def of(self, rows: Table, ask: Ask) -> list[tuple[str, ...]]:
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
            return f"{_called(one)} is {_value(now)}, not {_value(usual)}: {points}"
        value = row[columns[0]]
        now = MISSING if value != value else f"is {_shown(one, value)}{_unit(one)}"
        return f"{one.text} {now}, not {_shown(one, float(self._usual[columns[0]]))} as in the middle: {points}"


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


def _spread(manifest: Manifest, reference: Reference, columns: list[int]) -> Table:
    """CLOSELY usual values of one input, as often as training saw each: a row for each, in these columns."""
    one = manifest.features[columns[0]]
    levels = (np.arange(CLOSELY) + 0.5) / CLOSELY
    category = one.name.partition("=")[0]
    if category in manifest.categories:
        values = manifest.categories[category]
        shares = [reference.inputs[category].shares.get(value, 0.0) for value in values]
        limits = np.cumsum(shares) / (sum(shares) or 1.0)
        drawn = np.minimum(np.searchsorted(limits, levels), len(values) - 1)
        chosen: Table = np.eye(len(values), dtype=np.float32)[drawn]
        return chosen
    seen = np.array([one.low, *(reference.inputs[one.name].deciles or (0.0,) * 9), one.high], np.float32)
    column: Table = seen[np.rint(levels * 10).astype(int)][:, None]
    return column


def _shown(one: Input, value: float) -> str:
    plain = exp(value) if one.scale == "log" else value
    return f"{plain:.0f}" if 1000 <= abs(plain) < 1e9 else f"{plain:.3g}"


def _unit(one: Input) -> str:
    return f" {one.unit}" if one.unit else ""


def _called(one: Input) -> str:
    """What a category is called, of which `one` is one value."""
    return one.text.removesuffix(f" {_value(one.name)}")


def _value(name: str) -> str:
    return name.partition("=")[2]
