"""Why a quantity looks wrong: deterministic tests for the errors that people and devices make when they record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Final

from agent.digits import transpositions
from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import MaterialActual, MaterialUse, Quantity
from agent.masterdata.entities import Component, Material, Order
from agent.units import UnitTable
from agent.workflows.orders import Into, bom_line, converted, into, shown

Fits = Callable[[Decimal | int, Decimal | int], bool]  # whether the reported amount times the first, divided by the
# second, is as expected: two numbers, because a fraction takes a hundred times as long to make
_SLIPS: Final = (  # of the decimal point: what would set it right, and how that is told
    (1, 10, "10 times too high"),
    (10, 1, "10 times too low"),
    (1, 100, "100 times too high"),
    (100, 1, "100 times too low"),
    (1, 1000, "1000 times too high"),
    (1000, 1, "1000 times too low"),
)
_CONFUSED = ("KGM", "GRM", "LBR", "TNE", "LTR", "MLT", "GLL", "MTR", "FOT", "CMT", "MMT", "C62", "DZN", "CEN", "MIL")


def likely_cause(reported: Quantity, fits: Fits, material: Material, facts: Facts) -> str:
    """The recording errors that would explain it, in words; "" when none does. `fits` takes a factor on the report.

    A slipped point explains more than anything else; of the others all that fit are told, since nobody can know which.
    """
    for numerator, denominator, slip in _SLIPS:
        if fits(numerator, denominator):
            also = _unit_slip(reported.unit, fits, material, facts) if 1000 in (numerator, denominator) else ""
            return f"{slip}: a slipped decimal point{', or ' + also if also else ''}"
    causes = []
    if fits(1, 2):
        causes.append("twice what is expected: counted double, or two lots in one report")
    if slip := _unit_slip(reported.unit, fits, material, facts):
        causes.append(slip)
    swapped = next((number for number in transpositions(reported.value) if fits(number, reported.value)), None)
    if swapped is not None:
        causes.append(f"two digits swapped: {swapped:f} instead of {reported.value:f}")
    return "; or ".join(causes)


def lost_with_scrap(actuals: Iterable[MaterialActual], lot: Decimal, into_lot: Into, fits: Fits) -> str:
    """Whether scrap that the report itself tells explains it: of the product, beside the lot, or of the material."""
    actuals = tuple(actuals)
    consumed = next(one for one in actuals if one.use is MaterialUse.CONSUMED)
    for one in actuals:
        if one.use is not MaterialUse.SCRAP or not one.quantity.value > 0:
            continue
        told = shown(*one.quantity, into_lot.units)
        if one.material == consumed.material:
            same_unit = one.quantity.unit == consumed.quantity.unit
            if same_unit and fits(consumed.quantity.value - one.quantity.value, consumed.quantity.value):
                return f"the {told} of scrap reported with it are the difference"
        elif lot and fits(lot, lot + converted(*one.quantity, into_lot)):
            return f"right for the lot and the {told} of scrap reported with it"
    return ""


def stand_in(reported: Quantity, material: Material, order: Order, lot: Quantity, facts: Facts) -> str:
    """Which components the lot takes as much of, within their tolerance: it may be used instead of them."""
    alike = [one.material for one in order.components if _takes_as_much(reported, material, order, one, lot, facts)]
    return f"as much as the lot takes of {' or of '.join(alike)}: a substitution" if alike else ""


def _takes_as_much(
    reported: Quantity, material: Material, order: Order, component: Component, lot: Quantity, facts: Facts
) -> bool:
    tolerance, line = facts.tolerance(component.material, ""), bom_line(order, component.material, component, facts)
    if tolerance is None or line is None:
        return False
    unit, item = line
    try:
        made = converted(*lot, into(unit, facts.materials.get(order.material), facts))
        takes = converted(
            item.quantity * made, item.unit, into(component.unit, facts.materials.get(component.material), facts)
        )
        used = converted(*reported, into(component.unit, material, facts))
    except BadPayload:  # weighed the one, counted the other
        return False
    return takes * (1 - tolerance.under) <= used <= takes * (1 + tolerance.over)


def _unit_slip(unit: str, fits: Fits, material: Material, facts: Facts) -> str:
    key = ("slips", unit, material.material)
    slips: tuple[tuple[int, int, str], ...] = facts.memo.get(key) or facts.remember(
        key, tuple(_unit_slips(unit, material, facts.units))
    )
    return next((words for numerator, denominator, words in slips if fits(numerator, denominator)), "")


def _unit_slips(unit: str, material: Material, units: UnitTable) -> Iterator[tuple[int, int, str]]:
    """What one of each unit that may be meant is in this one, and how that is told."""
    for other in dict.fromkeys((*material.units, material.base_unit, *_CONFUSED)):
        if other != unit and _convertible(other, unit, material, units):
            factor, told, meant = units.factor(other, unit, material), units.shown(unit), units.shown(other)
            one = Decimal(f"{float(factor):.4g}")
            words = f"perhaps the number is in {meant}, not in {told} (1 {meant} is {one:f} {told})"
            yield (*factor.as_integer_ratio(), words)


def _convertible(one: str, other: str, material: Material, units: UnitTable) -> bool:
    special = {material.base_unit, *material.units}
    if one in special and other in special:
        return True
    return one in units.units and other in units.units and units.dimension(one) == units.dimension(other)
