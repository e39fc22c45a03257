"""One modifying call to SAP and its frozen bytes, the plant's rules for it, and the spelling that all of them share.

The frozen form (`Call.wire`) is a line ``METHOD path``, the headers of this posting, an empty line, the body. Only what
belongs to the session (token, cookies, identity) is added when it is sent; to a guarded call also the ETag of what it
changes, which is read just before: see `agent.sap.guarded`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from agent.ports import Kind, Posting
from agent.sap.channel import Headers
from agent.sap.formats import key_guid, parameters, sap_date, sap_decimal

DAY: Final = lru_cache(maxsize=64)(sap_date)  # a plant posts on few days
GUID_FIELD: Final = "ExternalSystemConfirmation"
DEFECT_STAMP: Final = "DefectText"  # begins with the key
COUNT_STAMP: Final = "PhysInventoryReferenceNumber"  # 16 characters, as many as a key has
MATERIAL_DOCUMENTS: Final = frozenset({Kind.GOODS_ISSUE, Kind.SCRAP, Kind.STOCK_TRANSFER})
GUARDED: Final = frozenset(
    {Kind.ORDER_RELEASE, Kind.ORDER_NOTE, Kind.BATCH_STATUS, Kind.COUNT_ENTRY, Kind.COUNT_DIFFERENCE}
)


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
    issue_stamps: tuple[str, ...] = ("ReferenceDocument",)  # of every material document
    confirmation_stamps: tuple[str, ...] = (GUID_FIELD,)
    services: Mapping[Kind, str] = field(default_factory=dict)
    defect_catalog: str = "9"  # DefectCodeCatalog
    defect_category: str = ""
    defect_classes: Mapping[str, str] = field(default_factory=dict)  # severity → DefectClass
    defect_batch: str = ""  # the field that takes the lot, where this release has one
    batch_by_plant: bool = False  # whether a plant is part of what names a batch


class Call(NamedTuple):
    """One modifying request. For a function import `body` is empty and `arguments` are its URL literals.

    A change (PATCH) names what it changes by `arguments`, too: the keys of the entity.
    """

    service: str
    resource: str  # entity set or function import
    body: Mapping[str, Any]
    arguments: Mapping[str, str] = MappingProxyType({})
    method: str = "POST"
    guarded: bool = False

    def wire(self, posting: Posting) -> bytes:
        """The frozen bytes for this posting: the same at every retry.

        A guarded call carries no RequestID: the ETag sees to it that it happens once, and a remembered answer to
        an ETag of the past would be no answer.
        """
        path = f"{self.service}/{self.resource}"
        if self.arguments:
            path += "?" + parameters(dict(self.arguments))
        head = [f"{self.method} {path}"]
        if not self.guarded:
            created = (posting.first_sent_at or posting.created_at).astimezone(UTC)
            head += [
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


# ── spelling ────────────────────────────────────────────────────────────────────────────────────────────────


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


def day(payload: Mapping[str, Any], name: str) -> str:
    """A day of the payload in SAP's words. Raises Unfit."""
    try:
        return DAY(payload[name])
    except ValueError:
        raise Unfit(f"payload.{name}: {payload[name]!r} is not a day like 2026-11-20") from None


def stamps(fields: tuple[str, ...], key: str) -> dict[str, str]:
    """The key as each field takes it: a UUID where SAP wants a GUID, else its 16 upper-case characters."""
    return {field: key_guid(key) if field == GUID_FIELD else key for field in fields}


def filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was left empty: SAP takes its own default there."""
    return {name: value for name, value in fields.items() if value or (value is not None and value != "")}


def service_of(kind: Kind, rules: Rules) -> str:
    """The service that takes this kind of posting. Raises Unfit where this target has none."""
    service = rules.services.get(kind)
    if not service:
        raise Unfit(f"{kind.value} is switched off in this target; set its service to switch it on")
    return service


def numbers_of(document: str, where: str) -> tuple[str, str]:
    """Year and number, or group and count, of a document's name. Raises Unfit."""
    first, slash, second = document.partition("/")
    if not (slash and first.isdigit() and second.isdigit()):
        raise Unfit(f"{where}: {document!r} is not year/number or group/count")
    return first, second
