"""What is usual at a place, on simulated jobs with the noise of a real wire machine: leaks, and errors of recording.

A job takes its length of wire and what setting up costs, 0.13 m in the median, which nobody has told the agent. Half of
the jobs are shorter than 11 m: there the set-up is most of the noise; above 100 m the noise is 0.4 %. Every job goes
through the workflow as it serves. Every other stream is in kilograms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from math import exp
from pathlib import Path
from random import Random
from statistics import fmean, median, pstdev
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from agent.configuration.config import parse
from agent.digits import transpositions
from agent.facts import Facts, Plant
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.units import UnitsFile, UnitTable
from agent.workflows.consumption import Config, Consumption
from models.evaluation.figures import Figure

UNITS: Final = Path(__file__).parents[2] / "edge_config" / "units.yaml"
SEEDS: Final = range(10)
STREAMS: Final = 30  # of each seed
JOBS: Final = 450
ONSET: Final = (150, 300)  # of the leak
LEAK: Final = 0.02
ERRORS_FROM: Final = 150  # a job in ten behind this one is tried with every error, and leaves no trace
EVERY: Final = 10
SMALLEST: Final = Decimal("0.001")
AT: Final = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
PROTOCOL: Final = f"simulated wire jobs, {len(SEEDS)} seeds of {STREAMS} streams of {JOBS} jobs, nothing known at first"
FLOW: Final = Consumption(Config(double_report_seconds=0))


Error = Callable[[Decimal, str, Random], tuple[Decimal, str]]  # what was used and its unit → what is reported


class Job(NamedTuple):
    """What a job should take by its bill of material, and what it took, in the stream's unit."""

    length: Decimal
    used: Decimal


@dataclass(slots=True)
class Counted:
    """One seed's streams."""

    delays: list[float] = field(default_factory=list)  # jobs from the onset to the alarm
    false_streams: int = 0  # with an alarm before it
    good: int = 0  # jobs before the onset
    held: int = 0  # of these
    tried: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ERRORS, 0))
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ERRORS, 0))


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """Delay and false alarms for a leak of two per cent, and the share of recording errors that are held."""
    seeds = [_counted(seed) for seed in SEEDS]
    delays = [median(one.delays) for one in seeds]
    figures = [
        Figure(
            "2 % leak found, median jobs",
            median([jobs for one in seeds for jobs in one.delays]),
            12,
            at_least=False,
            spread=pstdev(delays),
            protocol=PROTOCOL,
        ),
        _share(
            "streams with a false alarm before the leak",
            seeds,
            lambda one: one.false_streams / STREAMS,
            0.03,
            at_least=False,
        ),
        _share("good jobs held", seeds, lambda one: one.held / one.good, None),
    ]
    return figures + [_share(f"found: {name}", seeds, partial(_found, name), goal) for name, goal in GOALS.items()]


def _found(error: str, counted: Counted) -> float:
    return counted.found[error] / counted.tried[error]


def _share(
    name: str, seeds: list[Counted], of: Callable[[Counted], float], goal: float | None, *, at_least: bool = True
) -> Figure:
    values = [of(one) for one in seeds]
    return Figure(name, fmean(values), goal, at_least, pstdev(values), PROTOCOL)


def _counted(seed: int) -> Counted:
    random, counted = Random(f"{seed}/consumption"), Counted()
    for number in range(STREAMS):
        _follow(("MTR", "KGM")[number % 2], random, counted)
    return counted


def _follow(unit: str, random: Random, counted: Counted) -> None:
    """One stream of jobs through the workflow, and what it said of them."""
    usage: Any = {}
    onset, false, delay = random.randint(*ONSET), False, float(JOBS)
    for number, job in enumerate(jobs(random, onset)):
        if number >= ERRORS_FROM and number < onset and number % EVERY == 0:
            _try_errors(job, unit, number, usage, random, counted)
        holds, alarm, usage = _reported(job, unit, number, usage)
        if number < onset:
            counted.good, counted.held = counted.good + 1, counted.held + bool(holds)
            false = false or bool(alarm)
        elif alarm:
            delay = min(delay, number - onset + 1)
    counted.delays.append(delay)
    counted.false_streams += false


def _try_errors(job: Job, unit: str, number: int, usage: Any, random: Random, counted: Counted) -> None:
    for name, error in ERRORS.items():
        wrong, told = error(job.used, unit, random)
        if (wrong, told) != (job.used, unit):
            counted.tried[name] += 1
            counted.found[name] += bool(_reported(job._replace(used=wrong), unit, number, usage, told)[0])


def _reported(job: Job, unit: str, number: int, usage: Any, told: str = "") -> tuple[tuple[str, ...], str, Any]:
    """Holds, alarm and the stream after a job; every job is an order of its own."""
    report = SegmentResponse(
        kind="consumption",
        id=str(number),
        order="1",
        operation="0010",
        occurred_at=AT + timedelta(minutes=number),
        work_center="CUT-01",
        material_actuals=(
            MaterialActual(MaterialUse.CONSUMED, Quantity(job.used, told or unit), "WIRE"),
            MaterialActual(MaterialUse.PRODUCED, Quantity(job.length, unit)),
        ),
    )
    proposal, (_, after) = FLOW.propose(report, facts(unit), None, [{}, usage])
    return proposal.holds, proposal.alarm, after


# ── the simulated place ─────────────────────────────────────────────────────────────────────────────────────


def jobs(random: Random, onset: int) -> Iterator[Job]:
    """A stream of jobs; from the onset on more is used than is cut off."""
    for number in range(JOBS):
        length = Decimal(f"{min(5000.0, max(0.2, 10.8 * exp(random.gauss(0, 2.3)))):.3f}")
        used = float(length) * exp(random.gauss(0, 0.004)) + 0.13 * exp(random.gauss(0, 0.25))
        if number >= onset:
            used *= 1 + LEAK
        yield Job(length, Decimal(f"{used:.3f}"))


@cache
def facts(unit: str) -> Facts:
    """One order that is never used up, and a tolerance that lets every good job pass: small ones take twice."""
    component = {"material": "WIRE", "reservation": "1", "item": "1", "required": "1000000000", "unit": unit}
    documents: list[tuple[str, Mapping[str, Any]]] = [
        ("material", {"material": "WIRE", "base_unit": unit}),
        ("material", {"material": "CUT", "base_unit": unit}),
        ("work_center", {"work_center": "CUT-01", "line": "cutting"}),
        ("bom", {"product": "CUT", "unit": unit, "items": [{"material": "WIRE", "quantity": "1", "unit": unit}]}),
        ("tolerance", {"under": "0.5", "over": "1"}),
        ("order", {
            "order": "1", "material": "CUT", "plant": "1", "quantity": "1000000000", "unit": unit, "status": "released",
            "operations": [{"operation": "0010", "work_center": "CUT-01", "unit": unit}],
            "components": [component],
        }),
    ]  # fmt: skip
    known = Facts(plant=Plant("1", ZoneInfo("UTC"), "EUR"), units=UnitTable.of(parse(UNITS, UnitsFile)))
    return known.with_documents(documents)


# ── errors of recording ─────────────────────────────────────────────────────────────────────────────────────


def _times(*factors: str) -> Error:
    return lambda used, unit, random: ((used * Decimal(random.choice(factors))).quantize(SMALLEST), unit)


def _another_unit(used: Decimal, unit: str, random: Random) -> tuple[Decimal, str]:
    """The number is meant in feet and told in metres, or the other way round; pounds and kilograms likewise."""
    other, size = {"MTR": ("FOT", Decimal("0.3048")), "KGM": ("LBR", Decimal("0.45359237"))}[unit]
    return ((used / size).quantize(SMALLEST), unit) if random.random() < 0.5 else (used, other)


def _leading_digits_swapped(used: Decimal, unit: str, random: Random) -> tuple[Decimal, str]:
    """12.345 written as 21.345; the same where the two are equal or the point lies between them."""
    text = f"{used:f}"
    return (Decimal(text[1] + text[0] + text[2:]) if text[:2].isdigit() else used), unit


def _any_digits_swapped(used: Decimal, unit: str, random: Random) -> tuple[Decimal, str]:
    """Two neighbours anywhere: 12.345 written as 12.354 can be found by nobody, and weighs nothing."""
    swapped = list(transpositions(used))
    return (random.choice(swapped) if swapped else used), unit


ERRORS: Final[Mapping[str, Error]] = {
    "ten times or a tenth": _times("10", "0.1"),
    "another unit (m and ft, kg and lb)": _another_unit,
    "twice": _times("2"),
    "leading digits swapped": _leading_digits_swapped,
    "any neighbouring digits swapped": _any_digits_swapped,
}
GOALS: Final[Mapping[str, float | None]] = {
    "ten times or a tenth": 1.0,
    "another unit (m and ft, kg and lb)": 1.0,
    "twice": None,
    "leading digits swapped": 0.97,
    "any neighbouring digits swapped": None,
}
