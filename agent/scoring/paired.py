"""Figures of two versions of a model about the same cases, how they differ beyond chance, and how quick either is.

Pure. Intervals are of a paired bootstrap: the same cases are drawn for both, and drawn anew 2000 times (percentile
interval, 95 %; Efron and Tibshirani 1993, "An Introduction to the Bootstrap"). Always the same for the same cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
DRAWS: Final = 2000
AT_ONCE: Final = 100  # draws: bounds the memory
SEED: Final = 7
BETWEEN: Final = (0.025, 0.975)
BINS: Final = 10


class Speed(NamedTuple):
    """Of a single row on this machine, in milliseconds of its processor."""

    median: float
    p99: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both versions, and the interval of the challenger's less the champion's."""

    champion: float
    challenger: float
    low: float
    high: float
    more_is_better: bool = False  # as of an accuracy; else as of a loss or a cost

    @property
    def better(self) -> bool:
        """The challenger is better, and not by chance."""
        return self.low > 0 if self.more_is_better else self.high < 0

    @property
    def worse(self) -> bool:
        """The challenger is worse, and not by chance."""
        return self.high < 0 if self.more_is_better else self.low > 0


@dataclass(frozen=True, slots=True)
class Share:
    """A share of both versions."""

    champion: float
    challenger: float


def unanswered(champion: Sequence[object], challenger: Sequence[object]) -> Share:
    """The shares of None, which is no answer, of what either said of the same cases."""
    of_all = max(len(champion), 1)
    return Share(*(sum(one is None for one in said) / of_all for said in (champion, challenger)))


Statistic = Callable[[Numbers], Numbers]
"""Of draws (one a row: how often each case was drawn) the figure of each."""


class Figure(NamedTuple):
    """A figure of both that follows from how often each case counts; NaN where it follows from none."""

    champion: Statistic
    challenger: Statistic
    more_is_better: bool = False


def mean(of_each: Numbers, *, more_is_better: bool = False) -> Figure:
    """From the champion's row and the challenger's, one value per case."""
    champion, challenger = of_each
    return Figure(_mean(champion), _mean(challenger), more_is_better)


def ratio(parts: Numbers, wholes: Numbers, *, more_is_better: bool = False) -> Figure:
    """What `parts` are of `wholes`: of both the champion's row and the challenger's, one value per case."""

    def statistic(part: Numbers, whole: Numbers) -> Statistic:
        def of(drawn: Numbers) -> Numbers:
            base = drawn @ whole
            return np.divide(drawn @ part, base, out=np.full_like(base, np.nan), where=base > 0)

        return of

    return Figure(statistic(parts[0], wholes[0]), statistic(parts[1], wholes[1]), more_is_better)


def differences(figures: Mapping[str, Figure], cases: int) -> dict[str, Difference]:
    """Of each of these figures of so many cases, all by the same draws."""
    once, found = np.ones((1, cases)), {name: list[Numbers]() for name in figures}
    for drawn in _draws(cases):
        for name, one in figures.items():
            found[name].append(one.challenger(drawn) - one.champion(drawn))
    return {
        name: Difference(
            float(one.champion(once)[0]),
            float(one.challenger(once)[0]),
            *_between(np.concatenate(found[name])),
            one.more_is_better,
        )
        for name, one in figures.items()
    }


def difference(of_each: Numbers) -> Difference:
    """Of means, less of which is better: from the champion's row and the challenger's, one value per case."""
    return differences({"": mean(of_each)}, of_each.shape[1])[""]


def interval(values: Numbers) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean."""
    return _between(np.concatenate([_mean(values)(drawn) for drawn in _draws(len(values))]))


def _between(found: Numbers) -> tuple[float, float]:
    known = found[~np.isnan(found)]  # a draw without any case that the figure is about says nothing
    low, high = np.quantile(known, BETWEEN).tolist() if len(known) else (np.nan, np.nan)
    return low, high


def _draws(cases: int) -> Iterator[Numbers]:
    random = np.random.default_rng(SEED)
    row_starts = cases * np.arange(AT_ONCE)[:, None]
    for _ in range(DRAWS // AT_ONCE):
        drawn = random.integers(0, cases, (AT_ONCE, cases)) + row_starts
        yield np.bincount(drawn.ravel(), minlength=AT_ONCE * cases).reshape(AT_ONCE, cases).astype(np.float64)


def _mean(values: Numbers) -> Statistic:
    def of(drawn: Numbers) -> Numbers:
        found: Numbers = drawn @ values / len(values)
        return found

    return of


def calibration_error(said: Numbers, truth: Numbers) -> float:
    """ECE: over ten bins of equal width, how far the mean of what is said lies from how often it is so."""
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    off = np.bincount(place, said - truth, BINS)
    return float(np.abs(off).sum() / len(said))


# ── how quick ───────────────────────────────────────────────────────────────────────────────────────────────


Ask = Callable[[], object]


def speed(ask: Ask, clock: Callable[[], float], times: int = 200, rounds: int = 5) -> Speed:
    """Of `ask` in its best round, each of so many calls after a few that do not count; `clock` tells seconds.

    Told by a clock of the thread's own processor time, what else the machine does is no part of it; what is left of
    that (caches, a host below) has gone from the best round.
    """
    for _ in range(times // 10):
        ask()
    found = [_round(ask, clock, times) for _ in range(rounds)]
    return Speed(min(one.median for one in found), min(one.p99 for one in found))


def _round(ask: Ask, clock: Callable[[], float], times: int) -> Speed:
    taken = []
    for _ in range(times):
        began = clock()
        ask()
        taken.append((clock() - began) * 1e3)
    return Speed(*np.quantile(taken, (0.5, 0.99)).tolist())


# ── what every gate asks ────────────────────────────────────────────────────────────────────────────────────


def too_slow(speed: Speed, most_ms: float) -> Iterator[str]:
    """Why not, where one answer takes too long."""
    if speed.p99 > most_ms:
        found = f"one answer takes it {speed.p99:.2g} ms of the processor"
        yield f"{found} (99 of 100 are faster), allowed are {most_ms:g} ms"


def miscalibrated(error: Share, most: float) -> Iterator[str]:
    """Why not, where what it says is not as often so; a champion that is further off is no better."""
    if error.challenger > max(most, error.champion):
        yield f"its calibration error is {error.challenger:.3f}, allowed are {most:g} or the champion's"
