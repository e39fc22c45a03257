"""Who is told that a posting is stuck, and who else where nobody reacts to it or decides about what is held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import apsw

from agent.configuration.config import Config
from agent.configuration.settings import PostingMode
from agent.people.desk import Desk
from agent.people.shown import said
from agent.ports import Clock, ErpTarget, Kind, TellsPeople
from agent.store import approvals, decisions, notices, stuck
from agent.store.encode import to_us
from agent.store.keys import idempotency_key
from agent.store.postings import NewPosting, Tells
from agent.store.transaction import Transaction
from agent.units import UnitTable
from agent.workflows.sentences import Words

STUCK_S: Final = 2.0  # how often is looked for what is stuck
SHORTAGES: Final = "shortages"  # what stands for a workflow at what the forecast tells
READERS: Final = {"held": ("operator", "accountant"), "expired": ("operator",)}  # whose sentences are told of what
NOTIFY: Final = "notify"  # the role among a workflow's targets
KINDS: Final[Mapping[str, str]] = {kind.value: kind.value.replace("_", " ") for kind in Kind}


class Telling:
    """Writes notifications that no report has asked for; each is a posting, on record with its cause."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        targets: Mapping[str, ErpTarget],
        config: Callable[[], Config],
        units: Callable[[], UnitTable],
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._targets = targets
        self._config = config
        self._units = units

    # ── what nobody reacts to ───────────────────────────────────────────────────────────────────────────────

    async def look(self) -> None:
        """Tell who is next about every notification that nobody has reacted to in its time."""
        while due := await asyncio.to_thread(self._desk.look, lambda reader: notices.due(reader, self._now_us())):
            await self._desk.act(lambda tx, due=due: self._escalate(tx, due))  # type: ignore[misc]
        await self._desk.writer.run(notices.forget)

    def _escalate(self, tx: Transaction, due: Sequence[notices.Due]) -> None:
        for one in due:
            notices.settle(tx, one)
            if notices.reacted(tx, one):
                continue
            before = approvals.show(tx.connection, one.posting_id)
            waited = timedelta(microseconds=tx.now_us - one.at_us)
            target = self._teller(one.target)
            payload = target.next(before["payload"], waited) if target is not None else None
            detail = {"why": f"nobody reacted for {_minutes(waited)}", "told": list(before["payload"].get("to", ()))}
            if payload is not None:
                detail["to"] = payload["to"]
                key = idempotency_key(f"nobody reacted/{one.posting_id}", before["workflow"], one.target)
                self._write(tx, before, one.target, payload, key, lane=f"{before['ordering_key']}/{payload['to'][0]}")
            tx.audit("nobody_reacted", detail, event_id=before["event_id"], posting_id=one.posting_id, alarm=True)

    # ── what nobody decides about ───────────────────────────────────────────────────────────────────────────

    def about_held(self, tx: Transaction, workflow: str, held: Sequence[int], hours: float) -> None:
        """Tell the roles of the workflow's `escalate_to` about held postings, in the commit that escalates them."""
        self._about(tx, workflow, held, "held", f"Held for {hours:g} h", [
            f"It waits for a person, and nobody has decided about it for {hours:g} h.",
        ])  # fmt: skip

    def about_expired(self, tx: Transaction, workflow: str, expired: Sequence[int], hours: float) -> None:
        """Tell the same roles what is never posted because nobody decided, in the commit that refuses it."""
        self._about(tx, workflow, expired, "expired", "Not decided about, never posted", [
            f"Nobody has decided about this for {hours:g} h: it is refused, with what follows it, and never booked.",
            "If it happened on the floor, report it anew, or book it in the ERP by hand.",
        ])  # fmt: skip

    def _about(
        self, tx: Transaction, workflow: str, postings: Sequence[int], what: str, subject: str, lines: Sequence[str]
    ) -> None:
        to, name = self._config().authority_of(workflow).escalate_to, self._told_by(workflow)
        if not to or not name:
            return
        for posting_id in postings:
            one = approvals.show(tx.connection, posting_id)
            order = str(one["payload"].get("order") or "")
            payload = {
                "to": list(to), "severity": "warning" if what == "held" else "alarm",
                "subject": f"{subject}: {KINDS[one['kind']]}" + (f" for order {order}" if order else ""),
                "text": "\n".join([*lines, *self._words_of(tx, one, READERS[what])]), "link": f"#/held/{posting_id}",
                "cause": f"{what}/{posting_id}", "order": order, "line": one["line"],
            }  # fmt: skip
            key = idempotency_key(f"{what}/{posting_id}/{one['version']}", workflow, name)
            self._write(tx, one, name, payload, key, lane=f"{NOTIFY}/{what}/{posting_id}", anew=True)

    def _words_of(self, tx: Transaction, one: Mapping[str, Any], readers: Sequence[str]) -> Iterator[str]:
        """What it is about and why it was held, in plain words."""
        decided = decisions.of_event(tx.connection, one["event_id"]) if one["event_id"] is not None else None
        words = Words(self._units(), self._config().plant.currency)
        sentences = said(decided.detail if decided else {}, one, words)
        yield from (sentences[reader] for reader in readers if reader in sentences)
        yield from (f"Held because: {reason}" for reason in one["reasons"])

    # ── what the ERP refused, or nobody knows ───────────────────────────────────────────────────────────────────

    async def look_stuck(self) -> None:
        """Tell the roles of each workflow's `stuck_to` at once what is dead or doubtful: it waits for a person."""
        for workflow, rule in self._config().authority.items():
            if rule.stuck_to and self._told_by(workflow):
                await self._tell_stuck(workflow, rule.stuck_to)

    async def _tell_stuck(self, workflow: str, to: Sequence[str]) -> None:
        def find(reader: apsw.Connection) -> list[int]:
            return stuck.untold(reader, workflow)

        def tell(tx: Transaction) -> None:
            name = self._told_by(workflow)
            for posting_id in find(tx.connection) if name else ():  # somebody may have acted since
                one = approvals.show(tx.connection, posting_id)
                key = idempotency_key(f"stuck/{posting_id}/{one['version']}", workflow, name)
                self._write(tx, one, name, _of_stuck(one, to), key, lane=f"{NOTIFY}/stuck/{posting_id}")
                stuck.told(tx, posting_id)

        if await asyncio.to_thread(self._desk.look, find):
            await self._desk.act(tell)

    # ── what is forecast ────────────────────────────────────────────────────────────────────────────────────

    def about_short(self, tx: Transaction, name: str, payload: Mapping[str, Any], moment: int) -> bool:
        """Tell by this target that something runs short, in the commit of its forecast; whether it is told now.

        `moment` is when it began: the same again is another notification.
        """
        if self._teller(name) is None:
            return False
        about = {"event_id": None, "workflow": SHORTAGES, "line": payload["line"]}
        key = idempotency_key(f"{payload['cause']}/{moment}", SHORTAGES, name)
        return self._write(tx, about, name, dict(payload), key, lane=f"{NOTIFY}/{payload['cause']}", anew=True)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────

    def _write(
        self, tx: Transaction, about: Mapping[str, Any], name: str, payload: Mapping[str, Any], key: str, *,
        lane: str, anew: bool = False,
    ) -> bool:  # fmt: skip
        """One notification. What goes to who is next is told although its cause was; with `anew` once in its time.

        Returns whether it is told.
        """
        target = self._teller(name)
        assert target is not None  # noqa: S101  # asked by whoever calls
        patience = target.patience(payload)
        within = patience.once_within if anew else timedelta(0)
        tells = Tells(payload["cause"], _us(within), _us(patience.escalate_after or timedelta(0)))
        new = NewPosting(
            event_id=about["event_id"], workflow=about["workflow"], kind=Kind.NOTIFICATION, target=name,
            ordering_key=lane, line=about["line"], idempotency_key=key, payload=payload, value=Decimal(0),
            policy=self._config().version, tells=tells,
        )  # fmt: skip
        return notices.tell(tx, new) is not None

    def _told_by(self, workflow: str) -> str:
        """The target by which people hear of this workflow; empty: none, or it is off."""
        flow = self._config().workflows.get(workflow)
        name = flow.targets.get(NOTIFY, "") if flow is not None else ""
        return name if self._teller(name) is not None else ""

    def _teller(self, name: str) -> TellsPeople | None:
        """The target of this name, where it tells people and is not off."""
        target = self._targets.get(name)
        if not isinstance(target, TellsPeople):
            return None
        off = self._config().target(name).postings.mode(Kind.NOTIFICATION) is PostingMode.OFF
        return None if off else target

    def _now_us(self) -> int:
        return to_us(self._clock())


def _of_stuck(one: Mapping[str, Any], to: Sequence[str]) -> dict[str, Any]:
    """What is stuck and why, and of a group what is booked of it and what is not."""
    order = str(one["payload"].get("order") or "")
    kind, about = KINDS[one["kind"]], f" for order {order}" if order else ""
    dead = one["state"] == "dead"
    lines = [
        f"The ERP refused a {kind}{about}: {one['error']}" if dead
        else f"Nobody knows whether a {kind}{about} is booked: {one['error']}",
        *_rest_of_group(one),
        "Nothing more of it is sent until a person acts: "
        + ("replay it once its cause is mended, or refuse it." if dead else "look into the ERP for its document."),
        f"gatepost deadletter show {one['id']}",
    ]  # fmt: skip
    what = "Refused by the ERP" if dead else "Booked or not"
    return {
        "to": list(to), "severity": "alarm", "subject": f"{what}: {kind}{about}",
        "text": "\n".join(lines), "link": f"#/held/{one['id']}", "cause": f"stuck/{one['id']}", "order": order,
        "line": one["line"],
    }  # fmt: skip


def _rest_of_group(one: Mapping[str, Any]) -> Iterator[str]:
    others = [other for other in (one["group"] or {}).get("postings", ()) if other["id"] != one["id"]]
    if booked := [f"{KINDS[other['kind']]} {other['document']}" for other in others if other["document"]]:
        yield f"Booked with it, and stays booked: {', '.join(booked)}."
    if waiting := [KINDS[other["kind"]] for other in others if other["state"] == "held"]:
        yield f"Not sent, waits for it: {', '.join(waiting)}."


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _minutes(span: timedelta) -> str:
    minutes = span.total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
