"""What becomes of the rest of a lot that was blocked for a defect: scrapped, reworked, or used as it is. Pure.

Every one is a draft that a person signs; what each would cost is told with the report that blocked the lot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import SegmentResponse
from agent.masterdata.entities import ScrapReason
from agent.ports import Draft, Kind, Proposal
from agent.workflows import scrap_drafts
from agent.workflows.orders import shown
from agent.workflows.scrap_report import Found, found, text
from agent.workflows.severity import Judged, Severity

SCRAP, REWORK, AS_IS = "scrap", "rework", "use_as_is"
CHOICES: Final = (SCRAP, REWORK, AS_IS)
_USUAL: Final = {Severity.MINOR: AS_IS, Severity.MAJOR: REWORK, Severity.CRITICAL: SCRAP}
_FROM_BLOCKED: Final = "555"
SIGNED: Final = "what becomes of a blocked lot is signed by a person"


def usual(severity: str) -> str:
    """The choice that is usual for a defect as bad as this."""
    return _USUAL[Severity(severity or Severity.MINOR)]


def costs(price: Decimal, quantity: Decimal, rework_share: Decimal) -> Mapping[str, Decimal]:
    """What each choice costs of so much at this price, in the plant's currency."""
    worth = price * quantity
    return {SCRAP: worth, REWORK: worth * rework_share, AS_IS: Decimal(0)}


def suggested(one: Found, judged: Judged, rest: Decimal, rework_share: Decimal, facts: Facts) -> tuple[str, ...]:
    """What is usual for a defect as bad as this, with what each choice costs; nothing where nothing is blocked."""
    if not rest:
        return ()
    cost, currency = costs(one.place.material.price, rest, rework_share), facts.plant.currency
    told = ", ".join(f"{_words(choice)} {cost[choice]:.2f} {currency}" for choice in CHOICES)
    what = f"{shown(rest, one.unit, facts.units)} of lot {one.actual.lot}"
    return (f"for the {what} that are left, {_words(usual(judged.severity))} is suggested; cost: {told}",)


def proposed(
    report: SegmentResponse, facts: Facts, rework_share: Decimal, states: Sequence[Any]
) -> tuple[Proposal, Sequence[Any]]:
    """The draft of what somebody chose for a lot. Raises BadPayload."""
    one, choice = found(report, facts), text(report, "choice")
    if choice not in CHOICES:
        raise BadPayload(f"must be one of {', '.join(CHOICES)}, not {choice!r}", field="choice", reason="unknown_code")
    if not one.actual.lot:
        raise BadPayload("is missing: what becomes of which lot?", field="lot", reason="missing")
    if not one.quantity:
        return Proposal((), reasons=("nothing is left to decide about",)), states
    state = states[-1]
    blocked = Decimal(state.get("blocked", 0))
    holds = [*one.place.holds, SIGNED]
    if one.quantity > blocked and not state.get("restricted"):
        left, asked = (shown(value, one.unit, facts.units) for value in (blocked, one.quantity))
        holds.append(f"{asked} of lot {one.actual.lot} asked for, {left} were blocked here")
    if state.get("decided"):
        holds.append(f"about lot {one.actual.lot} somebody has decided before")
    draft = _draft(choice, report, one, state, facts)
    cost = costs(one.place.material.price, one.quantity, rework_share)[choice]
    reasons = (f"{_words(choice)} costs {cost:.2f} {facts.plant.currency}",)
    after = {**state, "decided": True, "restricted": bool(state.get("restricted")) and choice != AS_IS}
    proposal = Proposal((draft,), 1.0, tuple(holds), reasons, one.place.subject, scored=False)
    return proposal, [*states[:-1], after]


def _draft(choice: str, report: SegmentResponse, one: Found, state: Mapping[str, Any], facts: Facts) -> Draft:
    restricted = bool(state.get("restricted"))  # its batch: all of it is where it was
    if choice == AS_IS and restricted:
        return scrap_drafts.batch_status(report, one, restricted=False)
    if choice == AS_IS:
        return scrap_drafts.transfer(report, one, one.quantity, "343", facts)
    cause = one.actual.reason or state.get("cause", "")
    reason = facts.scrap_reason(cause, report.work_center) or ScrapReason(cause, "")
    if choice == SCRAP:
        draft = scrap_drafts.movement(report, one, reason, facts)
        return draft if restricted else draft._replace(payload={**draft.payload, "movement": _FROM_BLOCKED})
    what = shown(one.quantity, one.unit, facts.units)
    note = f"Rework {what} of lot {one.actual.lot} for its defect ({report.id})"
    payload = {
        "order": one.place.order.order,
        "plant": one.place.order.plant,
        "text": note,
        "personnel": report.personnel,
    }
    return Draft(Kind.ORDER_NOTE, one.place.lane, payload)


def _words(choice: str) -> str:
    return choice.replace("_", " ")
