"""The release sequence of a work centre: what the agent knows now becomes orders to put into a sequence, and is shown.

Pure: facts and the time come in. What is known of an order but does not allow to plan it leaves the order out, said
with its reason; nothing is guessed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from math import inf
from types import MappingProxyType
from typing import Any, Final

from agent.errors import BadPayload, NotFound
from agent.facts import Facts, Operator, Order, Routing, WorkCenter
from agent.isa95 import Quantity
from agent.sequencing import EFFORT, Centre, Job, Plan, Sequenced, Slot, Window, sequence

OPEN: Final = ("created", "released")
AHEAD: Final = 28  # days for which people's hours are laid out
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ReleaseSequence:
    """The sequence that is proposed for the open orders of a work centre, and the orders that cannot be planned."""

    work_center: WorkCenter
    at: datetime
    found: Sequenced
    orders: Mapping[str, Order]
    left_out: tuple[tuple[str, str], ...]  # order, why
    short: Mapping[str, str]  # order → what those before it leave too little of


def release_sequence(
    facts: Facts,
    work_center: str,
    now: datetime,
    *,
    set_up_for: str = "",
    effort: int = EFFORT,
    out_of_time: Callable[[], bool] = lambda: False,
) -> ReleaseSequence:
    """The sequence for the open orders of a work centre, which is set up for the family `set_up_for` now.

    Raises NotFound for a work centre that nobody knows.
    """
    place = facts.work_center(work_center)
    if place is None:
        raise NotFound(f"work centre {work_center!r} is not known; known: {', '.join(sorted(facts.work_centers))}")
    staffed = _staffed(facts, now)
    jobs, left_out = [], []
    for order in sorted(_open(facts, work_center), key=_as_the_erp_goes):
        try:
            jobs.append(_job(order, facts, work_center, now, staffed))
        except BadPayload as error:
            left_out.append((order.order, str(error)))
    centre = Centre(
        family=set_up_for,
        set_up=float(place.set_up),
        changes=MappingProxyType({_pair(change): float(minutes) for change, minutes in place.changes.items()}),
        staffed=staffed,
    )
    found = sequence(jobs, centre, effort=effort, out_of_time=out_of_time)
    orders = {job.order: facts.orders[job.order] for job in jobs}
    short = dict(_short([orders[slot.job.order] for slot in found.plan.slots], facts, work_center))
    return ReleaseSequence(place, now, found, MappingProxyType(orders), tuple(left_out), MappingProxyType(short))


# ── what is known ───────────────────────────────────────────────────────────────────────────────────────────


def _open(facts: Facts, work_center: str) -> Iterator[Order]:
    for order in facts.orders.values():
        if order.status in OPEN and any(one.work_center == work_center for one in order.operations):
            yield order


def _as_the_erp_goes(order: Order) -> tuple[float, float, str]:
    """By planned start, then due date, then number."""
    return (
        order.planned_start.timestamp() if order.planned_start else inf,
        order.due.timestamp() if order.due else inf,
        order.order,
    )


def _job(order: Order, facts: Facts, work_center: str, now: datetime, staffed: Mapping[str, tuple[Window, ...]]) -> Job:
    """Raises BadPayload where it cannot be planned."""
    routing = facts.routing(order.material, work_center)
    if routing is None:
        raise BadPayload(f"routings.yaml has no entry for {order.material} at {work_center}")
    if routing.certificate and not staffed.get(routing.certificate):
        raise BadPayload(
            f"nobody in operators.yaml has the certificate {routing.certificate} for as long as is planned"
        )
    if lacking := next(_lacking(order, facts, work_center, {}), ""):
        raise BadPayload(lacking)
    return Job(
        order=order.order,
        minutes=_minutes(order, routing, facts),
        due=(order.due - now).total_seconds() / 60 if order.due else inf,
        weight=float(order.weight),
        family=routing.family,
        certificate=routing.certificate,
    )


def _minutes(order: Order, routing: Routing, facts: Facts) -> float:
    """Raises BadPayload where the units do not fit, or nothing is to be made."""
    wanted = Quantity(order.quantity, order.unit)
    quantity = facts.units.convert(wanted, routing.unit, facts.material(order.material)).value
    if quantity <= 0:
        raise BadPayload(f"its quantity is {order.quantity:f}")
    return float(quantity * routing.minutes)


def _lacking(order: Order, facts: Facts, work_center: str, used: Mapping[tuple[str, str], Decimal]) -> Iterator[str]:
    """Components of its operations here that are not there any more, after what was `used`; unknown stock is enough."""
    operations = {one.operation.lstrip("0") for one in order.operations if one.work_center == work_center}
    for part in order.components:
        if part.operation and part.operation.lstrip("0") not in operations:
            continue
        kept = [
            one
            for one in facts.stocks.values()
            if (one.material, one.storage_location) == (part.material, part.storage_location)
            and one.unit == part.unit
            and part.batch in ("", one.batch)
        ]
        needed = part.required - part.withdrawn
        there = sum((one.quantity for one in kept), Decimal(0)) - used.get((part.material, part.storage_location), 0)
        if kept and needed > there:
            unit = facts.units.shown(part.unit)
            yield f"needs {needed:f} {unit} of {part.material}, {max(there, Decimal(0)):f} {unit} are there"


def _short(orders: Sequence[Order], facts: Facts, work_center: str) -> Iterator[tuple[str, str]]:
    """Of what is enough for each by itself: where those before it leave too little."""
    used: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for order in orders:
        if lacking := next(_lacking(order, facts, work_center, used), ""):
            yield order.order, f"{lacking} after the orders before it"
        for part in order.components:
            used[part.material, part.storage_location] += part.required - part.withdrawn


def _pair(change: str) -> tuple[str, str]:
    before, _, after = change.partition(" > ")
    return before, after


# ── who is there when ───────────────────────────────────────────────────────────────────────────────────────


def _staffed(facts: Facts, now: datetime) -> Mapping[str, tuple[Window, ...]]:
    """By certificate the minutes from now in which at least one who has it is there; empty: nobody any more.

    The one that is under way begins in the past, so that a rest of it is not taken for all that there ever is.
    """
    found: defaultdict[str, list[Window]] = defaultdict(list)
    for one in facts.operators.values():
        for certificate, last in one.certificates.items():
            found[certificate] += _present(one, last, facts, now)
    return MappingProxyType({certificate: tuple(_merged(windows)) for certificate, windows in found.items()})


def _present(one: Operator, last: str, facts: Facts, now: datetime) -> Iterator[Window]:
    zone = facts.plant.zone
    today = facts.plant.day(now)
    start, _, end = (one.hours or "00:00-00:00").partition("-")
    first, _, final = (one.days or "1-7").partition("-")
    for number in range(-1, AHEAD):  # yesterday's night shift is still there
        day = today + number * DAY
        if not int(first) <= day.isoweekday() <= int(final) or (last and day.isoformat() > last):
            continue
        begins = datetime.combine(day, time.fromisoformat(start), zone)
        ends = datetime.combine(day if start < end else day + DAY, time.fromisoformat(end), zone)
        window = (begins - now).total_seconds() / 60, (ends - now).total_seconds() / 60
        if window[1] > 0:
            yield window


def _merged(windows: Sequence[Window]) -> Iterator[Window]:
    """Rising, and joined where one goes over into the next."""
    now: Window | None = None
    for start, end in sorted(windows):
        if now is not None and start <= now[1]:
            now = now[0], max(now[1], end)
            continue
        if now is not None:
            yield now
        now = start, end
    if now is not None:
        yield now


# ── shown ───────────────────────────────────────────────────────────────────────────────────────────────────


def shown(one: ReleaseSequence) -> dict[str, Any]:
    """For programs and people: the sequence with its reasons, what it gains, and what is left out."""
    plan, given = one.found.plan, one.found.given
    before = {slot.job.order: number for number, slot in enumerate(given.slots, 1)}
    rows = zip(plan.slots, one.found.reasons, strict=True)
    return {
        "work_center": one.work_center.work_center,
        "at": one.at.isoformat(timespec="seconds"),
        "orders": [
            {"position": number, "position_erp": before[slot.job.order], **_slot(one, slot, reasons)}
            for number, (slot, reasons) in enumerate(rows, 1)
        ],
        "left_out": [{"order": order, "why": why} for order, why in one.left_out],
        "here": _figures(plan),
        "erp": _figures(given),
        "whole_search": one.found.whole,
    }


def _slot(one: ReleaseSequence, slot: Slot, reasons: tuple[str, ...]) -> dict[str, Any]:
    order, minute = one.orders[slot.job.order], timedelta(minutes=1)
    short = one.short.get(slot.job.order)
    return {
        "order": order.order,
        "material": order.material,
        "begin": (one.at + slot.begin * minute).isoformat(timespec="minutes"),
        "end": (one.at + slot.end * minute).isoformat(timespec="minutes"),
        "due": order.due.isoformat(timespec="minutes") if order.due else None,
        "late_minutes": round(slot.late),
        "set_up_minutes": round(slot.set_up),
        "family": slot.job.family,
        "reasons": [*reasons, *([short] if short else [])],
    }


def _figures(plan: Plan) -> dict[str, Any]:
    return {
        "weighted_lateness_minutes": round(plan.weighted_lateness),
        "late": plan.late,
        "set_ups": plan.set_ups,
        "set_up_minutes": round(plan.set_up_minutes),
    }
