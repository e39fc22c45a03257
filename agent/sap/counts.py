"""Physical inventory: the document that says what is counted, the count itself, and the posting of the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.ports import Kind
from agent.sap.call import COUNT_STAMP, Call, Rules, Unfit, day, filled, numbers_of, sap_quantity, sap_unit, service_of
from agent.sap.formats import date_literal, string_literal

WHICH: Final = ("Material", "Batch")  # of an entry: they say which item is meant, and are not changed
MOST_ITEMS: Final = 100  # as many as SAP tells in one answer


def document(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    """A new physical inventory document with the key as its reference. Raises Unfit."""
    place = {"Plant": payload["plant"], "StorageLocation": payload["storage_location"]}
    items = [filled({**place, "Material": one["material"], "Batch": one.get("batch")}) for one in _items(payload)]
    body = {
        **place,
        "DocumentDate": day(payload, "document_date"),
        "PhysInventoryPlannedCountDate": day(payload, "planned_count_date"),
        COUNT_STAMP: key,
        "PhysicalInventoryDocumentDesc": payload.get("text"),
    }
    listed = {"to_PhysicalInventoryDocumentItem": {"results": items}}
    return Call(service_of(Kind.COUNT_DOCUMENT, rules), "A_PhysInventoryDocHeader", filled(body) | listed)


def entry(payload: Mapping[str, Any], documents: Mapping[str, str], rules: Rules) -> Call:
    """The counted quantities; each is entered at the item of its material and lot. Raises Unfit."""
    counted = []
    for one in _items(payload):
        unit = sap_unit(one["unit"], rules)
        quantity = sap_quantity(one, "quantity", unit, rules)
        counted.append({
            "Material": one["material"],
            "Batch": one.get("batch") or "",
            "QuantityInUnitOfEntry": quantity,
            "UnitOfEntry": unit,
            "PhysicalInventoryItemIsZero": not quantity.strip("0."),
        })  # fmt: skip
    service, keys = service_of(Kind.COUNT_ENTRY, rules), _document(payload, documents)
    return Call(service, "A_PhysInventoryDocItem", {"results": counted}, keys, method="PATCH", guarded=True)


def difference(payload: Mapping[str, Any], documents: Mapping[str, str], rules: Rules) -> Call:
    """``PostDifferences`` of the whole document. Raises Unfit."""
    day(payload, "posting_date")
    arguments = _document(payload, documents) | {"PostingDate": date_literal(payload["posting_date"])}
    return Call(service_of(Kind.COUNT_DIFFERENCE, rules), "PostDifferences", {}, arguments, guarded=True)


def _items(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = payload["items"]
    if not isinstance(items, list) or not 0 < len(items) <= MOST_ITEMS:
        raise Unfit(f"payload.items: must be a list of 1 to {MOST_ITEMS} materials; split a longer count")
    seen = [(one["material"], one.get("batch") or "") for one in items]
    twice = next((name for name in seen if seen.count(name) > 1), None)
    if twice:
        raise Unfit(f"payload.items: {' '.join(twice).strip()} stands there twice; one place is counted once")
    return items


def _document(payload: Mapping[str, Any], documents: Mapping[str, str]) -> dict[str, str]:
    """The keys of the document that the posting `document_of` of the same group has got. Raises Unfit."""
    try:
        kind = Kind(payload["document_of"])
    except ValueError:
        raise Unfit(f"payload.document_of: {payload['document_of']!r} is no kind of posting") from None
    if kind not in documents:
        raise Unfit(f"payload.document_of: no {kind.value} of the same group is booked yet")
    year, number = numbers_of(documents[kind], f"the document of the {kind.value}")
    return {"FiscalYear": string_literal(year), "PhysicalInventoryDocument": string_literal(number)}
