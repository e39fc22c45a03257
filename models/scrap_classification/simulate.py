"""A simulated plant that scraps for six causes: the bench's machines, with noise, gaps and wrong answers.

Each cause leaves traces: a worn tool has a high share of its life behind it, a bad batch scraps at other machines too,
setting up scraps the first pieces. The traces overlap, and one answer in twenty is what somebody wrongly took it for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

from agent.features.scrap_classification import KEPT, LONG, Pieces, Scrap

MATERIAL, SET_UP, TOOL, PROCESS, MACHINE, HANDLING = "material", "set-up", "tool", "process", "machine", "handling"
CAUSES: Final = (HANDLING, MACHINE, MATERIAL, PROCESS, SET_UP, TOOL)
MACHINES: Final = ("MIX-01", "MOLD-02", "ASSY-05")
CODES: Final = ("0001", "0002", "0003")  # as the bench reports them: surface, dimension, contamination
CODE_OF: Final[Mapping[str, tuple[float, float, float]]] = {  # how often each code is given for a cause
    MATERIAL: (0.25, 0.15, 0.60),
    SET_UP: (0.35, 0.55, 0.10),
    TOOL: (0.30, 0.65, 0.05),
    PROCESS: (0.55, 0.35, 0.10),
    MACHINE: (0.40, 0.30, 0.30),
    HANDLING: (0.80, 0.05, 0.15),
}
FREQUENT: Final[Mapping[str, tuple[float, ...]]] = {  # of each machine, in the order of CAUSES
    "MIX-01": (0.10, 0.14, 0.30, 0.30, 0.14, 0.02),
    "MOLD-02": (0.08, 0.13, 0.15, 0.24, 0.18, 0.22),
    "ASSY-05": (0.30, 0.14, 0.22, 0.06, 0.14, 0.14),
}
NO_TOOL: Final = ("MIX-01",)
MISTAKEN: Final = 0.05  # of the answers
NO_CODE: Final = 0.04
NOT_MEASURED: Final = 0.05
START: Final = datetime(2026, 1, 5, 6, tzinfo=ZoneInfo("Europe/Berlin"))


@dataclass(frozen=True, slots=True)
class Case:
    """One report of scrap, and the cause that somebody found for it."""

    scrap: Scrap
    cause: str


@dataclass(slots=True)
class _Plant:
    """What was made so far, by machine; and with the batch that is worked on now."""

    machines: dict[str, Pieces] = field(default_factory=lambda: dict.fromkeys(MACHINES, Pieces()))
    batches: dict[str, Pieces] = field(default_factory=lambda: dict.fromkeys(MACHINES, Pieces()))


def cases(count: int, seed: int) -> Iterator[Case]:
    """So many cases in the order of time; the same seed gives the same."""
    random, plant, at = Random(f"{seed}/scrap_classification"), _Plant(), START
    for _ in range(count):
        at += timedelta(minutes=random.expovariate(1 / 40))
        machine = random.choices(MACHINES, (0.25, 0.40, 0.35))[0]
        cause = random.choices(CAUSES, FREQUENT[machine])[0]
        scrap = _traces(random, cause, _usual(random, machine, at))
        scrap = _history(random, plant, scrap, cause)
        told = random.choice(CAUSES) if random.random() < MISTAKEN else cause
        yield Case(_gaps(random, scrap), told)


def _usual(random: Random, machine: str, at: datetime) -> Scrap:
    """A report without any cause in sight."""
    pieces = float(random.randint(40, 600))
    return Scrap(
        machine=machine,
        defect="",
        at=at,
        pieces=pieces,
        scrapped=max(1.0, round(pieces * random.lognormvariate(-4.6, 0.6))),
        since_set_up=float(random.randint(20, 6000)),
        tool_used=None if machine in NO_TOOL else min(random.betavariate(2, 2.2), 1.0),
        since_stop=random.expovariate(1 / 180),
        temperature_off=random.gauss(0, 0.35),
        pressure_off=random.gauss(0, 0.35),
        cycle_off=random.gauss(0, 0.35),
    )


def _traces(random: Random, cause: str, scrap: Scrap) -> Scrap:
    """The same report as this cause makes it."""
    code = random.choices(CODES, CODE_OF[cause])[0]
    scrap = replace(scrap, defect=code)
    more = min(scrap.pieces, round(scrap.scrapped * random.lognormvariate(0.9, 0.5)))
    if cause == SET_UP:
        return replace(scrap, since_set_up=float(round(random.expovariate(1 / 35))), scrapped=more)
    if cause == TOOL:
        return replace(scrap, tool_used=random.betavariate(14, 1.6), cycle_off=random.gauss(0.35, 0.4))
    if cause == PROCESS:
        off = random.choice(("temperature_off", "pressure_off", "cycle_off"))
        strayed: dict[str, Any] = {off: random.choice((-1, 1)) * random.gauss(1.15, 0.35)}
        return replace(scrap, **strayed, scrapped=more)
    if cause == MACHINE:
        return replace(scrap, since_stop=random.expovariate(1 / 9), cycle_off=random.gauss(0.5, 0.6))
    if cause == MATERIAL:
        return replace(scrap, scrapped=more, pressure_off=random.gauss(0.25, 0.45))
    return scrap


def _history(random: Random, plant: _Plant, scrap: Scrap, cause: str) -> Scrap:
    """What machine and batch did before; the plant remembers this report for the next ones."""
    of_machine, of_batch = plant.machines[scrap.machine], plant.batches[scrap.machine]
    if cause == MATERIAL or random.random() < 0.3:  # another batch; a bad one scrapped elsewhere as well
        made = float(random.randint(0, 1500))
        share = random.lognormvariate(-3.1, 0.5) if cause == MATERIAL else random.lognormvariate(-5.2, 0.6)
        of_batch = Pieces(made, round(made * min(share, 0.5)))
    plant.batches[scrap.machine] = Pieces(of_batch.made + scrap.pieces, of_batch.scrapped + 1)
    kept = KEPT if of_machine.made > LONG else 1.0
    good = float(random.randint(200, 4000))  # lots without scrap in between
    plant.machines[scrap.machine] = Pieces(
        kept * of_machine.made + scrap.pieces + good, kept * of_machine.scrapped + scrap.scrapped
    )
    return replace(scrap, of_machine=of_machine, of_batch=of_batch)


def _gaps(random: Random, scrap: Scrap) -> Scrap:
    """Some values nobody measured, and some codes nobody entered."""
    measured = ("since_set_up", "tool_used", "since_stop", "temperature_off", "pressure_off", "cycle_off")
    missing: dict[str, Any] = {name: None for name in measured if random.random() < NOT_MEASURED}
    code = "" if random.random() < NO_CODE else scrap.defect
    return replace(scrap, **missing, defect=code)
