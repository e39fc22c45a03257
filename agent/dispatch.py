"""Hop three of the story (`agent.pipeline`): postings claimed on disk, sent in a rolling window, the answer on disk.

A posting is `sending` on disk before its first byte leaves. What a commit claims is sent behind it, whoever made the
commit. A lost answer is looked up, never guessed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple, TypeVar

import apsw

from agent.answers import Outcome, looked, silence, told
from agent.availability import Availability
from agent.errors import ErpError, ErpInDoubt, ErpRejected, ErpUnavailable, StoreError
from agent.figures import Sent
from agent.ports import Acknowledgement, Clock, ErpTarget, MayRepeat, Posting
from agent.store import lanes, outbox, postings
from agent.store.encode import to_us
from agent.store.transaction import Transaction
from agent.store.writer import Writer

T = TypeVar("T")
log = logging.getLogger("gatepost.pipeline")

ALL_FREE = 1 << 30  # places


class Claimed(NamedTuple):
    """What a commit claimed for reserved places, and whether more may be due: all were needed, or one was kept back.

    It travels with the result and is noted after the commit: whoever looks for more before that sees nothing yet.
    """

    postings: Sequence[postings.Waiting] = ()
    more: bool = False
    passed_on: bool = False  # what was kept back may have let another go, at any target


class Claims:
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

    def nothing(self) -> None:
        """Claim nothing this time: what an earlier attempt of the commit claimed was rolled back with it."""
        self._claimed = [Claimed() for _ in self._places or ()]

    def launch(self, *, committed: bool) -> None:
        """After the commit, on the loop: send what was claimed, and give the other places back."""
        places = self._places or ()
        claimed = self._claimed if committed else [Claimed() for _ in places]
        for (dispatch, reserved), found in zip(places, claimed, strict=True):
            dispatch.launch(found, reserved)


async def committed(commit: asyncio.Future[T], claims: Claims) -> T:
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
        self.wake_others: Callable[[], None] = self.wake  # what follows in a group may go to another target

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
        kept_back = _kept_back(tx) > before
        return Claimed(found, len(found) == places or kept_back, kept_back)

    def launch(self, claimed: Claimed, reserved: int) -> None:
        """Send what was claimed into reserved places; give back the rest. Only after the commit: see `Claimed`."""
        self._more |= claimed.more
        if claimed.passed_on:
            self.wake_others()
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
                claims = Claims([self])
                if claims.reserve():
                    await committed(self._writer.submit(claims.make, gives_way=True), claims)
                else:
                    self._more = True
            await self._wait()

    async def _wait(self) -> None:
        """Until woken, or until the time of the next lane that waits for its time."""
        now = to_us(self._clock())
        due = lanes.next_due(self._reader, self.name, now)
        seconds = (due - now) / 1e6 + 0.001 if due is not None else None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # `wait_for` of Python 3.11 loses a cancellation that comes with it
                await self._woken.wait()

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
                if claimed.passed_on or current.posting.group is not None:
                    self.wake_others()
                current = next(iter(claimed.postings), None)
                self.figures.outcomes[kind, outcome.__name__] += 1
                if outcome.__name__ != "acknowledged":
                    self.wake()  # it may wait for its time now
        finally:
            self._give_back(1)

    async def _write(self, one: Posting, outcome: Outcome) -> Claimed:
        """Put the answer on disk; what no column can keep leaves a question to the ERP, not a lost posting."""
        try:
            return await self._writer.submit(lambda tx: self._settle(tx, outcome), gives_way=True)
        except StoreError:
            raise  # the store itself is gone; the next start looks the posting up
        except Exception as error:  # whatever an answer of the ERP holds that no column takes
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
        again = isinstance(self.target, MayRepeat) and one.kind in self.target.repeatable
        return looked(one, ack, later, reliable=again or self.target.lookup_reliable)

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
                async with asyncio.timeout(seconds):
                    await self._writer.submit(lambda tx: None, gives_way=True)
        if self._flying:
            _, late = await asyncio.wait(set(self._flying), timeout=max(0.0, until - time.monotonic()))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _kept_back(tx: Transaction) -> int:
    return tx.counts.get("postings held", 0) + tx.counts.get("postings simulated", 0)
