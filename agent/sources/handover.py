"""What tags made goes to the intake: one batch under way, what comes meanwhile joins the next, writes come last.

    made ─▶ add ─▶ (waits) ─▶ one Batch ─▶ intake.put ─▶ stored ─▶ handshakes are written

The state of counters commits with the events that moved it. So no batch follows one that is not on disk, however long
that takes; after a restart everything is counted again from what is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

from agent.ports import Batch, Clock, Intake, Notice
from agent.tags.engine import Made
from agent.tags.values import Write

SAY_AGAIN_S: Final = 60.0  # how often it is said that a batch does not get to the disk
ROOM: Final = 2000  # deliveries and notices that wait before the source must take nothing more
AT_ONCE: Final = 500  # deliveries in one batch

log = logging.getLogger("gatepost.sources.tags")
Writer = Callable[[Sequence[Write]], Awaitable[None]]


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
        self._waiting: list[Made] = []
        self._size = 0
        self._underway: _Underway | None = None
        self._checkpoint: bytes | None = None
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def add(self, made: Made) -> None:
        """Take what a change made; it is written when everything before it is on disk."""
        self._checkpoint = made.checkpoint
        if not (made.to_store or made.writes):
            return
        self._waiting.append(made)
        self._size += len(made.deliveries) + len(made.notices)
        self._more.set()
        if self._size >= ROOM:
            self._room.clear()

    def notice(self, *notices: Notice) -> None:
        """Something that the source itself noticed."""
        self._waiting.append(Made((), notices, self._checkpoint or b"", ()))
        self._size += len(notices)
        self._more.set()

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
        """Put together what waits, in order, up to the size of a batch."""
        count = 0
        size = 0
        for made in self._waiting:
            size += len(made.deliveries)
            if count and size > AT_ONCE:
                break
            count += 1
        chosen = self._waiting[:count]
        del self._waiting[:count]
        deliveries = [one for made in chosen for one in made.deliveries]
        notices = [one for made in chosen for one in made.notices]
        writes = [one for made in chosen for one in made.writes]
        checkpoint = chosen[-1].checkpoint if chosen else b""
        self._size -= len(deliveries) + len(notices)
        if not self._waiting:
            self._more.clear()
        if self._size < ROOM:
            self._room.set()
        on_disk, loop = asyncio.Event(), asyncio.get_running_loop()

        def stored() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(on_disk.set)

        checkpoints = ((self._key, checkpoint),) if checkpoint else ()
        batch = Batch(self._source, tuple(deliveries), self._clock(), stored, checkpoints, tuple(notices))
        if not any(made.to_store for made in chosen):
            on_disk.set()  # nothing to store: what shall be written may be at once
        self._underway = _Underway(batch, on_disk, writes)

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
