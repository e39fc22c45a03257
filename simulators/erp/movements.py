"""Goods movements: from a posted item to its checked row and its effects, and the documents made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from simulators.erp.books import Books, Document
from simulators.erp.ledger import BLOCKED, INSPECTION, UNRESTRICTED, Component, Effect, Ledger, convert
from simulators.erp.model import HEADER, ITEM
from simulators.erp.odata import (
    ODataError,
    Row,
    day_of,
    read_entity,
    same_number,
    wire_date,
    wire_decimal,
    wire_time,
)

# movement type → (sign on the stock, its reversal)
TYPES: Mapping[str, tuple[int, str]] = {
    "101": (1, "102"), "102": (-1, "101"),
    "201": (-1, "202"), "202": (1, "201"),
    "261": (-1, "262"), "262": (1, "261"),
    "311": (-1, "312"), "312": (1, "311"),
    "501": (1, "502"), "502": (-1, "501"),
    "531": (1, "532"), "532": (-1, "531"),
    "309": (-1, "310"), "310": (1, "309"),
    "321": (-1, "322"), "322": (-1, "321"),
    "343": (-1, "344"), "344": (-1, "343"),
    "349": (-1, "350"), "350": (-1, "349"),
    "551": (-1, "552"), "552": (1, "551"),
    "553": (-1, "554"), "554": (1, "553"),
    "555": (-1, "556"), "556": (1, "555"),
    "561": (1, "562"), "562": (-1, "561"),
    "701": (1, "702"), "702": (-1, "701"),
}  # fmt: skip

# movement type → the status that the stock leaves, and the one that it gets
RESTATED: Mapping[str, tuple[str, str]] = {
    "321": (INSPECTION, UNRESTRICTED), "322": (UNRESTRICTED, INSPECTION),
    "343": (BLOCKED, UNRESTRICTED), "344": (UNRESTRICTED, BLOCKED),
    "349": (BLOCKED, INSPECTION), "350": (INSPECTION, BLOCKED),
}  # fmt: skip

# movement type of scrap → the status of the stock
SCRAP: Mapping[str, str] = {
    "551": UNRESTRICTED, "552": UNRESTRICTED, "553": INSPECTION, "554": INSPECTION, "555": BLOCKED, "556": BLOCKED,
}  # fmt: skip

# goods movement code → the movement types of its old transaction
CODES: Mapping[str, frozenset[str]] = {
    "01": frozenset({"101", "102"}),
    "02": frozenset({"101", "102"}),
    "03": frozenset({"201", "202", "261", "262", *SCRAP}),
    "04": frozenset({"309", "310", "311", "312", *RESTATED}),
    "05": frozenset({"501", "502", "531", "532", "561", "562"}),
    "06": frozenset(TYPES) - {"701", "702"},  # these are booked by physical inventory alone
}

ORDER_TYPES = frozenset({"261", "262", "531", "532"})


@dataclass(frozen=True, slots=True)
class Posting:
    """What every booking needs to know: where it goes, when, and what the period table allows."""

    ledger: Ledger
    books: Books
    now: datetime
    user: str
    open_from: date | None = None  # posting dates before this day lie in a closed period

    def posting_date(self, row: Row) -> str:
        """The posting date of a row, today when it has none; raises M7/053 for a closed period."""
        text = row.get("PostingDate") or wire_date(self.now.date())
        day = day_of(text)
        if self.open_from is not None and day < self.open_from:
            month = self.open_from
            previous = f"{month.year - (month.month == 1)}/{(month.month - 2) % 12 + 1:02d}"
            raise ODataError(
                400,
                "M7/053",
                f"Posting only possible in periods {month.year}/{month.month:02d} and {previous}"
                f" in company code {self.ledger.plant}",
                target="PostingDate",
            )
        return str(text)


def goods_movement(
    posting: Posting, header: Row, children: Mapping[str, list[Any]], hidden: frozenset[str]
) -> Document:
    """Check a posted material document and make it; nothing is booked yet. Raises ODataError."""
    code = header.get("GoodsMovementCode", "")
    if code not in CODES:
        raise ODataError(400, "M7/118", f"Enter a valid goods movement code ({code})", target="GoodsMovementCode")
    posting_date = posting.posting_date(header)
    raw = children.get("to_MaterialDocumentItem", [])
    if not raw:
        raise ODataError(400, "M7/095", "Document does not contain any items", target="to_MaterialDocumentItem")
    rows, effects = [], []
    for payload in raw:
        row, _ = read_entity(ITEM, payload, hidden)
        if row.get("GoodsMovementType", "") not in CODES[code]:
            raise ODataError(
                400,
                "M7/146",
                f"Movement type {row.get('GoodsMovementType', '')} is not possible with goods movement code {code}",
                target="GoodsMovementType",
            )
        moved = move(posting.ledger, row)
        rows.append(row)
        effects += moved
    posting.ledger.check_stock(effects)
    return material_document(posting, {**header, "PostingDate": posting_date}, rows, effects)


def material_document(posting: Posting, header: Row, rows: list[Row], effects: list[Effect]) -> Document:
    """Number a checked material document; the year is that of the posting date."""
    year = str(day_of(header["PostingDate"]).year)
    number = posting.books.next_material_document()
    today = wire_date(posting.now.date())
    header = {
        "DocumentDate": today,
        **{name: value for name, value in header.items() if value != HEADER.initial[name]},
        "MaterialDocumentYear": year,
        "MaterialDocument": number,
        "InventoryTransactionType": "WA",
        "CreationDate": today,
        "CreationTime": wire_time(posting.now),
        "CreatedByUser": posting.user[:12],
    }
    for position, row in enumerate(rows, start=1):
        row["MaterialDocumentYear"] = year
        row["MaterialDocument"] = number
        row["MaterialDocumentItem"] = str(position)
        row["MaterialDocumentLine"] = str(position)
        row["FiscalYear"] = year
        row["CompanyCodeCurrency"] = posting.ledger.currency
    order = next((row["ManufacturingOrder"] for row in rows if row.get("ManufacturingOrder")), "")
    return Document("material_document", f"{year}/{number}", order, header, rows, effects)


def move(ledger: Ledger, row: Row) -> list[Effect]:
    """Check one item, complete it in place, and say what it moves; raises ODataError."""
    kind = row.get("GoodsMovementType", "")
    if kind not in TYPES:
        raise ODataError(400, "M7/001", f"Check table T156: entry {kind} does not exist", target="GoodsMovementType")
    sign = TYPES[kind][0]
    component = _component(ledger, row, kind)
    material = ledger.known_material(row.get("Material") or (component.material if component else ""))
    row["Material"] = material.material
    _check_place(ledger, row, component)
    quantity = Decimal(row.get("QuantityInEntryUnit", "0"))
    if quantity <= 0:
        raise ODataError(400, "M7/033", "Enter a quantity greater than zero", target="QuantityInEntryUnit")
    row.setdefault("EntryUnit", material.unit)
    base = ledger.in_base_unit(quantity, row["EntryUnit"], material)
    row["MaterialBaseUnit"] = material.unit
    row["QuantityInBaseUnit"] = wire_decimal(base)
    row["DebitCreditCode"] = "S" if sign > 0 else "H"
    row["GdsMvtExtAmtInCoCodeCrcy"] = wire_decimal(base * material.price)
    return _effects(ledger, row, sign, base, component)


def _effects(ledger: Ledger, row: Row, sign: int, base: Decimal, component: Component | None) -> list[Effect]:
    location, material, kind = row["StorageLocation"], row["Material"], row["GoodsMovementType"]
    order = ledger.orders.get(row.get("ManufacturingOrder", ""))
    if kind in {"311", "312"}:
        other = row.get("IssuingOrReceivingStorageLoc", "")
        if other not in ledger.storage_locations:
            raise _no_place(material, ledger.plant, other)
        return [Effect(material, location, sign * base), Effect(material, other, -sign * base)]
    if kind in {"309", "310"}:
        into = ledger.known_material(row.get("IssgOrRcvgMaterial", "")).material
        return [Effect(material, location, sign * base), Effect(into, location, -sign * base)]
    if kind in RESTATED:
        before, after = RESTATED[kind]
        return [Effect(material, location, -base, status=before), Effect(material, location, base, status=after)]
    if kind in SCRAP and not (row.get("CostCenter") or order):
        raise ODataError(400, "M7/018", "Enter Cost Center", target="CostCenter")
    status = SCRAP.get(kind, UNRESTRICTED)
    if order is None:
        return [Effect(material, location, sign * base, status=status)]
    withdrawn = Decimal(0)
    if component is not None:
        withdrawn = -sign * convert(base, row["MaterialBaseUnit"], component.unit, material)
    delivered = sign * base if kind in {"101", "102"} else Decimal(0)
    item = component.item if component else ""
    final = bool(row.get("ReservationIsFinallyIssued"))
    return [Effect(material, location, sign * base, order.number, item, withdrawn, delivered, final, status)]


def _component(ledger: Ledger, row: Row, kind: str) -> Component | None:
    number = row.get("ManufacturingOrder", "")
    reservation, item = row.get("Reservation", ""), row.get("ReservationItem", "")
    if reservation and not number:
        number = _order_of(ledger, reservation)
    if not number:
        if kind in ORDER_TYPES:
            raise ODataError(400, "M7/018", "Enter Order", target="ManufacturingOrder")
        return None
    order = ledger.order(number, doing="Goods movement")
    row["ManufacturingOrder"] = order.number
    if kind in {"101", "102"} and row.get("Material", order.product) != order.product:
        raise ODataError(
            400, "M7/064", f"Material {row['Material']} is not the product of order {order.number}", target="Material"
        )
    if not reservation:
        return None
    component = order.components.get(item.lstrip("0"))
    if component is None or not same_number(component.reservation, reservation):
        raise ODataError(
            400,
            "M7/036",
            f"Reservation {reservation} item {item} does not belong to order {order.number}",
            target="Reservation",
        )
    if row.get("Material", component.material) != component.material:
        raise ODataError(
            400,
            "M7/037",
            f"Material {row['Material']} does not match reservation {reservation} item {item} ({component.material})",
            target="Material",
        )
    row["Reservation"], row["ReservationItem"] = component.reservation, component.item
    return component


def _order_of(ledger: Ledger, reservation: str) -> str:
    for order in ledger.orders.values():
        if any(same_number(one.reservation, reservation) for one in order.components.values()):
            return order.number
    raise ODataError(400, "M7/035", f"Reservation {reservation} does not exist", target="Reservation")


def _check_place(ledger: Ledger, row: Row, component: Component | None) -> None:
    plant = row.get("Plant") or ledger.plant
    if plant != ledger.plant:
        raise ODataError(400, "M3/351", f"Material {row['Material']} not maintained in plant {plant}", target="Plant")
    row["Plant"] = plant
    location = row.get("StorageLocation") or (component.storage_location if component else "")
    if not location:
        raise ODataError(400, "M7/018", "Enter Storage Location", target="StorageLocation")
    if location not in ledger.storage_locations:
        raise _no_place(row["Material"], plant, location)
    row["StorageLocation"] = location


def _no_place(material: str, plant: str, location: str) -> ODataError:
    return ODataError(
        400, "M7/131", f"Material {material} is not stored at {plant} {location}", target="StorageLocation"
    )


# ── cancellation ────────────────────────────────────────────────────────────────────────────────────────────


def cancel(posting: Posting, year: str, number: str, item: str, posting_date: str | None) -> Document:
    """Reverse a material document, or one item of it; raises ODataError when there is none or it is reversed."""
    name = f"{year}/{number.lstrip('0')}"
    items = posting.books.items.where(MaterialDocument=number.lstrip("0"), MaterialDocumentYear=year)
    if item:
        items = [row for row in items if same_number(row["MaterialDocumentItem"], item)]
    if not items:
        raise ODataError(404, "M7/061", f"Material document {number} {year} does not exist")
    open_items = [
        row for row in items if not row.get("GoodsMovementIsCancelled") and not row.get("ReversedMaterialDocument")
    ]
    if not open_items:
        raise ODataError(400, "M7/062", f"Material document {number} {year} has already been cancelled")
    header: Row = {"PostingDate": posting.posting_date({"PostingDate": posting_date} if posting_date else {})}
    return _reversal(posting, name, open_items, header)


def _reversal(posting: Posting, name: str, items: list[Row], header: Row) -> Document:
    rows = [reversed_row(row) for row in items]
    effects = [effect for row in rows for effect in move(posting.ledger, row)]
    posting.ledger.check_stock(effects)
    document = material_document(posting, header, rows, effects)
    document.reverses = name
    document.reversed_items = [row["MaterialDocumentItem"] for row in items]
    return document


def reversed_row(row: Row) -> Row:
    """The item that takes an item back: the reversal type, and a reference to what it reverses."""
    return {
        **row,
        "GoodsMovementType": TYPES[row["GoodsMovementType"]][1],
        "ReversedMaterialDocumentYear": row["MaterialDocumentYear"],
        "ReversedMaterialDocument": row["MaterialDocument"],
        "ReversedMaterialDocumentItem": row["MaterialDocumentItem"],
    }
