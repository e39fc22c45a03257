"""What a line that backflushes reports of a lot: pieces as they are made, and later what its scales and counters saw.

It takes the place of the reports of consumption; the confirmation stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from simulators.line.plant import (
    RESOLUTION,
    Lot,
    Report,
    Weighing,
    confirmation_of,
    next_number,
    on_the_floor,
    report_id,
    truth_of,
)

PARTS = 5  # reports of pieces for one lot


class Pieces(NamedTuple):
    """What was made since the last report; `final`: the order has its last piece."""

    good: Decimal
    scrap: Decimal
    final: bool


def cycles_of(lot: Lot, plant: str, done: datetime, numbers: Counter[str]) -> Iterator[Report]:
    """Pieces in five parts, each component as it was measured, then the confirmation; `numbers` by work centre."""
    seconds = float(lot.minutes) * 60
    marks = _marks(lot.good, RESOLUTION[lot.order.unit])
    for part, (before, after) in enumerate(pairwise(marks), 1):
        at = done - timedelta(seconds=seconds * (1 - part / PARTS))
        last = part == PARTS
        made = Pieces(after - before, lot.scrap if last else Decimal(0), lot.final and last)
        yield _production(lot, plant, at, next_number(lot, numbers), made)
    for weighing in lot.weighings:
        yield _measurement(lot, weighing, plant, done, next_number(lot, numbers))
    yield confirmation_of(lot, plant, done, next_number(lot, numbers))


def _marks(good: Decimal, step: Decimal) -> list[Decimal]:
    """Up to where the lot had come after each part, in steps of its unit."""
    return [(good * part / PARTS // step) * step for part in range(PARTS)] + [good]


def _production(lot: Lot, plant: str, at: datetime, number: int, made: Pieces) -> Report:
    body = _head(lot, at, number) | {"good": made.good, "scrap": made.scrap, "final": made.final}
    truth = truth_of("production", lot, body) | {
        "good": f"{made.good:f}",
        "scrap": f"{made.scrap:f}",
        "unit": lot.order.unit,
    }
    return Report(_topic(lot, plant, "production"), body, truth)


def _measurement(lot: Lot, weighing: Weighing, plant: str, at: datetime, number: int) -> Report:
    component = weighing.component
    quantity, unit = on_the_floor(component, weighing.quantity)
    body = _head(lot, at, number) | {
        "material": component.material,
        "quantity": quantity,
        "unit": unit,
        "batch": weighing.batch,
        "location": component.storage_location,
        "lot_quantity": lot.quantity,
        "device": weighing.device,
    }
    shown = quantity / 1000 if unit == "g" else quantity
    truth = truth_of("measured", lot, body) | {
        "material": component.material,
        "quantity": f"{shown:f}",
        "unit": component.unit,
        "reservation": component.reservation,
        "item": component.item,
    }
    return Report(_topic(lot, plant, "measured"), body, truth)


def _head(lot: Lot, at: datetime, number: int) -> dict[str, Any]:
    return {
        "id": report_id(lot.work_center.work_center, number),
        "seq": number,
        "ts": at.isoformat(timespec="milliseconds"),
        "order": lot.order.number,
        "operation": lot.order.operation,
        "operator": lot.operator,
    }


def _topic(lot: Lot, plant: str, kind: str) -> str:
    return f"plant/{plant}/{lot.work_center.line}/{lot.work_center.work_center}/{kind}"
