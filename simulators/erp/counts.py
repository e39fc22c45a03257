"""Physical inventory: documents that say what is counted, the counts, and the movements that post the differences."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from simulators.erp.books import Document
from simulators.erp.ledger import Effect
from simulators.erp.model import COUNT_ITEM
from simulators.erp.movements import Posting, material_document
from simulators.erp.odata import ODataError, Row, day_of, read_entity, wire_date, wire_decimal

FIRST_COUNT = 100000001
_ENTERED = frozenset(
    {
        "Material",
        "Batch",
        "QuantityInUnitOfEntry",
        "UnitOfEntry",
        "PhysicalInventoryItemIsZero",
        "ReasonForPhysInvtryDifference",
    }
)


def create(posting: Posting, header: Row, children: Mapping[str, list[Any]], hidden: frozenset[str]) -> Document:
    """Check a posted physical inventory document and make it; raises ODataError."""
    plant, place = header.get("Plant", ""), header.get("StorageLocation", "")
    if plant != posting.ledger.plant or place not in posting.ledger.storage_locations:
        raise ODataError(400, "M7/131", f"There is no storage location {plant} {place}", target="StorageLocation")
    raw = children.get("to_PhysicalInventoryDocumentItem", [])
    if not raw:
        raise ODataError(400, "M7/095", "Document does not contain any items")
    year = str(day_of(header.get("DocumentDate") or wire_date(posting.now.date())).year)
    number = str(FIRST_COUNT + len(posting.books.count_headers.rows))
    key = {"FiscalYear": year, "PhysicalInventoryDocument": number}
    rows = []
    for position, payload in enumerate(raw, start=1):
        row, _ = read_entity(COUNT_ITEM, payload, hidden)
        material = posting.ledger.known_material(row.get("Material", ""))
        _check_not_active(posting, material.material, row.get("Batch", ""), place)
        own = {"PhysicalInventoryDocumentItem": str(position), "Plant": plant, "StorageLocation": place}
        unit = {"MaterialBaseUnit": material.unit, "PhysicalInventoryStockType": "1"}
        rows.append({**row, **key, **own, **unit})
    entered = {"CreatedByUser": posting.user[:12], "InventoryTransactionType": "IB"}
    return Document("count_document", f"{year}/{number}", "", {**header, **key, **entered}, rows)


def _check_not_active(posting: Posting, material: str, batch: str, place: str) -> None:
    for row in posting.books.count_items.rows:
        same = (row["Material"], row.get("Batch", ""), row["StorageLocation"]) == (material, batch, place)
        if same and not row.get("PhysInvtryDifferenceIsPosted"):
            number = row["PhysicalInventoryDocument"]
            words = f"Physical inventory is already active for material {material}: document {number}"
            raise ODataError(400, "M7/709", words, target="Material")


def enter(posting: Posting, item: Row, changes: Row) -> Document:
    """The count of one item; raises ODataError when it cannot be counted (any more)."""
    name = f"{item['PhysicalInventoryDocument']} item {item['PhysicalInventoryDocumentItem']}"
    if item.get("PhysInvtryDifferenceIsPosted"):
        raise ODataError(400, "M7/778", f"The difference of document {name} has already been posted")
    for field in changes:
        if field not in _ENTERED:
            raise ODataError(400, "/IWBEP/CM_MGW_RT/034", f"Property {field} is read-only", target=field)
    material = posting.ledger.known_material(item["Material"])
    quantity = Decimal(changes.get("QuantityInUnitOfEntry", "0"))
    if quantity < 0 or (quantity == 0) != bool(changes.get("PhysicalInventoryItemIsZero")):
        raise ODataError(400, "M7/705", f"Enter a quantity or the zero count indicator for document {name}")
    unit = changes.get("UnitOfEntry") or material.unit
    counted = {
        **changes,
        **_key(item),
        "PhysicalInventoryDocumentItem": item["PhysicalInventoryDocumentItem"],
        "UnitOfEntry": unit,
        "Quantity": wire_decimal(posting.ledger.in_base_unit(quantity, unit, material)),
        "BookQtyBfrCountInMatlBaseUnit": wire_decimal(_book(posting, item)),
        "PhysicalInventoryItemIsCounted": True,
        "CountedByUser": posting.user[:12],
        "PhysicalInventoryLastCountDate": wire_date(posting.now.date()),
    }
    number = f"{item['FiscalYear']}/{item['PhysicalInventoryDocument']}/{item['PhysicalInventoryDocumentItem']}"
    change = posting.books.versions[f"{item['PhysicalInventoryDocument']}/{item['PhysicalInventoryDocumentItem']}"] + 1
    last = {"PhysicalInventoryLastCountDate": counted["PhysicalInventoryLastCountDate"]}
    return Document("count_entry", f"{number}/{change}", "", {**_key(item), **last}, [counted])


def post_differences(posting: Posting, year: str, number: str, posting_date: str | None) -> Document:
    """Move what was counted more or less than the books said; raises ODataError when not all is counted."""
    headers = posting.books.count_headers.where(PhysicalInventoryDocument=number, FiscalYear=year)
    if not headers:
        raise ODataError(404, "M7/702", f"Physical inventory document {number} {year} does not exist")
    items = posting.books.count_items.where(PhysicalInventoryDocument=number)
    if any(row.get("PhysInvtryDifferenceIsPosted") for row in items):
        raise ODataError(400, "M7/778", f"The differences of document {number} {year} have already been posted")
    if any(not row.get("PhysicalInventoryItemIsCounted") for row in items):
        raise ODataError(400, "M7/703", f"Not all items of document {number} {year} have been counted")
    date = posting.posting_date({"PostingDate": posting_date} if posting_date else {})
    rows, effects = [], []
    for item in items:
        delta = Decimal(item["Quantity"]) - Decimal(item["BookQtyBfrCountInMatlBaseUnit"])
        if delta:
            rows.append(_movement(item, delta))
            effects.append(Effect(item["Material"], item["StorageLocation"], delta))
    posting.ledger.check_stock(effects)
    posted = [_posted(item, date, posting.user) for item in items]
    document = Document("count_difference", f"{year}/{number}", "", {**_key(items[0]), "PostingDate": date}, posted)
    if rows:
        made = material_document(posting, {"PostingDate": date, "GoodsMovementCode": ""}, rows, effects)
        document.movement, document.movement_items, document.effects = made.header, made.items, effects
        for change in posted:
            change["MaterialDocument"] = made.header["MaterialDocument"]
            change["MaterialDocumentYear"] = made.header["MaterialDocumentYear"]
    return document


def _movement(item: Row, delta: Decimal) -> Row:
    return {
        "Material": item["Material"],
        "Plant": item["Plant"],
        "StorageLocation": item["StorageLocation"],
        "GoodsMovementType": "701" if delta > 0 else "702",
        "QuantityInEntryUnit": wire_decimal(abs(delta)),
        "EntryUnit": item["MaterialBaseUnit"],
        "QuantityInBaseUnit": wire_decimal(abs(delta)),
        "MaterialBaseUnit": item["MaterialBaseUnit"],
    }


def _posted(item: Row, date: str, user: str) -> Row:
    return {
        **_key(item),
        "PhysicalInventoryDocumentItem": item["PhysicalInventoryDocumentItem"],
        "PhysInvtryDifferenceIsPosted": True,
        "AdjustmentPostingMadeByUser": user[:12],
        "PostingDate": date,
    }


def _book(posting: Posting, item: Row) -> Decimal:
    return posting.ledger.stock.get((item["Material"], item["StorageLocation"]), Decimal(0))


def _key(row: Row) -> Row:
    return {name: row[name] for name in ("FiscalYear", "PhysicalInventoryDocument")}
