"""What stands in the way of an order: hard constraints, computed and never learned, each with its numbers.

What is needed, what is there, and when it will be: of components, work centres, operators, tools and recipes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.configuration.settings import LiveKind
from agent.errors import BadPayload
from agent.facts import Facts
from agent.masterdata.entities import Component, Operation, Order, Routing
from agent.tags.values import Quality, Scalar
from agent.workflows import presence, receipts
from agent.workflows.orders import converted, into, shown
from agent.workflows.receipts import Expected
from agent.workflows.supply import Supply, lacking, supply_of, there_at, to_come

ZERO: Final = Decimal(0)
BLOCKS: Final = "blocks"  # nothing can start before somebody does something
DELAYS: Final = "delays"  # it can start at a known time
NOTES: Final = "notes"  # somebody should know it
NAMES: Final = {LiveKind.OEE: "OEE"}  # of live facts, where it is not the word of the configuration
LISTED: Final = 2  # orders that are named, of those that reserve a component


class Constraint(NamedTuple):
    """One thing that an order lacks, or will have later. `at` is when it is there; None where nobody knows."""

    name: str  # component, quality_hold, work_center, operator, tool, recipe, order, live …
    weight: str  # BLOCKS, DELAYS or NOTES
    of: str  # which component, work centre, tool …
    needed: str
    there: str
    said: str  # the whole sentence
    at: datetime | None = None
    promised: bool = False  # somebody says so: at another moment it is another cause

    @property
    def cause(self) -> str:
        """The same for the same cause, whatever its numbers; with the moment that was promised."""
        until = f" {self.at:%Y-%m-%dT%H:%M}" if self.promised and self.at else ""
        return f"{self.name}/{self.of}/{self.weight}{until}"

    def told(self) -> dict[str, str | None]:
        """For programs."""
        return {
            "constraint": self.name, "weight": self.weight, "of": self.of, "needed": self.needed, "there": self.there,
            "available_at": self.at.isoformat() if self.at else None,
        }  # fmt: skip


class Looked(NamedTuple):
    """One fact that was looked at, with its age in seconds; None where nobody knows how old it is."""

    fact: str
    value: str
    age_s: float | None
    good: bool = True

    def told(self) -> dict[str, Any]:
        """For programs."""
        age = None if self.age_s is None else round(self.age_s, 1)
        return {"fact": self.fact, "value": self.value, "age_s": age, "good": self.good}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked about: an order of the ERP, or one that a request describes."""

    order: Order
    at: datetime  # the moment of asking
    skill: str = ""  # that the request names, beside what the master data ask for
    known: bool = True  # the ERP has it


@dataclass(frozen=True, slots=True)
class Limits:
    """How this plant judges facts."""

    down_states: frozenset[str]
    replenishment: timedelta  # from the warehouse to the line
    stale_s: float  # older live facts are not believed


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────


def found(asked: Asked, facts: Facts, limits: Limits) -> tuple[list[Constraint], list[Looked]]:
    """Every constraint, what blocks first, and every fact that was looked at."""
    looked: list[Looked] = []
    constraints = [
        *_order(asked, facts),
        *_components(asked, facts, limits, looked),
        *_places(asked, facts, limits, looked),
    ]
    weights = (BLOCKS, DELAYS, NOTES)
    return sorted(constraints, key=lambda one: weights.index(one.weight)), looked


def open_operations(order: Order) -> Sequence[Operation]:
    """What is left to do of an order."""
    return [one for one in order.operations if not one.confirmed]


def _order(asked: Asked, facts: Facts) -> Iterator[Constraint]:
    order = asked.order
    if not asked.known:
        yield Constraint(
            "order", NOTES, order.order, "an order of the ERP", "none", f"order {order.order} is not known yet"
        )
    elif order.status != "created":
        why = f"order {order.order} is {order.status} in the ERP"
        yield Constraint("order", BLOCKS, order.order, "created", order.status, why)
    if order.plant != facts.plant.site:
        why = f"order {order.order} belongs to plant {order.plant}, this agent to {facts.plant.site}"
        yield Constraint("order", BLOCKS, order.order, facts.plant.site, order.plant, why)
    if not open_operations(order):
        why = f"order {order.order} has no operation that is left to do"
        yield Constraint("order", BLOCKS, order.order, "an operation", "none", why)


# ── components ──────────────────────────────────────────────────────────────────────────────────────────────


def _components(asked: Asked, facts: Facts, limits: Limits, looked: list[Looked]) -> Iterator[Constraint]:
    for one in asked.order.components:
        needed = one.required - one.withdrawn
        if needed > ZERO:
            yield from _component(asked, one, needed, facts, limits, looked)


def _component(
    asked: Asked, one: Component, needed: Decimal, facts: Facts, limits: Limits, looked: list[Looked]
) -> Iterator[Constraint]:
    units = facts.units
    try:
        supply = supply_of(one, facts)
    except BadPayload as error:
        why = f"stock of {one.material} cannot be compared with what is needed: {error}"
        yield Constraint("component", BLOCKS, one.material, shown(needed, one.unit, units), "unknown", why)
        return
    needs, here = shown(needed, one.unit, units), shown(supply.here, one.unit, units)
    looked.append(
        Looked(f"free stock of {one.material} at {one.storage_location or 'any place'}", here, _age(asked, facts))
    )
    where = one.storage_location or "the plant"
    if supply.here >= needed:
        yield from _at_the_line(asked, one, needed, facts, limits, looked)
    elif supply.here + supply.elsewhere >= needed:
        at = asked.at + limits.replenishment
        hours = f"{limits.replenishment.total_seconds() / 3600:g}"
        more = shown(supply.elsewhere, one.unit, units)
        there = _beside(supply, supply.here, "there", one.unit, facts)
        why = (
            f"insufficient material {one.material} at {where}: {needs} needed, {there}, {more} elsewhere; earliest "
            f"start delayed by {hours} hours"
        )
        yield Constraint("component", DELAYS, one.material, needs, here, why, at)
    elif enough := receipts.until_enough(lacking(needed, supply), to_come(one, facts, asked.at)):
        yield _expected(one, needed, supply, enough, facts, limits)
    elif supply.here + supply.elsewhere + supply.held >= needed:
        held = shown(supply.held, one.unit, units)
        why = f"material {one.material} is on quality hold: {needs} needed, {here} free at {where}, {held} held"
        yield Constraint("quality_hold", BLOCKS, one.material, needs, here, why)
    else:
        free = supply.here + supply.elsewhere
        there = _beside(supply, free, "in the plant", one.unit, facts)
        coming = receipts.said(to_come(one, facts, asked.at), one.unit, facts)
        too_little = f"; only {coming}" if coming else ""
        why = f"component {one.material} is missing: {needs} needed, {there}{too_little}"
        yield Constraint("component", BLOCKS, one.material, needs, shown(free, one.unit, units), why)


def _expected(
    one: Component, needed: Decimal, supply: Supply, coming: Sequence[Expected], facts: Facts, limits: Limits
) -> Constraint:
    """What is not there yet and will be: the order can start with the last receipt that it needs."""
    free = supply.here + supply.elsewhere
    needs, has = (shown(value, one.unit, facts.units) for value in (needed, free))
    there = _beside(supply, free, "in the plant", one.unit, facts)
    why = f"component {one.material} comes later: {needs} needed, {there}, {receipts.said(coming, one.unit, facts)}"
    there_by = there_at(one, coming, limits.replenishment)
    return Constraint("component", DELAYS, one.material, needs, has, why, there_by, promised=True)


def _beside(supply: Supply, free: Decimal, where: str, unit: str, facts: Facts) -> str:
    """What is there in all, and how much of it is other orders'."""
    there = f"{shown(free + supply.reserved, unit, facts.units)} {where}"
    if not supply.reserved:
        return there
    much = f"{shown(supply.reserved, unit, facts.units)} of it" if free else "all of it"
    more = f" and {len(supply.by) - LISTED} more" if len(supply.by) > LISTED else ""
    return f"{there}, {much} reserved for {', '.join(supply.by[:LISTED])}{more}"


def _at_the_line(
    asked: Asked, one: Component, needed: Decimal, facts: Facts, limits: Limits, looked: list[Looked]
) -> Iterator[Constraint]:
    """What the tag of the line says, where there is one: too little there is replenished in time."""
    operation = asked.order.operation(one.operation) or next(iter(open_operations(asked.order)), None)
    place = f"{operation.work_center if operation else ''}/{one.material}"
    known = live(LiveKind.LINE_SIDE_STOCK, place, facts, limits, looked)
    if not isinstance(known, Decimal | int) or isinstance(known, bool):
        return
    told = facts.live.get((LiveKind.LINE_SIDE_STOCK, place))
    unit = told[0].unit if told and told[0].unit else one.unit
    try:
        there = converted(Decimal(known), unit, into(one.unit, facts.materials.get(one.material), facts))
    except BadPayload:
        return
    if there < needed:
        said = (
            f"Material {one.material} stock at line-side is {shown(there, one.unit, facts.units)}, "
            "a replenishment signal will be sent."
        )
        needs, has = shown(needed, one.unit, facts.units), shown(there, one.unit, facts.units)
        yield Constraint("line_side_stock", NOTES, one.material, needs, has, said)


# ── work centres, operators, tools, recipes ─────────────────────────────────────────────────────────────────


def _places(asked: Asked, facts: Facts, limits: Limits, looked: list[Looked]) -> Iterator[Constraint]:
    for operation in open_operations(asked.order):
        place = operation.work_center
        if place not in facts.work_centers:
            why = f"work centre {place!r} is not in the master data: add it, or mend the order"
            yield Constraint("work_center", BLOCKS, place, place, "unknown", why)
            continue
        routing = facts.routing(asked.order.material, place)
        yield from _running(place, asked, facts, limits, looked)
        for skill in dict.fromkeys(one for one in (routing.certificate if routing else "", asked.skill) if one):
            yield from _certified(asked, place, skill, facts, limits, looked)
        if routing is not None:
            yield from _resources(routing, asked, facts)


def _running(place: str, asked: Asked, facts: Facts, limits: Limits, looked: list[Looked]) -> Iterator[Constraint]:
    """A machine that is down blocks, unless it is known when it will be back."""
    one = machine(place, facts, limits, looked, asked.at)
    if one.down:
        says = f": {one.because}" if one.because else ""
        back = f"; back at {one.back_at:%Y-%m-%d %H:%M} UTC" if one.back_at else ""
        there = "absent" if one.silent else str(one.tag)
        why, weight = f"work centre {place} is down{says}{back}", DELAYS if one.back_at else BLOCKS
        yield Constraint("work_center", weight, place, "running", there, why, one.back_at, promised=True)
    elif isinstance(one.tag, Stale):
        why = f"nobody knows whether work centre {place} runs: {one.tag.why}"
        yield Constraint("live", NOTES, f"{place} equipment state", "a fresh state", "stale", why)


def _certified(
    asked: Asked, place: str, skill: str, facts: Facts, limits: Limits, looked: list[Looked]
) -> Iterator[Constraint]:
    """Whoever is logged on there has the certificate; where no tag tells, somebody in the plant has.

    Nobody needs to be there at an hour at which nobody who has it comes: that is a delay, told with its end.
    """
    day = facts.plant.day_text(asked.at)
    able = [one.operator for one in facts.operators.values() if one.certified(skill, day)]
    told = f"certified for {skill} on {day}: {', '.join(sorted(able)[:5]) or 'nobody'}"
    on = live(LiveKind.OPERATOR, place, facts, limits, looked)
    if not able:
        why = f"no certified operator at {place}: {skill} is needed; {told}"
        yield Constraint("operator", BLOCKS, f"{place} {skill}", skill, "nobody", why)
    elif isinstance(on, Stale):
        why = f"nobody knows who is logged on at {place}: {on.why}"
        yield Constraint("live", NOTES, f"{place} operator", skill, "stale", why)
    elif on is not None and not str(on) and (comes := _comes(skill, asked, facts)):
        why = f"nobody is logged on at {place}; {skill} is needed: who has it comes at {comes:%Y-%m-%d %H:%M} UTC"
        yield Constraint("operator", DELAYS, f"{place} {skill}", skill, "nobody", why, comes)
    elif on is not None and str(on) not in able:
        who = f"{on} is logged on" if str(on) else "nobody is logged on"
        why = f"no certified operator at {place}: {skill} is needed, {who}; {told}"
        yield Constraint("operator", BLOCKS, f"{place} {skill}", skill, str(on) or "nobody", why)


def _comes(skill: str, asked: Asked, facts: Facts) -> datetime | None:
    """When the first who has the certificate comes, by their hours; None: somebody should be there now."""
    begins = next((start for start, _ in presence.hours(skill, facts, asked.at)), 0.0)
    return asked.at + timedelta(minutes=begins) if begins > 0 else None


def _resources(needs: Routing, asked: Asked, facts: Facts) -> Iterator[Constraint]:
    for name, resource in (("tool", needs.tool), ("recipe", needs.recipe)):
        known = facts.resources.get(resource) if resource else None
        if known is None or known.available or (known.back_at is not None and known.back_at <= asked.at):
            continue
        until = f"back at {known.back_at:%Y-%m-%d %H:%M} UTC" if known.back_at else "nobody knows until when"
        why = f"{name} {resource} for {needs.work_center} is absent ({until}){': ' + known.text if known.text else ''}"
        weight = DELAYS if known.back_at else BLOCKS
        yield Constraint(name, weight, resource, resource, "absent", why, known.back_at, promised=True)


# ── live facts ──────────────────────────────────────────────────────────────────────────────────────────────


class Stale(NamedTuple):
    """A live fact that somebody tells, but not now."""

    why: str


def live(
    kind: LiveKind, of: str, facts: Facts, limits: Limits, looked: list[Looked]
) -> Scalar | Decimal | Stale | None:
    """What a tag says, Stale where it is not to be believed, None where no tag tells it."""
    known = facts.live.get((kind, of))
    if known is None:
        return None
    told, age = known
    fact, value = (
        f"{NAMES.get(kind, kind.value.replace('_', ' '))} of {of}",
        str(told.value if told.value is not None else "nothing"),
    )
    fresh = told.quality is Quality.GOOD and age <= limits.stale_s
    looked.append(Looked(fact, f"{value} {told.unit}".strip(), age, fresh))
    if told.quality is not Quality.GOOD:
        return Stale(f"its {fact} is {told.quality.value}" + (f" ({told.why})" if told.why else ""))
    if age > limits.stale_s:
        return Stale(f"its {fact} is {age:.0f} s old, {limits.stale_s:g} s are believed")
    return told.value if told.value is not None else Stale(f"its {fact} has no value")


def _age(asked: Asked, facts: Facts) -> float | None:
    """How long ago the ERP was heard."""
    as_of = facts.orders_as_of
    return None if as_of is None else max(0.0, (asked.at - as_of).total_seconds())


class Machine(NamedTuple):
    """What is known of a work centre: its tag (None: there is none), and whether and until when it is down."""

    tag: Scalar | Decimal | Stale | None
    down: bool
    because: str = ""
    back_at: datetime | None = None  # None: nobody says

    @property
    def silent(self) -> bool:
        """No tag tells of it now."""
        return self.tag is None or isinstance(self.tag, Stale)


def machine(place: str, facts: Facts, limits: Limits, looked: list[Looked], at: datetime) -> Machine:
    """What its tag says, and `resources.yaml` of a work centre that is not to be had until a moment.

    A tag that says that it runs counts for more than a plan.
    """
    tag, plan = live(LiveKind.EQUIPMENT_STATE, place, facts, limits, looked), facts.resources.get(place)
    absent = plan is not None and not plan.available and (plan.back_at is None or plan.back_at > at)
    silent = tag is None or isinstance(tag, Stale)
    broken = not silent and (tag is False or str(tag).lower() in limits.down_states)
    if not broken and not (silent and absent):
        return Machine(tag, down=False)
    says = (f"it says {tag}" if broken else "", plan.text if plan is not None and absent else "")
    back_at = plan.back_at if plan is not None and absent else None
    return Machine(tag, True, ", ".join(one for one in says if one), back_at)
