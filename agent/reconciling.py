"""Reconciliation beside the loops: what moved since the last look is held against itself, and each finding is an event.

It reads the trail with a connection of its own. What it found, how far it has read and what it has learnt commit
together: after a crash it goes on from there, and no finding is told twice. It decides nothing: a finding goes the way
of every report, and a person decides.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import apsw
from pydantic import BaseModel

from agent import observing
from agent.facts import Facts
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.judging.rules import Rules
from agent.own_events import SOURCE, event_of
from agent.people.desk import Desk
from agent.ports import Batch, Clock, Kind
from agent.reconciliation import account, putright
from agent.reconciliation.findings import Finding
from agent.reconciliation.observed import Booked, InBooks, Level, Made, Material, Observation, Plan, Used
from agent.reconciliation.state import Order, State
from agent.reconciliation.step import step
from agent.store import findings, inbox, movements, outbox
from agent.store.transaction import Transaction
from agent.workflows.reconciliation import Reconciliation

log = logging.getLogger("gatepost")

TICK_S: Final = 1.0
EVERY_S: Final = 5.0  # between two looks at least, once it has read everything
REST: Final = 50  # after each look it rests so many times as long as that took
KEY: Final = "reconciliation"  # of the checkpoint
_SMALLEST: Final = Decimal("0.001")


class Kept(BaseModel):
    """All that is kept: up to which row of the trail it has read, what waits, and the day that is being added up."""

    seq: int
    state: State = State()
    seen: observing.Seen = observing.Seen()
    day: str = ""
    active: list[str] = []  # orders of that day


class Piece(NamedTuple):
    """What one look at some rows leads to; `batch` is None where nothing has changed."""

    after: int  # row of the trail
    batch: Batch | None
    closed: Sequence[Mapping[str, Any]]
    more: bool
    by_hand: Mapping[str, str] = MappingProxyType({})  # id of a finding → how it was put right without its correction


def kept(connection: apsw.Connection) -> Kept | None:
    """What the store has; None: it has never looked, or what it kept is of another release and cannot be read."""
    found = inbox.checkpoint(connection, KEY)
    try:
        return Kept.model_validate_json(found) if found else None
    except ValueError:
        log.warning("what reconciliation kept cannot be read: it begins anew with what comes")
        return None


class Reconciling:
    """One look after the other; `rules` are those that decide now."""

    def __init__(self, desk: Desk, clock: Clock, rules: Callable[[], Rules]) -> None:
        self._desk = desk
        self._clock = clock
        self._rules = rules
        self._one = asyncio.Lock()  # at a time
        self._due = 0.0  # monotonic

    async def tick(self) -> None:
        """One piece of the trail where it is time for one: what decides events comes first."""
        if time.monotonic() < self._due:
            return
        started = time.monotonic()
        try:
            more = await self._look_once()
        except Exception:  # whatever it is, it may not end what decides
            log.exception("reconciliation cannot go on; it tries again")
            more = False
        now = time.monotonic()
        rest = REST * (now - started)
        self._due = now + (rest if more else max(rest, EVERY_S))

    async def look(self) -> None:
        """Everything since the last look; nothing where the workflow is not configured."""
        while await self._look_once():
            pass

    async def _look_once(self) -> bool:
        """One piece; whether there is more."""
        async with self._one:
            rules = self._rules()
            flow = _workflow(rules)
            if flow is None:
                return False
            piece = await asyncio.to_thread(self._piece, rules, flow)
            if piece.batch is not None:
                await self._desk.writer.run(lambda tx: _write(tx, piece))
                if piece.batch.deliveries:
                    self._desk.wake()
            return piece.more

    def _piece(self, rules: Rules, flow: Reconciliation) -> Piece:
        """The next rows of the trail, and what is found with them."""
        found_before = self._desk.look(kept)
        before = found_before or Kept(seq=self._desk.look(movements.head))
        rows = self._desk.look(lambda reader: movements.since(reader, before.seq))
        now, after, facts = self._clock(), before.model_copy(deep=True), rules.facts
        seen: list[Observation] = [*(observing.at_first(after.seen, facts, now) if found_before is None else ())]
        seen += observing.by_others(after.seen, facts, now, lambda one: _is_proposed(after.state, one, facts))
        seen += self._observed(rows, after, rules)
        after.seq = rows[-1].seq if rows else before.seq
        materials, wait = _materials(seen, after.state, facts), flow.config.wait_minutes
        patience, kinds = timedelta(minutes=wait) if wait is not None else None, tuple(rules.assignments)

        def look(reader: apsw.Connection) -> list[Finding]:
            return step(
                after.state, seen, now, materials, patience,
                lambda report: movements.is_open(reader, report, kinds),
                lambda report: movements.is_never(reader, report, kinds),
            )  # fmt: skip

        found = self._desk.look(look)
        closed = _day(after, seen, facts, materials, now)
        written, more = after.model_dump_json().encode(), len(rows) == movements.PIECE
        if not (found or closed) and written == before.model_dump_json().encode():
            return Piece(before.seq, None, (), more)
        deliveries = [event_of(self._report(one, materials)) for one in found]
        batch = Batch(SOURCE, deliveries, now, lambda: None, ((KEY, written),))
        done = _by_hand(after.state)
        by_hand = {id: why for id, why in done.items() if id not in _by_hand(before.state)}
        return Piece(before.seq, batch, closed, more, by_hand)

    def _observed(self, rows: Iterable[movements.Moved], after: Kept, rules: Rules) -> list[Observation]:
        found: list[Observation] = []
        for row in rows:
            if row.kind == Kind.REVERSAL and row.action == "acknowledged" and row.payload is not None:
                document = str(row.payload.get("document", ""))
                original = self._desk.look(lambda reader, of=document: movements.booked(reader, of))  # type: ignore[misc]
                if original is not None and original.kind == Kind.GOODS_ISSUE:
                    back = observing.taken_back(row, original.payload, after.seen, rules.facts)
                    found += [back] if back is not None else []
                    if original.workflow != observing.BACKFLUSH:
                        found += observing.taken_back_by_hand(row, rules.mappings, rules.facts)
            else:
                found += observing.observations([row], after.seen, rules.mappings, rules.facts)
        return found

    def _report(self, finding: Finding, materials: Mapping[str, Material]) -> SegmentResponse:
        """The finding as a report, with what a correction needs of the document that it is about."""
        order, _, operation = finding.order.partition("/")
        data: dict[str, str | Decimal] = {
            "cause": finding.cause.value,
            "correction": finding.correction.value,
            "evidence": "; ".join(finding.evidence),
            "excess": _decimal(finding.excess),
            "noise": _decimal(finding.noise),
            "until": finding.until.isoformat(),
            "about": ", ".join(finding.about),
            "scrapped": _decimal(finding.scrapped),
        }
        if finding.instead is not None:
            data |= {"instead": finding.instead.material, "instead_location": finding.instead.storage_location}
            data |= {"instead_batch": finding.instead.batch} if finding.instead.batch else {}
        data |= self._document(finding)
        unit = materials[finding.place.material]
        quantity = Quantity(abs(_decimal(finding.excess)), unit.code)
        actual = MaterialActual(
            MaterialUse.INVENTORIED, quantity, finding.place.material, finding.place.batch,
            finding.place.storage_location,
        )  # fmt: skip
        return SegmentResponse(
            KEY, f"{KEY}/{finding.id}", order, operation, finding.at, finding.work_center,
            material_actuals=(actual,), data=data,
        )  # fmt: skip

    def _document(self, finding: Finding) -> Mapping[str, str]:
        kinds = [kind for kind in self._rules().assignments if kind != KEY]
        for one in finding.about:
            found = self._desk.look(lambda reader, of=one: movements.booked(reader, of, kinds))  # type: ignore[misc]
            if found is not None:
                payload = found.payload
                return {
                    "document": found.document, "of_kind": found.kind, "of_key": found.key,
                    "booked": str(payload.get("quantity", "")),
                    "booked_unit": str(payload.get("unit", "")), "posting_date": str(payload.get("posting_date", "")),
                }  # fmt: skip
        for one in finding.about:
            fate = self._desk.look(lambda reader, of=one: movements.fate(reader, of, kinds))  # type: ignore[misc]
            if fate is not None:
                return {"fate": fate[1], "posting": str(fate[0] or "")}
        return {}


def _write(tx: Transaction, piece: Piece) -> None:
    """Findings, what is not to be signed any more, the account of a day that is over and the mark, together."""
    found = kept(tx.connection)
    if piece.batch is None or (found is not None and found.seq != piece.after):
        return  # somebody put another store in its place: look again
    inbox.store(tx, piece.batch)
    for id, why in piece.by_hand.items():
        for _, event in inbox.known(tx.connection, [f"{KEY}:{KEY}/{id}"]).values():
            outbox.withdraw_proposed(tx, event, why)
            findings.put_right(tx, event, why)
    for one in piece.closed:
        tx.audit("variance", one)


def _is_proposed(state: State, one: Booked, facts: Facts) -> bool:
    order, known = state.orders.get(one.order), observing.material(one.place.material, facts)
    return order is not None and known is not None and bool(putright.proposed(order, one, known.step))


def _by_hand(state: State) -> dict[str, str]:
    return {id: one.by_hand for order in state.orders.values() for id, one in order.told.items() if one.by_hand}


def _workflow(rules: Rules) -> Reconciliation | None:
    for one in rules.assignments.values():
        if isinstance(one.workflow, Reconciliation):
            return one.workflow
    return None


def _materials(seen: Iterable[Observation], state: State, facts: Facts) -> dict[str, Material]:
    names = {one.place.material for one in seen if isinstance(one, Used | Booked | Level | InBooks)}
    names |= {name for order in state.orders.values() for name in order.lines}
    names |= {place.material for order in state.orders.values() for place, _ in order.needs}
    names |= {place.material for place, _ in (*state.stocks, *state.moved)}
    names |= {place.material for one in seen if isinstance(one, Plan) for place, _ in one.needs}
    found = {name: observing.material(name, facts) for name in names}
    return {name: one for name, one in found.items() if one is not None}


def _day(
    after: Kept, seen: Iterable[Observation], facts: Facts, materials: Mapping[str, Material], now: datetime
) -> list[dict[str, Any]]:
    """When the plant's day is over: what each order that something was reported of took, and why."""
    today, closed = facts.plant.day_text(now), []
    if after.day and after.day != today:
        orders = {key: after.state.orders.get(key) for key in after.active}
        closed = [
            {"day": after.day, **variance(key, order, facts, materials)}
            for key, order in orders.items()
            if order is not None and order.totals
        ]
        after.active = []
    after.day = today
    after.active = sorted({*after.active, *(one.order for one in seen if isinstance(one, Used | Booked | Made))})
    return closed


def variance(
    key: str, order: Order, facts: Facts, materials: Mapping[str, Material]
) -> dict[str, Any]:  # fmt: skip
    """What an order's operation took beside its bill of material, and the sentence that explains it."""
    number, _, operation = key.partition("/")
    prices = {name: found.price for name in order.totals if (found := facts.materials.get(name))}
    units = {name: one.unit for name, one in materials.items()}
    told = account.lines(order.totals, units, prices)
    return {
        "order": number,
        "operation": operation,
        "components": [one.record() for one in told],
        "says": account.sentence(number, told, order.found, facts.plant.currency),
    }


def _decimal(value: float) -> Decimal:
    return Decimal(f"{value:.6f}").quantize(_SMALLEST)


__all__ = ["TICK_S", "Kept", "Reconciling", "kept", "variance"]
