"""What tags made goes to the intake: one batch under way, what comes meanwhile joins the next, writes come last.

    made ─▶ add ─▶ (waits) ─▶ one Batch ─▶ intake.put ─▶ stored ─▶ handshakes are written

The state of counters commits with the events that moved it. So no batch follows one that is not on disk, however long
that takes; after a restart everything is counted again from what is. What waits is put together as it comes, so that a
long wait keeps a few checkpoints and not thousands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from agent.ports import Batch, Clock, Delivery, Intake, Notice
from agent.tags.engine import Made
from agent.tags.values import Write

SAY_AGAIN_S: Final = 60.0  # how often it is said that a batch does not get to the disk
ROOM: Final = 2000  # deliveries and notices that wait before the source must take nothing more
AT_ONCE: Final = 500  # deliveries in one batch

log = logging.getLogger("gatepost.sources.tags")
Writer = Callable[[Sequence[Write]], Awaitable[None]]


@dataclass(slots=True)
class _Waiting:
    """What will be one batch."""

    deliveries: list[Delivery] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    writes: dict[str, Write] = field(default_factory=dict)  # by tag: only what it shall be in the end
    checkpoint: bytes = b""
    to_store: bool = False

    def take(self, made: Made) -> None:
        self.deliveries += made.deliveries
        self.notices += made.notices
        for one in made.writes:
            self.writes.pop(one.tag, None)
            self.writes[one.tag] = one
        self.checkpoint = made.checkpoint
        self.to_store = self.to_store or made.to_store


class _Underway:
    """A batch that the intake has, or is being given."""

    def __init__(self, batch: Batch, on_disk: asyncio.Event, writes: Sequence[Write]) -> None:
        self.batch = batch
        self.on_disk = on_disk
        self.writes = writes
        self.given = False


class Handover:
    """One source's way to the intake. Used on the event loop only."""

    def __init__(self, source: str, key: str, clock: Clock) -> None:
        self.last_at: datetime | None = None  # when a delivery was last on disk
        self.blocked_since: datetime | None = None
        self._source = source
        self._key = key
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._size = 0  # deliveries and notices that wait
        self._left_out: Counter[str] = Counter()  # notices of the source, by action, while there was no room
        self._underway: _Underway | None = None
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def add(self, made: Made) -> None:
        """Take what a change made; it is written when everything before it is on disk.

        It is taken also without `room`: totals are in it. Who calls waits for room before making more.
        """
        if made.to_store or made.writes:
            self._last(len(made.deliveries)).take(made)
            self._grown(len(made.deliveries) + len(made.notices))

    def notice(self, *notices: Notice) -> None:
        """Something that the source itself noticed. While there is no room it is only counted, and told later."""
        if self._size >= ROOM:
            self._left_out.update(one.action for one in notices)
            return
        last = self._last(0)
        last.notices += notices
        last.to_store = True
        self._grown(len(notices))

    def _last(self, more: int) -> _Waiting:
        """What the next deliveries, so many of them, join."""
        if not self._waiting or (self._waiting[-1].deliveries and len(self._waiting[-1].deliveries) + more > AT_ONCE):
            self._waiting.append(_Waiting())
        return self._waiting[-1]

    def _grown(self, by: int) -> None:
        self._size += by
        self._more.set()
        if self._size >= ROOM:
            self._room.clear()

    @property
    def waiting(self) -> int:
        """How many deliveries and notices are not yet on their way to the disk."""
        return self._size

    async def room(self) -> None:
        """Return when not too much waits already."""
        await self._room.wait()

    async def run(self, intake: Intake, write: Writer) -> None:
        """Hand over for ever. What was under way when it was cancelled is finished by the next run."""
        while True:
            if self._underway is not None:
                await self._finish(self._underway, intake)
                writes, self._underway = self._underway.writes, None
                await write(writes) if writes else None
                continue
            await self._more.wait()
            self._next()

    def _next(self) -> None:
        """Make the next batch of what waits."""
        chosen = self._waiting.popleft()
        self._size -= len(chosen.deliveries) + len(chosen.notices)
        if not self._waiting:
            self._more.clear()
        if self._size < ROOM:
            self._room.set()
        if self._left_out:
            detail = {"count": self._left_out.total(), "actions": dict(self._left_out)}
            chosen.notices.append(Notice("notices_left_out", detail))
            chosen.to_store = True
            self._left_out.clear()
        on_disk, loop = asyncio.Event(), asyncio.get_running_loop()

        def stored() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(on_disk.set)

        checkpoints = ((self._key, chosen.checkpoint),) if chosen.checkpoint else ()
        deliveries, notices = tuple(chosen.deliveries), tuple(chosen.notices)
        batch = Batch(self._source, deliveries, self._clock(), stored, checkpoints, notices)
        if not chosen.to_store:
            on_disk.set()  # nothing to store: what shall be written may be at once
        self._underway = _Underway(batch, on_disk, list(chosen.writes.values()))

    async def _finish(self, underway: _Underway, intake: Intake) -> None:
        """Give it to the intake and wait until it is on disk, however long that takes."""
        if not underway.given and not underway.on_disk.is_set():
            await self._give(underway, intake)
        while not underway.on_disk.is_set():
            try:
                async with asyncio.timeout(SAY_AGAIN_S):
                    await underway.on_disk.wait()
            except TimeoutError:
                log.error(  # noqa: TRY400  # a wait that is long, no error to be traced
                    "source %s: the store has not kept what was handed over at %s; nothing follows it. Look at its "
                    "errors; if it works without this, restart the agent: it counts from what is on disk",
                    self._source, f"{underway.batch.received_at:%H:%M:%S}",
                )  # fmt: skip
        if underway.batch.deliveries:
            self.last_at = self._clock()

    async def _give(self, underway: _Underway, intake: Intake) -> None:
        underway.given = intake.put(underway.batch, 0)
        if not underway.given:
            self.blocked_since = self._clock()
            log.warning(
                "source %s: the store takes nothing more; the controllers are not asked meanwhile", self._source
            )
        while not underway.given:
            attempt = asyncio.ensure_future(asyncio.to_thread(intake.put, underway.batch, 0.25))
            try:
                underway.given = await asyncio.shield(attempt)
            except asyncio.CancelledError:
                underway.given = await attempt  # a moment: the next run must know whether the intake has it
                raise
        self.blocked_since = None
