"""The story: intake, process, dispatch (the last in `agent.dispatch`). Read this first.

    source ──▶ INTAKE ──▶ event ──▶ PROCESS ──▶ posting ──▶ DISPATCH ──▶ ERP
               on disk,             read → recognise →       claim on disk,
               then the             score → propose →        then send; the
               sender's ack         authorise, one commit    answer on disk

Each loop takes from one durable place and returns only when the next place has it; where nothing waits, an arrival is
decided in the commit that stores it (docs/adr/0012). A crash repeats a step; the identity of the message and the
idempotency key of the posting make repeating harmless. There is no shutdown to get right: start-up is recovery. What
decides (`agent.judging.judge`) is pure and sees neither a database nor a network.
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
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import apsw

from agent.dispatch import Claims, Dispatch, committed
from agent.errors import StoreError
from agent.facts import LiveState, TellsLive
from agent.figures import Decided
from agent.judging import verdicts
from agent.judging.judge import judge, of_one_sort
from agent.judging.judgement import Judgement, Memory, Verdict
from agent.judging.reading import put_aside, quarantined
from agent.judging.rules import Rules
from agent.judging.waiting import Waiters
from agent.masterdata.entities import Fact
from agent.ports import Batch, Clock, Event, GivesReceipts, Receipt
from agent.store import awaited, file, inbox, masterdata
from agent.store.encode import to_us
from agent.store.transaction import Transaction
from agent.store.underway import ARRIVALS, Underway
from agent.store.writer import Writer

log = logging.getLogger("gatepost.pipeline")

FEW = 8  # events decided in the commit that stores them: a millisecond or two of the writer
FEW_BYTES = 32 << 10  # of payload, all of them together
BATCH = 512  # events decided per commit: some 15 milliseconds of the event loop
SLICE = 8  # the same while somebody asks and waits for the answer: in a commit of their own, which gives way
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
                batch.dropped()
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

    Where nothing waits, few arrivals are decided in the very commit that stores them, on the writer's thread; what
    somebody asks also where a backlog waits, between two slices of it. All else that is undecided `run` takes from
    disk in large batches. Who decides has the turn; the other one lets it be.
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
        self.waiters = Waiters()  # of what somebody asked
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
        """See `judgement.Memory`."""
        found = inbox.known(self._reader, message_keys)
        return found | self._ahead.judgement.known() if self._ahead else found

    def states(self, keys: Iterable[str]) -> Mapping[str, Any]:
        """See `judgement.Memory`."""
        found = inbox.states(self._reader, keys)
        return found | self._ahead.judgement.states if self._ahead else found

    def in_quarantine(self, orders: Iterable[str]) -> set[tuple[str, int]]:
        """See `judgement.Memory`."""
        found = awaited.in_quarantine(self._reader, orders)
        return found | self._ahead.judgement.in_quarantine() if self._ahead else found

    async def run(self) -> None:
        """Decide what is undecided, for ever; not before every target can say what it would refuse."""
        self._has_turn = self._turn.acquire()
        self._writer.give_way_while(lambda: self.waiters.expected)
        self._follow_arrivals()
        for dispatch in self._dispatches.values():
            await dispatch.opened.wait()
        await self._orders_first()
        self.rules.prepare()
        self.waiters.foresee()
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
        if look and self.waiters.expected and not self.look_again and await self._slice():
            return
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
            self._give_turn()
            await self.arrived.wait()

    async def _slice(self) -> bool:
        """While somebody asks: decide a few of what waits, in a commit that gives way. False: none waits, or it cannot.

        Between two of them nobody has the turn, so what is asked is decided in the commit that stores it.
        """
        await self._written()
        self.busy_since = 0.0
        self._give_turn()
        asked = bool(inbox.undecided_own(self._reader, 1))
        if not (asked or inbox.undecided(self._reader, 1)):
            return False
        self._more = True
        claims = Claims(self._dispatches.values())
        try:
            job = self._writer.submit(partial(self._decide_slice, claims), gives_way=not asked)
            decided = await committed(job, claims)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001  # told of each event alone, where it is judged alone
            return False
        self._note(decided or ())
        return decided is not None

    def _give_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._turn.release()

    def _next(self) -> Sequence[Event]:
        """The oldest undecided events that are not being written already; what is asked goes before all others."""
        but = self._ahead.ids if self._ahead else NO_EVENTS
        if own := inbox.undecided_own(self._reader, SLICE, but):
            self._more = True
            return own
        size = SLICE if self.waiters.expected else BATCH
        events = inbox.undecided(self._reader, size, but)
        chosen = events
        if events and (awaited.anything(self._reader) or (self._ahead and self._ahead.judgement.awaits)):
            chosen = of_one_sort(events)  # what master data let in comes before what arrived after them
        self._more = len(events) == size or len(chosen) < len(events) or self._ahead is not None
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

    def _judge(self, events: Sequence[Event], memory: Memory, at: str | None = None) -> Judgement:
        today = self.rules.facts.plant.day(self._clock())
        self._underway.begin(at or str(events[0].id))
        try:
            return judge(events, self.rules, memory, today, self.reconciled_us, self.live())
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
        if self._lives_ended(events):
            return None
        try:
            return self._judge(events, self)
        except STORE:
            raise
        except Exception:  # whatever one event holds costs that event, never the batch
            log.exception("events %d to %d could not be judged, each is judged alone", events[0].id, events[-1].id)
            return None

    def _lives_ended(self, events: Sequence[Event]) -> bool:
        """At this batch, and more than once: each of them is judged alone."""
        return self._underway.ended(str(events[0].id)) >= ALONE

    def _judged_alone(self, event: Event) -> Judgement:
        """Of what cannot be judged: that it goes into quarantine."""
        ended = self._underway.ended(str(event.id))
        if ended >= GIVEN_UP:  # not even read once more
            why = f"the agent ended {ended} times while it decided about this"
            return Judgement([quarantined(event, "ended_the_agent", why)])
        try:
            return self._judge([event], self)
        except STORE:
            raise
        except Exception as error:  # as above: the line goes on, a person looks
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
        self._has_turn = self._has_turn or self._turn.acquire()  # at most for the commit that has it
        for event in events:
            judgement = self._judged_alone(event)
            try:
                let_in = await self._commit(judgement)
            except StoreError:
                raise
            except Exception as error:  # a row the database refuses: the line goes on, a person looks
                log.exception("event %d could not be settled", event.id)
                why = f"the store refused it: {type(error).__name__}: {error}"
                let_in = await self._commit(Judgement([put_aside(event, self.rules, "store_refused", why)]))
            if let_in:
                return  # what waited comes before the next event

    async def _commit(self, judgement: Judgement) -> int:
        claims, since = Claims(self._dispatches.values()), self._patient_since()

        def job(tx: Transaction) -> int:
            let_in = verdicts.write(tx, judgement, since)
            claims.make(tx)
            return let_in

        let_in = await committed(self._writer.submit(job), claims)
        if judgement.learnt:
            self.learn(judgement.learnt)
        self._note(judgement.verdicts)
        return let_in

    def _note(self, verdicts: Sequence[Verdict]) -> None:
        for one in verdicts:
            self.figures.note(one.event.source, one.state, one.detail)
        self.waiters.tell(verdicts)
        if self.receipts:
            self._give_receipts(verdicts)

    # on the writer's thread: in a commit of their own, and in the one that stores them

    def _decide_slice(self, claims: Claims, tx: Transaction) -> Sequence[Verdict] | None:
        """Decide a few events and write what became of them. None: what comes is nothing for this, `run` must do it.

        May run again (see `Writer`), and then the turn may be with arrivals that share the commit.
        """
        claims.nothing()
        if not self._turn.acquire(blocking=False):
            return None
        self.busy_since = time.monotonic()
        try:
            events = inbox.undecided_own(tx.connection, SLICE) or inbox.undecided(tx.connection, SLICE)
            if not events:
                return ()
            if self._lives_ended(events) or any("masterdata" in one.properties for one in events):
                return None
            judgement = self._judge(events, verdicts.Inside(tx.connection))
            verdicts.write(tx, judgement, self._patient_since())
            claims.make(tx)
            return judgement.verdicts
        finally:
            self.busy_since = 0.0
            self._turn.release()

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

    def _decide_arrivals(self, tx: Transaction, quiet: bool) -> bool:  # noqa: FBT001  # what `Writer.follow` gives
        """Decide what this commit stores, or only what is asked where that is much or other events wait.

        May run again: see `Writer`.
        """
        if not (quiet or self.waiters.any):
            return False
        if self._underway.ended(ARRIVALS):
            return False  # by something that is on no disk: when it comes again it is stored first
        if self._at_once is None:
            if not self._turn.acquire(blocking=False):
                return False
            self._at_once = _AtOnce(Claims(self._dispatches.values()))
        events = inbox.undecided(tx.connection, FEW + 1)
        self._at_once.left = not quiet or len(events) > FEW
        if self._at_once.left:
            events = inbox.undecided_own(tx.connection, FEW)  # where there are more: the others in the next commit
        if not events or any(_stored_first(event.properties) for event in events):
            return False
        if sum([len(event.payload) for event in events]) > FEW_BYTES:
            return False
        judgement = self._judge(events, verdicts.Inside(tx.connection), ARRIVALS)
        verdicts.write(tx, judgement, self._patient_since())
        self._at_once.verdicts = judgement.verdicts
        self._at_once.claims.make(tx, len(events) + 1)  # one more shows whether others are due
        return True

    def _arrivals_stored(self, at_once: _AtOnce | None, *, decided: bool) -> None:
        """After the commit, on the loop: send what was claimed, or let `run` decide."""
        if at_once is not None:
            at_once.claims.launch(committed=decided)
            self._note(at_once.verdicts if decided else ())
        if self._more or not decided or (at_once is not None and at_once.left):
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

    claims: Claims
    verdicts: Sequence[Verdict] = ()
    left: bool = False  # others wait for `run`


class _Ahead(NamedTuple):
    """A batch that is being written: what follows it is judged on top of what it will have left behind."""

    events: Sequence[Event]
    judgement: Judgement
    commit: asyncio.Task[int]

    @property
    def ids(self) -> tuple[int, int]:
        """Its first and its last event."""
        return self.events[0].id, self.events[-1].id
