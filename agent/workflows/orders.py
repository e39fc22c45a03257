"""What every report about an order must pass, whatever it reports: the order, its state, operation and work centre."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Any, Final

from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import Quantity, SegmentResponse
from agent.masterdata.entities import BomItem, Component, Material, Order
from agent.units import UnitTable

_WIDE: Final = Context(prec=60)  # exact for everything that fits the ERP
REMEMBERED: Final = 4  # how many reports back a double report is recognised
LARGEST: Final = 10  # digits before the point of a quantity in SAP
_STEPS: Final = tuple(Decimal(1).scaleb(-decimals) for decimals in range(7))  # str() writes them without an exponent


class Into(dict[str, tuple[int, int]]):
    """Into one unit of the ERP: for each other unit how many one of it is, as numerator and denominator. Found once.

    Raises BadPayload where the units, and what the material adds to them, name no conversion.
    """

    __slots__ = ("_material", "step", "unit", "units")

    def __init__(self, unit: str, material: Material | None, units: UnitTable) -> None:
        super().__init__()
        self.unit = unit
        self.step = _STEPS[units.decimals(unit)]  # of the ERP's precision
        self._material, self.units = material, units

    def __missing__(self, from_unit: str) -> tuple[int, int]:
        found = self[from_unit] = self.units.factor(from_unit, self.unit, self._material).as_integer_ratio()
        return found


def into(unit: str, material: Material | None, facts: Facts) -> Into:
    """The conversions into this unit, for this material; remembered."""
    key = ("into", unit, material.material if material else "")
    found: Into | None = facts.memo.get(key)
    return found if found is not None else facts.remember(key, Into(unit, material, facts.units))


def order_of(report: SegmentResponse, facts: Facts) -> Order:
    """The order of the report. Raises BadPayload (``unknown_order``): it is read again once the order is known."""
    order = facts.orders.get(report.order)
    if order is None:
        raise BadPayload(
            f"order {report.order!r} is not known; the event is read again by itself if the ERP tells it in time",
            field="order",
            reason="unknown_order",
            awaits=("order", report.order),
        )
    return order


def material_of(material: str, facts: Facts) -> Material:
    """The material. Raises BadPayload (``unknown_material``): nothing is substituted."""
    found = facts.materials.get(material)
    if found is None:
        raise BadPayload(
            f"material {material!r} is not in the master data; mend the sender, or add it: "
            "the event is read again by itself if that is in time",
            field="material",
            reason="unknown_material",
            awaits=("material", material),
        )
    return found


def bom_line(order: Order, material: str, component: Component | None, facts: Facts) -> tuple[str, BomItem] | None:
    """What one of the product takes of the material, with the product's unit. None: neither says so.

    Without a bill of material of its own, the order's requirement says it.
    """
    if found := facts.bom_item(order.material, material):
        return found
    if component is None or not order.quantity:
        return None
    return order.unit, BomItem(material, component.required / order.quantity, component.unit)


def order_holds(report: SegmentResponse, order: Order, facts: Facts) -> list[str]:
    """Why a person must look at every report from this place, as far as the order itself tells; empty: nothing."""
    holds = []
    if order.status != "released":
        holds.append(f"order {order.order} is {order.status}, not released")
    if order.plant != facts.plant.site:
        holds.append(f"order {order.order} belongs to plant {order.plant}, this agent to {facts.plant.site}")
    operation = order.operation(report.operation)
    if operation is None:
        known = ", ".join(operation.operation for operation in order.operations) or "none"
        holds.append(f"operation {report.operation!r} is not in order {order.order}; it has {known}")
    if report.work_center:
        if report.work_center not in facts.work_centers:
            holds.append(f"work centre {report.work_center!r} is not in the master data")
        elif operation is not None and operation.work_center != report.work_center:
            holds.append(f"reported by {report.work_center}, but planned at {operation.work_center}")
    return holds


def stale_orders(report: SegmentResponse, facts: Facts, stale_after: timedelta) -> tuple[str, ...]:
    """Why the orders themselves cannot be trusted for this report; empty: they can."""
    as_of = facts.orders_as_of
    if as_of is None or report.occurred_at - as_of <= stale_after:
        return ()
    return (f"the orders were last read from the ERP at {as_of:%Y-%m-%d %H:%M} UTC: order data may be stale",)


def subject_of(report: SegmentResponse, order: Order, material: str, facts: Facts) -> dict[str, str]:
    """What the report is about, for lists, filters and the audit trail."""
    work_center = facts.work_centers.get(report.work_center)
    return {
        "order": order.order,
        "material": material,
        "work_center": report.work_center,
        "line": work_center.line if work_center else "",
    }


def erp_quantity(quantity: Quantity, into: Into) -> tuple[Decimal, str]:
    """The quantity in the ERP's unit and precision, and in words what rounding loses, or "". Rounded only here.

    Raises BadPayload where there is no conversion, or the number does not fit the ERP (QUAN 13,3).
    """
    value, unit = quantity
    numerator, denominator = into[unit]
    if numerator == denominator:
        rounded = value.quantize(into.step, ROUND_HALF_UP, _WIDE)
        lost = rounded != value
    else:
        product = _WIDE.multiply(value, numerator)
        rounded = _WIDE.divide(product, denominator).quantize(into.step, ROUND_HALF_UP, _WIDE)
        lost = _WIDE.multiply(rounded, denominator) != product
    if rounded.adjusted() >= LARGEST:
        raise BadPayload(f"{quantity} does not fit the ERP, which keeps {LARGEST} digits", reason="too_large")
    if not lost:
        return rounded, ""
    told, nearest = shown(value, unit, into.units), shown(rounded, into.unit, into.units)
    return rounded, f"{told} cannot be posted exactly: {nearest} is the nearest"


def converted(value: Decimal, from_unit: str, into: Into) -> Decimal:
    """The value in another unit, with digits to spare: for comparing and for money, never for posting."""
    numerator, denominator = into[from_unit]
    return value if numerator == denominator else value * numerator / denominator


def shown(value: Decimal, unit: str, units: UnitTable) -> str:
    """A quantity for people: no padding zeros, and the unit as the ERP's users know it."""
    text = f"{value:f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {units.shown(unit)}"


def as_much(quantity: Decimal | Fraction, batch: str, lot: Decimal | Fraction | None, work_center: str) -> str:
    """The same for reports of as much, in the ERP's unit, for as large a lot, however their numbers are written."""
    return f"{Fraction(quantity)} {batch} {'' if lot is None else Fraction(lot)} {work_center}"


def reported_before(last: Sequence[Sequence[Any]], fingerprint: str, at: float, within: float) -> bool:
    """Whether the same content was reported within these seconds, before or after: streams may overtake each other."""
    for seen, when in last:  # noqa: SIM110  # any() takes twice as long
        if seen == fingerprint and abs(at - when) <= within:
            return True
    return False


def remember(last: Sequence[Sequence[Any]], fingerprint: str, at: float) -> list[Sequence[Any]]:
    """The last few fingerprints with their times (s of the epoch), this one included."""
    return [*last[1 - REMEMBERED :], (fingerprint, at)]
