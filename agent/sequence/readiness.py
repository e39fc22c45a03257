"""From when on a work centre, and what an order needs there, are there: machine, material, tool and recipe. Pure.

Minutes from the moment that is asked about; nothing is guessed: what nobody knows is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from agent.errors import BadPayload
from agent.facts import Facts
from agent.masterdata.entities import Component, Order, Routing
from agent.workflows import constraints
from agent.workflows.constraints import Limits, Stale
from agent.workflows.orders import shown
from agent.workflows.receipts import until_enough
from agent.workflows.supply import supply_of, there_at, to_come

UP: Final = "up"
DOWN: Final = "down"
UNKNOWN: Final = "unknown"


class Machine(NamedTuple):
    """Whether a work centre runs. `free` minutes from now it can begin; `said` is empty where it runs."""

    state: str  # UP, DOWN or UNKNOWN
    free: float = 0.0
    said: str = ""


class Wait(NamedTuple):
    """What is there only in so many minutes."""

    minutes: float = 0.0
    of: str = ""


def machine(work_center: str, facts: Facts, limits: Limits, now: datetime) -> Machine:
    """Nothing is begun on a machine that is down until then; where nobody says, the times count as if it ran."""
    one, from_now = constraints.machine(work_center, facts, limits, [], now), "the times count as if it ran from now on"
    if not one.down and not one.silent:
        return Machine(UP)
    if not one.down:
        why = one.tag.why if isinstance(one.tag, Stale) else "no tag tells it here"
        return Machine(UNKNOWN, 0.0, f"nobody knows whether {work_center} runs: {why}; {from_now}")
    down_for = f"{work_center} is down" + (f": {one.because}" if one.because else "")
    if one.back_at is None:
        return Machine(DOWN, 0.0, f"{down_for}; nobody says until when (back_at in resources.yaml): {from_now}")
    until = (one.back_at - now).total_seconds() / 60
    return Machine(DOWN, until, f"{down_for}; nothing begins before {one.back_at:%Y-%m-%d %H:%M} UTC")


def wait(order: Order, routing: Routing, facts: Facts, limits: Limits, now: datetime) -> Wait:
    """For the last of its material, tool and recipe. Raises BadPayload where something is not there, nor coming."""
    waits = [
        *(_component(one, facts, limits, now) for one in components_at(order, routing.work_center)),
        *_resources(routing, facts, now),
    ]
    return max(waits, key=lambda one: one.minutes, default=Wait())


def components_at(order: Order, work_center: str) -> Iterator[Component]:
    """What its operations at the work centre still take."""
    operations = {one.operation.lstrip("0") for one in order.operations if one.work_center == work_center}
    for part in order.components:
        if part.required > part.withdrawn and (not part.operation or part.operation.lstrip("0") in operations):
            yield part


def lacking(part: Component, facts: Facts, used: Decimal = Decimal(0)) -> str:
    """What is not there of a component where the order takes it from, after what was `used`; "" where it is enough."""
    needed, here, _ = _supply(part, facts)
    there = here - used
    if there >= needed:
        return ""
    needs, has = (shown(value, part.unit, facts.units) for value in (needed, max(there, Decimal(0))))
    return f"needs {needs} of {part.material}, {has} are there"


def _component(part: Component, facts: Facts, limits: Limits, now: datetime) -> Wait:
    needed, here, elsewhere = _supply(part, facts)
    if here >= needed:
        return Wait()
    if here + elsewhere >= needed:
        return Wait(limits.replenishment.total_seconds() / 60, f"{part.material} from elsewhere in the plant")
    if coming := until_enough(needed - here - elsewhere, to_come(part, facts, now)):
        there = there_at(part, coming, limits.replenishment)
        return Wait((there - now).total_seconds() / 60, f"{part.material} of {coming[-1].of}")
    raise BadPayload(lacking(part, facts))


def _supply(part: Component, facts: Facts) -> tuple[Decimal, Decimal, Decimal]:
    """What is needed, what is there where it is taken from, and elsewhere; stock that is not known is enough."""
    needed = part.required - part.withdrawn
    if not any(
        (one.material, one.storage_location) == (part.material, part.storage_location) for one in facts.stocks.values()
    ):
        return needed, needed, Decimal(0)
    supply = supply_of(part, facts)
    return needed, supply.here + supply.reserved, supply.elsewhere  # reserved: by the orders of the sequence, too


def _resources(needs: Routing, facts: Facts, now: datetime) -> Iterator[Wait]:
    for name, resource in (("tool", needs.tool), ("recipe", needs.recipe)):
        known = facts.resources.get(resource) if resource else None
        if known is None or known.available or (known.back_at is not None and known.back_at <= now):
            continue
        if known.back_at is None:
            raise BadPayload(f"{name} {resource} is absent, and nobody says until when (back_at in resources.yaml)")
        yield Wait((known.back_at - now).total_seconds() / 60, f"{name} {resource}")
