"""What waits at the work centres, as far as the orders of the ERP tell: what a feasibility model looks at. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import accumulate
from math import inf
from typing import Final, NamedTuple

from agent.errors import BadPayload
from agent.facts import Facts
from agent.features.order_feasibility import (
    FEATURES,
    LEAST_OEE,
    USUAL_FLOW_FACTOR,
    Asked,
    Shop,
    Step,
    Waiting,
    WorkCentreState,
    features,
)
from agent.features.order_history import Pace
from agent.masterdata.entities import Operation, Order
from agent.workflows.constraints import open_operations
from agent.workflows.orders import converted, into
from agent.worktime import HORIZON, Window, present_until

_NEVER: Final = datetime.max.replace(tzinfo=UTC)  # when an order without a due date is due


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


class Queue(NamedTuple):
    """What released orders still do at one work centre, the earliest due first."""

    there: Sequence[Waits]  # may begin at once
    sums: Sequence[float]  # minutes of the first 0, 1, 2 … of them
    coming: Sequence[Waits]  # work of their own comes before it
    arriving: Sequence[Waiting]  # the same in the words of the model, each due before whatever is asked about
    orders: frozenset[str]

    def without(self, order: str) -> Queue:
        """An order does not wait for itself."""
        if order not in self.orders:
            return self
        return _queue(one for one in (*self.there, *self.coming) if one.order != order)


def queue_at(place: str, facts: Facts) -> Queue:
    """What waits at a work centre."""
    return queues(facts).get(place, _NOTHING)


def queues(facts: Facts) -> Mapping[str, Queue]:
    """By work centre; sorted and added up once for every question about this snapshot."""
    known: Mapping[str, Queue] | None = facts.memo.get("queues at work centres")
    return known if known is not None else facts.remember("queues at work centres", _queues(facts))


def _queues(facts: Facts) -> Mapping[str, Queue]:
    found: dict[str, list[Waits]] = {}
    for order in facts.orders.values():
        if order.status != "released":
            continue
        after = 0.0
        for one in open_operations(order):
            minutes = minutes_of(order, one, facts) * _left(order, one)
            family = _family(order, one.work_center, facts)
            if minutes:
                found.setdefault(one.work_center, []).append(Waits(order.order, order.due, minutes, after, family))
            after += minutes
    return {place: _queue(waits) for place, waits in found.items()}


def _queue(waits: Iterable[Waits]) -> Queue:
    rising = sorted(waits, key=_due)
    there, coming = [one for one in rising if not one.after], [one for one in rising if one.after]
    return Queue(
        there,
        list(accumulate((one.minutes for one in there), initial=0.0)),
        coming,
        [Waiting(-inf, one.minutes, one.after) for one in coming],
        frozenset(one.order for one in rising),
    )


def _due(one: Waits) -> datetime:
    return one.due or _NEVER


_NOTHING: Final = _queue(())


def _left(order: Order, operation: Operation) -> float:
    """The share of it that is not confirmed yet, where it is confirmed in the unit of the order."""
    done = operation.confirmed_yield + operation.confirmed_scrap
    return max(0.0, 1 - float(done / order.quantity)) if order.quantity and operation.unit == order.unit else 1.0


def work_minutes(order: Order, facts: Facts) -> float:
    """What is left of its own work."""
    return sum(minutes_of(order, one, facts) for one in open_operations(order))


def effectiveness(place: str, facts: Facts, oees: Mapping[str, float]) -> float:
    """OEE of a work centre: what is expected of it, else what the master data tell; never below LEAST_OEE."""
    known = facts.work_centers.get(place)
    return max(LEAST_OEE, oees.get(place, float(known.oee) if known else 1.0))


def ahead_minutes(order: Order, facts: Facts) -> float:
    """What goes before it at its first work centre: what waits there and is not due later."""
    first = next(iter(open_operations(order)), None)
    if first is None:
        return 0.0
    queue = queue_at(first.work_center, facts).without(order.order)
    return queue.sums[bisect_right(queue.there, order.due or _NEVER, key=_due)]


class Outlook(NamedTuple):
    """What an order may expect beside what waits: `material_wait` in minutes from now, `oees` by work centre."""

    material_wait: float
    oees: Mapping[str, float]  # what is expected; of other work centres the master data tell it
    pace: Pace  # what the last operations on its route took
    hours: Sequence[Sequence[Window]]  # when those are there who may make it, for each certificate of its route


def row(order: Order, facts: Facts, at: datetime, outlook: Outlook) -> tuple[float, ...] | None:
    """The model's inputs, or None where due date or planned times are not known.

    The model knows no nights: of every time that it is told only those minutes count in which somebody is there.
    """
    operations = open_operations(order)
    minutes = [minutes_of(order, one, facts) for one in operations]
    if order.due is None or not operations or not all(minutes):
        return None
    steps = tuple(
        Step(one.work_center, planned, _family(order, one.work_center, facts))
        for one, planned in zip(operations, minutes, strict=True)
    )

    there = [present_until(one) for one in outlook.hours]

    def staffed(minutes: float) -> float:
        """How many of these minutes from now somebody is there for each of the certificates; what is past stays."""
        return minutes if minutes <= 0 else min((one(minutes) for one in there), default=minutes)

    @cache  # many orders are due at the same moment, or at none
    def staffed_until(moment: datetime | None) -> float:
        return staffed(until(moment, at))

    due = staffed_until(order.due)
    latest = max(0.0, due - USUAL_FLOW_FACTOR * sum(minutes))  # where the ERP plans no start: the last sensible one
    start = staffed_until(order.planned_start) if order.planned_start else latest
    asked = Asked(steps, due, start, staffed(outlook.material_wait))
    places = {one.work_center for one in operations}
    states = {place: _state(place, order, facts, outlook.oees, staffed_until) for place in places}
    shop = Shop(states, outlook.pace.flow_factor, outlook.pace.late_share)
    return tuple(_within(name, value) for name, value in zip(FEATURES, features(asked, shop), strict=True))


def _within(name: str, value: float) -> float:
    """Beyond what the model knows there is no more difference: six weeks to spare are as good as a year."""
    if name == "critical_ratio":
        return min(max(value, -19.9), 99.9)
    if name == "flow_factor":
        return min(max(value, 0.5), 50.0)
    return min(max(value, -999.0), 999.0) if name.endswith("_h") else value


def _state(
    place: str, order: Order, facts: Facts, oees: Mapping[str, float], until: Callable[[datetime | None], float]
) -> WorkCentreState:
    """What the features ask of a queue: what goes before this order, and what behind it, each as one."""
    queue, due = queue_at(place, facts).without(order.order), until(order.due)

    def earlier(waits: Sequence[Waits]) -> int:
        return bisect_right(waits, due, key=lambda one: until(one.due))  # who is due later has no fewer minutes left

    before, known = queue.sums[earlier(queue.there)], facts.work_centers.get(place)
    return WorkCentreState(
        queue=(Waiting(due, before), Waiting(inf, queue.sums[-1] - before)),
        coming=tuple(queue.arriving[: earlier(queue.coming)]),
        oee=effectiveness(place, facts, oees),
        family=queue.there[0].family if queue.there else "",
        set_up=float(known.set_up) if known else 0.0,
    )


def until(moment: datetime | None, at: datetime) -> float:
    """Minutes from then to now; negative is past. Without a moment late enough that an order goes last."""
    return HORIZON if moment is None else (moment - at).total_seconds() / 60


def hours(minutes: float) -> str:
    """For people."""
    return "more than ten years" if minutes > HORIZON else f"{Decimal(minutes / 60).quantize(Decimal('0.1')):f} h"
