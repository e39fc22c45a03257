"""What waits at the work centres, as far as the orders of the ERP tell: what a feasibility model looks at. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from agent.errors import BadPayload
from agent.facts import Facts, Operation, Order
from agent.features.order_feasibility import (
    FEATURES,
    USUAL_FLOW_FACTOR,
    Asked,
    Shop,
    Step,
    Waiting,
    WorkCentreState,
    features,
)
from agent.features.order_history import Pace
from agent.workflows.constraints import open_operations
from agent.workflows.orders import converted, into

LATEST: float = 10 * 365 * 24 * 60.0  # minutes: an order without a due date goes last


class Waits(NamedTuple):
    """An operation of a released order that is left to do."""

    order: str
    due: datetime | None
    minutes: float
    after: float  # the work of its own that comes before it
    family: str


def minutes_of(order: Order, operation: Operation, facts: Facts) -> float:
    """How long an operation is planned to take; 0: nobody says so."""
    if operation.minutes:
        return float(operation.minutes)
    routing, product = facts.routing(order.material, operation.work_center), facts.materials.get(order.material)
    if routing is None:
        return 0.0
    try:
        return float(routing.minutes * converted(order.quantity, order.unit, into(routing.unit, product, facts)))
    except BadPayload:  # made in pieces, planned by weight
        return 0.0


def _family(order: Order, place: str, facts: Facts) -> str:
    routing = facts.routing(order.material, place)
    return routing.family if routing else ""


def waiting_at(facts: Facts) -> Mapping[str, Sequence[Waits]]:
    """Work centre → what released orders still do there; the same for every question about this snapshot."""
    known: Mapping[str, Sequence[Waits]] | None = facts.memo.get("waiting at work centres")
    if known is not None:
        return known
    found: dict[str, list[Waits]] = {}
    for order in facts.orders.values():
        if order.status != "released":
            continue
        after = 0.0
        for one in open_operations(order):
            minutes = minutes_of(order, one, facts)
            family = _family(order, one.work_center, facts)
            found.setdefault(one.work_center, []).append(Waits(order.order, order.due, minutes, after, family))
            after += minutes
    return facts.remember("waiting at work centres", found)


def work_minutes(order: Order, facts: Facts) -> float:
    """What is left of its own work."""
    return sum(minutes_of(order, one, facts) for one in open_operations(order))


def ahead_minutes(order: Order, facts: Facts, at: datetime) -> float:
    """What goes before it at its first work centre: what waits there and is due earlier."""
    first = next(iter(open_operations(order)), None)
    if first is None:
        return 0.0
    own = until(order.due, at)
    waiting = waiting_at(facts).get(first.work_center, ())
    return sum(
        one.minutes for one in waiting if one.after == 0 and one.order != order.order and until(one.due, at) <= own
    )


def row(
    order: Order, facts: Facts, at: datetime, material_wait: float, oees: Mapping[str, float], pace: Pace
) -> tuple[float, ...] | None:
    """The model's inputs, or None where due date or planned times are not known.

    `material_wait` in minutes; `oees` are what is expected of work centres, of the others the master data tell it;
    `pace` is what the last operations on its route took.
    """
    operations = open_operations(order)
    minutes = [minutes_of(order, one, facts) for one in operations]
    if order.due is None or not operations or not all(minutes):
        return None
    steps = tuple(
        Step(one.work_center, planned, _family(order, one.work_center, facts))
        for one, planned in zip(operations, minutes, strict=True)
    )
    due = until(order.due, at)
    latest = max(0.0, due - USUAL_FLOW_FACTOR * sum(minutes))  # where the ERP plans no start: the last sensible one
    start = until(order.planned_start, at) if order.planned_start else latest
    asked = Asked(steps, due, start, material_wait)
    states = {one.work_center: _state(one.work_center, order, facts, at, oees) for one in operations}
    shop = Shop(states, pace.flow_factor, pace.late_share)
    return tuple(_within(name, value) for name, value in zip(FEATURES, features(asked, shop), strict=True))


def _within(name: str, value: float) -> float:
    """Beyond what the model knows there is no more difference: six weeks to spare are as good as a year."""
    if name == "critical_ratio":
        return min(max(value, -19.9), 99.9)
    if name == "flow_factor":
        return min(max(value, 0.5), 50.0)
    return min(max(value, -999.0), 999.0) if name.endswith("_h") else value


def _state(place: str, order: Order, facts: Facts, at: datetime, oees: Mapping[str, float]) -> WorkCentreState:
    others = [one for one in waiting_at(facts).get(place, ()) if one.order != order.order and one.minutes]
    queue = [one for one in others if one.after == 0]
    known = facts.work_centers.get(place)
    next_one = min(queue, key=lambda one: until(one.due, at), default=None)
    return WorkCentreState(
        queue=tuple(Waiting(until(one.due, at), one.minutes) for one in queue),
        coming=tuple(Waiting(until(one.due, at), one.minutes, one.after) for one in others if one.after),
        oee=oees.get(place, float(known.oee) if known else 1.0),
        family=next_one.family if next_one else "",
        set_up=float(known.set_up) if known else 0.0,
    )


def until(moment: datetime | None, at: datetime) -> float:
    """Minutes from then to now; negative is past."""
    return LATEST if moment is None else (moment - at).total_seconds() / 60


def hours(minutes: float) -> str:
    """For people."""
    return f"{Decimal(minutes / 60).quantize(Decimal('0.1')):f} h"
