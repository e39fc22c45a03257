"""The release sequence of a work centre: what the agent knows now becomes orders to put into a sequence, and is shown.

Pure: facts and the time come in. What is known of an order but does not allow to plan it leaves the order out, said
with its reason; nothing is guessed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import inf
from types import MappingProxyType
from typing import Any, Final

from agent.configuration.settings import LiveKind
from agent.errors import BadPayload, NotFound
from agent.facts import Facts
from agent.isa95 import Quantity
from agent.masterdata.entities import Operation, Order, Routing, WorkCenter
from agent.sequence.readiness import Machine, components_at, lacking, machine, wait
from agent.sequence.sequencing import EFFORT, Centre, Job, Plan, Sequenced, Slot, sequence
from agent.workflows.constraints import Limits, live
from agent.workflows.orders import shown as amount
from agent.workflows.presence import staffed
from agent.workflows.shop import effectiveness
from agent.worktime import Window, later

OPEN: Final = ("created", "released")


@dataclass(frozen=True, slots=True)
class ReleaseSequence:
    """The sequence that is proposed for the open orders of a work centre, and the orders that cannot be planned."""

    work_center: WorkCenter
    at: datetime
    machine: Machine
    oee: float  # by which its minutes are divided
    running: str  # the order that it is at; empty: nobody knows of one
    found: Sequenced
    orders: Mapping[str, Order]
    left_out: tuple[tuple[str, str], ...]  # order, why
    notes: Mapping[str, tuple[str, ...]]  # order → what is worth knowing beside the reasons of its place


def release_sequence(
    facts: Facts,
    work_center: str,
    now: datetime,
    limits: Limits,
    *,
    running: str = "",
    set_up_for: str = "",
    effort: int = EFFORT,
    out_of_time: Callable[[], bool] = lambda: False,
) -> ReleaseSequence:
    """The sequence for the open orders of a work centre.

    It is at the order `running`, or at the one of which pieces were confirmed last; `set_up_for` is the family that it
    is set up for now, where somebody knows: then only an order of this family can be running.

    Raises NotFound for a work centre or family that nobody knows, and for a `running` order that is not open there.
    """
    place = facts.work_center(work_center)
    if place is None:
        raise NotFound(f"work centre {work_center!r} is not known; known: {', '.join(sorted(facts.work_centers))}")
    if set_up_for and set_up_for not in (families := _families(facts, place)):
        raise NotFound(f"{set_up_for!r} is no set-up family of {work_center}; known: {', '.join(families) or 'none'}")
    there = staffed(facts, now)
    open_orders = sorted(_open(facts, work_center), key=_as_the_erp_goes)
    first = _running(open_orders, facts, work_center, running, set_up_for)
    tag = live(LiveKind.OEE, work_center, facts, limits, [])
    told = {work_center: float(tag)} if isinstance(tag, int | Decimal) else {}
    oee = effectiveness(work_center, facts, told)
    jobs, left_out = [], []
    for order in open_orders:
        try:
            jobs.append(_job(order, facts, work_center, now, limits, there, oee, running=order.order == first))
        except BadPayload as error:
            left_out.append((order.order, str(error)))
    runs = machine(work_center, facts, limits, now)
    centre = Centre(
        free=runs.free,
        family=set_up_for,
        set_up=float(place.set_up),
        changes=MappingProxyType({_pair(change): float(minutes) for change, minutes in place.changes.items()}),
        staffed=there,
    )
    found = sequence(
        [job for job in jobs if not job.running],
        centre,
        running=next((job for job in jobs if job.running), None),
        effort=effort,
        out_of_time=out_of_time,
    )
    orders = MappingProxyType({job.order: facts.orders[job.order] for job in jobs})
    notes = MappingProxyType(_notes([orders[slot.job.order] for slot in found.plan.slots], facts, work_center))
    return ReleaseSequence(place, now, runs, oee, first, found, orders, tuple(left_out), notes)


# ── what is known ───────────────────────────────────────────────────────────────────────────────────────────


def _open(facts: Facts, work_center: str) -> Iterator[Order]:
    for order in facts.orders.values():
        if order.status in OPEN and _operations(order, work_center):
            yield order


def _families(facts: Facts, place: WorkCenter) -> list[str]:
    """What it can be set up for, by the routings and the times of its changes."""
    made = {one.family for one in facts.routings.values() if one.work_center == place.work_center and one.family}
    return sorted(made.union(*(_pair(change) for change in place.changes)))


def _operations(order: Order, work_center: str) -> list[Operation]:
    """What is not finally confirmed of it there."""
    return [one for one in order.operations if one.work_center == work_center and not one.confirmed]


def _as_the_erp_goes(order: Order) -> tuple[float, float, str]:
    """By planned start, then due date, then number."""
    return (
        order.planned_start.timestamp() if order.planned_start else inf,
        order.due.timestamp() if order.due else inf,
        order.order,
    )


def _running(orders: Sequence[Order], facts: Facts, work_center: str, told: str, set_up_for: str) -> str:
    """The order that it is at: as told, else of those with confirmed pieces the one changed last. Raises NotFound."""
    if told and all(one.order != told for one in orders):
        raise NotFound(f"order {told!r} is not open at {work_center}; open: {', '.join(one.order for one in orders)}")
    begun = [one for one in orders if any(_done(operation) for operation in _operations(one, work_center))]
    if told or not begun:
        return told
    last = max(begun, key=lambda one: one.changed_at.timestamp() if one.changed_at else -inf)
    routing = facts.routing(last.material, work_center)
    return last.order if not set_up_for or (routing is not None and routing.family == set_up_for) else ""


def _done(operation: Operation) -> Decimal:
    """What is confirmed of it, good or not: of that nothing is left to make."""
    return operation.confirmed_yield + operation.confirmed_scrap


def _job(
    order: Order,
    facts: Facts,
    work_center: str,
    now: datetime,
    limits: Limits,
    there: Mapping[str, tuple[Window, ...]],
    oee: float,
    *,
    running: bool,
) -> Job:
    """Raises BadPayload where it cannot be planned. What is being made has what it needs."""
    routing = facts.routing(order.material, work_center)
    if routing is None:
        raise BadPayload(f"routings.yaml has no entry for {order.material} at {work_center}")
    if routing.certificate and not there.get(routing.certificate):
        raise BadPayload(
            f"nobody in operators.yaml has the certificate {routing.certificate} for as long as is planned"
        )
    minutes = _minutes(order, routing, facts) / oee
    ready, of = (0.0, "") if running else wait(order, routing, facts, limits, now)
    return Job(
        order=order.order,
        minutes=minutes,
        due=(order.due - now).total_seconds() / 60 if order.due else inf,
        weight=float(order.weight),
        family=routing.family,
        ready=ready,
        waits_for=of,
        certificate=routing.certificate,
        running=running,
    )


def _minutes(order: Order, routing: Routing, facts: Facts) -> float:
    """Of what is left to make. Raises BadPayload where the units do not fit, or nothing is left."""
    left = _left(order, routing.work_center, facts)
    if left.value <= 0:
        whole = amount(order.quantity, order.unit, facts.units)
        raise BadPayload(
            f"all of its {whole} are confirmed: confirm the operation finally in the ERP"
            if order.quantity
            else f"its quantity is {order.quantity:f}"
        )
    quantity = facts.units.convert(left, routing.unit, facts.material(order.material)).value
    return float(quantity * routing.minutes)


def _left(order: Order, work_center: str, facts: Facts) -> Quantity:
    """What is not confirmed of the order at the operation there of which most is left. Raises BadPayload."""
    units, product = facts.units, facts.material(order.material)
    done = [
        units.convert(Quantity(_done(one), one.unit), order.unit, product).value
        for one in _operations(order, work_center)
        if _done(one)
    ]
    begun = len(done) == len(_operations(order, work_center))
    return Quantity(order.quantity - (min(done) if done and begun else Decimal(0)), order.unit)


def _notes(orders: Sequence[Order], facts: Facts, work_center: str) -> dict[str, tuple[str, ...]]:
    """What is left of what was begun; and where material is enough for each, but those before leave too little."""
    used: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    found = {}
    for order in orders:
        left = _left(order, work_center, facts)
        notes = []
        if left.value < order.quantity:
            whole = amount(order.quantity, order.unit, facts.units)
            notes.append(f"{amount(left.value, order.unit, facts.units)} of {whole} are left to make")
        for part in components_at(order, work_center):
            before = used[part.material, part.storage_location]
            used[part.material, part.storage_location] += part.required - part.withdrawn
            if before and (short := lacking(part, facts, before)):
                notes.append(f"{short} after the orders before it")
        found[order.order] = tuple(notes)
    return found


def _pair(change: str) -> tuple[str, str]:
    before, _, after = change.partition(" > ")
    return before, after


# ── shown ───────────────────────────────────────────────────────────────────────────────────────────────────


def shown(one: ReleaseSequence) -> dict[str, Any]:
    """For programs and people: the sequence with its reasons, what it gains, and what is left out."""
    plan, given = one.found.plan, one.found.given
    before = {slot.job.order: number for number, slot in enumerate(given.slots, 1)}
    rows = zip(plan.slots, one.found.reasons, strict=True)
    return {
        "work_center": one.work_center.work_center,
        "at": one.at.isoformat(timespec="seconds"),
        "machine": _machine(one),
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
    order = one.orders[slot.job.order]
    return {
        "order": order.order,
        "material": order.material,
        "begin": later(one.at, slot.begin).isoformat(timespec="minutes"),
        "end": later(one.at, slot.end).isoformat(timespec="minutes"),
        "due": order.due.isoformat(timespec="minutes") if order.due else None,
        "late_minutes": round(slot.late),
        "set_up_minutes": round(slot.set_up),
        "family": slot.job.family,
        "reasons": [*reasons, *one.notes[order.order]],
    }


def _machine(one: ReleaseSequence) -> dict[str, Any]:
    state, free, said = one.machine
    begins = later(one.at, free).isoformat(timespec="minutes")
    return {"state": state, "begins": begins, "running": one.running, "oee": round(one.oee, 3), "said": said}


def _figures(plan: Plan) -> dict[str, Any]:
    return {
        "weighted_lateness_minutes": round(plan.weighted_lateness),
        "late": plan.late,
        "due": sum(slot.job.due < inf for slot in plan.slots),
        "set_ups": plan.set_ups,
        "set_up_minutes": round(plan.set_up_minutes),
    }
