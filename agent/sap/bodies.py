"""What SAP is sent for a posting: business words → path, headers and body of one call, and the frozen bytes of it.

The frozen form (`Call.wire`) is a line ``METHOD path``, the headers of this posting, an empty line, the body. Only what
belongs to the session (token, cookies, identity) is added when it is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from agent.ports import Kind, Posting
from agent.sap.channel import Headers
from agent.sap.formats import (
    date_literal,
    guid_literal,
    key_guid,
    padded,
    parameters,
    sap_date,
    sap_decimal,
    sap_time,
    string_literal,
)

DAY: Final = lru_cache(maxsize=64)(sap_date)  # a plant posts on few days
GUID_FIELD: Final = "ExternalSystemConfirmation"
ACTIVITIES: Final = {  # number in the work centre → fields of its quantity and its unit
    number: (f"OpConfirmedWorkQuantity{number}", f"OpWorkQuantityUnit{number}") for number in "123456"
}
_START: Final = ("ConfirmedExecutionStartDate", "ConfirmedExecutionStartTime")
_END: Final = ("ConfirmedExecutionEndDate", "ConfirmedExecutionEndTime")


class Unfit(ValueError):  # noqa: N818 - named by what it says of a payload
    """The business payload cannot be said in SAP's words; the message names the field, the value and the remedy."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How this plant speaks to its SAP: everything here is configuration."""

    zone: ZoneInfo
    units: Mapping[str, str]  # UN/ECE Rec 20 → SAP's external unit
    decimals: Mapping[str, int]  # SAP unit → decimals it allows; others have 3
    issue_code: str = "03"  # GoodsMovementCode
    issue_type: str = "261"  # GoodsMovementType
    issue_stamps: tuple[str, ...] = ("ReferenceDocument",)
    confirmation_stamps: tuple[str, ...] = (GUID_FIELD,)
    services: Mapping[Kind, str] = field(default_factory=dict)


class Call(NamedTuple):
    """One modifying request. For a function import `body` is empty and `arguments` are its URL literals."""

    service: str
    resource: str  # entity set or function import
    body: Mapping[str, Any]
    arguments: Mapping[str, str] = MappingProxyType({})

    def wire(self, posting: Posting) -> bytes:
        """The frozen bytes for this posting: the same at every retry."""
        path = f"{self.service}/{self.resource}"
        if self.arguments:
            path += "?" + parameters(dict(self.arguments))
        created = (posting.first_sent_at or posting.created_at).astimezone(UTC)
        head = [
            f"POST {path}",
            f"RequestID: {posting.request_id}",
            f"RepeatabilityCreation: {created:%Y-%m-%dT%H:%M:%S}",
        ]
        body = b""
        if self.body:
            head.append("Content-Type: application/json")
            body = json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode()
        return "\n".join(head).encode() + b"\n\n" + body


def thaw(wire: bytes) -> tuple[str, str, str, Headers, bytes]:
    """Service, method, path, headers and body of frozen bytes."""
    head, _, body = wire.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, path = first.decode().partition(" ")
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    return path.partition("/")[0], method, path, headers, body


def call(kind: Kind, payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    """The call that books this payload under this idempotency key. Pure. Raises Unfit."""
    try:
        return _BUILD[kind](payload, key, rules)
    except KeyError as error:
        raise Unfit(f"payload.{error.args[0]} is missing in this {kind.value}") from None
    except (TypeError, AttributeError) as error:
        raise Unfit(f"payload of this {kind.value} has the wrong shape: {error}") from None


def sap_quantity(payload: Mapping[str, Any], name: str, unit: str, rules: Rules) -> str:
    """A quantity with as many decimals as its unit allows; nothing is rounded. Raises Unfit."""
    value = payload[name]
    if isinstance(value, str) and value.startswith("-"):
        raise Unfit(f"payload.{name}: {value} {unit} is negative; a correction is a reversal")
    try:
        return sap_decimal(value, rules.decimals.get(unit, 3))
    except ValueError as error:
        raise Unfit(f"payload.{name}: {error} in {unit}; mend the quantity or `decimals`") from None


def sap_unit(code: str, rules: Rules) -> str:
    """SAP's external unit of a UN/ECE code. Raises Unfit."""
    try:
        return rules.units[code]
    except (KeyError, TypeError):
        raise Unfit(f"payload.unit: {code!r} has no SAP unit; add it to `units` of the target") from None


def _day(payload: Mapping[str, Any], field: str) -> str:
    try:
        return DAY(payload[field])
    except ValueError:
        raise Unfit(f"payload.{field}: {payload[field]!r} is not a day like 2026-11-20") from None


def _stamps(fields: tuple[str, ...], key: str) -> dict[str, str]:
    """The key as each field takes it: a UUID where SAP wants a GUID, else its 16 upper-case characters."""
    return {field: key_guid(key) if field == GUID_FIELD else key for field in fields}


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was left empty: SAP takes its own default there."""
    return {name: value for name, value in fields.items() if value or (value is not None and value != "")}


# ── one builder per kind ────────────────────────────────────────────────────────────────────────────────────


def _goods_issue(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    unit = sap_unit(payload["unit"], rules)
    item = {
        "Material": payload["material"],
        "Plant": payload["plant"],
        "StorageLocation": payload.get("storage_location"),
        "Batch": payload.get("batch"),
        "GoodsMovementType": rules.issue_type,
        "ManufacturingOrder": payload["order"],
        "Reservation": payload.get("reservation"),
        "ReservationItem": payload.get("reservation_item"),
        "QuantityInEntryUnit": sap_quantity(payload, "quantity", unit, rules),
        "EntryUnit": unit,
        "MaterialDocumentItemText": payload.get("text"),
    }
    body = {
        "GoodsMovementCode": rules.issue_code,
        "PostingDate": _day(payload, "posting_date"),
        "DocumentDate": _day(payload, "document_date" if payload.get("document_date") else "posting_date"),
        **_stamps(rules.issue_stamps, key),
        "to_MaterialDocumentItem": {"results": [_filled(item)]},
    }
    return Call(_service(Kind.GOODS_ISSUE, rules), "A_MaterialDocumentHeader", body)


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
        "PostingDate": _day(payload, "posting_date"),
        "APIConfHasNoGoodsMovements": payload.get("backflush") is not True,
        "Personnel": payload.get("personnel"),
        "ConfirmationText": payload.get("text"),
        **_moment(payload, "start", _START, rules),
        **_moment(payload, "end", _END, rules),
        **_activities(payload.get("activities") or {}, rules),
        **_stamps(rules.confirmation_stamps, key),
    }
    return Call(_service(Kind.CONFIRMATION, rules), "ProdnOrdConf2", _filled(fields))


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
        day, time = _local(value, rules.zone)
    except (ValueError, OverflowError):
        raise Unfit(f"payload.{field}: {value!r} is not a time like 2026-11-20T13:05:09+00:00") from None
    if day is None:
        raise Unfit(f"payload.{field}: {value!r} must carry its offset from UTC")
    return {names[0]: day, names[1]: time}


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
        _day(payload, "posting_date")
        arguments["PostingDate"] = date_literal(payload["posting_date"])
    if kind is Kind.GOODS_ISSUE:
        keys = {"MaterialDocumentYear": string_literal(first), "MaterialDocument": string_literal(second)}
        return Call(_service(kind, rules), "Cancel", {}, keys | arguments)
    keys = {"ConfirmationGroup": string_literal(first), "ConfirmationCount": string_literal(second)}
    if reason := payload.get("reason"):
        arguments["ConfirmationText"] = string_literal(reason[:40])
    for name, value in _stamps(rules.confirmation_stamps, key).items():
        arguments[name] = guid_literal(value) if name == GUID_FIELD else string_literal(value)
    return Call(_service(kind, rules), "CancelProdnOrdConf", {}, keys | arguments)


def reversed_document(payload: Mapping[str, Any]) -> tuple[Kind, tuple[str, str]]:
    """What a reversal reverses: the kind, and year and number or group and count. Raises Unfit."""
    first, slash, second = str(payload["document"]).partition("/")
    if not (slash and first.isdigit() and second.isdigit()):
        raise Unfit(f"payload.document: {payload['document']!r} is not year/number or group/count")
    if payload["of_kind"] not in (Kind.GOODS_ISSUE, Kind.CONFIRMATION):
        raise Unfit(f"payload.of_kind: {payload['of_kind']!r} is neither goods_issue nor confirmation")
    return Kind(payload["of_kind"]), (first, second)


def _service(kind: Kind, rules: Rules) -> str:
    service = rules.services.get(kind)
    if not service:
        raise Unfit(f"{kind.value} is switched off in this target; set its service to switch it on")
    return service


_BUILD = {Kind.GOODS_ISSUE: _goods_issue, Kind.CONFIRMATION: _confirmation, Kind.REVERSAL: _reversal}
