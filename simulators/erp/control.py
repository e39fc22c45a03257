"""/_sim: what a test or a person on the bench does to the simulator itself; no real ERP has this."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from simulators.erp.batches import noted
from simulators.erp.faults import read_rules
from simulators.erp.ledger import UNRESTRICTED
from simulators.erp.odata import Answer, json_answer
from simulators.erp.orders import PLANNED, plan
from simulators.erp.services import Call
from simulators.erp.state import Erp

_ORDER_FLAGS = frozenset({"released", "technically_completed", "closed", "deleted", "automatic_goods_receipt"})
_SETTINGS = frozenset({"idempotency", "response_seconds", "id_seconds", "locking", "page_size"})
_SESSION_SETTINGS = frozenset({"client", "session_seconds", "bearer_seconds", "token_per_service"})


def control(erp: Erp, call: Call) -> Answer:
    """One control request; a wrong one is answered 400 with what is wrong."""
    action = call.path.removeprefix("/_sim/")
    try:
        if call.method == "GET":
            return _show(erp, action, call)
        payload = json.loads(call.body) if call.body else {}
        return json_answer(200, _change(erp, action, payload))
    except (ValueError, KeyError, TypeError, InvalidOperation) as error:
        return json_answer(400, {"error": f"{type(error).__name__}: {error}"})


def _show(erp: Erp, action: str, call: Call) -> Answer:
    match action:
        case "books":
            return json_answer(200, erp.report(int(call.options.get("since", "0"))))
        case "faults":
            return json_answer(200, erp.faults.as_json())
        case "settings":
            return json_answer(200, settings(erp))
        case _:
            return json_answer(404, {"error": f"no /_sim/{action}; there are books, faults, settings"})


def _change(erp: Erp, action: str, payload: Any) -> Any:
    match action:
        case "faults":
            erp.faults.replace(read_rules(payload))
            return erp.faults.as_json()
        case "reset":
            erp.reset()
            return {"count": 0}
        case "stock":
            return _set_stock(erp, payload)
        case "order":
            return _set_order(erp, payload)
        case "batch":
            return _set_batch(erp, payload)
        case "settings":
            return _set_settings(erp, payload)
        case "forget":
            return _forget(erp, payload)
        case _:
            raise ValueError(f"no /_sim/{action}; there are faults, reset, stock, order, batch, settings, forget")


def _set_stock(erp: Erp, payload: Any) -> Any:
    material = erp.ledger.materials[payload["material"]]
    place = (material.material, payload.get("storage_location", material.storage_location))
    pile = erp.ledger.pile(payload.get("status", UNRESTRICTED))
    pile[place] = Decimal(payload["quantity"]).quantize(Decimal("0.001"))
    erp.ledger.storage_locations.add(place[1])
    return {"stock": str(pile[place])}


def _set_order(erp: Erp, payload: Any) -> Any:
    order = erp.ledger.orders[str(payload["order"])]
    for name, value in payload.items():
        if name in _ORDER_FLAGS:
            setattr(order, name, bool(value))
        elif name == "backflush":  # true: every component; a list: these materials
            for part in order.components.values():
                part.backflush = part.material in value if isinstance(value, list) else bool(value)
        elif name == "text":  # as somebody writes it in SAP
            order.entered["OrderLongText"] = str(value)
        elif name in PLANNED:  # by the plant's clock: 2026-11-20T14:00:00
            plan(order, name, datetime.fromisoformat(value))
        elif name == "quantity":
            order.quantity = Decimal(value).quantize(Decimal("0.001"))
        elif name != "order":
            raise ValueError(
                f"an order has no {name}; there are backflush, due, planned_start, quantity, text, "
                f"{', '.join(sorted(_ORDER_FLAGS))}"
            )
    order.touch(erp.clock())
    return {"order": order.number, "status": order.status()}


def _set_batch(erp: Erp, payload: Any) -> Any:
    """As somebody enters it in SAP: made where there is none; `restricted` as it shall be."""
    material = erp.ledger.materials[payload["material"]]
    batch = noted(erp.ledger, material.material, str(payload["batch"]), erp.clock())
    batch.restricted = bool(payload.get("restricted", batch.restricted))
    batch.version, batch.changed_at = batch.version + 1, erp.clock()
    return {"batch": batch.batch, "restricted": batch.restricted}


def settings(erp: Erp) -> dict[str, Any]:
    """Every setting and its value."""
    chosen: dict[str, Any] = {name: getattr(erp.settings, name) for name in sorted(_SETTINGS)}
    chosen |= {name: getattr(erp.sessions, name) for name in sorted(_SESSION_SETTINGS)}
    chosen["open_from"] = erp.settings.open_from.isoformat() if erp.settings.open_from else None
    chosen["hidden"] = sorted(erp.settings.hidden)
    return chosen


def _set_settings(erp: Erp, payload: Any) -> Any:
    for name, value in payload.items():
        if name == "open_from":
            erp.settings.open_from = date.fromisoformat(value) if value else None
        elif name == "hidden":
            erp.settings.hidden = frozenset(value)
        elif name in _SETTINGS:
            setattr(erp.settings, name, value)
        elif name in _SESSION_SETTINGS:
            setattr(erp.sessions, name, value)
        else:
            raise ValueError(f"no setting {name}; there are {', '.join(settings(erp))}")
    return settings(erp)


def _forget(erp: Erp, payload: Any) -> Any:
    """Throw away sessions, bearer tokens or remembered answers: {"sessions": true, "bearers": true, "ids": true}."""
    if payload.get("sessions"):
        erp.sessions.sessions.clear()
    if payload.get("bearers"):
        erp.sessions.bearers.clear()
    if payload.get("ids"):
        erp.remembered.clear()
    return {"sessions": len(erp.sessions.sessions), "bearers": len(erp.sessions.bearers), "ids": len(erp.remembered)}
