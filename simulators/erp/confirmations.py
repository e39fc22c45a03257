"""Order confirmations: yield, scrap and times, with their goods movements or backflush; and cancelling them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from simulators.erp.books import Document
from simulators.erp.ledger import STEP, UNITS, Effect, Execution, Order, convert
from simulators.erp.model import CONFIRMATION, CONFIRMATION_ITEM, ITEM
from simulators.erp.movements import Posting, material_document, move, reversed_row
from simulators.erp.odata import ODataError, Row, read_entity, same_number, wire_date, wire_time


def confirm(
    posting: Posting, header: Row, children: Mapping[str, list[Any]], hidden: frozenset[str], *, cogi: bool = False
) -> Document:
    """Check a posted confirmation and make it; with `cogi` its movements fail afterwards. Raises ODataError."""
    order = posting.ledger.order(header.get("OrderID", ""), doing="Confirm order")
    _check_operation(order, header)
    posting_date = posting.posting_date(header)
    document = _confirmation(posting, order, {**header, "PostingDate": posting_date})
    raw = children.get("to_ProdnOrdConfMatlDocItm", [])
    if raw:
        rows = [_material_row(read_entity(CONFIRMATION_ITEM, one, hidden)[0], order) for one in raw]
        effects = [effect for row in rows for effect in move(posting.ledger, row)]
        if not cogi:
            posting.ledger.check_stock(effects)
    elif header.get("APIConfHasNoGoodsMovements"):
        return document
    else:
        rows, effects = _automatic(posting, order, document)
        cogi = cogi or _short(posting, effects)
    return _with_movements(posting, document, rows, effects, cogi=cogi)


def execution(document: Document, zone: ZoneInfo) -> Execution:
    """When what is confirmed was made; what the confirmation leaves out is the moment of its entry."""
    entered = datetime.fromisoformat(document.booked_at).astimezone(zone)
    now = wire_date(entered.date()), wire_time(entered)
    start, end = (_moment(document.header, which, now) for which in ("Start", "End"))
    return Execution(start if start != now else end, end, document.final)


def _moment(header: Row, which: str, missing: tuple[str, str]) -> tuple[str, str]:
    day, time = (header.get(f"ConfirmedExecution{which}{part}") for part in ("Date", "Time"))
    return (day, time or "PT00H00M00S") if day else missing


def _check_operation(order: Order, header: Row) -> None:
    operation = header.get("OrderOperation", "")
    if operation and not same_number(operation, order.operation):
        raise ODataError(
            400, "RU/003", f"Operation {operation} does not exist in order {order.number}", target="OrderOperation"
        )
    unit = header.get("ConfirmationUnit", "")
    if unit and unit not in UNITS:
        raise ODataError(400, "RU/412", f"Unit {unit} is not defined", target="ConfirmationUnit")
    center = header.get("WorkCenter", "")
    if center and center != order.work_center[:8]:
        raise ODataError(400, "CR/048", f"Work center {center} does not exist", target="WorkCenter")
    if Decimal(header.get("ConfirmationYieldQuantity", "0")) < 0:
        raise ODataError(400, "RU/075", "Negative yield cannot be confirmed", target="ConfirmationYieldQuantity")


def _confirmation(posting: Posting, order: Order, header: Row) -> Document:
    unit = header.get("ConfirmationUnit") or order.unit
    count = str(order.confirmations + 1)
    final = bool(header.get("IsFinalConfirmation")) or header.get("FinalConfirmationType", "") == "X"
    row = {
        **{name: value for name, value in header.items() if value != CONFIRMATION.initial[name]},
        "ConfirmationGroup": order.group,
        "ConfirmationCount": count,
        "OrderID": order.number,
        "OrderOperation": order.operation,
        "OrderType": "PP01",
        "Material": order.product,
        "Plant": posting.ledger.plant,
        "WorkCenter": order.work_center,
        "OrderPlannedTotalQty": f"{order.quantity:.3f}",
        "ProductionUnit": order.unit,
        "ConfirmationUnit": unit,
        "IsFinalConfirmation": final,
        "ConfirmationEntryDate": wire_date(posting.now.date()),
        "ConfirmationEntryTime": wire_time(posting.now),
        "EnteredByUser": posting.user[:12],
    }
    return Document(
        kind="confirmation",
        number=f"{order.group}/{count}",
        order=order.number,
        header=row,
        items=[],
        yield_quantity=_in_order_unit(row, "ConfirmationYieldQuantity", unit, order),
        scrap_quantity=_in_order_unit(row, "ConfirmationScrapQuantity", unit, order),
        final=final,
    )


def _in_order_unit(row: Row, name: str, unit: str, order: Order) -> Decimal:
    return convert(Decimal(row.get(name, "0")), unit, order.unit, order.product)


def _material_row(row: Row, order: Order) -> Row:
    """A confirmation's movement item in the words of a material document."""
    named = row.get("OrderID", "")
    if named and not same_number(named, order.number):
        raise ODataError(
            400, "RU/510", f"Movement for order {named} in a confirmation of {order.number}", target="OrderID"
        )
    shared = {name: value for name, value in row.items() if name in ITEM.fields}
    return {**shared, "ManufacturingOrder": order.number}


def _automatic(posting: Posting, order: Order, document: Document) -> tuple[list[Row], list[Effect]]:
    """Backflush of the marked components for everything produced, and the receipt of the yield."""
    rows: list[Row] = []
    produced = document.yield_quantity + document.scrap_quantity
    for part in order.components.values():
        quantity = (part.required * produced / order.quantity).quantize(STEP, ROUND_HALF_UP)
        if part.backflush and quantity > 0:
            rows.append(
                {
                    "Material": part.material,
                    "StorageLocation": part.storage_location,
                    "GoodsMovementType": "261",
                    "ManufacturingOrder": order.number,
                    "Reservation": part.reservation,
                    "ReservationItem": part.item,
                    "QuantityInEntryUnit": f"{quantity:.3f}",
                    "EntryUnit": part.unit,
                    "IsAutomaticallyCreated": "X",
                }
            )
    if order.automatic_goods_receipt and document.yield_quantity > 0:
        rows.append(
            {
                "Material": order.product,
                "StorageLocation": order.storage_location,
                "GoodsMovementType": "101",
                "GoodsMovementRefDocType": "F",
                "ManufacturingOrder": order.number,
                "ManufacturingOrderItem": "1",
                "QuantityInEntryUnit": f"{document.yield_quantity:.3f}",
                "EntryUnit": order.unit,
                "IsAutomaticallyCreated": "X",
            }
        )
    return rows, [effect for row in rows for effect in move(posting.ledger, row)]


def _short(posting: Posting, effects: list[Effect]) -> bool:
    try:
        posting.ledger.check_stock(effects)
    except ODataError:  # automatic movements that find no stock wait in COGI; the confirmation stands
        return True
    return False


def _with_movements(
    posting: Posting, document: Document, rows: list[Row], effects: list[Effect], *, cogi: bool
) -> Document:
    if cogi:
        document.failed = rows
        return document
    if rows:
        header: Row = {"PostingDate": document.header["PostingDate"], "GoodsMovementCode": ""}
        movement = material_document(posting, header, rows, effects)
        document.movement, document.movement_items = movement.header, movement.items
        document.effects = effects
        document.items = [_confirmation_item(document.header, row) for row in rows]
    return document


def _confirmation_item(header: Row, row: Row) -> Row:
    shared = {name: value for name, value in row.items() if name in CONFIRMATION_ITEM.fields}
    return {
        **shared,
        "ConfirmationGroup": header["ConfirmationGroup"],
        "ConfirmationCount": header["ConfirmationCount"],
        "OrderID": header["OrderID"],
        "OrderItem": row.get("ManufacturingOrderItem", ""),
    }


def cancel(posting: Posting, group: str, count: str, extra: Row) -> Document:
    """Reverse a confirmation and its movements; the newest open one of the order goes first. Raises ODataError."""
    number = f"{group.lstrip('0')}/{count.lstrip('0')}"
    original = posting.books.by_number.get(f"confirmation:{number}")
    if original is None:
        raise ODataError(404, "RU/122", f"Confirmation {group} counter {count} does not exist")
    if original.header.get("IsReversed") or original.reverses:
        raise ODataError(400, "RU/123", f"Confirmation {group} counter {count} has already been cancelled")
    _check_newest(posting, original)
    order = posting.ledger.order(original.order, doing="Confirm order")
    row = {**original.header, **extra, "IsReversal": True, "IsFinalConfirmation": False}
    for name in ("ExternalSystemConfirmation", "ConfirmationText"):
        if name not in extra:
            row.pop(name, None)
    row["PostingDate"] = posting.posting_date(extra)
    document = _confirmation(posting, order, row)
    rows = [reversed_row(one) for one in original.movement_items if not one.get("GoodsMovementIsCancelled")]
    effects = [effect for one in rows for effect in move(posting.ledger, one)]
    posting.ledger.check_stock(effects)
    document = _with_movements(posting, document, rows, effects, cogi=False)
    return replace(
        document,
        reverses=number,
        reversed_items=[one["MaterialDocumentItem"] for one in original.movement_items],
        yield_quantity=-original.yield_quantity,
        scrap_quantity=-original.scrap_quantity,
        final=False,
    )


def _check_newest(posting: Posting, original: Document) -> None:
    rows = posting.books.confirmations.where(OrderID=original.order)
    still_open = [row for row in rows if not row.get("IsReversed") and not row.get("IsReversal")]
    newest = still_open[-1]
    if newest["ConfirmationCount"] != original.header["ConfirmationCount"]:
        raise ODataError(
            400,
            "RU/124",
            f"Cancel confirmation counter {newest['ConfirmationCount']} of order {original.order} first",
        )
