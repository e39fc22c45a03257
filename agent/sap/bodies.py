"""What SAP is sent for a posting: business words → the body or the arguments of one call, one builder per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

from agent.ports import REVERSIBLE, Kind
from agent.sap import batches, counts, defects, movements, orders
from agent.sap.call import (
    DAY,
    GUID_FIELD,
    MATERIAL_DOCUMENTS,
    Call,
    Rules,
    Unfit,
    day,
    filled,
    numbers_of,
    sap_quantity,
    sap_unit,
    service_of,
    stamps,
)
from agent.sap.formats import date_literal, guid_literal, padded, sap_time, string_literal

TAKE_BACK: Final = "262"
ACTIVITIES: Final = {  # number in the work centre → fields of its quantity and its unit
    number: (f"OpConfirmedWorkQuantity{number}", f"OpWorkQuantityUnit{number}") for number in "123456"
}
NO_DOCUMENTS: Final[Mapping[str, str]] = MappingProxyType({})
_START: Final = ("ConfirmedExecutionStartDate", "ConfirmedExecutionStartTime")
_END: Final = ("ConfirmedExecutionEndDate", "ConfirmedExecutionEndTime")


def call(
    kind: Kind, payload: Mapping[str, Any], key: str, rules: Rules, documents: Mapping[str, str] = NO_DOCUMENTS
) -> Call:
    """The call that books this payload under this idempotency key. Pure. Raises Unfit.

    `documents` are what the acknowledged postings of the same group have booked, by their kind.
    """
    try:
        if (build := _BUILD.get(kind)) is not None:
            return build(payload, key, rules)
        if (build_after := _BUILD_AFTER.get(kind)) is not None:
            return build_after(payload, documents, rules)
    except KeyError as error:
        raise Unfit(f"payload.{error.args[0]} is missing in this {kind.value}") from None
    except (TypeError, AttributeError) as error:
        raise Unfit(f"payload of this {kind.value} has the wrong shape: {error}") from None
    raise Unfit(f"{kind.value} is no posting to SAP; name another target for it in the workflow's `targets`")


# ── goods issues and confirmations ──────────────────────────────────────────────────────────────────────────


def _goods_issue(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    unit, movement = sap_unit(payload["unit"], rules), _issue_or_take_back(payload, rules)
    item = {
        "Material": payload["material"],
        "Plant": payload["plant"],
        "StorageLocation": payload.get("storage_location"),
        "Batch": payload.get("batch"),
        "GoodsMovementType": movement,
        "ManufacturingOrder": payload["order"],
        "Reservation": payload.get("reservation"),
        "ReservationItem": payload.get("reservation_item"),
        "QuantityInEntryUnit": sap_quantity(payload, "quantity", unit, rules),
        "EntryUnit": unit,
        "MaterialDocumentItemText": payload.get("text"),
    }
    if movement == TAKE_BACK and payload.get("reservation"):
        item["MaterialDocumentPostingType"] = "1"  # reduces what is withdrawn of the reservation, SAP KBA 3027233
    service = service_of(Kind.GOODS_ISSUE, rules)
    return movements.material_document(service, rules.issue_code, item, payload, key, rules)


def _issue_or_take_back(payload: Mapping[str, Any], rules: Rules) -> str:
    """Movement 261, or 262 for what was issued to an order and goes back. Raises Unfit."""
    movement = payload.get("movement") or rules.issue_type
    if movement not in (rules.issue_type, TAKE_BACK):
        raise Unfit(f"payload.movement: {movement!r} is neither {rules.issue_type} nor {TAKE_BACK}")
    if movement == TAKE_BACK and rules.issue_type != "261":
        raise Unfit(f"payload.movement: {TAKE_BACK} takes 261 back, not {rules.issue_type}; book it in SAP by hand")
    return str(movement)


def _confirmation(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    unit = sap_unit(payload["unit"], rules)
    final = payload.get("final") is True
    fields = {
        "OrderID": payload["order"],
        "OrderOperation": padded(payload["operation"], 4),
        "Sequence": payload.get("sequence") or "0",
        "ConfirmationUnit": unit,
        "ConfirmationYieldQuantity": sap_quantity(payload, "yield", unit, rules),
        "ConfirmationScrapQuantity": _optional(payload, "scrap", unit, rules),
        "ConfirmationReworkQuantity": _optional(payload, "rework", unit, rules),
        "VarianceReasonCode": payload.get("scrap_reason"),
        "FinalConfirmationType": "X" if final else "",
        "IsFinalConfirmation": final,
        "PostingDate": day(payload, "posting_date"),
        "APIConfHasNoGoodsMovements": payload.get("backflush") is not True,
        "Personnel": payload.get("personnel"),
        "ConfirmationText": payload.get("text"),
        **_moment(payload, "start", _START, rules),
        **_moment(payload, "end", _END, rules),
        **_activities(payload.get("activities") or {}, rules),
        **stamps(rules.confirmation_stamps, key),
    }
    return Call(service_of(Kind.CONFIRMATION, rules), "ProdnOrdConf2", filled(fields))


def _optional(payload: Mapping[str, Any], field: str, unit: str, rules: Rules) -> str:
    """A quantity that need not be there; none is sent for nothing."""
    given = payload.get(field)
    value = "" if not given or given == "0" else sap_quantity(payload, field, unit, rules)
    return value if value.strip("0.") else ""


def _moment(payload: Mapping[str, Any], field: str, names: tuple[str, str], rules: Rules) -> dict[str, str]:
    """Day and time of day in the plant's zone of a UTC moment, or nothing."""
    value = payload.get(field)
    if not value:
        return {}
    if type(value) is not str:
        raise TypeError("fromisoformat: argument must be str")
    try:
        date, time = _local(value, rules.zone)
    except (ValueError, OverflowError):
        raise Unfit(f"payload.{field}: {value!r} is not a time like 2026-11-20T13:05:09+00:00") from None
    if date is None:
        raise Unfit(f"payload.{field}: {value!r} must carry its offset from UTC")
    return {names[0]: date, names[1]: time}


@lru_cache(1024)  # a lot begins when the last one ended
def _local(text: str, zone: ZoneInfo) -> tuple[str | None, str]:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return None, ""
    local = moment.astimezone(zone)
    return DAY(local.date()), sap_time(local)


def _activities(activities: Mapping[str, Any], rules: Rules) -> dict[str, str]:
    fields = {}
    for number, activity in activities.items():
        names = ACTIVITIES.get(number)
        if names is None:
            raise Unfit(f"payload.activities: SAP has the activities 1 to 6, not {number!r}")
        unit = sap_unit(activity["unit"], rules)
        fields[names[0]] = sap_quantity(activity, "quantity", unit, rules)
        fields[names[1]] = unit
    return fields


def _reversal(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    kind, (first, second) = reversed_document(payload)
    arguments = {}
    if payload.get("posting_date"):
        day(payload, "posting_date")
        arguments["PostingDate"] = date_literal(payload["posting_date"])
    if kind in MATERIAL_DOCUMENTS:
        keys = {"MaterialDocumentYear": string_literal(first), "MaterialDocument": string_literal(second)}
        return Call(service_of(kind, rules), "Cancel", {}, keys | arguments)
    keys = {"ConfirmationGroup": string_literal(first), "ConfirmationCount": string_literal(second)}
    if reason := payload.get("reason"):
        arguments["ConfirmationText"] = string_literal(reason[:40])
    for name, value in stamps(rules.confirmation_stamps, key).items():
        arguments[name] = guid_literal(value) if name == GUID_FIELD else string_literal(value)
    return Call(service_of(kind, rules), "CancelProdnOrdConf", {}, keys | arguments)


def reversed_document(payload: Mapping[str, Any]) -> tuple[Kind, tuple[str, str]]:
    """What a reversal reverses: the kind, and year and number or group and count. Raises Unfit."""
    numbers = numbers_of(str(payload["document"]), "payload.document")
    if payload["of_kind"] not in REVERSIBLE:
        raise Unfit(f"payload.of_kind: {payload['of_kind']!r} cannot be taken back in SAP; mend it there by hand")
    return Kind(payload["of_kind"]), numbers


_BUILD: Final[Mapping[Kind, Callable[[Mapping[str, Any], str, Rules], Call]]] = {
    Kind.GOODS_ISSUE: _goods_issue,
    Kind.CONFIRMATION: _confirmation,
    Kind.REVERSAL: _reversal,
    Kind.SCRAP: movements.scrap,
    Kind.STOCK_TRANSFER: movements.stock_transfer,
    Kind.DEFECT: defects.defect,
    Kind.ORDER_RELEASE: orders.release,
    Kind.ORDER_NOTE: orders.note,
    Kind.BATCH_STATUS: batches.status,
    Kind.COUNT_DOCUMENT: counts.document,
}
_BUILD_AFTER: Final[Mapping[Kind, Callable[[Mapping[str, Any], Mapping[str, str], Rules], Call]]] = {
    Kind.COUNT_ENTRY: counts.entry,
    Kind.COUNT_DIFFERENCE: counts.difference,
}
