"""What the agent does beside its work: proves the trail, balances the books, signs checkpoints, archives old rows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import TypeAlias

import apsw

from agent import checkpoints
from agent.configuration.settings import Document
from agent.errors import GatepostError, StoreError
from agent.health import Health
from agent.people.desk import Desk
from agent.ports import Clock
from agent.store import archive, audit, awaited, balance, file, overdue
from agent.store.encode import to_us
from agent.store.transaction import Transaction

log = logging.getLogger("gatepost")

TICK_S = 1.0
FULL_CHECK_S = 24 * 3600.0
BALANCE_S = 3600.0
OVERDUE_S = 10.0
STEADY_S = 3600.0  # nothing expires sooner after a start or a jump of the clock: it may be wrong
PROBLEMS = 10  # how many of the last are shown
Tell: TypeAlias = Callable[[Transaction, str, Sequence[int], float], None]
"""Tells people of postings of a workflow that nobody has decided about for so many hours."""


class Housekeeping:
    """The slow jobs of one agent, each in its time; one that fails is shown, and tried again when it is due."""

    def __init__(
        self,
        settings: Document,
        desk: Desk,
        clock: Clock,
        health: Health,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._desk = desk
        self._clock = clock
        self._health = health
        self._monotonic = monotonic  # of what a wrong wall clock must not decide
        self._steps, self._steady_since = 0, monotonic()
        self.tell_held: Tell = lambda *_: None
        self.tell_expired: Tell = lambda *_: None
        self._signed_seq = 0  # the row of the last checkpoint
        self._signed_at = float("-inf")  # monotonic
        self.jobs: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {  # seconds between two, and what is done
            "chain": (FULL_CHECK_S, self._check_chain),
            "balance": (BALANCE_S, self._check_balance),
            "quarantine": (BALANCE_S, self._end_waits),
            "overdue": (OVERDUE_S, self.end_holds),
            "checkpoint": (TICK_S, self._checkpoint),
            "archive": (FULL_CHECK_S, self._archive),
        }

    async def run(self) -> None:
        """Until cancelled; nothing before the agent is ready."""
        due = dict.fromkeys(self.jobs, 0.0)
        while True:
            for name, (every, job) in self.jobs.items():
                if time.monotonic() >= due[name] and self._health.ready:
                    due[name] = time.monotonic() + every
                    await self._guarded(name, job)
            await asyncio.sleep(TICK_S)

    async def _guarded(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
            self._health.progress[name] = time.time()
        except (apsw.CorruptError, apsw.NotADBError) as error:
            await self._alarm_damage(name, error)
        except (GatepostError, apsw.Error, OSError) as error:
            unforeseen = isinstance(error, apsw.Error)
            log.error("housekeeping: %s failed: %s", name, error, exc_info=unforeseen)  # noqa: TRY400  # told in words
            self._health.problems = [*self._health.problems[1 - PROBLEMS :], f"{name}: {error}"]

    async def _alarm_damage(self, name: str, error: Exception) -> None:
        """A page of the store is damaged where no loop has met it yet: the agent works on, people must act."""
        what = f"checking {name} met a damaged page: {error}"
        log.critical("%s: %s; run gatepost recover, or restore a backup", self.settings.store.path, what)
        if not self._health.damage:  # the same page is met again every day
            self._health.damage = what
            await self._desk.writer.run(lambda tx: tx.audit("damaged_page", {"why": what}, alarm=True))

    async def _check_chain(self) -> None:
        verdict = await asyncio.to_thread(self._desk.look, audit.verify_file)
        was_ok, self._health.chain_ok = self._health.chain_ok, verdict.broken_at is None
        self._health.chain_checked_at = self._clock()
        if verdict.broken_at is not None:
            log.critical("the audit trail is broken at row %d: %s", verdict.broken_at, verdict.why)
            if was_ok:
                detail = {"row": verdict.broken_at, "why": f"row {verdict.broken_at} {verdict.why}"}
                await self._desk.writer.run(lambda tx: tx.audit("chain_broken", detail, alarm=True))

    async def _check_balance(self) -> None:
        for one in await asyncio.to_thread(self._desk.look, balance.counted):
            if one.difference:
                detail = {"balance": one.name, "total": one.total, "states": one.by_state}
                log.critical("the balance of %s is off by %d: %s", one.name, one.difference, one.by_state)
                await self._desk.writer.run(lambda tx, d=detail: tx.audit("balance_off", d, alarm=True))  # type: ignore[misc]
        self._health.balance_checked_at = self._clock()

    async def _end_waits(self) -> None:
        """What waited too long for an order or a material is a person's; what left the quarantine waits no more."""
        oldest = to_us(self._clock() - timedelta(hours=self.settings.quarantine.unknown_hours))
        while rows := await asyncio.to_thread(self._desk.look, lambda reader: awaited.expired(reader, oldest)):
            await self._desk.writer.run(lambda tx, rows=rows: awaited.forget(tx, rows))  # type: ignore[misc]

    async def end_holds(self) -> None:
        """What nobody decides about is told to somebody else, and refused in the end, where that is configured."""
        for workflow, rule in self.settings.authority.items():
            if rule.escalate_hours is not None:
                await self._of_overdue(workflow, rule.escalate_hours, partial(self._escalate, workflow), told=False)
            if rule.expire_hours is not None and self._clock_is_steady(rule.expire_hours * 3600):
                await self._of_overdue(workflow, rule.expire_hours, partial(self._expire, workflow), told=True)

    def _escalate(self, workflow: str, tx: Transaction, held: list[int], hours: float) -> None:
        overdue.escalate(tx, held, hours)
        self.tell_held(tx, workflow, held, hours)

    def _expire(self, workflow: str, tx: Transaction, held: list[int], hours: float) -> None:
        self.tell_expired(tx, workflow, overdue.expire(tx, held, hours), hours)

    async def _of_overdue(
        self, workflow: str, hours: float, act: Callable[[Transaction, list[int], float], None], *, told: bool
    ) -> None:
        def find(reader: apsw.Connection) -> list[int]:
            return overdue.overdue(reader, workflow, self._clock(), hours, told=told)

        def job(tx: Transaction, found: list[int]) -> None:
            still = find(tx.connection)  # somebody may have signed since
            act(tx, [one for one in found if one in still], hours)

        while found := await asyncio.to_thread(self._desk.look, find):
            await self._desk.act(lambda tx, found=found: job(tx, found))  # type: ignore[misc]

    def _clock_is_steady(self, longest: float) -> bool:
        """Whether an age can be trusted: an hour without a jump, or all of `longest` where that is shorter."""
        if self._steps != self._health.clock_steps:
            self._steps, self._steady_since = self._health.clock_steps, self._monotonic()
        return self._monotonic() - self._steady_since >= min(STEADY_S, longest)

    async def _checkpoint(self) -> None:
        """A checkpoint leaves the box after so many rows, or so many seconds in which there were rows at all."""
        settings = self.settings.audit
        if not settings.checkpoint_files:
            return
        head = await asyncio.to_thread(self._desk.look, audit.read_head)
        rows, waited = head.seq - self._signed_seq, time.monotonic() - self._signed_at
        if rows < settings.checkpoint_every_rows and not (rows and waited >= settings.checkpoint_every_seconds):
            return
        self._signed_seq, self._signed_at = head.seq, time.monotonic()
        signed = await asyncio.to_thread(self._signed, head)
        problems = await asyncio.to_thread(checkpoints.append, settings.checkpoint_files, signed)
        if problems:
            raise StoreError("; ".join(problems))

    def signed_head(self) -> str:
        """A checkpoint of the trail as it is now, signed where a key is configured. Raises StoreError."""
        return self._signed(self._desk.look(audit.read_head))

    def _signed(self, head: audit.Head) -> str:
        key_file = self.settings.audit.key_file
        key = checkpoints.load_key(key_file) if key_file else None
        one = checkpoints.Checkpoint(self.settings.plant.site, head.seq, head.hash, self._clock())
        return checkpoints.sign(one, key)

    async def _archive(self) -> None:
        store, writer = self.settings.store, self._desk.writer
        keep = timedelta(days=store.retention_days)

        def move() -> archive.Archived:
            with closing(file.reader(store.path)) as live:
                return archive.archive(writer, live, store.archive, self._clock(), keep)

        moved = await asyncio.to_thread(move)
        if moved.events or moved.postings:
            log.info("archived %d events and %d postings to %s", moved.events, moved.postings, moved.path)
