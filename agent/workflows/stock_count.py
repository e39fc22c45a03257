"""A count: what people found at a place, and the three postings by which the ERP takes it over. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import MaterialActual, MaterialUse, SegmentResponse
from agent.masterdata.entities import Material
from agent.ports import Draft, Kind, Proposal
from agent.workflows.orders import erp_quantity, into, material_of, shown

MOST: Final = 100  # items of one physical inventory document


class Counted(NamedTuple):
    """One item, in the unit of its stock."""

    material: Material
    lot: str
    quantity: Decimal
    in_books: Decimal | None  # None: the ERP never told

    @property
    def off(self) -> Decimal:
        """By how much the books are too high (below 0: too low)."""
        return (self.in_books or Decimal(0)) - self.quantity


def proposed(report: SegmentResponse, facts: Facts, signed: str) -> Proposal:
    """Document, count and difference as one group; nothing where the books are right. Raises BadPayload."""
    items, location = _items(report, facts)
    place = lane(location, [_item(one) for one in items])
    told = tuple(_words(one, location, facts) for one in items)
    if all(one.in_books is not None and not one.off for one in items):
        return Proposal((), reasons=(*told, "the count agrees with the books: nothing is posted"), withdraws=place)
    value = sum((abs(one.off) * one.material.price for one in items), Decimal(0))
    first = items[0].material.material
    subject = {"order": "", "material": first if len(items) == 1 else "", "work_center": report.work_center, "line": ""}
    drafts = _drafts(report, items, location, value, facts)
    return Proposal(
        drafts, 1.0, (signed, *told), subject=subject, said=_said(told, value, facts), together=True, withdraws=place
    )  # fmt: skip


def lane(location: str, names: Sequence[Mapping[str, str]]) -> str:
    """Of what counts one place: a later count of it takes the place of an earlier one that nobody has signed."""
    one = "/".join(names[0].values()) if len(names) == 1 else ""
    return f"count/{location}/{one}".rstrip("/")


def require_known(actual: MaterialActual, facts: Facts) -> Material:
    """The material of what lies somewhere. Raises BadPayload for what cannot lie there."""
    material = material_of(actual.material, facts)
    if not actual.storage_location:
        raise BadPayload("is missing: where does it lie?", field="storage_location", reason="missing")
    if not (actual.quantity.value.is_finite() and actual.quantity.value >= 0):
        raise BadPayload(
            f"is {actual.quantity}: nothing lies there less than nothing", field="quantity", reason="negative"
        )
    if material.batch_managed and not actual.lot:
        raise BadPayload(f"{actual.material} is managed in batches: which one?", field="lot", reason="missing")
    return material


def _items(report: SegmentResponse, facts: Facts) -> tuple[list[Counted], str]:
    actuals = report.material_actuals
    if not 0 < len(actuals) <= MOST:
        raise BadPayload(f"a count names 1 to {MOST} materials, this one {len(actuals)}", field="material_actuals")
    location, items, seen = actuals[0].storage_location, [], set()
    for one in actuals:
        material = require_known(one, facts)
        if one.use is not MaterialUse.INVENTORIED:
            raise BadPayload(f"must be Inventoried, not {one.use.value}", field="use", reason="wrong_type")
        if one.storage_location != location:
            raise BadPayload(
                f"a count is of one storage location, this one of {location} and {one.storage_location}",
                field="storage_location",
            )
        if (one.material, one.lot) in seen:
            raise BadPayload(f"{one.material} {one.lot}".strip() + " is counted twice", field="material_actuals")
        seen.add((one.material, one.lot))
        quantity, loss = erp_quantity(one.quantity, into(material.base_unit, material, facts))
        if loss:
            raise BadPayload(loss, field="quantity", reason="too_precise")
        stock = facts.stock(one.material, location, one.lot)
        items.append(Counted(material, one.lot, quantity, stock.quantity if stock else None))
    return items, location


def _drafts(
    report: SegmentResponse, items: list[Counted], location: str, value: Decimal, facts: Facts
) -> tuple[Draft, ...]:
    day, named = facts.plant.day_text(report.occurred_at), [_item(one) for one in items]
    place = lane(location, named)
    document = {
        "plant": facts.plant.site,
        "storage_location": location,
        "items": named,
        "planned_count_date": day,
        "document_date": day,
        "text": (report.id or "")[:40],
        "personnel": report.personnel,  # who counted is none of two who sign
    }
    of: dict[str, Any] = {"document_of": Kind.COUNT_DOCUMENT.value}
    counted = [
        {**name, "quantity": str(one.quantity), "unit": one.material.base_unit}
        for name, one in zip(named, items, strict=True)
    ]
    off = [
        {**name, "quantity": str(one.off), "unit": one.material.base_unit}
        for name, one in zip(named, items, strict=True)
        if one.in_books is not None and one.off
    ]
    return (
        Draft(Kind.COUNT_DOCUMENT, place, document, value),
        Draft(Kind.COUNT_ENTRY, place, {**of, "items": counted}, value),
        Draft(Kind.COUNT_DIFFERENCE, place, {**of, "posting_date": day, "off_books": off}, value),
    )


def _item(one: Counted) -> dict[str, str]:
    return {"material": one.material.material} | ({"batch": one.lot} if one.lot else {})


def _words(one: Counted, location: str, facts: Facts) -> str:
    name, unit = f"{one.material.material} {one.lot}".strip(), one.material.base_unit
    counted = shown(one.quantity, unit, facts.units)
    if one.in_books is None:
        return f"{name} at {location}: {counted} counted, the ERP never told what it has there"
    books = shown(one.in_books, unit, facts.units)
    if not one.off:
        return f"{name} at {location}: {counted} counted, as the books have it"
    money = f"{abs(one.off) * one.material.price:.2f} {facts.plant.currency}"
    way = "too high" if one.off > 0 else "too low"
    off = shown(abs(one.off), unit, facts.units)
    return f"{name} at {location}: {counted} counted, {books} in the books: {off} {way}, {money}"


def _said(told: tuple[str, ...], value: Decimal, facts: Facts) -> Mapping[str, str]:
    all_ = "; ".join(told)
    return {
        "operator": f"Counted: {all_}.",
        "planner": f"With the difference posted, the stock is as counted: {all_}.",
        "accountant": f"The difference of the count is worth {value:.2f} {facts.plant.currency}: {all_}.",
    }
