"""What a report of consumption says beside what the facts let expect: in the ERP's unit, for its order's component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.masterdata.entities import BomItem, Component, Material, Order, Tolerance
from agent.workflows.orders import Into, bom_line, converted, into, material_of, order_holds, order_of, subject_of

_CONSUMED: Final = MaterialUse.CONSUMED
_PRODUCED: Final = MaterialUse.PRODUCED
ZERO: Final = Decimal(0)
ONE: Final = Decimal(1)
BACKFLUSHED: Final = "is backflushed with the confirmation"  # why nothing else may issue a component
EXACT: Final = Tolerance("", "", ZERO, ZERO)  # where no tolerance is configured


@dataclass(frozen=True, slots=True)
class Need:
    """What the facts say about one component at one place of one order: the same for every report from there."""

    order: Order
    material: Material
    component: Component | None
    unit: str  # of the ERP's posting: the component's, else the material's own
    into_unit: Into
    into_base: Into  # the unit that the material's price is for
    counted: bool  # in pieces, not weighed or measured
    item: BomItem | None  # what one of the product takes
    into_lot: Into  # the unit of that one
    required: float  # by the order, for the model
    least: Decimal  # of what is expected, by the tolerance
    most: Decimal
    limit: Decimal  # of all reports together, by the order and the tolerance
    half_step: Decimal  # of the ERP's precision, in its unit
    grain: float  # the same, for statistics
    holds: tuple[str, ...]
    subject: Mapping[str, str]
    payload: dict[str, str]  # of the goods issue, before the report's own words
    lane: str  # in which it reaches the ERP


class Use(NamedTuple):
    """What was used of a component, in the ERP's unit, beside what the lot should take. None: nothing to compare."""

    actual: MaterialActual
    need: Need
    lot: Decimal | None  # of the product, in the unit of its bill of material
    expected: Decimal | None  # bill of material × lot
    set_up: Decimal  # used once per order, on top of the first report


def use_of(report: SegmentResponse, facts: Facts) -> Use:
    """What the report says beside what the bill of material lets expect. Raises BadPayload."""
    consumed = consumed_of(report)
    if len(consumed) != 1:
        what = f"a consumption report names one consumed material, this one {len(consumed)}"
        raise BadPayload(what, field="material_actuals")
    actual = consumed[0]
    need = need_of(report, actual.material, facts)
    _refuse_negative(*actual.quantity, "quantity")
    made, item = made_of(report, need.order), need.item
    if made is not None:
        _refuse_negative(*made, "lot quantity")
    if made is None or item is None:
        return Use(actual, need, None, None, ZERO)
    lot = converted(*made, need.into_lot)
    expected = converted(item.quantity * lot, item.unit, need.into_unit)
    set_up = converted(item.set_up, item.unit, need.into_unit) if item.set_up else ZERO
    return Use(actual, need, lot, expected, set_up)


def consumed_of(report: SegmentResponse) -> list[MaterialActual]:
    """Each material that it says was consumed."""
    return [actual for actual in report.material_actuals if actual.use is _CONSUMED]


def need_of(report: SegmentResponse, name: str, facts: Facts) -> Need:
    """What the facts say about this material at the report's place; remembered. Raises BadPayload."""
    key = ("consumption", report.order, name, report.operation, report.work_center)
    return facts.memo.get(key) or facts.remember(key, _need(report, name, facts))


def _need(report: SegmentResponse, name: str, facts: Facts) -> Need:
    """Look up what does not change from report to report. Raises BadPayload for what is unknown."""
    order, material = order_of(report, facts), material_of(name, facts)
    component, operation = order.component(name, report.operation), order.operation(report.operation)
    unit = component.unit if component else material.base_unit
    tolerance = facts.tolerance(name, report.work_center) or EXACT
    into_unit = into(unit, material, facts)
    product_unit, item = bom_line(order, name, component, facts) or ("", None)
    payload = {
        "plant": order.plant,
        "material": name,
        "order": order.order,
        "operation": operation.operation if operation else report.operation,
        "reservation": component.reservation if component else "",
        "reservation_item": component.item if component else "",
        "quantity": "",
        "unit": unit,
        "floor_quantity": "",
        "floor_unit": "",
        "storage_location": component.storage_location if component else "",
        "batch": component.batch if component else "",
        "posting_date": "",
        "document_date": "",
        "text": "",
    }
    return Need(
        order=order,
        material=material,
        component=component,
        unit=unit,
        into_unit=into_unit,
        into_base=into(material.base_unit, material, facts),
        counted=not facts.units.decimals(unit),
        item=item,
        into_lot=into(product_unit, facts.materials.get(order.material), facts),
        required=float(component.required) if component else 0.0,
        least=ONE - tolerance.under,
        most=ONE + tolerance.over,
        limit=(component.required if component else ZERO) * (ONE + tolerance.over),
        half_step=into_unit.step / 2,
        grain=float(into_unit.step) / 2,
        holds=(*order_holds(report, order, facts), *_component_holds(order, name, component)),
        subject=subject_of(report, order, name, facts),
        payload=payload,
        lane=f"order/{order.order}",
    )


def _refuse_negative(value: Decimal, unit: str, field: str) -> None:
    if not (value.is_finite() and value >= ZERO):
        raise BadPayload(f"is {Quantity(value, unit)}: a return is no consumption", field=field, reason="negative")


def made_of(report: SegmentResponse, order: Order) -> tuple[Decimal, str] | None:
    """The lot that was made of it. A bare number (C62, no material) counts in the order's own unit."""
    for actual in report.material_actuals:
        if actual.use is _PRODUCED and (not actual.material or actual.material == order.material):
            value, unit = actual.quantity
            return value, order.unit if unit == "C62" and not actual.material else unit
    return None


def _component_holds(order: Order, name: str, component: Component | None) -> list[str]:
    if component is None:
        return [f"{name} is no component of order {order.order}: an unplanned withdrawal"]
    if component.backflush:
        return [f"{name} {BACKFLUSHED}: it would be consumed twice"]
    return []
