"""What a report of scrap makes of itself: each draft of its group, and the sentences about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import SegmentResponse
from agent.masterdata.entities import DefectCode, ScrapReason
from agent.ports import Draft, Kind
from agent.workflows.orders import shown
from agent.workflows.scrap_report import Found
from agent.workflows.severity import Judged, Severity

NOTIFY: Final = "notify"  # the role of the target that tells people
_LOUD: Final = {Severity.MINOR: "info", Severity.MAJOR: "warning", Severity.CRITICAL: "alarm"}


class Kept(NamedTuple):
    """How the rest of a bad lot is kept from use: so much of it in blocked stock, or its whole batch restricted."""

    rest: Decimal = Decimal(0)  # what is left of it; 0: nothing is kept from use, or nobody knows how much there is
    restricted: bool = False


def movement(report: SegmentResponse, one: Found, reason: ScrapReason, facts: Facts) -> Draft:
    """Out of stock, at the expense of the cost centre that bears the cause, else of the order."""
    payload = {
        **_material(report, one, facts),
        "quantity": str(one.quantity),
        "movement": reason.movement,
        "cost_center": reason.cost_center,
        "order": one.place.order.order,
        "operation": one.place.operation,
        "work_center": report.work_center,
        "reason": reason.reason,
        "cause": reason.cause,
        "floor_quantity": f"{one.actual.quantity.value:f}",
        "floor_unit": one.actual.quantity.unit,
        "personnel": report.personnel,
    }
    return Draft(Kind.SCRAP, one.place.lane, payload, one.value)


def confirmation(report: SegmentResponse, one: Found, reason: ScrapReason, facts: Facts) -> Draft:
    """As scrap of its operation, with the variance reason of the cause. Raises BadPayload for a component."""
    if one.place.material.material != one.place.order.material:
        raise BadPayload(
            f"{one.place.material.material} is not what order {one.place.order.order} makes, so it is no scrap of a "
            "confirmation; set the option book to goods_movement",
            field="material",
        )
    payload = {
        "plant": one.place.order.plant,
        "order": one.place.order.order,
        "operation": one.place.operation,
        "sequence": "0",
        "yield": "0",
        "scrap": str(one.quantity),
        "rework": "0",
        "unit": one.unit,
        "final": False,
        "scrap_reason": reason.variance_reason,
        "posting_date": facts.plant.day_text(report.occurred_at),
        "start": "",
        "end": "",
        "activities": {},
        "backflush": False,
        "text": (report.id or "")[:40],
        "personnel": report.personnel,
        "cause": reason.cause,
    }
    return Draft(Kind.CONFIRMATION, one.place.lane, payload, one.value)


def defect(report: SegmentResponse, one: Found, code: DefectCode, judged: Judged) -> Draft:
    """The record of quality management."""
    payload = {
        "plant": one.place.order.plant,
        "order": one.place.order.order,
        "operation": one.place.operation,
        "material": one.place.material.material,
        "batch": one.actual.lot,
        "work_center": report.work_center,
        "defect_code": code.defect,
        "defect_code_group": code.group,
        "quantity": str(one.quantity),
        "unit": one.unit,
        "severity": judged.severity.value,
        "text": (code.text or code.defect)[:40],  # not the cause: a person may still correct that
        "detected_at": report.occurred_at.isoformat(),
    }
    return Draft(Kind.DEFECT, one.place.lane, payload)


def transfer(report: SegmentResponse, one: Found, quantity: Decimal, movement_type: str, facts: Facts) -> Draft:
    """The rest of the lot to blocked stock (344), or back (343)."""
    payload = {**_material(report, one, facts), "quantity": str(quantity), "movement": movement_type}
    payload |= {"order": one.place.order.order, "operation": one.place.operation, "personnel": report.personnel}
    return Draft(Kind.STOCK_TRANSFER, one.place.lane, payload, one.place.material.price * quantity)


def batch_status(report: SegmentResponse, one: Found, *, restricted: bool) -> Draft:
    """The whole batch to restricted use, or free of it."""
    payload = {
        "plant": one.place.order.plant,
        "material": one.place.material.material,
        "batch": one.actual.lot,
        "restricted": restricted,
        "order": one.place.order.order,
        "operation": one.place.operation,
        "personnel": report.personnel,
    }
    return Draft(Kind.BATCH_STATUS, one.place.lane, payload)


def kept_from_use(draft: Draft, report: SegmentResponse, one: Found, judged: Judged) -> Draft:
    """The same with what a person needs who asks later what becomes of the lot."""
    about = {
        "lot": one.actual.lot,
        "work_center": report.work_center,
        "severity": judged.severity.value,
        "unit": one.unit,
        "storage_location": one.actual.storage_location,
    }
    return draft._replace(payload={**draft.payload, **about})


def notification(report: SegmentResponse, one: Found, judged: Judged, to: Sequence[str], facts: Facts) -> Draft:
    """Who must know, and that once for a cause at a lot or work centre."""
    what, where = amount(one, facts), one.actual.lot or report.work_center
    why = "; ".join(judged.reasons) or judged.severity.value
    defect = (one.defect.text or one.defect.defect) if one.defect else "defect without a code"
    cause = f"scrap/{one.place.material.material}/{where}/{defect}/{judged.severity}"
    payload = {
        "to": list(to),
        "subject": f"Scrap at {report.work_center}: {what} of {one.place.material.material}",
        "text": f"{what} of lot {one.actual.lot or '(none)'} for order {one.place.order.order}: {defect}. {why}.",
        "link": "",
        "cause": cause,
        "severity": _LOUD[judged.severity],
        "order": one.place.order.order,
        "line": one.place.subject["line"],
    }
    return Draft(Kind.NOTIFICATION, f"notify/{cause}", payload, role=NOTIFY)


def _material(report: SegmentResponse, one: Found, facts: Facts) -> dict[str, Any]:
    day = facts.plant.day_text(report.occurred_at)
    return {
        "plant": one.place.order.plant,
        "material": one.place.material.material,
        "quantity": "",
        "unit": one.unit,
        "storage_location": one.actual.storage_location,
        "batch": one.actual.lot if one.place.material.batch_managed else "",
        "posting_date": day,
        "document_date": day,
        "text": (report.id or "")[:50],
    }


# ── for people ──────────────────────────────────────────────────────────────────────────────────────────────


def amount(one: Found, facts: Facts) -> str:
    """What was scrapped, as the ERP's users write it."""
    return shown(one.quantity, one.unit, facts.units)


def said(
    report: SegmentResponse, one: Found, reason: ScrapReason, judged: Judged, kept: Kept, facts: Facts
) -> dict[str, str]:
    """Reader → sentence."""
    what, lot = amount(one, facts), f" of lot {one.actual.lot}" if one.actual.lot else ""
    cause, order = reason.text or reason.cause, one.place.order.order
    blocked = f"; {shown(kept.rest, one.unit, facts.units)} that are left of the lot are blocked" if kept.rest else ""
    if kept.restricted:
        blocked = f"; batch {one.actual.lot} is put into restricted use"
    code = f", reason {reason.reason}" if reason.reason else ", without a reason code"
    bearer = f"cost centre {reason.cost_center}" if reason.cost_center else f"order {order}"
    money = f"worth {one.value:.2f} {facts.plant.currency}" if one.value else "of no known value"
    return {
        "operator": f"{what} of {one.place.material.material}{lot} were scrapped at {report.work_center}: {cause}.",
        "planner": f"Order {order} has {what} less ({judged.severity} defect){blocked}.",
        "accountant": f"Scrap {money} is charged to {bearer} for {cause}{code}.",
    }
