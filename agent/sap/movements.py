"""Goods movements beside the issue to an order: scrap, and stock that goes to another place or another status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.ports import Kind
from agent.sap.call import Call, Rules, Unfit, day, filled, sap_quantity, sap_unit, service_of, stamps

ISSUE: Final = "03"  # GoodsMovementCode, T158G
TRANSFER: Final = "04"
SCRAPPING: Final = ("551", "553", "555")  # from unrestricted, quality-inspection and blocked stock
MOVED: Final = ("311", "309", "301")  # to another storage location, material, plant
RESTATED: Final = ("344", "343", "321", "322", "349", "350")  # between unrestricted, blocked and inspection stock


def scrap(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    """Stock that is thrown away, at the expense of a cost centre or, where there is none, of an order. Raises Unfit."""
    cost_center = payload.get("cost_center")
    item = _item(payload, SCRAPPING, rules) | {
        "CostCenter": cost_center,
        "ManufacturingOrder": "" if cost_center else payload.get("order"),
        "GLAccount": payload.get("account"),
        "GoodsMovementReasonCode": payload.get("reason"),
    }
    return material_document(service_of(Kind.SCRAP, rules), ISSUE, item, payload, key, rules)


def stock_transfer(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    """Stock that is moved, or blocked and freed where it is. Raises Unfit."""
    item = _item(payload, (*MOVED, *RESTATED), rules) | {
        "IssuingOrReceivingPlant": payload.get("to_plant"),
        "IssuingOrReceivingStorageLoc": payload.get("to_storage_location"),
        "IssgOrRcvgMaterial": payload.get("to_material"),
        "IssgOrRcvgBatch": payload.get("to_batch"),
    }
    if payload["movement"] == "311" and not payload.get("to_storage_location"):
        raise Unfit("payload.to_storage_location: movement 311 needs the storage location that receives")
    return material_document(service_of(Kind.STOCK_TRANSFER, rules), TRANSFER, item, payload, key, rules)


def _item(payload: Mapping[str, Any], allowed: tuple[str, ...], rules: Rules) -> dict[str, Any]:
    unit = sap_unit(payload["unit"], rules)
    if payload["movement"] not in allowed:
        raise Unfit(f"payload.movement: {payload['movement']!r} is none of {', '.join(allowed)}")
    return {
        "Material": payload["material"],
        "Plant": payload["plant"],
        "StorageLocation": payload["storage_location"],
        "Batch": payload.get("batch"),
        "GoodsMovementType": payload["movement"],
        "QuantityInEntryUnit": sap_quantity(payload, "quantity", unit, rules),
        "EntryUnit": unit,
        "MaterialDocumentItemText": payload.get("text"),
    }


def material_document(
    service: str, code: str, item: Mapping[str, Any], payload: Mapping[str, Any], key: str, rules: Rules
) -> Call:
    """A material document of one item with the key in its header. Raises Unfit."""
    body = {
        "GoodsMovementCode": code,
        "PostingDate": day(payload, "posting_date"),
        "DocumentDate": day(payload, "document_date" if payload.get("document_date") else "posting_date"),
        **stamps(rules.issue_stamps, key),
        "to_MaterialDocumentItem": {"results": [filled(item)]},
    }
    return Call(service, "A_MaterialDocumentHeader", body)
