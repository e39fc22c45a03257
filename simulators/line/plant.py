"""What the machines of the scenario do and report, lot by lot: pure, seeded, without network and without clock.

Each work centre works its orders off one after the other. When a lot is done it reports what every component's scale
or counter saw, then the confirmation. The same scenario, seed and start give the same reports to the last digit.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import islice
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from simulators.scenario import Component, Order, Scenario, WorkCenter

START = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)
LOT_MINUTES = Decimal(3)  # a lot is what a machine makes in about this time
QUANTITY_SPREAD = 0.007  # sigma of the log-normal noise of one weighing
SET_UP_SPREAD = 0.1
MINUTES_SPREAD = 0.03
SCRAP_CHANCE = 0.04  # of a lot; together with the share below about 0.7 % of the pieces
STRAY_CHANCE = 0.004  # that a counted part falls on the floor
SCRAP_REASONS = ("0001", "0002", "0003")
SMALL_SCALE_BELOW = Decimal("0.1")  # kg per unit of product: such components are weighed on a small scale, in g
RESOLUTION = {"KG": Decimal("0.1"), "PC": Decimal(1)}  # of lots
FLOOR_UNIT = {"KG": "kg", "PC": "pcs"}  # what the floor calls the ERP's unit


@dataclass(frozen=True, slots=True)
class Report:
    """One message as the machine means it: `truth` holds the same in the ERP's words and base units, as text."""

    topic: str
    body: dict[str, Any]
    truth: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Weighing:
    """What one scale or counter saw for one lot, in the component's base unit."""

    component: Component
    quantity: Decimal
    device: str
    batch: str


@dataclass(frozen=True, slots=True)
class Lot:
    """What a machine made in one go; `done` is simulated time, `minutes` is machine time."""

    work_center: WorkCenter
    order: Order
    done: datetime
    good: Decimal
    scrap: Decimal
    scrap_reason: str
    minutes: Decimal
    labor_minutes: Decimal
    operator: str
    final: bool
    weighings: tuple[Weighing, ...]

    @property
    def quantity(self) -> Decimal:
        """Good and scrap together: what the components went into."""
        return self.good + self.scrap


Told = Callable[[Lot, str, datetime, Counter[str]], Iterator[Report]]  # a lot, the plant, when it was done, numbers


def reports(
    scenario: Scenario,
    seed: int,
    count: int | None = None,
    *,
    start: datetime = START,
    now: Callable[[], datetime] | None = None,
    told: Told | None = None,
) -> Iterator[Report]:
    """Yield up to `count` reports, fewer when every order of the scenario is finished first.

    Time stamps run on the simulated clock from `start`; give `now` (aware) to stamp each lot when
    its first report is drawn, which is what a live line does. `told` says how a lot is told (`reports_of`).
    """
    zone, numbers = ZoneInfo(scenario.time_zone), Counter[str]()
    made = (
        report
        for lot in lots(scenario, seed, start)
        for report in (told or reports_of)(lot, scenario.plant, (now() if now else lot.done).astimezone(zone), numbers)
    )
    return islice(made, count)


def lots(scenario: Scenario, seed: int, start: datetime = START) -> Iterator[Lot]:
    """Every lot of every work centre in the order in which they are done."""
    shifts = [
        shift(center, [order for order in scenario.orders() if order.work_center == center.work_center], seed, start)
        for center in scenario.work_centers.values()
    ]
    return heapq.merge(*shifts, key=lambda lot: lot.done)


def shift(center: WorkCenter, orders: list[Order], seed: int, start: datetime) -> Iterator[Lot]:
    """The lots of one work centre, which works these orders off one after the other."""
    random = Random(f"{seed}/{center.work_center}")
    done = start
    for order in orders:
        for lot in _run(center, order, done, random):
            done = lot.done
            yield lot


def _run(center: WorkCenter, order: Order, done: datetime, random: Random) -> Iterator[Lot]:
    """One order from set-up to its last lot; good and scrap together make the order's quantity."""
    operator = str(random.randint(4711, 4719))
    remaining, number = order.quantity, 0
    while remaining > 0:
        size = _lot_size(order, remaining, random)
        remaining -= size
        scrap = _scrap(size, order.unit, random)
        minutes = max(Decimal("0.1"), _noisy(size * order.minutes, MINUTES_SPREAD, Decimal("0.1"), random))
        done += timedelta(minutes=float(minutes))
        yield Lot(
            work_center=center,
            order=order,
            done=done,
            good=size - scrap,
            scrap=scrap,
            scrap_reason=random.choice(SCRAP_REASONS) if scrap else "",
            minutes=minutes,
            labor_minutes=_noisy(minutes, MINUTES_SPREAD, Decimal("0.1"), random),
            operator=operator,
            final=remaining == 0,
            weighings=tuple(_weighings(order, size, number, random)),
        )
        number += 1


def _lot_size(order: Order, remaining: Decimal, random: Random) -> Decimal:
    usual = LOT_MINUTES / order.minutes
    step = RESOLUTION[order.unit]
    size = max(step, _round(usual * _factor(random.uniform(0.6, 1.4)), step))
    return remaining if remaining - size < usual * Decimal("0.3") else size


def _scrap(size: Decimal, unit: str, random: Random) -> Decimal:
    if random.random() >= SCRAP_CHANCE:
        return Decimal(0)
    step = RESOLUTION[unit]
    return min(size, max(step, _round(size * _factor(random.uniform(0.02, 0.25)), step)))


def _weighings(order: Order, size: Decimal, lot_number: int, random: Random) -> Iterator[Weighing]:
    for index, component in enumerate(order.components, start=1):
        weighed = component.unit == "KG"
        yield Weighing(
            component=component,
            quantity=_used(component, size, first=lot_number == 0, random=random),
            device=f"{'SC' if weighed else 'CT'}-{index:02d}",
            batch=f"{291 + 10 * index + lot_number // 40:010d}" if weighed else "",  # a container lasts 40 lots
        )


def _used(component: Component, size: Decimal, *, first: bool, random: Random) -> Decimal:
    """What went into a lot: the standard with its noise, the set-up on the first lot, and a part that got lost."""
    step = Decimal("0.001") if component.unit == "KG" else Decimal(1)
    used = max(step, _noisy(component.per_unit * size, QUANTITY_SPREAD, step, random))
    if first and component.set_up:
        used += _noisy(component.set_up, SET_UP_SPREAD, step, random)
    if component.unit == "PC" and random.random() < STRAY_CHANCE:
        used += random.randint(1, 2)
    return used


def _noisy(value: Decimal, spread: float, step: Decimal, random: Random) -> Decimal:
    return _round(value * _factor(random.lognormvariate(0, spread)), step)


def _factor(noise: float) -> Decimal:
    return Decimal(f"{noise:.6f}")


def _round(value: Decimal, step: Decimal) -> Decimal:
    return value.quantize(step, ROUND_HALF_UP)


def reports_of(lot: Lot, plant: str, done: datetime, numbers: Counter[str]) -> Iterator[Report]:
    """What a lot is reported as: each component, then the confirmation; `numbers` counts by work centre."""
    for index, weighing in enumerate(lot.weighings):
        seen = done - timedelta(seconds=len(lot.weighings) - index)
        yield _consumption(lot, weighing, plant, seen, next_number(lot, numbers))
    yield confirmation_of(lot, plant, done, next_number(lot, numbers))


def next_number(lot: Lot, numbers: Counter[str]) -> int:
    """The work centre's next number."""
    numbers[lot.work_center.work_center] += 1
    return numbers[lot.work_center.work_center]


def report_id(work_center: str, number: int) -> str:
    """The sender's own identity of a report, such as MIX-01-000123."""
    return f"{work_center}-{number:06d}"


def _consumption(lot: Lot, weighing: Weighing, plant: str, seen: datetime, number: int) -> Report:
    component, center = weighing.component, lot.work_center
    quantity, unit = on_the_floor(component, weighing.quantity)
    body = {
        "id": report_id(center.work_center, number),
        "seq": number,
        "ts": seen.isoformat(timespec="milliseconds"),
        "order": lot.order.number,
        "operation": lot.order.operation,
        "material": component.material,
        "quantity": quantity,
        "unit": unit,
        "batch": weighing.batch,
        "location": component.storage_location,
        "lot_quantity": lot.quantity,
        "operator": lot.operator,
        "device": weighing.device,
    }
    truth = truth_of("consumption", lot, body) | {
        "material": component.material,
        "quantity": f"{weighing.quantity:f}",
        "unit": component.unit,
        "reservation": component.reservation,
        "item": component.item,
    }
    return Report(f"plant/{plant}/{center.line}/{center.work_center}/consumption", body, truth)


def confirmation_of(lot: Lot, plant: str, done: datetime, number: int) -> Report:
    """Yield, scrap and times of the lot."""
    order, center = lot.order, lot.work_center
    body = {
        "id": report_id(center.work_center, number),
        "seq": number,
        "ts": done.isoformat(timespec="milliseconds"),
        "order": order.number,
        "operation": order.operation,
        "yield": lot.good,
        "scrap": lot.scrap,
        "unit": FLOOR_UNIT[order.unit],
        "scrap_reason": lot.scrap_reason,
        "final": lot.final,
        "start": (done - timedelta(minutes=float(lot.minutes))).isoformat(timespec="milliseconds"),
        "end": done.isoformat(timespec="milliseconds"),
        "machine_minutes": lot.minutes,
        "labor_minutes": lot.labor_minutes,
        "operator": lot.operator,
    }
    truth = truth_of("confirmation", lot, body) | {
        "yield": f"{lot.good:f}",
        "scrap": f"{lot.scrap:f}",
        "unit": order.unit,
        "final": lot.final,
    }
    return Report(f"plant/{plant}/{center.line}/{center.work_center}/confirmation", body, truth)


def on_the_floor(component: Component, quantity: Decimal) -> tuple[Decimal, str]:
    """The quantity as the device shows it: a small scale shows whole grams."""
    if component.unit == "KG" and component.per_unit < SMALL_SCALE_BELOW:
        return (quantity * 1000).quantize(Decimal(1)), "g"
    return quantity, FLOOR_UNIT[component.unit]


def truth_of(kind: str, lot: Lot, body: dict[str, Any]) -> dict[str, Any]:
    """What every report says, in the ERP's words."""
    return {
        "kind": kind,
        "id": body["id"],
        "ts": body["ts"],
        "work_center": lot.work_center.work_center,
        "order": lot.order.number,
        "operation": lot.order.operation,
    }
