"""How fast work went through the work centres lately, of the operations that the ERP tells as finished. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from agent.facts import Facts
from agent.features.order_history import WINDOW, Done, Pace, of_route, paces
from agent.masterdata.entities import Order
from agent.workflows import presence
from agent.workflows.constraints import Looked, open_operations
from agent.workflows.shop import minutes_of, until
from agent.worktime import Window, present


class Finished(NamedTuple):
    """One operation, by the clock."""

    order: Order
    work_center: str
    certificate: str
    arrived: datetime  # when the operation before it was finished; the first one: when it was begun itself
    finished: datetime
    minutes: float
    order_finished: datetime | None


def of_order(order: Order, facts: Facts, at: datetime) -> Pace | None:
    """What it may expect on what is left of its route; None where nobody says how long that takes."""
    steps = [(one.work_center, minutes_of(order, one, facts)) for one in open_operations(order)]
    if not any(minutes for _, minutes in steps):
        return None
    return of_route(steps, *_paces(facts, at.replace(second=0, microsecond=0)))


def looked(order: Order, facts: Facts, at: datetime) -> Iterator[Looked]:
    """What was looked at, for the decision's record."""
    pace = of_order(order, facts, at)
    if pace is not None and pace.operations:
        value = f"{pace.flow_factor:.1f} times the work, {100 * pace.late_share:.0f} % of orders late"
        yield Looked(f"the last {pace.operations} operations on its route", value, None)


def _paces(facts: Facts, at: datetime) -> tuple[Pace, Mapping[str, Pace]]:
    """Of the plant and its work centres up to this full minute, within which every question is told the same."""
    known: tuple[Pace, Mapping[str, Pace]] | None = facts.memo.get(("paces", at))
    if known is None:
        recent = [one for one in _finished(facts) if -WINDOW <= until(one.finished, at) <= 0]
        names = {one.certificate for one in recent}
        hours = {name: presence.hours(name, facts, at, since=-WINDOW) for name in names}
        known = facts.remember(("paces", at), paces(_done(one, hours[one.certificate], at) for one in recent))
    return known


def _done(one: Finished, hours: Sequence[Window], at: datetime) -> Done:
    due = until(one.order.due, at) if one.order.due else None
    ended = until(one.order_finished, at) if one.order_finished else None
    arrived, finished = until(one.arrived, at), until(one.finished, at)
    there = present(arrived, finished, hours)
    flow = max(there, min(one.minutes, finished - arrived))  # who works beside the hours that are told is there, too
    return Done(one.work_center, finished, flow, one.minutes, due, ended)


def _finished(facts: Facts) -> Iterator[Finished]:
    """Of every order that this snapshot knows."""
    for order in facts.orders.values():
        if any(one.finished for one in order.operations):
            yield from _of(order, facts)


def _of(order: Order, facts: Facts) -> Iterator[Finished]:
    ends = [one.finished for one in order.operations]
    whole = max((one for one in ends if one is not None), default=None) if None not in ends else None
    before: datetime | None = None
    for one in order.operations:
        arrived, minutes = before or one.started, minutes_of(order, one, facts)
        if one.finished is not None and arrived is not None and minutes > 0 and arrived <= one.finished:
            yield Finished(
                order, one.work_center, presence.certificate(order, one, facts), arrived, one.finished, minutes, whole
            )
        before = one.finished
