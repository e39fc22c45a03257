"""Two versions of a model about the same reports: figures with their spread, and whether the gate lets the newer pass.

Pure: what both said comes in. Differences are the challenger's figure less the champion's, so below zero is better for
losses and costs; their intervals are of a paired bootstrap: the same reports are drawn for both, and drawn anew 2000
times (percentile interval, 95 %; Efron and Tibshirani 1993, "An Introduction to the Bootstrap").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.settings import Promotion

Numbers = NDArray[np.float64]
DRAWS: Final = 2000
AT_ONCE: Final = 100  # draws: bounds the memory
SEED: Final = 7
NEAREST: Final = 1e-6  # to 0 and 1: the logarithm of a probability is finite
BINS: Final = 10


class Case(NamedTuple):
    """One report: what either said of it (None: it had no answer, so a person decides), and what a person said."""

    event_id: int
    champion: float | None
    challenger: float | None
    bar: float
    normal: bool | None = None  # None: nobody has decided about it
    unbiased: bool = False  # shown to a person whatever the score was


class Speed(NamedTuple):
    """Of a single row on this machine, in milliseconds of its processor."""

    median: float
    p99: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both versions, and the interval of the difference."""

    champion: float
    challenger: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        """The challenger is better, and not by chance."""
        return self.high < 0

    @property
    def worse(self) -> bool:
        """The challenger is worse, and not by chance."""
        return self.low > 0


@dataclass(frozen=True, slots=True)
class Share:
    """A share of both versions."""

    champion: float
    challenger: float


@dataclass(frozen=True, slots=True)
class Judged:
    """Both versions beside what people said."""

    normal: int
    wrong: int
    unbiased: int
    brier: Difference
    log_loss: Difference
    cost: Difference  # per report
    caught: Share  # of what was wrong, below the bar
    passed: Share  # of what was normal, at or above it
    calibration: Share  # error of: how far what is said lies from how often it is so


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both said of all reports, and, where people decided, who was right."""

    reports: int
    agree: int  # both above their bar, or both below it
    would_post: tuple[int, ...]  # events that only the challenger would let pass, newest first
    would_hold: tuple[int, ...]  # events that only the champion did let pass
    no_answer: Share  # shares of the reports
    judged: Judged | None  # None: nothing normal, nothing wrong, or nothing that both answered
    normal: int
    wrong: int
    seen: int  # labels that do not count: one of both may have learnt from them
    against: tuple[str, ...]  # why the gate does not let the challenger pass; empty: it does


def compare(
    reports: Sequence[Case], labelled: Sequence[Case], speed: tuple[Speed, Speed], gate: Promotion, *, seen: int = 0
) -> Comparison:
    """All figures. `reports` are the latest decisions, `labelled` those about which a person decided.

    `speed` is the champion's and the challenger's; `seen` is how many labels one of them has learnt from.
    """
    normal = sum(one.normal is True for one in labelled)
    wrong = len(labelled) - normal
    both = any(one.champion is not None and one.challenger is not None for one in labelled)
    judged = _judged(labelled, float(gate.wrong_costs)) if normal and wrong and both else None
    latest = sorted(reports, key=lambda one: -one.event_id)
    post = tuple(one.event_id for one in latest if _passes(one)[1] > _passes(one)[0])
    hold = tuple(one.event_id for one in latest if _passes(one)[1] < _passes(one)[0])
    return Comparison(
        len(reports),
        len(reports) - len(post) - len(hold),
        post,
        hold,
        _no_answer(reports),
        judged,
        normal,
        wrong,
        seen,
        tuple(_against(judged, normal, wrong, speed[1], gate)),
    )


def _passes(one: Case) -> tuple[bool, bool]:
    """Whether champion and challenger let the report pass, as far as the model is asked."""
    champion, challenger = ((said is not None and said >= one.bar) for said in (one.champion, one.challenger))
    return champion, challenger


def _no_answer(cases: Sequence[Case]) -> Share:
    of_all = max(len(cases), 1)
    return Share(
        sum(one.champion is None for one in cases) / of_all, sum(one.challenger is None for one in cases) / of_all
    )


# ── beside what people said ─────────────────────────────────────────────────────────────────────────────────


def _judged(cases: Sequence[Case], wrong_costs: float) -> Judged:
    truth = np.array([one.normal for one in cases], np.float64)
    passes = np.array([_passes(one) for one in cases], np.float64).T
    said = np.array([[np.nan if one is None else one for one in case[1:3]] for case in cases], np.float64).T
    answered = ~np.isnan(said).any(axis=0)  # what one of them did not answer is a person's: it has a cost, no score
    true, told = truth[answered], said[:, answered]
    costs = np.where(truth == 1, 1 - passes, wrong_costs * passes)
    return Judged(
        int(truth.sum()),
        int((1 - truth).sum()),
        sum(one.unbiased for one in cases),
        _difference((told - true) ** 2),
        _difference(_log_loss(told, true)),
        _difference(costs),
        Share(*(float((1 - row[truth == 0]).mean()) for row in passes)),
        Share(*(float(row[truth == 1].mean()) for row in passes)),
        Share(*(calibration_error(row, true) for row in told)),
    )


def _log_loss(told: Numbers, truth: Numbers) -> Numbers:
    kept = np.clip(told, NEAREST, 1 - NEAREST)
    loss: Numbers = -(truth * np.log(kept) + (1 - truth) * np.log(1 - kept))
    return loss


def _difference(of_each: Numbers) -> Difference:
    """From the champion's row and the challenger's, one value per case."""
    champion, challenger = of_each
    low, high = interval(challenger - champion)
    return Difference(float(champion.mean()), float(challenger.mean()), low, high)


def interval(values: Numbers) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean; always the same for the same values."""
    random = np.random.default_rng(SEED)
    draws = (values[random.integers(0, len(values), (AT_ONCE, len(values)))] for _ in range(DRAWS // AT_ONCE))
    means = np.concatenate([one.mean(axis=1) for one in draws])
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return low, high


def calibration_error(said: Numbers, truth: Numbers) -> float:
    """ECE: over ten bins of equal width, how far the mean of what is said lies from how often it is so."""
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    off = np.bincount(place, said - truth, BINS)
    return float(np.abs(off).sum() / len(said))


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────────────


def _against(judged: Judged | None, normal: int, wrong: int, speed: Speed, gate: Promotion) -> Iterator[str]:
    """Every reason not to promote: too little is known, or it is no better, worse somewhere, or slow."""
    if normal + wrong < gate.min_labels or wrong < gate.min_wrong:
        yield (
            f"people have decided about {normal + wrong} reports that neither has learnt from, {wrong} of them wrong; "
            f"{gate.min_labels} are needed, {gate.min_wrong} of them wrong"
        )
    if speed.p99 > gate.max_p99_ms:
        yield (
            f"one answer takes it {speed.p99:.2g} ms of the processor (99 of 100 are faster), allowed are "
            f"{gate.max_p99_ms:g} ms"
        )
    if judged is None:
        yield "there is nothing to judge by: both must have answered, about some normal reports and some wrong ones"
        return
    if not (judged.brier.better or judged.cost.better):
        yield "neither its Brier score nor its cost is better than the champion's beyond chance"
    for name, one in (("Brier score", judged.brier), ("cost", judged.cost)):
        if one.worse:
            yield f"its {name} is worse: {one.challenger:.4g} instead of {one.champion:.4g}"
    yield from _less(judged, float(gate.max_recall_drop))
    error, most = judged.calibration, float(gate.max_ece)
    if error.challenger > max(most, error.champion):
        yield f"its calibration error is {error.challenger:.3f}, allowed are {most:g} or the champion's"


def _less(judged: Judged, most: float) -> Iterator[str]:
    told: tuple[tuple[str, Share], ...] = (
        ("it finds less of what is wrong", judged.caught),
        ("it lets less pass of what is normal", judged.passed),
    )
    for words, one in told:
        if one.challenger < one.champion - most:
            yield f"{words}: {one.challenger:.1%} instead of {one.champion:.1%}, a loss of {most:.1%} is allowed"


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
