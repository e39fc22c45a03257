"""What follows from the verdict about an order: releases, notes, messages, and the sentences about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from agent.facts import Facts
from agent.masterdata.entities import Order
from agent.ports import Draft, Kind
from agent.workflows.constraints import Constraint, open_operations
from agent.workflows.orders import shown

LONGEST_NOTE: Final = 250  # characters that are added to the text of an order


def release(order: Order, facts: Facts) -> tuple[Draft, ...]:
    """Released in the ERP, then sent to the line."""
    product, lane = facts.materials.get(order.material), f"order/{order.order}"
    value = product.price * order.quantity if product else Decimal(0)
    released = Draft(Kind.ORDER_RELEASE, lane, {"order": order.order, "plant": order.plant}, value)
    first = open_operations(order)[0]
    sent = {
        "order": order.order,
        "operation": first.operation,
        "work_center": first.work_center,
        "material": order.material,
        "quantity": f"{order.quantity:f}",
        "unit": order.unit,
        "due": order.due.isoformat() if order.due else "",
        "text": product.text if product else "",
    }
    return released, Draft(Kind.DISPATCH, lane, sent, role="line")


def note(order: Order, why: Sequence[str]) -> Draft:
    """An exception note for the order's text; a person signs it."""
    text = "; ".join(why)
    if len(text) > LONGEST_NOTE:
        text = text[: LONGEST_NOTE - 1] + "…"
    payload = {"order": order.order, "plant": order.plant, "text": text}
    return Draft(Kind.ORDER_NOTE, f"order/{order.order}", payload)


def message(
    order: Order, to: Sequence[str], cause: str, severity: str, subject: str, lines: Sequence[str], facts: Facts
) -> Draft:
    """To people, by role; it goes at once, whatever waits for a signature."""
    first = next(iter(open_operations(order)), None)
    place = facts.work_centers.get(first.work_center) if first else None
    payload: dict[str, Any] = {
        "to": list(to), "subject": subject, "text": "\n".join(lines), "link": f"order:{order.order}", "cause": cause,
        "severity": severity, "order": order.order, "line": place.line if place else "",
    }  # fmt: skip
    return Draft(Kind.NOTIFICATION, f"notify/{cause}", payload, role="notify")


def said(
    order: Order, status: str, constraints: Sequence[Constraint], starts: datetime, set_by: str, facts: Facts
) -> dict[str, str]:
    """A sentence for each reader."""
    what = f"order {order.order}, {shown(order.quantity, order.unit, facts.units)} of {order.material}"
    why = constraints[0].said if constraints else "nothing stands in its way"
    when, can = f"{starts:%Y-%m-%d %H:%M} UTC", status != "BLOCKED"
    product = facts.materials.get(order.material)
    worth = f"{product.price * order.quantity:.2f} {facts.plant.currency}" if product else "an unknown value"
    told = {
        "FEASIBLE": ("can start", "can be released"),
        "FEASIBLE_WITH_NOTES": ("can start", "can be released"),
        "AT_RISK": ("may not start or finish in time", "is not released by itself"),
        "BLOCKED": ("cannot start", "is not released"),
    }[status]
    return {
        "operator": f"{what} {told[0]}: {why}.",
        "planner": f"{what} {told[1]}: {why}." + (f" Earliest start {when}, set by {set_by}." if can else ""),
        "accountant": f"{what}, worth {worth}, {told[1]}; nothing is booked by that.",
    }
