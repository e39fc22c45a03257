"""The composition root: configuration → objects → one TaskGroup of named tasks. Start-up is recovery."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from agent import assembly, authority, contents, selfcheck
from agent.configuration.config import Config, load
from agent.configuration.reload import fixed, needs_restart, refuse_while_open
from agent.configuration.settings import PostingMode
from agent.dispatch import Dispatch
from agent.errors import ConfigError, Conflict, GatepostError, ModelUnfit, StoreError
from agent.facts import Facts, LiveState, TellsLive
from agent.health import Health, Readiness, free_bytes
from agent.housekeeping import OVERDUE_S, Housekeeping
from agent.judging import freshness
from agent.judging.rules import Rules
from agent.masterdata.entities import Fact
from agent.oversight import promotion
from agent.oversight.doubt import EVERY_S as DOUBT_S
from agent.oversight.doubt import Doubt
from agent.oversight.past_use import Past
from agent.oversight.promotion import Shelf
from agent.oversight.shadow import Shadow
from agent.people.desk import Act, Desk, lists
from agent.people.telling import SHORTAGES, STUCK_S, Telling
from agent.pipeline import Intake, Process
from agent.ports import Clock, GivesReceipts, Kind, Source
from agent.reconciling import TICK_S as RECONCILE_S
from agent.reconciling import Reconciling
from agent.scoring.drift import shown
from agent.shortages.looking import TICK_S as SHORTAGES_S
from agent.shortages.looking import Shortages
from agent.store import balance, file, masterdata, outbox, postings, sampling
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from agent.unbooked import EVERY_S as UNBOOKED_S
from agent.unbooked import TellingUnbooked
from agent.watching import Watching

log = logging.getLogger("gatepost")

CALM_STOP_S = 8.0  # for what is in the air at a calm stop
WATCH_S = 1.0
SWITCH_S = 0.0005  # a thread that wants the interpreter gets it after this time
AFTER_A_RESTORE_US = 86_400_000_000  # senders repeat reports with clocks that are ahead, or without a time of their own


def utc_now() -> datetime:
    """The wall clock: aware, UTC."""
    return datetime.now(UTC)


class Agent:
    """One agent at work. `build` makes it cold, `run` brings it to life until it is told to stop."""

    def __init__(self, config: Config, clock: Clock = utc_now) -> None:
        self.config = config
        self.clock = clock
        self.health = Health(clock())
        self.writer = Writer(config.store.path, clock, queue_bytes=config.store.queue_mb << 20,
                             reserve_bytes=config.store.reserve_mb << 20)  # fmt: skip
        self.readiness = Readiness(self.writer, clock, self.health, lambda: self.config.store, self.wake)
        self.targets = assembly.targets(config, clock)
        self.sources: list[Source] = assembly.sources(config, clock, self.targets)
        self.desk = Desk(self.writer, clock, self.wake, lambda: self.rules.four_eyes)
        self.housekeeping = Housekeeping(config, self.desk, clock, self.health)
        self.shadow = Shadow(self.desk, lambda: assembly.shelf(self.config))
        self.doubt = Doubt(self.desk, clock, lambda: self.config.drift, lambda: self.rules, self.process_rules)
        self.housekeeping.jobs["drift"] = (DOUBT_S, self.doubt.look)
        self.reconciling = Reconciling(self.desk, clock, lambda: self.rules)
        self.housekeeping.jobs["reconciliation"] = (RECONCILE_S, self.reconciling.tick)
        self.unbooked = TellingUnbooked(self.desk, clock, lambda: self.rules)
        self.housekeeping.jobs["unbooked"] = (UNBOOKED_S, self.unbooked.look)
        self.telling = Telling(self.desk, clock, self.targets, lambda: self.config, lambda: self.rules.facts.units)
        self.housekeeping.tell_held = self.telling.about_held
        self.housekeeping.tell_expired = self.telling.about_expired
        self.shortages = Shortages(
            self.desk, clock, lambda: self.config, lambda: self.rules.facts, assembly.forecaster, self.doubt.follow,
            self.telling.about_short,
        )  # fmt: skip
        self.housekeeping.jobs["shortages"] = (SHORTAGES_S, self.shortages.tick)
        self.housekeeping.jobs["unanswered"] = (OVERDUE_S, self.telling.look)
        self.housekeeping.jobs["stuck"] = (STUCK_S, self.telling.look_stuck)
        self.watching = Watching(lambda: self.rules, self.live, self.desk.look, clock)
        self.dispatches: dict[str, Dispatch] = {}
        self.process: Process | None = None
        self.intake: Intake | None = None
        self.faces: dict[str, Callable[[], Mapping[str, Any]]] = {}  # what only shows the agent, by name
        self._sampling_key = b""
        self._stop = asyncio.Event()

    # ── start ───────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, serve: Callable[[Agent], Awaitable[None]] | None = None) -> None:
        """Open the store, recover, run every loop until `stop`. `serve` is the HTTP face, where one is configured."""
        await asyncio.to_thread(self.writer.start)
        try:
            with closing(file.reader(self.config.store.path)) as reader:
                await self._recover(reader)
                await self._live(serve)
        finally:
            await asyncio.to_thread(self.writer.stop)
            for target in self.targets.values():
                await target.close()

    async def _recover(self, reader: apsw.Connection) -> None:
        """What a crash left open becomes a question to the ERP; the rules are read; the loops are made."""
        for finding in self.writer.findings:
            log.error("%s", finding)
        settle = {name: round(target.settle_seconds * 1e6) for name, target in self.targets.items()}
        table = assembly.units(self.config)
        known = assembly.facts(self.config, table, self.clock, reader)
        self._sampling_key = await self.writer.run(sampling.key)
        rules = await self._rules(self.config, known, [flow.model or "" for flow in self.config.workflows.values()])
        documents = assembly.documents(self.config, table, self.clock)
        refused = refuse_while_open(json.loads(_meta(reader, "fixed") or "{}"), self.config)
        if refused and _has_open_rows(reader):
            raise ConfigError(refused)

        def begin(tx: Transaction) -> int:
            masterdata.put(tx, documents, "files")
            _put_meta(tx, "fixed", json.dumps(fixed(self.config)))
            computes_with = selfcheck.computes_with()
            told = {"config": self.config.version, "findings": self.writer.findings, "computes_with": computes_with}
            tx.audit("started", told)
            return outbox.recover_sending(tx, settle)

        in_doubt = await self.writer.run(begin)
        if in_doubt:
            log.warning("%d postings were being sent when the agent stopped; their documents are looked for", in_doubt)
        for one in self.config.targets:
            self.dispatches[one.name] = Dispatch(
                self.targets[one.name], self.writer, reader, self.clock, window=one.concurrency, admit=self.admit
            )
            self.dispatches[one.name].wake_others = self.dispatch_wake
        self.doubt.load(reader)
        self.process = Process(self.writer, reader, self.doubt.applied(rules), self.clock, self.dispatches)
        self.process.order_sources = [source.name for source in self.sources if "heard_at" in source.status()]
        _settle_in()
        self.process.receipts = {
            source.name: source
            for source in self.sources
            if isinstance(source, GivesReceipts) and source.gives_receipts
        }
        self.process.live_sources = [source for source in self.sources if isinstance(source, TellsLive)]
        reconciled = int(_meta(reader, "reconciled_us") or 0)
        self.process.reconciled_us = reconciled and reconciled + AFTER_A_RESTORE_US

        self.intake = Intake(self.writer)

    async def _live(self, serve: Callable[[Agent], Awaitable[None]] | None) -> None:
        if self.process is None or self.intake is None:
            raise StoreError("the agent has not recovered yet")
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.process.run(), name="process"),
                    *(group.create_task(one.run(), name=f"dispatch {one.name}") for one in self.dispatches.values()),
                    *(group.create_task(one.run(self.intake), name=f"source {one.name}") for one in self.sources),
                    group.create_task(self._watch(), name="watch"),
                    group.create_task(self.housekeeping.run(), name="housekeeping"),
                    group.create_task(self.shadow.run(), name="shadow"),
                    group.create_task(self.watching.run(self.intake), name="watching"),
                ]
                if serve is not None:
                    tasks.append(group.create_task(_as_coroutine(serve(self)), name="http"))
                await self._stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            await asyncio.gather(*(dispatch.drain(CALM_STOP_S) for dispatch in self.dispatches.values()))

    def stop(self) -> None:
        """Stop calmly: nothing more is taken in or sent; what is in the air may come back."""
        self._stop.set()

    def wake(self) -> None:
        """People changed something: look again."""
        self.process_wake()
        self.dispatch_wake()

    def dispatch_wake(self) -> None:
        """Something may have become ready for any target."""
        for dispatch in self.dispatches.values():
            dispatch.wake()

    def process_wake(self) -> None:
        """Events have arrived."""
        if self.process is not None:
            self.process.arrived.set()

    # ── authority at the claim ──────────────────────────────────────────────────────────────────────────

    def admit(self, waiting: postings.Waiting) -> outbox.Admission:
        """Mode and limits once more, then freeze the bytes. Runs on the writer's thread."""
        one = waiting.posting
        mode = self.config.target(one.target).postings.mode(one.kind)
        if mode is PostingMode.OFF:
            return outbox.HoldBack((f"{one.kind} is off for target {one.target}",))
        reasons = self._recheck(waiting)
        if reasons:
            return outbox.HoldBack(reasons)
        if mode is PostingMode.DRY_RUN:
            return outbox.Simulate()
        try:
            return outbox.Send(self.targets[one.target].freeze(one))
        except (GatepostError, ValueError) as error:
            return outbox.HoldBack((f"cannot be written for the ERP: {error}",))
        except Exception as error:  # a target's mistake costs this posting: it must not stop the claims of the others
            log.exception("target %s failed to write posting %d", one.target, one.id)
            return outbox.HoldBack((f"cannot be written for the ERP: {type(error).__name__}: {error}",))

    def _recheck(self, waiting: postings.Waiting) -> tuple[str, ...]:
        rules = self.rules
        for assignment in rules.assignments.values():
            if assignment.workflow.name == waiting.workflow:
                today = rules.facts.plant.day(self.clock())
                return authority.recheck(
                    waiting.posting, assignment.rule, today, approved=waiting.approved, together=waiting.together
                )
        if waiting.workflow == SHORTAGES and waiting.posting.kind is Kind.NOTIFICATION:
            return ()  # the forecast tells it, and no workflow
        return () if waiting.approved else (f"no workflow {waiting.workflow!r} is configured any more",)

    def process_rules(self, rules: Rules) -> None:
        """Swap what decides, between two batches."""
        if self.process is not None:
            self.process.rules = self.doubt.applied(rules)
            self.process.look_again = True

    def live(self) -> LiveState:
        """What tags say the plant is now."""
        return self.process.live() if self.process is not None else LiveState()

    @property
    def rules(self) -> Rules:
        """What decides now."""
        if self.process is None:
            raise StoreError("the agent has not started yet")
        return self.process.rules

    # ── configuration ───────────────────────────────────────────────────────────────────────────────────

    async def reload(self, config: Config) -> None:
        """Take a new configuration between two batches, as a whole. Raises ConfigError for what must stay."""
        if late := needs_restart(self.config, config):
            raise ConfigError(late)
        refused = refuse_while_open(fixed(self.config), config)
        rows_are_open: bool = await asyncio.to_thread(self.desk.look, _has_open_rows)
        if refused and rows_are_open:
            raise ConfigError(refused)
        table = assembly.units(config)
        known = replace(assembly.facts(config, table, self.clock), orders_as_of=self.rules.facts.orders_as_of)
        absent = [name for name, one in self.rules.models.items() if one.unfit]
        rules = await self._rules(config, known, absent)
        detail = {"from": self.config.version, "to": config.version}

        def take(tx: Transaction) -> list[Fact]:
            tx.audit("configuration", detail)
            _put_meta(tx, "fixed", json.dumps(fixed(config)))
            return assembly.learnt(tx.connection)  # here: what is committed later is learnt on top of the new rules

        learnt = await self.writer.run(take)
        self.process_rules(replace(rules, facts=known.with_facts(learnt)))
        self.config = self.housekeeping.settings = config
        self.wake()

    async def fresh(self) -> Config:
        """The configuration as its files are now. Raises ConfigError."""
        checks = [contents.identities]
        return await asyncio.to_thread(load, self.config.file, assembly.resolver(), checks=checks)

    async def promote(self, name: str, version: str | None, act: Act, *, anyway: bool = False) -> Mapping[str, Any]:
        """Let this version of a model decide (None: the one before) from the next batch on; see `promotion`.

        Raises NotFound, ModelUnfit, ConfigError, and Conflict where it does already, has not shown that it is better
        (unless `anyway`), or other files have changed, too: then nothing is changed.
        """
        gate = self.config.promotion
        done = await self._with_models(
            lambda shelf: (
                promotion.roll_back(self.desk, shelf, name, act)
                if version is None
                else promotion.promote(self.desk, shelf, name, version, act, gate, anyway=anyway)
            )
        )
        log.info("model %s/%s decides from now on, by %s: %s", name, done["version"], act.by, act.reason)
        return done

    async def challenge(self, name: str, version: str | None, act: Act) -> Mapping[str, Any]:
        """Ask this version of a model in shadow (None: no more); see `promotion`. Raises as `promote`."""
        return await self._with_models(lambda shelf: promotion.challenge(self.desk, shelf, name, version, act))

    async def _with_models(self, act: Callable[[Shelf], Awaitable[Mapping[str, Any]]]) -> Mapping[str, Any]:
        if (await self.fresh()).version != self.config.version:
            raise Conflict("the files of the configuration have changed since they were read; reload them first")
        past = partial(Past, self.rules.facts, self.clock(), self.config.store.retention_days)
        done = await act(replace(assembly.shelf(self.config), past=past))
        await self.reload(await self.fresh())
        return done

    async def _rules(self, config: Config, known: Facts, may_be_absent: Collection[str]) -> Rules:
        """What decides by this configuration. A model that is unfit is an alarm and on record.

        Raises ModelUnfit, but for a model that `may_be_absent`: none of it decides yet, so what asks it is held.
        """
        try:
            make = partial(assembly.rules, config, known, self.targets, may_be_absent, sampling_key=self._sampling_key)
            rules = await asyncio.to_thread(make)
        except ModelUnfit as error:
            await self._model_refused(str(error), config)
            raise
        for name, one in rules.models.items():
            if one.unfit:
                log.error("no version of model %s fits, reports that need it are held: %s", name, one.unfit)
                await self._model_refused(one.unfit, config)
        return rules

    async def _model_refused(self, why: str, config: Config) -> None:
        detail = {"why": why, "config": config.version}
        await self.writer.run(lambda tx: tx.audit("model_refused", detail, alarm=True))

    # ── watching ────────────────────────────────────────────────────────────────────────────────────────

    async def _watch(self) -> None:
        """Every second, and more often until the orders are known."""
        while True:
            await self.readiness.look()
            self._note_age_of_orders()
            waiting = self.process is not None and not self.process.orders_read.is_set()
            await asyncio.sleep(WATCH_S / 10 if waiting else WATCH_S)

    def _note_age_of_orders(self) -> None:
        """A poll that brought nothing new says all the same that the orders are not stale.

        Until a first poll is through nothing is decided: a report about an order of this night would be unknown.
        Where the ERP is away, what it said in an earlier run must do; where it never said anything, reports wait.
        """
        if self.process is None:
            return
        polls = [status for source in self.sources if "heard_at" in (status := source.status())]
        heard = [status["heard_at"] for status in polls if status["heard_at"] is not None]
        tried = all(status["heard_at"] or status["error"] for status in polls)
        if len(heard) == len(polls) or (tried and self.rules.facts.orders):
            self.process.orders_read.set()
        if heard and max(heard) != self.rules.facts.orders_as_of:
            self.process.learn((), max(heard))

    # ── what is shown ───────────────────────────────────────────────────────────────────────────────────

    def models(self) -> dict[str, dict[str, str | None]]:
        """By name which version of each model is asked, why none fits, and what is done meanwhile."""
        asked = self.process.rules.models if self.process is not None else {}
        found = {name: _model(one.name, one.unfit, "reports that need it are held") for name, one in asked.items()}
        if forecast := self.config.shortages:
            looked = self.shortages
            found[forecast.model] = _model(looked.model, looked.unfit, "shortages are forecast by the profile")
        return found

    def status(self) -> dict[str, Any]:
        """Everything /v1/status tells; reads the store."""
        figures = self.writer.figures
        return {
            "agent": {
                "ready": self.health.ready, "why_not": self.health.why_not, "config": self.config.version,
                "started_at": self.health.started_at.isoformat(), "problems": self.health.problems,
            },
            "store": {
                "commits": figures.commits, "trouble": figures.trouble, "errors": dict(figures.errors),
                "free_bytes": free_bytes(self.config.store.path),
                "bytes": _size(self.config.store.path), "chain_ok": self.health.chain_ok,
                "damage": self.health.damage,
            },
            "sources": {source.name: dict(source.status()) for source in self.sources},
            "live": freshness.summary(self.process.live() if self.process is not None else LiveState()),
            "targets": {
                name: {**one.target.status(), "waiting": one.availability.trouble, "in_the_air": one.in_the_air}
                for name, one in self.dispatches.items()
            },
            "faces": {name: dict(status()) for name, status in list(self.faces.items())},
            "models": self.models(),
            "drift": shown(self.doubt.states, self.clock()),
            **self.desk.look(lists.overview),
        }  # fmt: skip


def _model(scores: str, unfit: str, meanwhile: str) -> dict[str, str | None]:
    return {"scores": scores, "error": unfit or None, "meanwhile": meanwhile if unfit else None}


def _settle_in() -> None:
    """Tune the interpreter for two threads that share it, and for much that lives for ever.

    The writer asks for the interpreter some dozen times per commit, and the loop judges meanwhile: at the usual 5 ms
    the two take turns instead of working at once. What is there now stays: looking through it for garbage again and
    again took a tenth of the CPU under load.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)  # what is young: a pause of 5 ms, not of 25


def _put_meta(tx: Transaction, key: str, value: str) -> None:
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def _meta(connection: apsw.Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None


def _has_open_rows(connection: apsw.Connection) -> bool:
    events, postings = balance.running(connection)
    return bool(events.by_state["undecided"] or any(postings.by_state[state] for state in lists.OPEN_STATES))


def _size(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.glob(path.name + "*") if one.is_file())


async def _as_coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable
