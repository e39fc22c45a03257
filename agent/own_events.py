"""What the agent itself notices, as a report like any other: durable, decided once, traced and replayed.

A change in the ERP, a live fact that changed, a finding: each becomes an event of the source ``gatepost`` with the
topic ``gatepost/KIND``. Its payload is the report in JSON, quantities and numbers as decimal strings. The message id
must follow from what was noticed, so that noticing it twice is a duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Final

from agent.errors import BadPayload
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.ports import Delivery, Event
from agent.strict import strictjson

SOURCE: Final = "gatepost"  # no configured source may have this name
KINDS: Final = frozenset({"order_release", "reconciliation"})  # of reports that only the agent itself makes
UNBOOKED: Final = "unbooked"  # these go to whoever counts on postings, and stand in no configuration
UNBOOKED_SCRAP: Final = "unbooked_scrap"
_TEXTS: Final = ("order", "operation", "work_center", "personnel")
_ACTUAL_TEXTS: Final = ("material", "lot", "storage_location", "reason")
_MOMENTS: Final = ("start", "end")


def event_of(report: SegmentResponse, properties: Mapping[str, str] | None = None) -> Delivery:
    """The report as it is stored. Its `id` must not be None; sender and sequence are not kept."""
    content: dict[str, Any] = {"id": report.id, "occurred_at": report.occurred_at.isoformat()}
    content |= {name: text for name in _TEXTS if (text := getattr(report, name))}
    content |= {name: moment.isoformat() for name in _MOMENTS if (moment := getattr(report, name)) is not None}
    if report.final:
        content["final"] = True
    if report.material_actuals:
        content["material_actuals"] = [_actual(one) for one in report.material_actuals]
    if report.durations:
        content["durations"] = {name: _quantity(one) for name, one in report.durations.items()}
    texts = {name: value for name, value in report.data.items() if isinstance(value, str)}
    numbers = {name: f"{value:f}" for name, value in report.data.items() if isinstance(value, Decimal)}
    content |= {name: values for name, values in (("data", texts), ("numbers", numbers)) if values}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Delivery(f"{SOURCE}/{report.kind}", text.encode(), properties)


def _actual(one: MaterialActual) -> dict[str, Any]:
    texts = {name: text for name in _ACTUAL_TEXTS if (text := getattr(one, name))}
    return {"use": one.use.value, **_quantity(one.quantity), **texts}


def _quantity(one: Quantity) -> dict[str, str]:
    return {"quantity": f"{one.value:f}", "unit": one.unit}


def read(event: Event) -> SegmentResponse:
    """The report of an event that `event_of` made. Raises BadPayload."""
    content = strictjson.read(event.payload)
    try:
        return _read(event.topic.partition("/")[2], content)
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation) as error:
        why = f"is no report of the agent's own: {type(error).__name__}: {error}"
        raise BadPayload(why, reason="wrong_type") from None


def _read(kind: str, content: Mapping[str, Any]) -> SegmentResponse:
    order, operation, work_center, personnel = (_text(content.get(name, "")) for name in _TEXTS)
    start, end = (_moment(content[name]) if name in content else None for name in _MOMENTS)
    numbers = {name: Decimal(value) for name, value in content.get("numbers", {}).items()}
    return SegmentResponse(
        kind=kind,
        id=_text(content["id"]),
        order=order,
        operation=operation,
        occurred_at=_moment(content["occurred_at"]),
        work_center=work_center,
        start=start,
        end=end,
        final=content.get("final") is True,
        material_actuals=tuple(_read_actual(one) for one in content.get("material_actuals", ())),
        durations=MappingProxyType({name: _amount(one) for name, one in content.get("durations", {}).items()}),
        data=MappingProxyType({**{name: _text(value) for name, value in content.get("data", {}).items()}, **numbers}),
        personnel=personnel,
    )


def _read_actual(one: Mapping[str, Any]) -> MaterialActual:
    texts = {name: _text(one.get(name, "")) for name in _ACTUAL_TEXTS}
    return MaterialActual(MaterialUse(one["use"]), _amount(one), **texts)


def _amount(one: Mapping[str, Any]) -> Quantity:
    return Quantity(Decimal(one["quantity"]), _text(one["unit"]))


def _moment(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} names no offset")
    return moment


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
