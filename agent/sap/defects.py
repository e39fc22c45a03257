"""A defect record of quality management. No field of it is free for a key, so the key begins its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.ports import Kind
from agent.sap.call import Call, Rules, filled, sap_quantity, sap_unit, service_of
from agent.sap.formats import padded

ROOM: Final = 40  # characters of DefectText


def defect(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    """The record; of a long text it takes what has room behind key and lot. Raises Unfit."""
    unit = sap_unit(payload["unit"], rules)
    batch = payload.get("batch") or ""
    lot = "" if rules.defect_batch else batch
    body = {
        "DefectText": " ".join(word for word in (key, lot, payload.get("text") or "") if word)[:ROOM].rstrip(),
        "DefectCategory": rules.defect_category,
        "DefectCodeCatalog": rules.defect_catalog,
        "DefectCodeGroup": payload["defect_code_group"],
        "DefectCode": payload["defect_code"],
        "DefectClass": rules.defect_classes.get(payload.get("severity") or ""),
        "DefectiveQuantity": sap_quantity(payload, "quantity", unit, rules),
        "DefectiveQuantityUnit": unit,
        "Material": payload["material"],
        "Plant": payload["plant"],
        "ManufacturingOrder": payload.get("order"),
        "ManufacturingOrderOperation": padded(payload.get("operation") or "", 4),
        "MainWorkCenter": payload.get("work_center"),
        "MainWorkCenterPlant": payload["plant"] if payload.get("work_center") else "",
    }
    if rules.defect_batch:
        body[rules.defect_batch] = batch
    return Call(service_of(Kind.DEFECT, rules), "A_Defect", filled(body))
