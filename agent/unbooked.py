"""Tells a workflow that counts on its postings which of them are not booked after all, as an event of the agent.

A person refused it, or SAP did, nobody decided in time, another quantity was put in its place, or it was taken back:
the trail has it, and the workflow's account goes on without it. The event and how far the trail was read commit
together, and its id follows from the posting: after a crash nothing is told twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import apsw

from agent.errors import BadPayload
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.judging.rules import Rules
from agent.own_events import SOURCE, UNBOOKED, UNBOOKED_SCRAP, event_of
from agent.people.desk import Desk
from agent.ports import Batch, Clock, CountsOnPostings, Kind, Workflow
from agent.store import inbox, unbooked
from agent.store.unbooked import Unbooked
from agent.workflows.scrap import FOLLOW_ON

EVERY_S: Final = 1.0
KEY: Final = "unbooked"  # of the checkpoint
TAKE_BACK: Final = "262"
SCRAPPED: Final[Mapping[str, str]] = {  # what a report of scrap becomes → the field that says how much
    Kind.SCRAP: "quantity", Kind.CONFIRMATION: "scrap", Kind.STOCK_TRANSFER: "quantity", Kind.BATCH_STATUS: "",
}  # fmt: skip


class TellingUnbooked:
    """One look after the other; `rules` are those that decide now."""

    def __init__(self, desk: Desk, clock: Clock, rules: Callable[[], Rules]) -> None:
        self._desk = desk
        self._clock = clock
        self._rules = rules
        self._seen = 0  # row of the trail: nothing before it need be told

    async def look(self) -> None:
        """Everything since the last look; nothing where no workflow counts on its postings."""
        flows = {one.workflow.name for one in self._rules().assignments.values() if _counts(one.workflow)}
        while flows and await self._once(flows):
            pass

    async def _once(self, flows: Collection[str]) -> bool:
        """One piece of the trail; whether it was a full one. What comes meanwhile waits for the next look."""
        found, before, seen = await asyncio.to_thread(self._desk.look, self._read)
        full = seen - max(before, self._seen) >= unbooked.PIECE
        told = [report for one in found if one.workflow in flows for report in self._reports(one)]
        if told or seen - before > unbooked.PIECE:  # what tells nothing is read again after a start, where it is little
            deliveries = [event_of(report) for report in told]
            batch = Batch(SOURCE, deliveries, self._clock(), lambda: None, ((KEY, str(seen).encode()),))
            await self._desk.writer.run(lambda tx: inbox.store(tx, batch))
        if told:
            self._desk.wake()
        self._seen = seen
        return full

    def _reports(self, one: Unbooked) -> Iterator[SegmentResponse]:
        if one.kind not in SCRAPPED:
            yield from reports(one)
        elif one.event is not None:
            try:
                told = self._rules().mappings.read(one.event)
            except BadPayload:  # the mapping reads it no more: its histories stay as they are
                return
            yield from of_scrap(one, told)

    def _read(self, reader: apsw.Connection) -> tuple[list[Unbooked], int, int]:
        """What is new, the row up to which everything was told, and the row up to which this is."""
        kept = int(inbox.checkpoint(reader, KEY) or 0)
        found, seen = unbooked.since(reader, max(kept, self._seen))
        return found, kept, seen


def reports(one: Unbooked) -> Iterator[SegmentResponse]:
    """What is not booked of a goods issue; below 0 is what is booked beyond what was decided. Pure."""
    if one.kind != Kind.GOODS_ISSUE:
        return
    amounts = [_amount(one.payload, 1)] + ([_amount(one.instead, -1)] if one.instead is not None else [])
    data = _said(one) | ({"apart": "yes"} if one.payload.get("apart") else {})
    yield SegmentResponse(
        UNBOOKED, f"{one.posting}/{one.action}", str(one.payload["order"]), str(one.payload["operation"]), one.at,
        material_actuals=tuple(amounts), data=data,
    )  # fmt: skip


def of_scrap(one: Unbooked, told: SegmentResponse) -> Iterator[SegmentResponse]:
    """What of a report of scrap is not so: how much it was, and is instead; nothing where no quantity changed. Pure."""
    field, data = SCRAPPED.get(one.kind), _said(one) | {"of": one.kind}
    if told.kind == FOLLOW_ON or field is None:
        return
    if field:
        before, now = (str(payload[field]) if payload else "0" for payload in (one.payload, one.instead))
        if Decimal(before) == Decimal(now):
            return
        data |= {"before": before, "now": now}
    if material := one.payload.get("material") or told.material_actuals[0].material:
        data |= {"material": material}
    yield told._replace(kind=UNBOOKED_SCRAP, id=f"{one.posting}/{one.action}", data={**told.data, **data})


def _said(one: Unbooked) -> dict[str, str | Decimal]:
    data: dict[str, str | Decimal] = {"posting": str(one.posting), "action": one.action, "why": one.why, "by": one.by}
    return data | ({"was_sent": "yes"} if one.was_sent else {})


def _amount(payload: Mapping[str, Any], sign: int) -> MaterialActual:
    quantity = Decimal(payload["quantity"]) * (-sign if payload.get("movement") == TAKE_BACK else sign)
    return MaterialActual(
        MaterialUse.CONSUMED, Quantity(quantity, payload["unit"]), payload["material"], payload.get("batch") or ""
    )


def _counts(workflow: Workflow) -> bool:
    return isinstance(workflow, CountsOnPostings)
