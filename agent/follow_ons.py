"""What becomes of a lot that is kept from use, asked and chosen by a person: each choice with its cost, then a report.

It starts from the posting that keeps the lot from use: a transfer to blocked stock, or restricted use of its batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import apsw

from agent.access.callers import Identity
from agent.errors import BadPayload, Conflict
from agent.facts import Facts
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.judging.rules import Rules
from agent.own_events import SOURCE, event_of
from agent.people.desk import Act, Desk
from agent.ports import Batch, Kind
from agent.store import approvals, inbox
from agent.store import kept as lots
from agent.store.transaction import Transaction
from agent.workflows import follow_on
from agent.workflows.scrap import FOLLOW_ON, Scrap, lot_key

KIND: Final = FOLLOW_ON
MOST: Final = 200  # postings that keep a lot from use that are looked at, the newest
NOTHING: Final = Decimal(0)
_KEPT: Final = ("acknowledged", "simulated")
_TEXTS: Final = ("material", "lot", "storage_location", "unit", "order", "operation", "work_center", "severity")


class Kept(NamedTuple):
    """A lot that is kept from use. `quantity` in the material's base unit `unit`; None: its whole batch.

    `left` is what nobody has decided about; None as long as nobody has decided about a whole batch.
    """

    posting: int
    material: str
    lot: str
    storage_location: str
    unit: str
    order: str
    operation: str
    work_center: str
    severity: str
    line: str
    since: str  # it was proposed; ISO 8601
    quantity: Decimal | None
    left: Decimal | None
    decided: bool  # somebody has chosen before


class Chosen(NamedTuple):
    """What a person wants to become of so much of it."""

    kept: Kept
    choice: str
    quantity: Decimal


def kept(connection: apsw.Connection, posting_id: int) -> Kept:
    """What the posting keeps from use. Raises NotFound, and Conflict where it keeps nothing (yet)."""
    found = approvals.show(connection, posting_id)
    payload = found["payload"]
    blocks = found["kind"] == Kind.STOCK_TRANSFER and payload.get("movement") == "344"
    restricts = found["kind"] == Kind.BATCH_STATUS and payload.get("restricted") is True
    if not (blocks or restricts) or not payload.get("lot"):
        raise Conflict(
            f"posting {posting_id} keeps no lot from use: name the stock_transfer (344) or batch_status of a report of "
            "scrap"
        )
    if found["state"] not in _KEPT:
        raise Conflict(f"posting {posting_id} is {found['state']}: nothing is kept from use by it yet")
    state: Any = inbox.states(connection, [lot_key(payload["material"], payload["lot"])])
    texts = {name: payload[name] for name in _TEXTS}
    quantity = Decimal(payload["quantity"]) if blocks else None
    choices = lots.chosen(connection, posting_id)
    left = max(quantity - sum(choices), NOTHING) if quantity is not None else NOTHING if choices else None
    decided = bool(choices) or any(one.get("decided") for one in state.values())
    return Kept(
        posting_id,
        line=found["line"],
        since=found["created_at"],
        quantity=quantity,
        left=left,
        decided=decided,
        **texts,
    )


def waiting(connection: apsw.Connection) -> list[Kept]:
    """Lots of which something is left to decide about, the newest first, without those that other systems decided."""
    found = (kept(connection, id) for id in lots.newest(connection, MOST))
    return [one for one in found if one.left != NOTHING and not _by_others(connection, one)]


def _by_others(connection: apsw.Connection, one: Kept) -> bool:
    """A report of another system has said what becomes of the lot: nobody knows of how much of it."""
    return one.decided and not lots.entered(connection, one.posting)


def shown(one: Kept, facts: Facts, rework_share: Decimal) -> dict[str, Any]:
    """For programs and people: what each choice costs of what is left, and which one is usual for such a defect."""
    much, material = one.left, facts.material(one.material)
    cost = follow_on.costs(material.price if material else Decimal(0), much, rework_share) if much is not None else {}
    return {
        "posting": one.posting,
        "material": one.material,
        "material_text": material.text if material else "",
        "storage_location": one.storage_location,
        "order": one.order,
        "work_center": one.work_center,
        "since": one.since,
        "lot": one.lot,
        "quantity": f"{one.quantity:f}" if one.quantity is not None else None,
        "left": f"{much:f}" if much is not None else None,
        "unit": facts.units.shown(one.unit),
        "severity": one.severity,
        "suggested": follow_on.usual(one.severity),
        "costs": {choice: f"{cost[choice]:.2f}" if cost else None for choice in follow_on.CHOICES},
        "currency": facts.plant.currency,
        "decided": one.decided,
    }


def workflow_of(rules: Rules) -> Scrap:
    """Who decides about what is chosen. Raises Conflict where nobody does."""
    assigned = rules.assignments.get(KIND)
    if assigned is None or not isinstance(assigned.workflow, Scrap):
        raise Conflict(f"no workflow reads reports of kind {KIND!r}: add it to the mapping of scrap")
    return assigned.workflow


def listed(connection: apsw.Connection, rules: Rules, caller: Identity) -> list[dict[str, Any]]:
    """Lots of lines that this caller sees of which something is left to decide about; none where nobody decides."""
    if KIND not in rules.assignments:
        return []
    share = workflow_of(rules).config.rework_share
    return [shown(one, rules.facts, share) for one in waiting(connection) if caller.sees(one.line)]


def chosen(one: Kept, choice: str, quantity: Decimal | None) -> Chosen:
    """The choice, of all that is kept where nobody says how much. Raises BadPayload."""
    if choice not in follow_on.CHOICES:
        raise BadPayload(f"must be one of {', '.join(follow_on.CHOICES)}, not {choice[:40]!r}", field="choice")
    much = quantity if quantity is not None else one.left
    if much is None:
        raise BadPayload("is missing: the whole batch is kept from use, how much of it is meant?", field="quantity")
    if not much:
        raise Conflict(f"about all that posting {one.posting} keeps from use somebody has decided: see its trace")
    return Chosen(one, choice, much)


async def enter(desk: Desk, posting_id: int, choice: str, quantity: Decimal | None, act: Act) -> Any:
    """Store it as a report of kind `follow_on`, whose draft a person signs. Raises NotFound, Conflict, BadPayload."""
    request = {"act": "follow_on", "posting": posting_id, "choice": choice, "quantity": str(quantity), "by": act.by}

    def job(tx: Transaction) -> Any:
        def entered() -> Any:
            return store(tx, chosen(kept(tx.connection, posting_id), choice, quantity), act, desk.now())

        return approvals.once(tx, act.key, request, entered) if act.key else entered()

    return await desk.act(job)


def report_of(wanted: Chosen, by: str, at: datetime) -> SegmentResponse:
    """The report; its id follows from when it was entered."""
    one, person = wanted.kept, by.partition(" via ")[0]  # the same person, through whatever they typed it
    rest = MaterialActual(
        MaterialUse.SCRAP, Quantity(wanted.quantity, one.unit), one.material, one.lot, one.storage_location
    )
    return SegmentResponse(
        KIND, f"FOLLOW-ON-{at:%Y%m%dT%H%M%S%f}", one.order, one.operation, at, one.work_center,
        material_actuals=(rest,), data={"choice": wanted.choice}, personnel=person,
    )  # fmt: skip


def store(
    tx: Transaction, wanted: Chosen, act: Act, at: datetime, signed: Mapping[str, Any] = MappingProxyType({})
) -> Mapping[str, Any]:
    """The choice as a report, and on record: who, why, and what else is `signed`."""
    report = report_of(wanted, act.by, at)
    inbox.store(tx, Batch(SOURCE, (event_of(report),), at, lambda: None))
    detail = {"report": report.id, "choice": wanted.choice, "quantity": f"{wanted.quantity:f}", "reason": act.reason}
    tx.audit("follow_on_entered", {**detail, **signed}, actor=act.by, posting_id=wanted.kept.posting)
    return {"report": report.id, "by": act.by}
