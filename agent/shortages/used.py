"""What was used of each material at each place, in quarters of an hour, beside what lies there. It sees no store.

A slot is a quarter of an hour, counted from 1970 UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from agent.errors import BadPayload
from agent.facts import Facts
from agent.masterdata.entities import Material
from agent.store.issues import Issued
from agent.workflows.orders import converted, into
from agent.workflows.supply import stocks_by_material

OFTEN: Final = 24  # slots with use: what is used more seldom has no course that goes on


class Place(NamedTuple):
    """A material where it is used from; an empty location is wherever the ERP takes it from."""

    material: str
    storage_location: str


class Seen(NamedTuple):
    """All that is known of a place; quantities are in the material's base unit."""

    place: Place
    unit: str
    usage: Sequence[float]  # by slots, oldest first, without a gap
    stock: float | None  # less what is on its way to the books; None: the ERP never told it
    safety: float


class LeftOut(NamedTuple):
    """A place of which nothing is forecast."""

    place: Place
    why: str


class Used:
    """Quantities by place, unit and slot, as the store has them: read again from there after a start."""

    def __init__(self) -> None:
        self._slots: dict[tuple[Place, str], dict[int, float]] = defaultdict(dict)

    def forget(self, *, before: int, since: int) -> None:
        """What is too old, and what is about to be read again."""
        kept = {
            key: {slot: quantity for slot, quantity in slots.items() if before <= slot < since}
            for key, slots in self._slots.items()
        }
        self._slots = defaultdict(dict, {key: slots for key, slots in kept.items() if slots})

    def add(self, found: Iterable[Issued]) -> None:
        """More of it."""
        for one in found:
            slots = self._slots[Place(one.material, one.storage_location), one.unit]
            slots[one.slot] = slots.get(one.slot, 0.0) + one.quantity

    def seen(
        self, facts: Facts, unbooked: Iterable[Issued], *, first: int, until: int
    ) -> tuple[list[Seen], list[LeftOut]]:
        """What is known of each place that is used often enough, from slot `first` to the one before `until`."""
        by_place: dict[Place, dict[str, dict[int, float]]] = defaultdict(dict)
        for (place, unit), slots in self._slots.items():
            by_place[place][unit] = slots
        open_: dict[Place, list[Issued]] = defaultdict(list)
        for one in unbooked:
            open_[Place(one.material, one.storage_location)].append(one)
        found: list[Seen] = []
        left_out: list[LeftOut] = []
        for place, units in sorted(by_place.items()):
            known = _seen(place, units, open_[place], facts, range(first, until))
            if isinstance(known, Seen):
                found.append(known)
            else:
                left_out.append(LeftOut(place, known))
        return found, left_out


def _seen(
    place: Place, units: Mapping[str, Mapping[int, float]], unbooked: Iterable[Issued], facts: Facts, slots: range
) -> Seen | str:
    """What is known of a place, or why nothing can be forecast of it."""
    material = facts.materials.get(place.material)
    if material is None:
        return "not in materials.csv"
    usage = [0.0] * len(slots)
    try:
        for unit, quantities in units.items():
            factor = _factor(unit, material, facts)
            for slot in quantities.keys() & slots:
                usage[slot - slots.start] += factor * quantities[slot]
        way = sum(_factor(one.unit, material, facts) * one.quantity for one in unbooked)
        stock = _stock(place, material, facts)
    except BadPayload as error:
        return str(error)
    usage = without_returns(usage)
    if sum(one > 0 for one in usage) < OFTEN:
        return f"used in fewer than {OFTEN} quarters of an hour so far"
    left = None if stock is None else stock - way
    return Seen(place, material.base_unit, usage, left, float(material.safety_stock))


def without_returns(usage: Sequence[float]) -> list[float]:
    """The same where what was given back is taken off what was used before, the newest first: no use is negative."""
    found, back = [0.0] * len(usage), 0.0
    for at in range(len(usage) - 1, -1, -1):
        left = usage[at] - back
        found[at], back = max(left, 0.0), max(-left, 0.0)
    return found


def _stock(place: Place, material: Material, facts: Facts) -> float | None:
    """Unrestricted stock of all batches; None where the ERP never told of any."""
    told = [
        _factor(one.unit, material, facts) * float(one.quantity)
        for one in stocks_by_material(facts).get(place.material, ())
        if place.storage_location in ("", one.storage_location)
    ]
    return sum(told) if told else None


def _factor(unit: str, material: Material, facts: Facts) -> float:
    """Base units in one `unit`. Raises BadPayload."""
    return float(converted(Decimal(1), unit, into(material.base_unit, material, facts)))
