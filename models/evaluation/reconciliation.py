"""Reconciliation on simulated weeks with known truth: what is found, what is alarmed for nothing, the cause named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Final

from agent.reconciliation.findings import Finding
from agent.reconciliation.state import State
from agent.reconciliation.step import step
from models.evaluation.figures import Figure
from models.evaluation.plantweeks import BEGIN, SMALLEST, WARM_UP, Truth, Weeks, simulate

SEEDS: Final = range(10)
LOOK: Final = timedelta(hours=1)  # between two looks
NEAR: Final = timedelta(days=3)  # a finding of an order so far off is another
AROUND: Final = timedelta(hours=30)  # the same for one of a place
PROTOCOL: Final = f"simulated weeks of six lines, {len(SEEDS)} seeds, four weeks after two of learning"


@dataclass
class Counted:
    """One seed."""

    movements: int
    truths: list[Truth]
    found: dict[int, tuple[Finding, datetime]] = field(default_factory=dict)  # truth → what found it first, and when
    false: list[Finding] = field(default_factory=list)

    @property
    def large(self) -> list[int]:
        """What counts: above twice the noise."""
        return [at for at, one in enumerate(self.truths) if one.size >= SMALLEST]


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """Share found, false alarms per thousand movements, share of right causes; each over the seeds."""
    seeds = [counted(simulate(seed)) for seed in SEEDS]
    figures = [
        _figure("reconciliation: discrepancies above twice the noise found", [_recall(one) for one in seeds], 0.95),
        _figure(
            "reconciliation: false alarms per 1000 movements",
            [1000 * len(one.false) / one.movements for one in seeds],
            1.0,
            at_least=False,
        ),
        _figure("reconciliation: right cause of those found", [_right(one) for one in seeds], 0.85),
        _figure("reconciliation: hours until it is found, median", [_delay(one) for one in seeds], None),
    ]
    causes = sorted({truth.cause for one in seeds for truth in one.truths})
    for cause in causes:
        shares = [_recall(one, lambda truth, cause=cause: truth.cause == cause) for one in seeds]  # type: ignore[misc]
        figures.append(_figure(f"reconciliation: {cause} found", shares, None))
    return figures


def _figure(name: str, values: list[float], goal: float | None, *, at_least: bool = True) -> Figure:
    return Figure(name, fmean(values), goal, at_least, pstdev(values), PROTOCOL)


def _recall(one: Counted, of: Callable[[Truth], bool] = lambda truth: True) -> float:
    wanted = [at for at in one.large if of(one.truths[at])]
    return sum(at in one.found for at in wanted) / len(wanted) if wanted else 1.0


def _right(one: Counted) -> float:
    return fmean(finding.cause.value == one.truths[at].cause for at, (finding, _) in one.found.items())


def _delay(one: Counted) -> float:
    return median((when - one.truths[at].at).total_seconds() / 3600 for at, (_, when) in one.found.items())


def counted(weeks: Weeks) -> Counted:
    """One run, looked at every hour."""
    result, state = Counted(weeks.movements, weeks.truths), State()
    number, now = 0, BEGIN
    end = weeks.arrivals[-1][0] + timedelta(days=2)
    while now < end:
        now += LOOK
        start = number
        while number < len(weeks.arrivals) and weeks.arrivals[number][0] <= now:
            number += 1
        for finding in step(state, (one for _, one in weeks.arrivals[start:number]), now, weeks.materials):
            if now >= BEGIN + WARM_UP:
                _compared(result, finding, now)
    return result


def _compared(result: Counted, finding: Finding, now: datetime) -> None:
    of = [at for at, truth in enumerate(result.truths) if _same(truth, finding)]
    if not of:
        result.false.append(finding)
    else:  # of several in one order it is the nearest
        nearest = min(of, key=lambda at: abs(result.truths[at].at - finding.at))
        result.found.setdefault(nearest, (finding, now))


def _same(truth: Truth, finding: Finding) -> bool:
    if finding.place.material not in truth.materials and (
        finding.instead is None or finding.instead.material not in truth.materials
    ):
        return False
    if truth.order:
        return finding.order == truth.order and abs(finding.at - truth.at) <= NEAR
    return not finding.order and finding.at <= truth.until + AROUND and finding.until >= truth.at - AROUND
