"""Changes of a production order: its release, and a note appended to its long text. Both are guarded by its ETag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.ports import Kind
from agent.sap.call import Call, Rules, Unfit, service_of
from agent.sap.formats import string_literal


def release(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    """``ReleaseOrder``; one release of an order is as good as another, so it carries no key. Raises Unfit."""
    return Call(service_of(Kind.ORDER_RELEASE, rules), "ReleaseOrder", {}, _order(payload), guarded=True)


def note(payload: Mapping[str, Any], key: str, rules: Rules) -> Call:
    """What shall be appended to the order's text, with its key; what stands there is read before it is sent."""
    if not payload["text"].strip():
        raise Unfit("payload.text: a note on an order must say something")
    body = {"OrderLongText": f"{payload['text'].strip()} [{key}]" if key else payload["text"].strip()}
    service = service_of(Kind.ORDER_NOTE, rules)
    return Call(service, "A_ProductionOrder_2", body, _order(payload), method="PATCH", guarded=True)


def _order(payload: Mapping[str, Any]) -> dict[str, str]:
    if not payload["order"]:
        raise Unfit("payload.order: must name the order")
    return {"ManufacturingOrder": string_literal(payload["order"])}
