"""Orders, components, operations, stock and products as OData entities."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from simulators.erp.ledger import BLOCKED, INSPECTION, UNITS, Batch, Component, Ledger, Order
from simulators.erp.model import BATCH, COUNT_HEADER, COUNT_ITEM, ORDER, EntityType
from simulators.erp.odata import Row, wire_decimal, wire_moment
from simulators.erp.state import Erp

_STOCK_TYPES = {"02": INSPECTION, "07": BLOCKED}


def _flag(value: object) -> str:
    return "X" if value else ""


def _moment(name: str, moment: tuple[str, str]) -> dict[str, str]:
    return {f"{name}Date": moment[0], f"{name}Time": moment[1]}


def stamp(order: Order) -> str:
    """LastChangeDateTime: fourteen digits, UTC."""
    return order.changed_at.strftime("%Y%m%d%H%M%S")


def etag(erp: Erp, entity_type: EntityType, row: Mapping[str, Any]) -> str:
    """The ETag of what can be changed; it moves with every change, also within one second. Others have none."""
    if entity_type is ORDER:
        order = erp.ledger.orders[row["ManufacturingOrder"]]
        return f"W/\"'{stamp(order)}.{order.version:07d}'\""
    if entity_type is BATCH:
        batch = erp.ledger.batches[row["Material"], row["Batch"]]
        return f"W/\"'{batch.changed_at:%Y%m%d%H%M%S}.{batch.version:07d}'\""
    if entity_type in (COUNT_HEADER, COUNT_ITEM):
        item = f"/{row['PhysicalInventoryDocumentItem']}" if entity_type is COUNT_ITEM else ""
        return f"W/\"'{erp.books.versions.get(row['PhysicalInventoryDocument'] + item, 0):07d}'\""
    return ""


def order_row(ledger: Ledger, order: Order) -> Row:
    """A_ProductionOrder_2."""
    confirmed = order.confirmations > 0
    return {
        "ManufacturingOrder": order.number,
        "ManufacturingOrderCategory": "10",
        "ManufacturingOrderType": "PP01",
        "OrderIsCreated": _flag(not order.released),
        "OrderIsReleased": _flag(order.released),
        "OrderIsConfirmed": _flag(order.finally_confirmed),
        "OrderIsPartiallyConfirmed": _flag(confirmed and not order.finally_confirmed),
        "OrderIsDeleted": _flag(order.deleted),
        "OrderIsTechnicallyCompleted": _flag(order.technically_completed),
        "OrderIsClosed": _flag(order.closed),
        "OrderIsDelivered": _flag(order.delivered >= order.quantity),
        "OrderIsPartiallyDelivered": _flag(0 < order.delivered < order.quantity),
        "LastChangeDateTime": stamp(order),
        "Material": order.product,
        "StorageLocation": order.storage_location,
        "OrderInternalBillOfOperations": order.group,
        "ProductionPlant": ledger.plant,
        "Plant": ledger.plant,
        "CompanyCode": ledger.plant,
        "ProductionUnit": order.unit,
        "ProductionUnitSAPCode": order.unit,
        "TotalQuantity": wire_decimal(order.quantity),
        "MfgOrderConfirmedYieldQty": wire_decimal(order.confirmed_yield),
        **order.entered,
    }


def component_row(ledger: Ledger, order: Order, part: Component) -> Row:
    """A_ProductionOrderComponent_3."""
    return {
        "Reservation": part.reservation,
        "ReservationItem": part.item,
        "ReservationRecordType": "",
        "Material": part.material,
        "Plant": ledger.plant,
        "ManufacturingOrderCategory": "10",
        "ManufacturingOrderType": "PP01",
        "ManufacturingOrder": order.number,
        "ManufacturingOrderSequence": "0",
        "ManufacturingOrderOperation": order.operation,
        "ProductionPlant": ledger.plant,
        "OrderInternalBillOfOperations": order.group,
        "ReservationIsFinallyIssued": part.finally_issued,
        "MatlCompIsMarkedForBackflush": part.backflush,
        "BOMItemCategory": "L",
        "BillOfMaterialItemNumber": f"{int(part.item) * 10:04d}",
        "BOMItemDescription": ledger.materials[part.material].text[:40],
        "StorageLocation": part.storage_location,
        "GoodsMovementType": "261",
        "BaseUnit": part.unit,
        "BaseUnitSAPCode": part.unit,
        "RequiredQuantity": wire_decimal(part.required),
        "WithdrawnQuantity": wire_decimal(part.withdrawn),
        "ConfirmedAvailableQuantity": wire_decimal(part.required),
        "Currency": ledger.currency,
        "LastChangeDateTime": stamp(order),
    }


def operation_row(ledger: Ledger, order: Order) -> Row:
    """A_ProductionOrderOperation_2."""
    confirmed = order.confirmations > 0
    start = next((one.start for one in order.executed.values()), None)
    end = next((one.end for one in reversed(order.executed.values()) if one.final), None)
    return {
        **(_moment("OpActualExecutionStart", start) if start else {}),
        **(_moment("OpActualExecutionEnd", end) if end else {}),
        "OrderInternalBillOfOperations": order.group,
        "OrderIntBillOfOperationsItem": "1",
        "ManufacturingOrder": order.number,
        "ManufacturingOrderSequence": "0",
        "ManufacturingOrderOperation": order.operation,
        "ManufacturingOrderCategory": "10",
        "ManufacturingOrderType": "PP01",
        "OperationIsCreated": _flag(not order.released),
        "OperationIsReleased": _flag(order.released),
        "OperationIsConfirmed": _flag(order.finally_confirmed),
        "OperationIsPartiallyConfirmed": _flag(confirmed and not order.finally_confirmed),
        "ProductionPlant": ledger.plant,
        "WorkCenterTypeCode": "A",
        "WorkCenter": order.work_center[:8],
        "OperationControlProfile": "YBP1",
        "OperationUnit": order.unit,
        "OperationUnitSAPCode": order.unit,
        "OpPlannedTotalQuantity": wire_decimal(order.quantity),
        "OpTotalConfirmedYieldQty": wire_decimal(order.confirmed_yield),
        "LastChangeDateTime": stamp(order),
    }


def batch_row(batch: Batch) -> Row:
    """Batch, of API_BATCH_SRV."""
    return {
        "Material": batch.material,
        "BatchIdentifyingPlant": "",
        "Batch": batch.batch,
        "MatlBatchIsInRstrcdUseStock": batch.restricted,
        "CreationDateTime": wire_moment(batch.created_at),
        "LastChangeDateTime": wire_moment(batch.changed_at),
        **batch.entered,
    }


def stock_rows(ledger: Ledger) -> list[Row]:
    """A_MatlStkInAcctMod: stock per material, storage location and status."""
    piles = {"01": ledger.stock, **{code: ledger.withheld[status] for code, status in _STOCK_TYPES.items()}}
    return [
        {
            "Material": material,
            "Plant": ledger.plant,
            "StorageLocation": location,
            "InventoryStockType": code,
            "MaterialBaseUnit": ledger.materials[material].unit,
            "MatlWrhsStkQtyInMatlBaseUnit": wire_decimal(quantity, 14),
        }
        for code, pile in piles.items()
        for (material, location), quantity in pile.items()
    ]


def product_units(ledger: Ledger) -> list[Row]:
    """A_ProductUnitsOfMeasure: the base unit and every other unit of its dimension."""
    rows = []
    for material in ledger.materials.values():
        dimension, base = UNITS[material.unit]
        for unit, (other, size) in UNITS.items():
            if other == dimension:
                ratio = size / base
                rows.append(
                    {
                        "Product": material.material,
                        "AlternativeUnit": unit,
                        "QuantityNumerator": wire_decimal(Decimal(ratio.numerator), 0),
                        "QuantityDenominator": wire_decimal(Decimal(ratio.denominator), 0),
                        "BaseUnit": material.unit,
                    }
                )
    return rows


def rows_of(erp: Erp, set_name: str) -> list[Row]:
    """Every entity of a set that lives in the ledger."""
    ledger = erp.ledger
    orders = ledger.orders.values()
    match set_name:
        case "A_ProductionOrder_2":
            return [order_row(ledger, order) for order in orders]
        case "A_ProductionOrderComponent_3":
            return [component_row(ledger, order, part) for order in orders for part in order.components.values()]
        case "A_ProductionOrderOperation_2":
            return [operation_row(ledger, order) for order in orders]
        case "A_MaterialStock":
            return [{"Material": one.material, "MaterialBaseUnit": one.unit} for one in ledger.materials.values()]
        case "A_MatlStkInAcctMod":
            return stock_rows(ledger)
        case "Batch":
            return [batch_row(one) for one in ledger.batches.values()]
        case "A_Product":
            return [
                {"Product": one.material, "ProductType": "HALB", "BaseUnit": one.unit}
                for one in ledger.materials.values()
            ]
        case _:
            return product_units(ledger)


def navigate(erp: Erp, navigation: str, row: Mapping[str, str]) -> list[Row]:
    """The entities at the other end of a navigation property."""
    books, ledger = erp.books, erp.ledger
    match navigation:
        case "to_MaterialDocumentItem":
            key = {name: row[name] for name in ("MaterialDocument", "MaterialDocumentYear")}
            return books.items.where(**key)
        case "to_MaterialDocumentHeader":
            key = {name: row[name] for name in ("MaterialDocument", "MaterialDocumentYear")}
            return books.headers.where(**key)
        case "to_ProdnOrdConfMatlDocItm":
            key = {name: row[name] for name in ("ConfirmationGroup", "ConfirmationCount")}
            return books.confirmation_items.where(**key)
        case "to_PhysicalInventoryDocumentItem":
            return books.count_items.where(PhysicalInventoryDocument=row["PhysicalInventoryDocument"])
        case "to_PhysicalInventoryDocument":
            return books.count_headers.where(PhysicalInventoryDocument=row["PhysicalInventoryDocument"])
        case "to_ProductionOrderComponent":
            order = ledger.orders[row["ManufacturingOrder"]]
            return [component_row(ledger, order, part) for part in order.components.values()]
        case "to_ProductionOrderOperation":
            return [operation_row(ledger, ledger.orders[row["ManufacturingOrder"]])]
        case _:
            return [one for one in stock_rows(ledger) if one["Material"] == row["Material"]]
