"""When an order can start and when it would be finished: what waits before it, what it waits for, hours, OEE. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from agent.facts import Facts
from agent.workflows import presence, shop
from agent.workflows.constraints import BLOCKS, Asked, Constraint, open_operations
from agent.workflows.orders import shown
from agent.worktime import HORIZON, Window, later, worked, worked_off


class Earliest(NamedTuple):
    """As far as it is known. `set_by` is what holds it up last, for people."""

    starts: datetime
    ends: datetime
    set_by: str
    work: float  # planned minutes of it that are left

    def takes(self) -> str:
        """How long from start to end, and why longer than its work."""
        lasts = (self.ends - self.starts).total_seconds() / 60
        longer = f" take {shop.hours(lasts)}, with OEE and people's hours, and" if lasts - self.work >= 6 else ""
        return f"{shop.hours(self.work)} of work from then on{longer}"


def earliest(asked: Asked, constraints: Sequence[Constraint], facts: Facts, oees: Mapping[str, float]) -> Earliest:
    """From the moment of asking; `oees` are what is expected of work centres, of the others the master data tell it."""
    operations = open_operations(asked.order)
    free, ready, set_by = 0.0, 0.0, "nothing: it can start now"
    ahead = shop.ahead_minutes(asked.order, facts)
    if ahead > 0:
        first = operations[0].work_center
        ready = worked_off(ahead / shop.effectiveness(first, facts, oees), _hours(asked, 0, facts))
        set_by = f"{shop.hours(ahead)} of work ahead at {first}"
    for constraint in constraints:
        if constraint.at is not None and (wait := shop.until(constraint.at, asked.at)) > ready:
            ready, set_by = wait, constraint.said
    starts = free = ready
    for at, one in enumerate(operations):
        minutes = shop.minutes_of(asked.order, one, facts) / shop.effectiveness(one.work_center, facts, oees)
        begin, free = worked(minutes, free, _hours(asked, at, facts))
        if at == 0 and begin > ready:
            set_by = _said(asked, ready, begin, set_by)
            starts = begin
    unknown = next((one for one in constraints if one.weight == BLOCKS and one.at is None), None)
    if unknown:
        set_by = f"nobody knows: {unknown.said}"
    return Earliest(later(asked.at, starts), later(asked.at, free), set_by, shop.work_minutes(asked.order, facts))


def _hours(asked: Asked, at: int, facts: Facts) -> tuple[Window, ...]:
    """Of whoever may do this operation."""
    operation = open_operations(asked.order)[at]
    needed = presence.certificate(asked.order, operation, facts) or asked.skill
    return presence.hours(needed, facts, asked.at)


def _said(asked: Asked, ready: float, begin: float, before: str) -> str:
    first = open_operations(asked.order)[0].work_center
    sooner = f"; before that: {before}" if ready > 0 else ""
    there = f"{later(asked.at, begin):%Y-%m-%d %H:%M} UTC"
    return f"nobody who may make it is at {first} for long enough before {there}{sooner}"


def endless(asked: Asked, facts: Facts) -> Iterator[Constraint]:
    """Work that takes longer than ten years: a quantity or a planned time that nobody can mean."""
    order, work = asked.order, shop.work_minutes(asked.order, facts)
    if work > HORIZON:
        quantity, takes = shown(order.quantity, order.unit, facts.units), shop.hours(work)
        why = f"order {order.order} over {quantity} is {takes} of work: mend its quantity, or its planned times"
        yield Constraint("order", BLOCKS, order.order, "less than ten years of work", takes, why)
