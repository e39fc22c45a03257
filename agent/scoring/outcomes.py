"""Whether a model is right as often as it says, seen from what people decided: figures, and the shift that mends them.

Pure. Labels are of a biased choice: people see what is doubtful, and a sample. Figures here are made so that this does
not matter as long as the choice follows what the model said: each label is held against what was said of that very
case. Everything that chance makes of so many labels is taken off before it is held against a band.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from math import exp, log, sqrt
from typing import Annotated, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agent.scoring.recalibration import NEAREST, SHIFT

SURE: Final = 3.0  # standard deviations that are chance
WARN: Final = 0.03  # of a mean or a coverage: how far it may be off, chance taken off
ALARM: Final = 0.1
BRIER: Final = (0.01, 0.03)  # warning, alarm: how much the Brier score may be above what the model expects of itself
BINS: Final = 10
STEPS: Final = 60  # halvings of the interval in which the shift lies

Share = Annotated[float, Field(ge=0, le=1)]


class Level(StrEnum):
    """How far a version is from what it was."""

    LEARNING = "learning"  # too few rows yet
    GREEN = "green"
    WARN = "warn"
    ALARM = "alarm"


_RANK: Final = (Level.LEARNING, Level.GREEN, Level.WARN, Level.ALARM)


def worst(*levels: Level) -> Level:
    """The most alarming of these."""
    return max(levels, key=_RANK.index)


class Outcome(NamedTuple):
    """One case about which a person decided: what the model said of it, and whether that was so.

    `covered` is by share of error whether what it was is in the conformal set, None where that is not known.
    """

    said: float
    right: bool
    covered: tuple[tuple[str, bool], ...] = ()


class Outcomes(BaseModel):
    """What was found in the newest labels of one version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: int
    said: Share  # mean of what the model said
    observed: Share  # how often it was so
    brier: float
    brier_expected: float  # where what it says is as often so
    calibration_error: float  # ECE over ten bins
    covered: dict[str, Share] = {}  # by share of error: how often the conformal set held what it was
    level: Level

    @property
    def words(self) -> str:
        """What people are told."""
        other = round(self.labels * (1 - self.observed))
        found = [
            f"people decided {other} of {self.labels} reports otherwise than proposed "
            f"({1 - self.observed:.0%}), the model expected {1 - self.said:.0%} "
            f"(Brier score {self.brier:.3f}, expected {self.brier_expected:.3f})"
        ]
        found += [
            f"what it was is among what the model does not rule out in {share:.0%}, promised are {1 - float(alpha):.0%}"
            for alpha, share in self.covered.items()
        ]
        return "; ".join(found)


class Held(BaseModel):
    """How often a limit that was told held: no more came than was said at most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcomes: int
    share: Share
    promised: Share
    level: Level

    @property
    def words(self) -> str:
        """What people are told."""
        said = f"{self.share:.0%} held what they said at most, {self.promised:.0%} should"
        return f"of {self.outcomes} forecasts {said}"


def held(inside: int, outcomes: int, promised: float, alike: float) -> Held:
    """The figures of these outcomes, of which so many (`alike`) tell as much as one that depends on no other."""
    if not outcomes:
        return Held(outcomes=0, share=1.0, promised=promised, level=Level.LEARNING)
    share = inside / outcomes
    level = _coverage_level(promised, share, outcomes / alike)
    return Held(outcomes=outcomes, share=share, promised=promised, level=level)


def judged(cases: Sequence[Outcome], least: int) -> Outcomes | None:
    """The figures of these cases; None without any. Below `least` of them the level is learning, whatever they say."""
    if not cases:
        return None
    count = len(cases)
    said = sum(one.said for one in cases) / count
    observed = sum(one.right for one in cases) / count
    brier = sum((one.said - one.right) ** 2 for one in cases) / count
    expected = sum(one.said * (1 - one.said) for one in cases) / count
    covered = _covered(cases)
    levels = [
        _mean_level(cases, said, observed),
        _brier_level(cases, brier - expected),
        *_coverage_levels(cases, covered),
    ]
    return Outcomes(
        labels=count,
        said=said,
        observed=observed,
        brier=brier,
        brier_expected=expected,
        calibration_error=_calibration_error(cases),
        covered=covered,
        level=worst(Level.GREEN, *levels) if count >= least else Level.LEARNING,
    )


def _band(value: float, warn: float, alarm: float) -> Level:
    return Level.ALARM if value >= alarm else Level.WARN if value >= warn else Level.GREEN


def _mean_level(cases: Sequence[Outcome], said: float, observed: float) -> Level:
    chance = SURE * sqrt(sum(one.said * (1 - one.said) for one in cases)) / len(cases)
    return _band(abs(observed - said) - chance, WARN, ALARM)


def _brier_level(cases: Sequence[Outcome], excess: float) -> Level:
    chance = SURE * sqrt(sum(one.said * (1 - one.said) * (1 - 2 * one.said) ** 2 for one in cases)) / len(cases)
    return _band(excess - chance, *BRIER)


def _covered(cases: Sequence[Outcome]) -> dict[str, float]:
    told: dict[str, list[bool]] = {}
    for one in cases:
        for alpha, held in one.covered:
            told.setdefault(alpha, []).append(held)
    return {alpha: sum(held) / len(held) for alpha, held in told.items()}


def _coverage_levels(cases: Sequence[Outcome], covered: dict[str, float]) -> list[Level]:
    found = []
    for alpha, share in covered.items():
        promised = 1 - float(alpha)
        count = sum(any(name == alpha for name, _ in one.covered) for one in cases)
        found.append(_coverage_level(promised, share, count))
    return found


def _coverage_level(promised: float, share: float, count: float) -> Level:
    return _band(promised - share - SURE * sqrt(promised * (1 - promised) / count), WARN, ALARM)


def _calibration_error(cases: Sequence[Outcome]) -> float:
    off = [0.0] * BINS
    for one in cases:
        off[min(int(one.said * BINS), BINS - 1)] += one.said - one.right
    return sum(map(abs, off)) / len(cases)


def shift(cases: Sequence[Outcome]) -> float:
    """The shift of the log-odds with which the mean of what the model says is what people found, within ±SHIFT."""
    own = [_odds(one.said) for one in cases]
    right = sum(one.right for one in cases)
    low, high = -SHIFT, SHIFT
    for _ in range(STEPS):
        middle = (low + high) / 2
        if sum(1 / (1 + exp(-(odds + middle))) for odds in own) < right:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _odds(said: float) -> float:
    kept = min(max(said, NEAREST), 1 - NEAREST)
    return log(kept / (1 - kept))
