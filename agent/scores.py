"""What models say: how normal an event is, what kind of thing it is, which value to expect."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

Features = tuple[float, ...]  # one row of float32 inputs, in the order of the model card


class Score(NamedTuple):
    """What a model says about one event. `confidence` is the probability of being normal, 0 … 1."""

    confidence: float
    model: str  # name/version
    model_hash: str
    features: Features
    reasons: tuple[str, ...] = ()  # in the user's words and units, worst first
    outputs: tuple[float, ...] = ()  # every column of the model's output, float32
    run: tuple[int, int] = (0, 1)  # its place in the run, and how many rows that had: the last bit depends on both
    ms: float = 0.0  # its share of the run's milliseconds
    shift: float = 0.0  # by which the log-odds of the output were moved


class Classified(NamedTuple):
    """What a model says about the kind of one thing: the probability of each class, in the order of the manifest."""

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    model: str  # name/version
    model_hash: str
    features: Features
    possible: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # by share of error: what cannot be ruled out
    run: tuple[int, int] = (0, 1)  # as of a Score
    ms: float = 0.0
    reasons: tuple[str, ...] = ()  # what speaks for the likeliest, where a person will look
    unknown: Mapping[str, str] = MappingProxyType({})  # category → its value, which the model does not know

    @property
    def likeliest(self) -> str:
        """The class that is taken for it."""
        return self.top(1)[0][0]

    @property
    def confidence(self) -> float:
        """The probability of that class."""
        return max(self.probabilities)

    def top(self, most: int = 3) -> tuple[tuple[str, float], ...]:
        """The likeliest classes with their probabilities, best first."""
        ranked = sorted(zip(self.classes, self.probabilities, strict=True), key=lambda one: -one[1])
        return tuple(ranked[:most])


Answer: TypeAlias = Score | Classified  # what a workflow may be given


class Forecast(NamedTuple):
    """What a model says about a number to come: the value below which each share of the outcomes stays, rising."""

    quantiles: tuple[float, ...]
    values: tuple[float, ...]
    model: str  # name/version
    model_hash: str
    features: Features
