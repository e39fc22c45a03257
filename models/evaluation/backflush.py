"""Backflush on simulated orders with known truth: how far the issues are off while an order runs, and after it.

A machine makes pieces; what they take is off the bill of material by a share of its own for every recipe and material,
which wanders from lot to lot, varies by lot, and has a set-up and pieces that fall down besides. The agent hears of ten
pieces at a time, and of scales and counters a lot or two later; some messages overtake others, some come twice, some
quantities are in another unit, and one component has no scale. The simulation knows nothing of how the agent reckons:
it has its own arithmetic, in floats for the truth, and sends what devices show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from math import exp
from pathlib import Path
from random import Random
from statistics import fmean, pstdev
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from agent.configuration.config import parse
from agent.detectors import ratio
from agent.facts import Facts, Plant
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.units import UnitsFile, UnitTable
from agent.workflows.backflush import Backflush, Config
from models.evaluation.figures import Figure

UNITS: Final = Path(__file__).parents[2] / "edge_config" / "units.yaml"
SEEDS: Final = range(10)
ORDERS: Final = 12  # of each seed, of two recipes in turn
PIECES: Final = 4000  # of an order
CYCLE: Final = 10  # pieces of one report
LOT: Final = 160
OFF: Final = 0.02  # how far a recipe's true use is off its bill of material, one standard deviation
WANDER: Final = 0.0005  # of that, from lot to lot
NOISE: Final = 0.007  # of a lot
DROPPED: Final = 0.002  # chance of a piece that falls down
SCRAP: Final = 0.01
LATE: Final = 0.05  # of the reports of production overtake each other
FROM: Final = 0.1  # of the order: from here on a deviation counts; before, a set-up is most of it
AT: Final = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
WHILE_RUNNING: Final = "backflush: order's cumulated quantity off the truth while running, at worst"
BY_BILL: Final = "backflush: the same by the bill of material alone"
PROTOCOL: Final = f"{len(SEEDS)} seeds of {ORDERS} simulated orders of {PIECES} pieces, nothing known at first"


class Part(NamedTuple):
    """A component: what a piece should take, what setting up takes, and in what its device counts."""

    material: str
    quantity: float
    set_up: float
    unit: str
    device: str  # "": nobody measures it
    shown: str  # the unit that the device shows


PARTS: Final = (
    Part("RESIN", 0.96, 1.5, "KGM", "scale", "KGM"),
    Part("PIGMENT", 0.045, 0.05, "KGM", "scale", "GRM"),
    Part("SEAL", 2, 0, "H87", "counter", "H87"),
    Part("WIRE", 0.3, 0, "MTR", "counter", "MTR"),
    Part("GREASE", 0.002, 0, "KGM", "", ""),
)
SHOWS: Final = {"KGM": 3, "GRM": 0, "H87": 0, "MTR": 3}  # decimals


class Message(NamedTuple):
    """One report, when it arrives, and up to which piece the truth had come then."""

    arrives: float  # seconds
    report: SegmentResponse
    pieces: int


@dataclass(slots=True)
class Counted:
    """One seed's orders."""

    worst: list[float] = field(default_factory=list)  # of a measured component of an order: largest share off the truth
    by_bill: list[float] = field(default_factory=list)  # the same, if issued by the bill of material
    at_once: list[float] = field(default_factory=list)  # against what is used by then, reported or not
    settled: int = 0
    exact: int = 0
    issues: int = 0
    measurements: int = 0
    taken_back: int = 0
    intervals: int = 0  # of weighed lots, once five of their recipe were seen
    within: int = 0


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """How far off while running, how many are exact at the end, and how many postings that takes."""
    seeds = [_counted(seed) for seed in SEEDS]
    within = [fmean(one <= 0.01 for one in seed.worst) for seed in seeds]
    worst = [fmean(seed.worst) for seed in seeds]
    bill = [fmean(seed.by_bill) for seed in seeds]
    exact = [seed.exact / seed.settled for seed in seeds]
    back = [seed.taken_back / seed.settled for seed in seeds]
    intervals = [seed.within / seed.intervals for seed in seeds]
    postings = [seed.issues / seed.measurements for seed in seeds]
    return [
        _figure(WHILE_RUNNING, worst, 0.01, less=True),
        _figure(
            "backflush: the same against what is used and not reported yet, too",
            [fmean(seed.at_once) for seed in seeds],
            None,
        ),
        _figure("backflush: components of orders never more than 1 % off while running", within, None),
        _figure(BY_BILL, bill, None),
        _figure("backflush: exact after settlement", exact, 1.0),
        _figure("backflush: components of orders with a take-back to sign", back, None),
        _figure("backflush: goods issues per measurement", postings, None),
        _figure("backflush: weighed lots within their 95 % interval", intervals, None),
    ]


def _figure(name: str, values: list[float], goal: float | None, *, less: bool = False) -> Figure:
    return Figure(name, fmean(values), goal, not less, pstdev(values), PROTOCOL)


def _counted(seed: int) -> Counted:
    random, counted = Random(f"{seed}/backflush"), Counted()
    off = {(product, part.material): random.gauss(0, OFF) for product in ("BLUE", "RED") for part in PARTS}
    states: dict[str, Any] = {}
    flow = Backflush(Config())
    for number in range(ORDERS):
        _run(flow, str(1000 + number), ("BLUE", "RED")[number % 2], off, states, random, counted)
    return counted


def _run(
    flow: Backflush,
    order: str,
    product: str,
    off: dict[tuple[str, str], float],
    states: dict[str, Any],
    random: Random,
    counted: Counted,
) -> None:
    """One order through the workflow, beside its truth."""
    known, seen = facts(order, product), set()
    messages, truth, measured = _order(order, product, off, random)
    issued = dict.fromkeys((part.material for part in PARTS), Decimal(0))
    worst, by_bill, at_once = dict.fromkeys(issued, 0.0), dict.fromkeys(issued, 0.0), dict.fromkeys(issued, 0.0)
    told_pieces, covered = 0, dict.fromkeys(issued, 0)
    for _, report, pieces in messages:
        if report.id in seen:  # a repetition; the agent knows it by its id
            continue
        seen.add(report.id)
        if report.kind == "production":
            told_pieces += int(sum(one.quantity.value for one in report.material_actuals))
        else:
            covered[report.material_actuals[0].material] += int(report.material_actuals[1].quantity.value)
        keys = flow.state_keys(report)
        _interval(report, product, states.get("ratio/PRESS-1", {}), counted)
        proposal, after = flow.propose(report, known, None, [states.get(key, {}) for key in keys])
        states.update(zip(keys, after, strict=True))
        for draft in proposal.drafts:
            back = draft.payload.get("movement") == "262"
            material = draft.payload["material"]
            issued[material] += Decimal(draft.payload["quantity"]) * (-1 if back else 1)
            counted.issues += 1
            counted.taken_back += back
            told = max(told_pieces, covered[material])
            if told >= FROM * PIECES:
                used = truth[material][told]
                at_once[material] = max(at_once[material], abs(float(issued[material]) / truth[material][pieces] - 1))
                worst[material] = max(worst[material], abs(float(issued[material]) / used - 1))
                part = next(part for part in PARTS if part.material == material)
                by_bill[material] = max(by_bill[material], abs((part.quantity * told + part.set_up) / used - 1))
    for part in PARTS:
        if part.device:
            counted.worst.append(worst[part.material])
            counted.at_once.append(at_once[part.material])
            counted.by_bill.append(by_bill[part.material])
            counted.settled += 1
            counted.exact += issued[part.material] == measured[part.material]
    counted.measurements += len({message.report.id for message in messages if message.report.kind == "measured"})


def _interval(report: SegmentResponse, product: str, ratios: Mapping[str, Any], counted: Counted) -> None:
    """Whether a lot that is weighed now lies within what was expected of it; the first of an order has its set-up."""
    if report.kind != "measured" or (report.id or "").endswith("-0"):
        return
    used, made = report.material_actuals
    part = next(part for part in PARTS if part.material == used.material)
    own = ratio.restored(ratios.get(f"{part.material} for {product}"))
    if part.unit == "H87" or own.lots < ratio.FEW:
        return
    expected = part.quantity * float(made.quantity.value)
    shown = float(used.quantity.value) / (1000 if part.shown == "GRM" else 1)
    counted.intervals += 1
    counted.within += abs(shown - ratio.centre(own) * expected) <= ratio.half_width(own, expected)


# ── the simulated machine ───────────────────────────────────────────────────────────────────────────────────


def _order(
    order: str, product: str, off: dict[tuple[str, str], float], random: Random
) -> tuple[list[Message], Mapping[str, list[float]], Mapping[str, Decimal]]:
    """What arrives in the order of its arrival; what was used after each piece; and what devices showed in sum."""
    truth: dict[str, list[float]] = {part.material: [0.0] for part in PARTS}
    measured = {part.material: Decimal(0) for part in PARTS}
    messages: list[Message] = []
    for first in range(0, PIECES, LOT):
        size = min(LOT, PIECES - first)
        scrap = sum(random.random() < SCRAP for _ in range(size))
        messages += _production(order, first, size, scrap, random)
        for part in PARTS:
            off[product, part.material] += random.gauss(0, WANDER)
            used = _used(part, size, off[product, part.material], random, first=first == 0)
            truth[part.material] += _along(truth[part.material][-1], part, used, size, first=first == 0)
            if part.device:
                shown = used * 1000 if part.shown == "GRM" else used
                value = Decimal(f"{shown:.{SHOWS[part.shown]}f}")
                measured[part.material] += value / 1000 if part.shown == "GRM" else value
                messages.append(_measurement(order, part, value, first, size, random))
    return _arrived(messages, random), truth, measured


def _used(part: Part, size: int, off: float, random: Random, *, first: bool) -> float:
    used = part.quantity * size * exp(off + random.gauss(0, NOISE))
    if part.unit == "H87":  # every piece takes its own; some fall down
        used = part.quantity * size + sum(random.random() < DROPPED for _ in range(size))
    return used + (part.set_up * exp(random.gauss(0, 0.1)) if first else 0.0)


def _along(before: float, part: Part, used: float, size: int, *, first: bool) -> Iterator[float]:
    """What was used after each piece of a lot; what setting up takes goes before the first."""
    set_up = min(used, part.set_up) if first else 0.0
    return (before + set_up + (used - set_up) * (number + 1) / size for number in range(size))


def _production(order: str, first: int, size: int, scrap: int, random: Random) -> Iterator[Message]:
    for start in range(first, first + size, CYCLE):
        made = min(CYCLE, first + size - start)
        bad = min(made, scrap) if start == first else 0
        actuals = [_actual(MaterialUse.PRODUCED, Decimal(made - bad), "H87")]
        actuals += [_actual(MaterialUse.SCRAP, Decimal(bad), "H87")] if bad else []
        at = float(start + made)
        final = start + made == PIECES
        late = random.uniform(0, 60) if random.random() < LATE and not final else 0.0
        yield Message(at + late, _report("production", order, f"{order}-P{start}", at, actuals, final=final), 0)


def _measurement(order: str, part: Part, value: Decimal, first: int, size: int, random: Random) -> Message:
    actuals = [
        _actual(MaterialUse.CONSUMED, value, part.shown, part.material),
        _actual(MaterialUse.PRODUCED, Decimal(size), "C62"),
    ]
    at = float(first + size)
    arrives = at + random.uniform(1, 2 * LOT)
    return Message(arrives, _report("measured", order, f"{order}-{part.material}-{first}", at, actuals), 0)


def _arrived(messages: list[Message], random: Random) -> list[Message]:
    """In the order of arrival; every twentieth comes again. Each with the pieces that are made by then."""
    again = [one._replace(arrives=one.arrives + random.uniform(0, 500)) for one in messages if random.random() < 0.05]
    ordered = sorted([*messages, *again], key=lambda one: one.arrives)
    return [one._replace(pieces=min(PIECES, int(one.arrives))) for one in ordered]


def _actual(use: MaterialUse, value: Decimal, unit: str, material: str = "") -> MaterialActual:
    return MaterialActual(use, Quantity(value, unit), material)


def _report(
    kind: str, order: str, id: str, at: float, actuals: list[MaterialActual], *, final: bool = False
) -> SegmentResponse:
    moment = AT + timedelta(seconds=at)
    return SegmentResponse(kind, id, order, "0010", moment, "PRESS-1", final=final, material_actuals=tuple(actuals))


@cache
def facts(order: str, product: str) -> Facts:
    """One order, with tolerances that let every good lot pass."""
    items = [
        {"material": part.material, "quantity": str(part.quantity), "unit": part.unit, "set_up": str(part.set_up)}
        for part in PARTS
    ]
    components = [
        {
            "material": part.material, "reservation": "1", "item": str(number), "operation": "0010", "unit": part.unit,
            "required": f"{part.quantity * PIECES + part.set_up:.3f}",
        }
        for number, part in enumerate(PARTS, 1)
    ]  # fmt: skip
    documents: list[tuple[str, Mapping[str, Any]]] = [
        *(("material", {"material": part.material, "base_unit": part.unit}) for part in PARTS),
        ("material", {"material": product, "base_unit": "H87"}),
        ("work_center", {"work_center": "PRESS-1", "line": "pressing"}),
        ("bom", {"product": product, "unit": "H87", "items": items}),
        ("tolerance", {"under": "0.2", "over": "0.2"}),
        ("order", {
            "order": order, "material": product, "plant": "1", "quantity": str(PIECES), "unit": "H87",
            "status": "released", "components": components,
            "operations": [{"operation": "0010", "work_center": "PRESS-1", "unit": "H87"}],
        }),
    ]  # fmt: skip
    known = Facts(plant=Plant("1", ZoneInfo("UTC"), "EUR"), units=UnitTable.of(parse(UNITS, UnitsFile)))
    return known.with_documents(documents)
