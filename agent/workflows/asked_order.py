"""What a report of kind ``order_release`` asks about: an order of the ERP, or one that a request describes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import SegmentResponse
from agent.masterdata.entities import Component, Operation, Order
from agent.workflows.constraints import BLOCKS, NOTES, Asked, Constraint
from agent.workflows.orders import LARGEST, order_of, shown

REQUEST: Final = "check"  # data of a request: `asked` says so


def asked_of(report: SegmentResponse, facts: Facts) -> tuple[Asked, list[Constraint]]:
    """The order, and where a request and the ERP contradict each other. Raises BadPayload."""
    data = report.data
    if data.get("asked") != REQUEST:
        return Asked(order_of(report, facts), report.occurred_at), []
    skill = _text(data, "required_skill")
    known = facts.orders.get(report.order)
    if known is not None:
        return Asked(known, report.occurred_at, skill), _contradictions(known, data, facts)
    order, said = _described(report, data, facts)
    return Asked(order, report.occurred_at, skill, known=False), said


def _contradictions(order: Order, data: Mapping[str, Any], facts: Facts) -> list[Constraint]:
    """What the request says else than the ERP, whose word counts."""
    said = []
    material, place = _text(data, "material"), _text(data, "required_work_center")
    if material and material != order.material:
        why = f"order {order.order} makes {order.material} in the ERP, the request says {material}"
        said.append(Constraint("order", BLOCKS, order.order, order.material, material, why))
    quantity = _quantity(data)
    if quantity is not None and quantity != order.quantity:
        has, wants = shown(order.quantity, order.unit, facts.units), shown(quantity, order.unit, facts.units)
        why = f"order {order.order} is over {has} in the ERP, the request says {wants}: the ERP's counts"
        said.append(Constraint("order", NOTES, order.order, has, wants, why))
    places = [one.work_center for one in order.operations]
    if place and place not in places:
        why = f"order {order.order} is made at {', '.join(places) or 'no work centre'} in the ERP, not at {place}"
        weight = NOTES if place in facts.work_centers else BLOCKS
        said.append(Constraint("work_center", weight, place, place, ", ".join(places), why))
    return said


def _described(report: SegmentResponse, data: Mapping[str, Any], facts: Facts) -> tuple[Order, list[Constraint]]:
    """An order that the ERP does not have (yet), made of the request and the bill of material."""
    name, quantity = _text(data, "material"), _quantity(data) or Decimal(0)
    place, product, bom = _text(data, "required_work_center"), facts.materials.get(name), facts.boms.get(name)
    said = []
    if product is None:
        why = f"material {name!r} is not in the master data: add it, or mend the request"
        said.append(Constraint("material", BLOCKS, name, name, "unknown", why))
    elif bom is None:
        why = f"{name} has no bill of material here: its components were not looked at"
        said.append(Constraint("material", NOTES, name, "a bill of material", "none", why))
    components = tuple(
        Component(item.material, "", "", item.quantity * quantity + item.set_up, Decimal(0), item.unit)
        for item in (bom.items if bom else ())
    )
    unit = bom.unit if bom else product.base_unit if product else ""
    operations = (Operation("0010", place, unit),) if place else ()
    order = Order(
        order=report.order, material=name, plant=facts.plant.site, quantity=quantity, unit=unit, status="created",
        operations=operations, components=components, due=_moment(data),
    )  # fmt: skip
    return order, said


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name, "")
    return value if isinstance(value, str) else ""


def _quantity(data: Mapping[str, Any]) -> Decimal | None:
    """The quantity that is asked for. Raises BadPayload for one that nobody can mean."""
    value = data.get("quantity")
    if value is None:
        return None
    if not isinstance(value, Decimal) or not value > 0 or value.adjusted() >= LARGEST:
        raise BadPayload(f"{value} is no quantity of an order", field="quantity", reason="out_of_range")
    return value


def _moment(data: Mapping[str, Any]) -> datetime | None:
    """In UTC, as every time that is shown. Raises BadPayload for one that the calendar does not have there."""
    text = _text(data, "due_date")
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except OverflowError:
        raise BadPayload(f"{text} is no due date", field="due_date", reason="out_of_range") from None
