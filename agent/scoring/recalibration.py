"""What is learnt from outcomes while a model serves: a shift of its odds, and offsets of its quantiles.

Retraining follows a change in the ranking of cases; a change of how much happens at all, or of the spread, is followed
here, from every outcome as it becomes known. Pure: state in, state out, small enough to be kept with the decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, isfinite, log
from typing import Final

NEAREST: Final = 1e-6  # to 0 and 1: odds of a probability are finite
SHIFT: Final = 4.0  # a shift beyond means another model, not another intercept


def shifted(probability: float, shift: float) -> float:
    """The probability whose log-odds are `shift` higher. Raises ValueError where it is none."""
    if not 0 <= probability <= 1:
        raise ValueError(f"{probability} is no probability; the model's answer is unfit")
    kept = min(max(probability, NEAREST), 1 - NEAREST)
    return 1 / (1 + exp(-(log(kept / (1 - kept)) + shift)))


@dataclass(frozen=True, slots=True)
class InterceptShift:
    """Odds that follow how often it happens: the mean of what is said becomes the mean of what is observed.

    A stochastic gradient step of logistic regression on the intercept alone, with the model's own log-odds as offset:
    each outcome moves the shift by `rate` times the surprise, so outcomes of about 1/(rate·p·(1−p)) cases ago fade.
    """

    rate: float = 0.02
    shift: float = 0.0

    def probability(self, said: float) -> float:
        """What the model said, recalibrated."""
        return shifted(said, self.shift)

    def learn(self, said: float, happened: bool) -> InterceptShift:  # noqa: FBT001  # an outcome is a yes or a no
        """After the outcome of a case about which the model itself (not recalibrated) said `said`."""
        moved = self.shift + self.rate * (happened - self.probability(said))
        return replace(self, shift=min(max(moved, -SHIFT), SHIFT))


@dataclass(frozen=True, slots=True)
class QuantileOffsets:
    """Adaptive conformal inference: each quantile moves until so many outcomes lie below it as it says.

    `step` and the offsets are in the unit of the forecast. After each outcome an offset grows by step times the share
    wanted, less step where the outcome lay below: over T outcomes the share below is off by at most a constant over T,
    whatever the outcomes do, drift included (Gibbs and Candès 2021, "Adaptive conformal inference under distribution
    shift").
    """

    quantiles: tuple[float, ...]
    step: float
    offsets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.step > 0 or any(not 0 < one < 1 for one in self.quantiles):
            raise ValueError(f"step {self.step} must be above 0, quantiles {self.quantiles} between 0 and 1")
        if not self.offsets:
            object.__setattr__(self, "offsets", (0.0,) * len(self.quantiles))

    def forecast(self, said: Sequence[float]) -> tuple[float, ...]:
        """The model's quantiles, moved and in rising order. Raises ValueError: not as many, or no numbers."""
        if len(said) != len(self.quantiles) or not all(map(isfinite, said)):
            raise ValueError(f"{list(said)} are not {len(self.quantiles)} numbers; the model's answer is unfit")
        return tuple(sorted(value + offset for value, offset in zip(sorted(said), self.offsets, strict=True)))

    def learn(self, told: Sequence[float], outcome: float) -> QuantileOffsets:
        """After the outcome of what `forecast` told at its time; as soon as it is known, in any order."""
        if not isfinite(outcome):
            raise ValueError(f"{outcome} is no outcome; leave out what was not measured")
        offsets = tuple(
            offset + self.step * (quantile - (outcome <= value))
            for offset, quantile, value in zip(self.offsets, self.quantiles, told, strict=True)
        )
        return replace(self, offsets=offsets)
