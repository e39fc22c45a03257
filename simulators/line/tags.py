"""What the controller of each work centre shows as tags while it works: pure, seeded, without network and clock.

A lot is a sequence of scans. What changes in one scan changes together: first the order, then what was used and made,
last `Lot/Number`, by which a reader knows that a lot is complete. Quantities are totalisers that only grow, in whole
steps of the counter's resolution, and go back to 0 at its modulus where it has one.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from simulators.line import plant
from simulators.line.plant import Lot
from simulators.scenario import Routing, Scenario, WorkCenter

Value = bool | int | Decimal | str

RUNNING, STOPPED = "running", "stopped"
STEP = {"KG": Decimal("0.001"), "PC": Decimal(1)}  # what one count of a component's totaliser stands for
TARE = Decimal("1.250")  # kg, of the empty container on the scale
SHORTLY_BEFORE_ROLLOVER = 36  # counts that a totaliser with a modulus has left when the line starts
LATELY = 10  # lots of which the OEE is the mean
THOUSANDTH = Decimal("0.001")
LONG_IN_USE = 1_000_000  # where the totalisers without one start


class Kind(StrEnum):
    """What a tag holds; each protocol says it in its own data types."""

    TEXT = "text"
    COUNTER = "counter"  # a whole number from 0 to 2³²-1
    NUMBER = "number"  # a decimal
    FLAG = "flag"


class Tag(NamedTuple):
    """One tag of a work centre, and what it shows before the first lot."""

    name: str
    kind: Kind
    initial: Value
    unit: str = ""
    step: Decimal = Decimal(1)  # of a totaliser: `unit`s per count
    modulus: int | None = None  # of a totaliser
    writable: bool = False  # for the reader, who acknowledges


class Update(NamedTuple):
    """A tag has a new value."""

    tag: str
    value: Value


Scan = tuple[Update, ...]
"""What changes together, in this order."""


@dataclass(frozen=True, slots=True)
class TagLot:
    """One lot as a controller shows it. `truths` are what the ERP must have of it, as the line's truth file has it."""

    work_center: str
    number: int  # what `Lot/Number` shows when it is complete
    order: str
    minutes: Decimal
    scans: tuple[Scan, ...]
    truths: tuple[Mapping[str, Any], ...]

    @property
    def changes_order(self) -> bool:
        """Whether its first scan is about an order that the lot before was not about."""
        return any(update.tag == "Order/Number" for update in self.scans[0])


def tags(scenario: Scenario, work_center: str) -> tuple[Tag, ...]:
    """Every tag of a work centre: what says where a quantity belongs stands before the quantities, `Lot/…` last."""
    routing = _routing(scenario, work_center)
    unit, modulus = scenario.materials[routing.product].unit, scenario.work_centers[work_center].counter_modulus
    return (
        Tag("State", Kind.TEXT, STOPPED),
        Tag("Order/Number", Kind.TEXT, ""),
        Tag("Order/Operation", Kind.TEXT, ""),
        Tag("Order/Material", Kind.TEXT, ""),
        Tag("Operator", Kind.TEXT, ""),
        Tag("OEE", Kind.NUMBER, Decimal(1)),  # nothing is lost yet
        *(Tag(f"Component/{part.material}/Batch", Kind.TEXT, "") for part in routing.components),
        *(
            Tag(_total(part.material), Kind.COUNTER, _first(modulus), part.unit, STEP[part.unit], modulus)
            for part in routing.components
        ),
        Tag("Made/Total", Kind.COUNTER, _first(modulus), unit, plant.RESOLUTION[unit], modulus),
        Tag("Made/Good", Kind.COUNTER, _first(modulus), unit, plant.RESOLUTION[unit], modulus),
        Tag("Made/Scrap", Kind.COUNTER, 0, unit, plant.RESOLUTION[unit], modulus),
        *_scale(routing),
        Tag("Lot/Minutes", Kind.NUMBER, Decimal(0), "MIN"),
        Tag("Lot/LaborMinutes", Kind.NUMBER, Decimal(0), "MIN"),
        Tag("Lot/ScrapReason", Kind.TEXT, ""),
        Tag("Lot/Final", Kind.FLAG, False),
        Tag("Lot/Number", Kind.COUNTER, 0),
        Tag("Lot/Done", Kind.FLAG, False),
        Tag("Lot/Ack", Kind.FLAG, False, writable=True),
        Tag("Lot/Error", Kind.COUNTER, 0, writable=True),
    )


def lots(
    scenario: Scenario, seed: int, count: int | None = None, *, lots_per_order: int | None = None
) -> Iterator[TagLot]:
    """Every lot of every work centre in the order in which they are done, until `count` reports could be made of them.

    With `lots_per_order` a work centre goes on to its next order after so many lots, finished or not.
    """
    shifts = [_shift(scenario, center, seed, lots_per_order) for center in scenario.work_centers.values()]
    reported = 0
    for _, lot in heapq.merge(*shifts, key=lambda one: one[0]):
        if count is not None and reported >= count:
            return
        reported += len(lot.truths)
        yield lot


def totals(truths: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Decimal]:
    """What the ERP must have in the end: by order and component, and by order and `yield` or `scrap`."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for truth in truths:
        if truth["kind"] == "consumption":
            sums[truth["order"], truth["material"]] += Decimal(truth["quantity"])
        else:
            for made in ("yield", "scrap"):
                sums[truth["order"], made] += Decimal(truth[made])
    return {key: total for key, total in sums.items() if total}


def _shift(
    scenario: Scenario, center: WorkCenter, seed: int, lots_per_order: int | None
) -> Iterator[tuple[timedelta, TagLot]]:
    """The lots of one work centre, each with the time since the start of the shift at which it is done."""
    orders = [order for order in scenario.orders() if order.work_center == center.work_center]
    made = plant.shift(center, orders, seed, plant.START)
    shown = {tag.name: tag for tag in tags(scenario, center.work_center)}
    values: dict[str, Value] = {name: tag.initial for name, tag in shown.items()}
    zone, numbers, spent, number = ZoneInfo(scenario.time_zone), Counter[str](), timedelta(), 0
    lately: deque[Decimal] = deque(maxlen=LATELY)
    for _, of_order in groupby(made, key=attrgetter("order.number")):
        for lot in islice(of_order, lots_per_order):
            number += 1
            lately.append(_effectiveness(lot))
            spent += timedelta(minutes=float(lot.minutes))
            reports = plant.reports_of(lot, scenario.plant, lot.done.astimezone(zone), numbers)
            truths = tuple(report.truth | {"lot": number} for report in reports)
            scans = tuple(_scans(lot, number, sum(lately, Decimal(0)) / len(lately), shown, values))
            yield spent, TagLot(center.work_center, number, lot.order.number, lot.minutes, scans, truths)


def _scans(lot: Lot, number: int, oee: Decimal, shown: Mapping[str, Tag], values: dict[str, Value]) -> Iterator[Scan]:
    """The scans of one lot; `values` holds what the tags show, and goes along."""
    counted = {_total(one.component.material): one.quantity for one in lot.weighings}
    halfway = {name: int(quantity / shown[name].step) // 2 for name, quantity in counted.items()}
    net = next((one.quantity for one in lot.weighings if one.component.unit == "KG"), None)
    yield _changed(values, _begun(lot, net))
    yield _changed(values, _grown(halfway, shown, values))
    rest = {name: int(quantity / shown[name].step) - halfway[name] for name, quantity in counted.items()}
    made = {"Made/Total": lot.quantity, "Made/Good": lot.good, "Made/Scrap": lot.scrap}
    rest |= {name: int(quantity / shown[name].step) for name, quantity in made.items()}
    told: dict[str, Value] = {"OEE": oee.quantize(THOUSANDTH)}
    done = {**_grown(rest, shown, values), **_weighed(net), **told, **_finished(lot, number)}
    yield _changed(values, done)


def _effectiveness(lot: Lot) -> Decimal:
    """OEE of one lot: what its good pieces should have taken over what it took; these machines never wait."""
    return min(Decimal(1), lot.good * lot.order.minutes / lot.minutes)


def _begun(lot: Lot, net: Decimal | None) -> dict[str, Value]:
    order = lot.order
    about: dict[str, Value] = {
        "Lot/Done": False,
        "State": RUNNING,
        "Order/Number": order.number,
        "Order/Operation": order.operation,
        "Order/Material": order.product,
        "Operator": lot.operator,
    }
    about |= {f"Component/{one.component.material}/Batch": one.batch for one in lot.weighings}
    filling: dict[str, Value] = {"Scale/Stable": False, "Scale/Tare": TARE, "Scale/Gross": TARE}
    return about | (filling if net is not None else {})


def _weighed(net: Decimal | None) -> dict[str, Value]:
    return {} if net is None else {"Scale/Gross": TARE + net, "Scale/Stable": True}


def _finished(lot: Lot, number: int) -> dict[str, Value]:
    return {
        "Lot/Minutes": lot.minutes,
        "Lot/LaborMinutes": lot.labor_minutes,
        "Lot/ScrapReason": lot.scrap_reason,
        "Lot/Final": lot.final,
        "State": STOPPED if lot.final else RUNNING,
        "Lot/Number": number,
        "Lot/Done": True,
    }


def _grown(by: Mapping[str, int], shown: Mapping[str, Tag], values: Mapping[str, Value]) -> dict[str, Value]:
    grown = {name: int(values[name]) + counts for name, counts in by.items()}
    return {name: total % (shown[name].modulus or 1 << 32) for name, total in grown.items()}


def _changed(values: dict[str, Value], wanted: Mapping[str, Value]) -> Scan:
    """What of this is new, as updates; a controller does not report what stays as it is."""
    scan = tuple(Update(name, value) for name, value in wanted.items() if values[name] != value)
    values.update(scan)
    return scan


def _total(material: str) -> str:
    return f"Component/{material}/Total"


def _first(modulus: int | None) -> int:
    return LONG_IN_USE if modulus is None else modulus - SHORTLY_BEFORE_ROLLOVER


def _scale(routing: Routing) -> tuple[Tag, ...]:
    """Where a component is weighed there is a scale: it shows the first of them, lot by lot."""
    if not any(part.unit == "KG" for part in routing.components):
        return ()
    return (
        Tag("Scale/Gross", Kind.NUMBER, Decimal(0), "KG"),
        Tag("Scale/Tare", Kind.NUMBER, Decimal(0), "KG"),
        Tag("Scale/Stable", Kind.FLAG, False),
    )


def _routing(scenario: Scenario, work_center: str) -> Routing:
    return next(one for one in scenario.routings.values() if one.work_center == work_center)
