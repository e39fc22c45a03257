"""The story: intake, process, dispatch. Read this first.

    source ──▶ INTAKE ──▶ event ──▶ PROCESS ──▶ posting ──▶ DISPATCH ──▶ ERP
               on disk,             read → recognise →       claim on disk,
               then the             score → propose →        then send; the
               sender's ack         authorise, one commit    answer on disk

Each loop takes from one durable place and returns only when the next place has it; where nothing waits, an arrival is
decided in the commit that stores it (docs/adr/0012). A crash repeats a step; the identity of the message and the
idempotency key of the posting make repeating harmless. There is no shutdown to get right: start-up is recovery. What
decides (`agent.judge`) is pure and sees neither a database nor a network.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

import apsw

from agent import verdicts
from agent.answers import Outcome, looked, silence, told
from agent.availability import Availability
from agent.errors import ErpError, ErpInDoubt, ErpRejected, ErpUnavailable, StoreError
from agent.facts import Fact, LiveState, TellsLive
from agent.figures import Decided, Sent
from agent.judge import Rules, judge, of_one_sort, put_aside, quarantined
from agent.judgement import Judgement, Memory, Verdict
from agent.ports import Acknowledgement, Batch, Clock, ErpTarget, Event, GivesReceipts, Posting, Receipt
from agent.store import awaited, file, inbox, lanes, masterdata, outbox, postings
from agent.store.encode import to_us
from agent.store.transaction import Transaction
from agent.store.underway import ARRIVALS, Underway
from agent.store.writer import Writer

T = TypeVar("T")
log = logging.getLogger("gatepost.pipeline")

FEW = 8  # events decided in the commit that stores them: a millisecond or two of the writer
FEW_BYTES = 32 << 10  # of payload, all of them together
BATCH = 512  # events decided per commit: some 15 milliseconds of the event loop
ALL_FREE = 1 << 30  # places
NO_EVENTS = 0, 0  # first and last
ALONE = 2  # lives that ended at a batch: from then on its events are decided one by one
GIVEN_UP = 3  # lives that ended at one event
STORE = apsw.Error, StoreError  # what memory fails with: not the doing of what is judged


# ── 1 intake ────────────────────────────────────────────────────────────────────────────────────────────────


class Intake:
    """The door: a batch of deliveries becomes rows in `event`, then the sender hears that it is safe."""

    def __init__(self, writer: Writer) -> None:
        self.stored: Counter[str] = Counter()  # source → deliveries
        self.notices: Counter[tuple[str, str]] = Counter()  # (source, action)
        self._writer = writer

    def put(self, batch: Batch, timeout: float | None = None) -> bool:
        """See `ports.Intake`. A batch that cannot be stored is not acknowledged; its sender keeps it."""

        def then(error: BaseException | None) -> None:
            if error is not None:
                log.error("a batch from %s was not stored, its sender will repeat it: %s", batch.source, error)
                return
            batch.stored()
            self.stored[batch.source] += len(batch.deliveries)
            self.notices.update((batch.source, notice.action) for notice in batch.notices)

        size = sum(len(one.payload) + 200 for one in batch.deliveries)
        return self._writer.put(lambda tx: inbox.store(tx, batch), size, then, timeout)

    def checkpoint(self, key: str) -> bytes | None:
        """See `ports.Intake`."""
        with closing(file.reader(self._writer.path)) as reader:  # sources ask from threads of their own, and rarely
            return inbox.checkpoint(reader, key)


# ── 2 process ───────────────────────────────────────────────────────────────────────────────────────────────


class Process:
    """Judges events and commits what became of them in one transaction.

    Where nothing waits, few arrivals are decided in the very commit that stores them, on the writer's thread. All else
    that is undecided `run` takes from disk in large batches. Who decides has the turn; the other one lets it be.
    """

    def __init__(
        self, writer: Writer, reader: apsw.Connection, rules: Rules, clock: Clock, dispatches: Mapping[str, Dispatch]
    ) -> None:
        self.rules = rules
        self.reconciled_us = 0
        self.arrived = asyncio.Event()
        self.look_again = True  # other master data than before: a report in quarantine may wait for them
        self.orders_read = asyncio.Event()  # once: the sources of orders were heard, or what is known must do
        self.order_sources: Sequence[str] = ()
        self.figures = Decided()
        self.busy_since = 0.0  # monotonic: since when this batch is decided; 0: there is none
        self._ahead: _Ahead | None = None  # the batch that is being written while the next one is judged
        self._more = True  # look although nothing has arrived: the last look left out what may be undecided now
        self.receipts: Mapping[str, GivesReceipts] = {}  # by source, where the configuration wants them
        self.live_sources: Sequence[TellsLive] = ()
        self._turn = threading.Lock()
        self._has_turn = False  # `run` has it
        self._at_once: _AtOnce | None = None  # the writer's thread has it, for the commit under way
        self._underway = Underway(writer.path)
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._dispatches = dispatches

    def known(self, message_keys: Iterable[str]) -> Mapping[str, tuple[bytes, int]]:
        """See `judge.Memory`."""
        found = inbox.known(self._reader, message_keys)
        return found | self._ahead.judgement.known() if self._ahead else found

    def states(self, keys: Iterable[str]) -> Mapping[str, Any]:
        """See `judge.Memory`."""
        found = inbox.states(self._reader, keys)
        return found | self._ahead.judgement.states if self._ahead else found

    def in_quarantine(self, orders: Iterable[str]) -> set[tuple[str, int]]:
        """See `judge.Memory`."""
        found = awaited.in_quarantine(self._reader, orders)
        return found | self._ahead.judgement.in_quarantine() if self._ahead else found

    async def run(self) -> None:
        """Decide what is undecided, for ever; not before every target can say what it would refuse."""
        self._has_turn = self._turn.acquire()
        self._follow_arrivals()
        for dispatch in self._dispatches.values():
            await dispatch.opened.wait()
        await self._orders_first()
        try:
            while True:
                await self._step()
        finally:
            if self._ahead:
                self._ahead.commit.cancel()  # nobody waits for it any more; it is written all the same

    async def _step(self) -> None:
        """Judge the next batch while the one before is being written; with nothing to judge, wait."""
        look = self._more or self.arrived.is_set()
        self.arrived.clear()
        self._has_turn = self._has_turn or self._turn.acquire(blocking=False)
        if not self._has_turn:
            self._more = True  # arrivals are being decided; then it is our turn
            await self.arrived.wait()
            return
        if self.look_again and await self._written():
            await self._let_in_what_is_known()
            look = True
        if look and (events := self._next()):
            self.busy_since = time.monotonic()
            await self._decide(events)
        elif self._ahead:
            await self._written()
        else:
            self.busy_since = 0.0
            self._has_turn = False
            self._turn.release()
            await self.arrived.wait()

    def _next(self) -> Sequence[Event]:
        """The oldest undecided events that are not being written already."""
        events = inbox.undecided(self._reader, BATCH, self._ahead.ids if self._ahead else NO_EVENTS)
        chosen = events
        if events and (awaited.anything(self._reader) or (self._ahead and self._ahead.judgement.awaits)):
            chosen = of_one_sort(events)  # what master data let in comes before what arrived after them
        self._more = len(events) == BATCH or len(chosen) < len(events) or self._ahead is not None
        return chosen

    async def _orders_first(self) -> None:
        """Before the first report what the ERP says now: a report about an order of this night would be unknown."""
        await self.orders_read.wait()
        while brought := masterdata.undecided(self._reader, self.order_sources, BATCH):
            await self._decide([event for id in brought for event in inbox.undecided(self._reader, 1, (0, id - 1))])
            await self._written()

    async def _let_in_what_is_known(self) -> None:
        """After a start or a reload: reports that waited for master data of the files."""
        self.look_again = False
        known = [key for key in awaited.keys(self._reader) if self.rules.facts.knows(*key)]
        if known:
            since = self._patient_since()
            await self._writer.run(lambda tx: awaited.let_in(tx, known, since))

    def _patient_since(self) -> int:
        return to_us(self._clock() - self.rules.patience)

    def _judge(self, events: Sequence[Event], memory: Memory | None = None) -> Judgement:
        today = self.rules.facts.plant.day(self._clock())
        self._underway.begin(str(events[0].id) if memory is None else ARRIVALS)
        try:
            return judge(events, self.rules, memory or self, today, self.reconciled_us, self.live())
        finally:
            self._underway.end()

    def live(self) -> LiveState:
        """What tags say the plant is now. Asked from any thread."""
        return LiveState(tuple(one.live() for one in self.live_sources))

    async def _decide(self, events: Sequence[Event]) -> None:
        """Judge a batch on top of the one that is being written, and hand it over once that is on disk."""
        judgement = self._judged(events)
        if judgement is None:
            if await self._written():
                await self._one_by_one(events)
        elif await self._written():
            self._ahead = _Ahead(events, judgement, asyncio.create_task(self._commit(judgement)))
            await asyncio.sleep(0)  # it is on its way, and what the commit before claimed is sent

    def _judged(self, events: Sequence[Event]) -> Judgement | None:
        """None: one of them cannot be judged, or lives ended at this batch; each is judged alone."""
        if self._underway.ended(str(events[0].id)) >= ALONE:
            return None
        try:
            return self._judge(events)
        except STORE:
            raise
        except Exception:
            log.exception("events %d to %d could not be judged, each is judged alone", events[0].id, events[-1].id)
            return None

    def _judged_alone(self, event: Event) -> Judgement:
        """Of what cannot be judged: that it goes into quarantine."""
        ended = self._underway.ended(str(event.id))
        if ended >= GIVEN_UP:  # not even read once more
            why = f"the agent ended {ended} times while it decided about this"
            return Judgement([quarantined(event, "ended_the_agent", why)])
        try:
            return self._judge([event])
        except STORE:
            raise
        except Exception as error:
            log.exception("event %d could not be judged", event.id)
            why = f"it could not be judged: {type(error).__name__}: {error}"
            return Judgement([put_aside(event, self.rules, "not_judged", why)])

    async def _written(self) -> bool:
        """Wait for the batch that is being written; False: it left something else behind than was foreseen."""
        ahead = self._ahead
        if ahead is None:
            return True
        try:
            let_in = await ahead.commit
        except StoreError:
            raise  # the store itself is gone: nothing can be decided
        except Exception:  # noqa: BLE001  # told of each event alone, where it comes again
            self._ahead = None
            await self._one_by_one(ahead.events)
            return False
        self._ahead = None
        as_foreseen = not (let_in or ahead.judgement.learnt)
        self._more |= not as_foreseen
        return as_foreseen

    async def _one_by_one(self, events: Sequence[Event]) -> None:
        """Where a batch cannot be judged or written, each event alone, and the culprit into quarantine."""
        self._more = True
        for event in events:
            judgement = self._judged_alone(event)
            try:
                let_in = await self._commit(judgement)
            except StoreError:
                raise
            except Exception as error:
                log.exception("event %d could not be settled", event.id)
                why = f"the store refused it: {type(error).__name__}: {error}"
                let_in = await self._commit(Judgement([put_aside(event, self.rules, "store_refused", why)]))
            if let_in:
                return  # what waited comes before the next event

    async def _commit(self, judgement: Judgement) -> int:
        claims, since = _Claims(self._dispatches.values()), self._patient_since()

        def job(tx: Transaction) -> int:
            let_in = verdicts.write(tx, judgement, since)
            claims.make(tx)
            return let_in

        let_in = await _committed(self._writer.submit(job), claims)
        if judgement.learnt:
            self.learn(judgement.learnt)
        self._note(judgement.verdicts)
        return let_in

    def _note(self, verdicts: Sequence[Verdict]) -> None:
        for one in verdicts:
            self.figures.note(one.event.source, one.state, one.detail)
        if self.receipts:
            self._give_receipts(verdicts)

    # in the commit that stores them

    def _follow_arrivals(self) -> None:
        loop = asyncio.get_running_loop()

        def then(decided: bool | None, error: BaseException | None) -> None:  # noqa: FBT001  # what `Writer.follow` gives
            if error is not None:
                log.error("arrivals could not be decided as they were stored, they are read again: %s", error)
            at_once, self._at_once = self._at_once, None
            if at_once is not None:
                self._turn.release()
            with suppress(RuntimeError):  # the loop has closed; what is stored is there at the next start
                loop.call_soon_threadsafe(partial(self._arrivals_stored, at_once, decided=bool(decided)))

        self._writer.follow(self._decide_arrivals, then)

    def _decide_arrivals(self, tx: Transaction) -> bool:
        """Decide what this commit stores, unless it is much or other events wait. May run again: see `Writer`."""
        if self._underway.ended(ARRIVALS):
            return False  # by something that is on no disk: when it comes again it is stored first
        if self._at_once is None:
            if not self._turn.acquire(blocking=False):
                return False
            self._at_once = _AtOnce(_Claims(self._dispatches.values()))
        events = inbox.undecided(tx.connection, FEW + 1)
        if not 0 < len(events) <= FEW or any(_stored_first(event.properties) for event in events):
            return False
        if sum([len(event.payload) for event in events]) > FEW_BYTES:
            return False
        judgement = self._judge(events, verdicts.Inside(tx.connection))
        verdicts.write(tx, judgement, self._patient_since())
        self._at_once.verdicts = judgement.verdicts
        self._at_once.claims.make(tx, len(events) + 1)  # one more shows whether others are due
        return True

    def _arrivals_stored(self, at_once: _AtOnce | None, *, decided: bool) -> None:
        """After the commit, on the loop: send what was claimed, or let `run` decide."""
        if at_once is not None:
            at_once.claims.launch(committed=decided)
            self._note(at_once.verdicts if decided else ())
        if self._more or not decided:
            self.arrived.set()

    def learn(self, facts: Iterable[Fact], as_of: datetime | None = None) -> None:
        """Add to what decisions may look at, from the next batch on."""
        known = self.rules.facts.with_facts(facts, orders_as_of=as_of or self._clock())
        self.rules = replace(self.rules, facts=known)

    def _give_receipts(self, verdicts: Sequence[Verdict]) -> None:
        for one in verdicts:
            giver = self.receipts.get(one.event.source)
            if giver is not None and one.report is not None and one.report.id is not None:
                giver.give_receipt(Receipt(one.report.sender, one.report.id, one.event.id, one.state))


def _stored_first(properties: Mapping[str, str]) -> bool:
    """Whether an event is decided only once it is on disk: master data, and what comes again, maybe after a crash."""
    return "masterdata" in properties or "dup" in properties


@dataclass(slots=True)
class _AtOnce:
    """Arrivals decided in the commit that stores them, and what it claims."""

    claims: _Claims
    verdicts: Sequence[Verdict] = ()


class _Ahead(NamedTuple):
    """A batch that is being written: what follows it is judged on top of what it will have left behind."""

    events: Sequence[Event]
    judgement: Judgement
    commit: asyncio.Task[int]

    @property
    def ids(self) -> tuple[int, int]:
        """Its first and its last event."""
        return self.events[0].id, self.events[-1].id


# ── 3 dispatch ──────────────────────────────────────────────────────────────────────────────────────────────


class Claimed(NamedTuple):
    """What a commit claimed for reserved places, and whether more may be due: all were needed, or one was kept back.

    It travels with the result and is noted after the commit: whoever looks for more before that sees nothing yet.
    """

    postings: Sequence[postings.Waiting] = ()
    more: bool = False


class _Claims:
    """Places reserved at targets for one commit, and what it claims for them."""

    def __init__(self, dispatches: Iterable[Dispatch]) -> None:
        self._dispatches = dispatches
        self._places: list[tuple[Dispatch, int]] | None = None
        self._claimed: Sequence[Claimed] = ()

    def reserve(self, most: int = ALL_FREE) -> int:
        """Once, on whatever thread; returns how many places there are."""
        self._places = [(dispatch, dispatch.reserve(most)) for dispatch in self._dispatches]
        return sum(places for _, places in self._places)

    def make(self, tx: Transaction, most: int = ALL_FREE) -> None:
        """Claim what may be sent now, in places reserved before or now. Runs again where the commit does."""
        if self._places is None:
            self.reserve(most)
        self._claimed = [dispatch.claim(tx, places) for dispatch, places in self._places or ()]

    def launch(self, *, committed: bool) -> None:
        """After the commit, on the loop: send what was claimed, and give the other places back."""
        places = self._places or ()
        claimed = self._claimed if committed else [Claimed() for _ in places]
        for (dispatch, reserved), found in zip(places, claimed, strict=True):
            dispatch.launch(found, reserved)


async def _committed(commit: asyncio.Future[T], claims: _Claims) -> T:
    """Wait for a commit. What it claims is sent also where nobody waits for it any more: it is on disk as `sending`."""
    commit.add_done_callback(lambda done: claims.launch(committed=not done.cancelled() and done.exception() is None))
    return await asyncio.shield(commit)


class Dispatch:
    """One target's postings: claimed on disk, sent in a rolling window, one per lane, the answer on disk."""

    def __init__(
        self,
        target: ErpTarget,
        writer: Writer,
        reader: apsw.Connection,
        clock: Clock,
        *,
        window: int,
        admit: outbox.Admit,
    ) -> None:
        self.name = target.name
        self.target = target
        self._admit = admit
        self._more = False  # something may be due that found no place: whoever gives one back wakes
        self.availability = Availability(target.name)
        self.figures = Sent()
        self.opened = asyncio.Event()  # once: from then on payloads can be checked and frozen
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._window = window
        self._taken = 0
        self._counting = threading.Lock()  # of places: they are reserved on the writer's thread, too
        self._woken = asyncio.Event()
        self._flying: set[asyncio.Task[None]] = set()
        self._stopping = False

    # the rolling window

    def reserve(self, most: int = ALL_FREE) -> int:
        """Take free places of the window, so that a claim in somebody's commit cannot overfill it."""
        if self.availability.resting:
            return 0
        with self._counting:
            free = 0 if self._stopping else max(0, min(self._window - self._taken, most))
            self._taken += free
        return free

    def claim(self, tx: Transaction, places: int) -> Claimed:
        """Claim for reserved places; see `outbox.claim`. Runs on the writer's thread."""
        before = _kept_back(tx)
        found = outbox.claim(tx, self.name, places, self._admit) if places else []
        return Claimed(found, len(found) == places or _kept_back(tx) > before)

    def launch(self, claimed: Claimed, reserved: int) -> None:
        """Send what was claimed into reserved places; give back the rest. Only after the commit: see `Claimed`."""
        self._more |= claimed.more
        self._give_back(reserved - len(claimed.postings))
        for waiting in claimed.postings:
            task = asyncio.create_task(self._carry(waiting), name=f"{self.name} posting {waiting.posting.id}")
            self._flying.add(task)
            task.add_done_callback(self._flying.discard)

    def _give_back(self, places: int) -> None:
        with self._counting:
            self._taken -= places
            room = self._taken < self._window
        if self._more and room:
            self._more = False
            self.wake()

    @property
    def in_the_air(self) -> int:
        """How many postings are being sent or looked up now."""
        return len(self._flying)

    def wake(self) -> None:
        """Something may have become ready."""
        self._woken.set()

    async def run(self) -> None:
        """Open the target, then claim whenever something is ready and a place is free."""
        while True:
            if self.availability.trouble:
                await self._open()
            self._woken.clear()
            if lanes.can_claim(self._reader, self.name, to_us(self._clock())):
                claims = _Claims([self])
                if claims.reserve():
                    await _committed(self._writer.submit(claims.make), claims)
                else:
                    self._more = True
            await self._wait()

    async def _wait(self) -> None:
        """Until woken, or until the time of the next lane that waits for its time."""
        now = to_us(self._clock())
        due = lanes.next_due(self._reader, self.name, now)
        seconds = (due - now) / 1e6 + 0.001 if due is not None else None
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            return

    # one posting

    async def _carry(self, waiting: postings.Waiting) -> None:
        """Try one posting; its answer and the claim of the next share a commit, and the next is carried on."""
        current: postings.Waiting | None = waiting
        try:
            while current is not None:
                outcome = await self._try(current)
                kind = str(current.posting.kind)
                claimed = await self._write(current.posting, outcome)
                self._more |= claimed.more
                current = next(iter(claimed.postings), None)
                self.figures.outcomes[kind, outcome.__name__] += 1
                if outcome.__name__ != "acknowledged":
                    self.wake()  # it may wait for its time now
        finally:
            self._give_back(1)

    async def _write(self, one: Posting, outcome: Outcome) -> Claimed:
        """Put the answer on disk; what no column can keep leaves a question to the ERP, not a lost posting."""
        try:
            return await self._writer.run(lambda tx: self._settle(tx, outcome))
        except StoreError:
            raise  # the store itself is gone; the next start looks the posting up
        except Exception as error:
            log.exception("the answer to posting %d could not be written", one.id)
            why = f"its answer could not be kept: {type(error).__name__}"
            plain = silence(one, self._after(self.target.settle_seconds), why)
            return await self._writer.run(lambda tx: self._settle(tx, plain))

    def _settle(self, tx: Transaction, outcome: Outcome) -> Claimed:
        again = outcome(tx)
        if again is not None:
            return Claimed([postings.read(tx.connection, again.id)])
        return Claimed() if self._stopping or self.availability.trouble else self.claim(tx, 1)

    async def _try(self, waiting: postings.Waiting) -> Outcome:
        """Send (or look up) one posting and say what to write about it."""
        one = waiting.posting
        try:
            if one.state == "in_doubt":
                return await self._look(one)
            ack = await self._find(one) if waiting.check_first else None
            ack = ack or await self.figures.timed("post", self.target.post(one))
        except ErpUnavailable as error:
            return self._not_sent(one, error)
        except ErpRejected as error:
            self.availability.answered(one.ordering_key)
            return told(outbox.dead, one, str(error), code=error.code, details=error.details)
        except ErpInDoubt as error:
            return self._in_doubt(one, str(error), error.details)
        except Exception as error:  # a target's mistake after the first byte: nobody knows, so look
            log.exception("target %s failed on posting %d", self.name, one.id)
            return self._in_doubt(one, f"{type(error).__name__}: {error}", {})
        self.availability.answered(one.ordering_key)
        return told(outbox.acknowledged, one, ack)

    async def _look(self, one: Posting) -> Outcome:
        """Nobody knows what became of it: look for its key before anything else."""
        later = self._after(self.target.settle_seconds)
        try:
            ack = await self._find(one)
        except ErpRejected as error:
            return told(outbox.doubtful, one, str(error))
        except ErpUnavailable as error:
            self.availability.unavailable(error)
            return silence(one, self._after(1.0), str(error))
        except ErpError as error:
            return silence(one, later, str(error))
        self.availability.answered(one.ordering_key)
        return looked(one, ack, later, reliable=self.target.lookup_reliable)

    async def _find(self, one: Posting) -> Acknowledgement | None:
        return await self.figures.timed("find", self.target.find(one))

    def _not_sent(self, one: Posting, error: ErpUnavailable) -> Outcome:
        if error.scope == "lane":
            wait = self.availability.lane_wait(one.ordering_key, error)
            return told(outbox.unsent, one, self._after(wait), str(error))
        self.availability.unavailable(error)
        return told(outbox.unsent, one, 0, str(error))

    def _in_doubt(self, one: Posting, why: str, details: Mapping[str, str]) -> Outcome:
        self.availability.doubted(why)
        return silence(one, self._after(self.target.settle_seconds), why, details)

    async def _open(self) -> None:
        """Wait, then ask the target with a read; only an answer opens it, or opens it again."""
        while self.availability.trouble:
            await asyncio.sleep(max(0.0, self.availability.rests_until - time.monotonic()))
            try:
                await self.target.open()
            except ErpError as error:
                self.availability.rest(error)
            else:
                self.availability.opened(self.target.status().get("error", ""))
                self.opened.set()

    def _after(self, seconds: float) -> int:
        return to_us(self._clock() + timedelta(seconds=seconds))

    async def drain(self, seconds: float) -> None:
        """At a calm stop: let what is in the air come back, for a while; the rest is looked up at the next start."""
        with self._counting:  # from here on nothing more is reserved
            self._stopping = True
        until = time.monotonic() + seconds
        if self._taken > len(self._flying) and not self._writer.figures.trouble:
            with suppress(StoreError, TimeoutError):  # behind it what the commit under way claims is known
                await asyncio.wait_for(self._writer.run(lambda tx: None), seconds)
        if self._flying:
            _, late = await asyncio.wait(set(self._flying), timeout=max(0.0, until - time.monotonic()))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _kept_back(tx: Transaction) -> int:
    return tx.counts.get("postings held", 0) + tx.counts.get("postings simulated", 0)
