"""What changes a production order: its release and its other functions, and a PATCH of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from simulators.erp.books import Document
from simulators.erp.ledger import Order
from simulators.erp.model import FUNCTION_MESSAGE
from simulators.erp.odata import ODataError, Row, full, wire_date, wire_time

PLANNED: Final = {"planned_start": "MfgOrderPlannedStart", "due": "MfgOrderPlannedEnd"}


def release(order: Order) -> Document:
    """Release an order; raises ODataError when it is not to be released (any more)."""
    subject = f"(ORD {order.number})"
    if order.status() == "REL":
        raise ODataError(400, "CO/085", f"Order {order.number} has already been released")
    if order.status() != "CRTD":
        raise ODataError(
            400,
            "BS/007",
            f'"Release" is not allowed {subject}',
            more=[("BS/013", f"System status {order.status()} is active {subject}")],
        )
    return Document("order_release", f"{order.number}/{order.version + 1}", order.number, {}, [])


def change(order: Order, changes: Mapping[str, Any]) -> Document:
    """A PATCH of an order; raises ODataError for a field that is read-only."""
    for name in changes:
        if name.startswith("OrderIs") or name in {"ManufacturingOrder", "LastChangeDateTime"}:
            raise ODataError(400, "/IWBEP/CM_MGW_RT/034", f"Property {name} is read-only", target=name)
    return Document("order_change", f"{order.number}/{order.version + 1}", order.number, dict(changes), [])


def plan(order: Order, what: str, moment: datetime) -> None:
    """Enter one of PLANNED, by the plant's clock; it is not in the books."""
    order.entered[f"{PLANNED[what]}Date"] = wire_date(moment.date())
    order.entered[f"{PLANNED[what]}Time"] = wire_time(moment)


def set_status(order: Order, function: str) -> None:
    """The functions that set a status; they are not in the books."""
    match function:
        case "TechlyCmpltOrder":
            order.technically_completed = True
        case "CloseOrder":
            order.closed = True
        case _:
            order.entered["OrderIsDelivered"] = "X"


def saved(order: Order) -> Row:
    """The FunctionMessage of a success."""
    message = {
        "SystemMessageType": "S",
        "SystemMessageIdentification": "CO",
        "SystemMessageNumber": "100",
        "SystemMessageLongText": f"Order number {order.number} saved",
        "SystemMessageVariable1": order.number,
    }
    return full(FUNCTION_MESSAGE, message, frozenset())
