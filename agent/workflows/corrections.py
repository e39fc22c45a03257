"""What puts a finding of reconciliation right: take back, issue, report as scrap, move or count. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.masterdata.entities import Material, Stock
from agent.ports import Draft, Kind
from agent.workflows import stock_count
from agent.workflows.orders import converted, erp_quantity, into, material_of, shown
from agent.workflows.use import use_of

Drafts = tuple[tuple[Draft, ...], tuple[str, ...]]  # and what a person must know about them


_NOT_OURS: Final = "not booked by this agent: take it back in the ERP, or count"
_OTHERS: Final = "what the ERP has of it others booked: take that back in the ERP, or count"
_FATES: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("simulated",), f"{{}} was a dry run: {_OTHERS}"),
    (("advised",), f"this agent only advised to book it: {_OTHERS}"),
    (("refused",), f"{{}} was never sent, as it was refused or nobody signed it in time: {_OTHERS}"),
    (("sending", "in_doubt", "doubtful"), "whether the ERP has {0} is not known yet: see what becomes of it, or count"),
    (("held", "ready", "dead"), "{0} is not in the ERP yet: refuse or correct it, or count"),
    (("acknowledged",), "this agent booked more than one document of it: take the wrong one back, or count"),
)


class Found(NamedTuple):
    """A finding as its report says it; `excess` in the unit of the stock."""

    report: SegmentResponse
    actual: MaterialActual
    cause: str
    correction: str
    evidence: str
    excess: Decimal
    data: Mapping[str, str | Decimal]

    @property
    def place_words(self) -> str:
        """Material, storage location and batch."""
        where = f" at {self.actual.storage_location}" if self.actual.storage_location else ""
        return f"{self.actual.material}{where}" + (f", batch {self.actual.lot}" if self.actual.lot else "")

    def text(self, name: str) -> str:
        """A value of the report, "" where it has none."""
        return str(self.data.get(name, ""))


def read(report: SegmentResponse, facts: Facts) -> Found:
    """The finding. Raises BadPayload."""
    if len(report.material_actuals) != 1:
        raise BadPayload("a finding is about one material", field="material_actuals")
    data, actual = report.data, report.material_actuals[0]
    material_of(actual.material, facts)
    excess = data.get("excess", Decimal(0))
    if not isinstance(excess, Decimal):
        raise BadPayload("must be a number", field="excess", reason="wrong_type")
    cause, correction, evidence = (str(data.get(name, "")) for name in ("cause", "correction", "evidence"))
    return Found(report, actual, cause, correction, evidence, excess, data)


def drafts(found: Found, facts: Facts) -> Drafts:
    """The postings that would put it right, in their order, and what is uncertain about them."""
    makers = {"reversal": _taken_back, "issue": _issued, "scrap": _scrapped, "count": _count, "transfer": _moved}
    make = makers.get(found.correction)
    return make(found, facts) if make else ((), ("the books are right: nothing is to be posted",))


def _taken_back(found: Found, facts: Facts) -> Drafts:
    """The document is taken back, and what is right is issued instead."""
    document, report = found.text("document"), found.report
    if not document:
        drafts, why = _count(found, facts)
        return drafts, (_not_booked(found), *why)
    payload = {
        "of_kind": found.text("of_kind"),
        "document": document,
        "order": report.order,
        "posting_date": facts.plant.day_text(report.occurred_at),
        "reason": f"{found.cause}"[:40],
        "of_key": found.text("of_key"),
    }
    material = material_of(found.actual.material, facts)
    value = abs(found.excess) * material.price
    back = Draft(Kind.REVERSAL, f"order/{report.order}", payload, value)
    booked = Decimal(found.text("booked") or "0")
    right = converted(booked, found.text("booked_unit"), into(material.base_unit, material, facts)) - found.excess
    if right <= into(material.base_unit, material, facts).step / 2:
        return (back,), ()
    again, why = _issue_of(found, right, facts)
    return (back, *again), why


def _not_booked(found: Found) -> str:
    """Why no document of this agent can be taken back, and what to do instead."""
    number = f"posting {found.text('posting')}" if found.text("posting") else "what this agent makes of it"
    words = next((words for fates, words in _FATES if found.text("fate") in fates), _NOT_OURS)
    return words.format(number)


def _issued(found: Found, facts: Facts) -> Drafts:
    return _issue_of(found, abs(found.excess), facts)


def _issue_of(found: Found, quantity: Decimal, facts: Facts) -> Drafts:
    """A goods issue of so much for the order of the finding."""
    material = material_of(found.actual.material, facts)
    step = into(material.base_unit, material, facts).step
    amount = Quantity(quantity.quantize(step), material.base_unit)
    consumed = found.actual._replace(use=MaterialUse.CONSUMED, quantity=amount)
    use = use_of(found.report._replace(material_actuals=(consumed,)), facts)
    exact, loss = erp_quantity(amount, use.need.into_unit)
    day, payload = facts.plant.day_text(found.report.occurred_at), use.need.payload.copy()
    payload |= {
        "quantity": str(exact), "floor_quantity": f"{amount.value:f}", "floor_unit": amount.unit,
        "posting_date": day, "document_date": day, "text": f"{found.cause}: {found.text('about')}"[:50],
    }  # fmt: skip
    payload |= {"storage_location": found.actual.storage_location} if found.actual.storage_location else {}
    payload |= {"batch": found.actual.lot} if found.actual.lot else {}
    draft = Draft(Kind.GOODS_ISSUE, use.need.lane, payload, quantity * material.price)
    noise = found.data.get("noise")
    estimated = isinstance(noise, Decimal) and noise > step
    why = [f"the quantity is what is usual, ± {shown(noise, material.base_unit, facts.units)}"] if estimated else []  # type: ignore[arg-type]
    return (draft,), (*use.need.holds, *why, *([loss] if loss else []))


def _scrapped(found: Found, facts: Facts) -> Drafts:
    """The product that nobody told of, as scrap of its operation."""
    report, pieces = found.report, found.data.get("scrapped")
    order = facts.orders.get(report.order)
    if order is None or not isinstance(pieces, Decimal):
        return (), ("report the scrap for its order",)
    bom, product = facts.boms.get(order.material), facts.materials.get(order.material)
    operation = order.operation(report.operation)
    unit = operation.unit if operation else order.unit
    quantity, _ = erp_quantity(Quantity(pieces, bom.unit if bom else order.unit), into(unit, product, facts))
    if not quantity:
        return (), ("less than one is missing: nothing is to be posted",)
    payload: dict[str, Any] = {
        "plant": order.plant,
        "order": order.order,
        "operation": operation.operation if operation else report.operation,
        "sequence": "0",
        "yield": "0",
        "scrap": str(quantity),
        "rework": "0",
        "unit": unit,
        "final": False,
        "scrap_reason": "",
        "posting_date": facts.plant.day_text(report.occurred_at),
        "start": "",
        "end": "",
        "activities": {},
        "backflush": False,
        "text": "scrap that was not reported",
        "personnel": "",
    }
    value = quantity * product.price if product else Decimal(0)
    why = ("how much was scrapped follows from what was used: look, and correct the number and its reason",)
    return (Draft(Kind.CONFIRMATION, f"order/{order.order}", payload, value),), why


def _moved(found: Found, facts: Facts) -> Drafts:
    """So much from the books of what was taken to those of what was told; a count where that is no one movement."""
    here, other, location = found.actual, found.text("instead"), found.text("instead_location")
    material, taken = material_of(here.material, facts), material_of(other, facts)
    step = into(taken.base_unit, taken, facts).step
    quantity, stock = found.excess.quantize(step), facts.stock(other, location, found.text("instead_batch"))
    if reason := _immovable(found, material, taken, stock):
        drafts, more = _count(found, facts)
        return drafts, (reason, *more)
    day = facts.plant.day_text(found.report.occurred_at)
    payload = {
        "movement": "311" if other == here.material else "309",
        "material": other, "plant": facts.plant.site, "storage_location": location,
        "quantity": str(quantity), "unit": taken.base_unit, "posting_date": day, "document_date": day,
        "text": f"{found.cause}: {found.report.id or ''}"[:50],
    }  # fmt: skip
    payload |= {"batch": found.text("instead_batch")} if found.text("instead_batch") else {}
    if other == here.material:
        payload |= {"to_storage_location": here.storage_location}
    else:
        payload |= {"to_material": here.material} | ({"to_batch": here.lot} if here.lot else {})
    noise, why = found.data.get("noise"), []
    if isinstance(noise, Decimal) and noise > step:
        why.append(f"the quantity is what gauges show, ± {shown(noise, taken.base_unit, facts.units)}")
    if other != here.material:
        why.append(f"orders keep the cost of {here.material}: {other} was used for them")
    value = quantity * max(material.price, taken.price)
    return (Draft(Kind.STOCK_TRANSFER, f"count/{location}", payload, value),), tuple(why)


def _immovable(found: Found, material: Material, taken: Material, stock: Stock | None) -> str:
    """Why two places are counted and nothing is moved between their books; "" where it can be moved."""
    here, location, batch = found.actual, found.text("instead_location"), found.text("instead_batch")
    same = material.material == taken.material
    reasons = (
        (not (location and here.storage_location), "a storage location is not known"),
        (same == (location == here.storage_location), "neither one material nor one storage location"),
        (material.base_unit != taken.base_unit, f"{taken.material} is not kept in {material.base_unit}"),
        ((material.batch_managed and not here.lot) or (taken.batch_managed and not batch), "no gauge tells the batch"),
        (same and here.lot != batch, "they are two batches"),
        (found.excess <= 0, "nothing is too much there"),
        (stock is not None and stock.quantity < found.excess, f"the books of {taken.material} have not so much"),
    )
    return next((f"{why}: count both" for applies, why in reasons if applies), "")


def _count(found: Found, facts: Facts) -> Drafts:
    """A document by which the place is counted, and the other one where two are mixed up."""
    location = found.actual.storage_location
    if not location:
        return (), (f"count {found.place_words}: the report names no storage location",)
    items = [{"material": found.actual.material} | ({"batch": found.actual.lot} if found.actual.lot else {})]
    why: tuple[str, ...] = ()
    if other := found.text("instead"):
        if found.text("instead_location") != location:
            why = (f"count {other} at {found.text('instead_location')}, too",)
        elif other != found.actual.material:
            items.append({"material": other})
    day = facts.plant.day_text(found.report.occurred_at)
    payload = {
        "plant": facts.plant.site,
        "storage_location": location,
        "items": items,
        "planned_count_date": day,
        "document_date": day,
        "text": found.cause[:40],
    }
    value = abs(found.excess) * material_of(found.actual.material, facts).price
    return (Draft(Kind.COUNT_DOCUMENT, stock_count.lane(location, items), payload, value),), why


# ── what is said of it ──────────────────────────────────────────────────────────────────────────────────────


def subject(found: Found, facts: Facts) -> dict[str, str]:
    """What it is about, for lists and filters."""
    center = facts.work_centers.get(found.report.work_center)
    return {
        "order": found.report.order,
        "material": found.actual.material,
        "work_center": found.report.work_center,
        "line": center.line if center else "",
    }


def said(found: Found, made: Sequence[Draft], facts: Facts) -> Mapping[str, str]:
    """Reader → sentence."""
    material = material_of(found.actual.material, facts)
    amount = shown(abs(found.excess), material.base_unit, facts.units)
    money = f"{abs(found.excess) * material.price:.2f} {facts.plant.currency}"
    where = found.place_words
    todo = ", then ".join(_verb(draft, facts) for draft in made) or "nothing is to be posted"
    of = f" for order {found.report.order}" if found.report.order else ""
    way = "too much" if found.excess > 0 else "too little"
    books = f"the books took {amount} {way} off {where}" if found.excess else f"the books of {where} are right"
    return {
        "operator": f"{found.cause.capitalize()}{of}: {found.evidence}.",
        "planner": f"{books[0].upper()}{books[1:]}; to put it right: {todo}.",
        "accountant": f"{found.cause.capitalize()}{of}: {books}, worth {money}; to put it right: {todo}.",
    }


def _verb(draft: Draft, facts: Facts) -> str:
    payload = draft.payload

    def amount(of: str) -> str:
        return shown(Decimal(payload[of]), payload["unit"], facts.units) if of in payload else ""

    if draft.kind is Kind.STOCK_TRANSFER:
        return f"move {amount('quantity')} in the books from {_ends(payload)}"
    words = {
        Kind.REVERSAL: f"take back {payload.get('document', '')}",
        Kind.GOODS_ISSUE: f"issue {amount('quantity')}",
        Kind.CONFIRMATION: f"confirm {amount('scrap')} as scrap",
        Kind.COUNT_DOCUMENT: "count",
    }
    return words.get(draft.kind, draft.kind.value)


def _ends(payload: Mapping[str, Any]) -> str:
    """From where to where stock is moved."""
    there = payload.get("to_material") or payload.get("to_storage_location", "")
    return f"{payload['material']} at {payload['storage_location']} to {there}"
