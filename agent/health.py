"""How the agent is: whether commits come back, whether there is room, whether the clock jumped. /ready tells it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from agent.configuration.settings import Store
from agent.errors import StoreError
from agent.ports import Clock
from agent.store import lanes
from agent.store.transaction import Transaction
from agent.store.writer import Writer

log = logging.getLogger("gatepost")

IDLE_S = 10.0  # without a commit so long, one is made to see whether it comes back
COMMIT_S = 5.0  # a commit that takes longer is told
JUMP_S = 1.0  # of the wall clock against the monotonic one


@dataclass
class Health:
    """What watching and housekeeping found out; shown by /ready, /v1/status and the metrics."""

    started_at: datetime
    ready: bool = False
    code: str = "starting"  # why it is not ready, for /ready: tells strangers nothing about the machine
    why_not: str = "starting"
    chain_ok: bool = True
    damage: str = ""  # where a check met a page of the store that is damaged; it stays until a restart
    chain_checked_at: datetime | None = None
    balance_checked_at: datetime | None = None
    problems: list[str] = field(default_factory=list)
    clock_steps: int = 0
    watched_at: float = 0.0  # monotonic: the last step of the watch
    progress: dict[str, float] = field(default_factory=dict)  # loop → Unix time of its last step


class Readiness:
    """Looks whether the agent can do its work, again and again; `health` keeps what was found."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        health: Health,
        store: Callable[[], Store],
        wake: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._health = health
        self._store = store
        self._wake = wake  # who waits for times
        self._monotonic = monotonic  # what the wall clock is held against
        self._wall, self._ticks = clock(), monotonic()

    async def look(self) -> None:
        """Once: the store, the disk, the clock. Raises StoreError where the store has stopped for good."""
        await self._look_at_store()
        self._health.watched_at = time.monotonic()
        await self._look_at_clock()

    async def _look_at_store(self) -> None:
        if self._writer.failed is not None:
            raise StoreError(f"the store has stopped: {self._writer.failed}") from self._writer.failed
        store = self._store()
        if self._writer.figures.trouble:
            self._not_ready("store_cannot_commit", f"the store cannot commit: {self._writer.figures.trouble}")
        elif (free := free_bytes(store.path)) is None:
            await self._require_commit()  # the folder is gone: the writer says so, and waits until it is back
        elif free < store.reserve_mb << 20:
            why = f"only {free >> 20} MiB free on the disk of {store.path}, the reserve is {store.reserve_mb} MiB"
            self._not_ready("disk_reserve", f"{why}: free space")
        else:
            await self._require_commit()

    async def _require_commit(self) -> None:
        """Ready means: a commit came back, not that a process exists."""
        if time.monotonic() - self._writer.figures.last_commit_at > IDLE_S or not self._health.ready:
            waiting = asyncio.ensure_future(self._writer.run(lambda tx: None))
            done, _ = await asyncio.wait({waiting}, timeout=COMMIT_S)
            if not done:
                self._not_ready("commit_slow", f"a commit has not come back for {COMMIT_S:g} s")
                return
            waiting.result()
        if not self._health.ready:
            log.info("ready")
        self._health.ready, self._health.code, self._health.why_not = True, "", ""

    def _not_ready(self, code: str, why: str) -> None:
        if self._health.ready:
            log.error("not ready: %s", why)
        self._health.ready, self._health.code, self._health.why_not = False, code, why

    async def _look_at_clock(self) -> None:
        now, ticks = self._clock(), self._monotonic()
        step = (now - self._wall).total_seconds() - (ticks - self._ticks)
        self._wall, self._ticks = now, ticks
        if abs(step) <= JUMP_S:
            return

        def stepped(tx: Transaction) -> None:
            lanes.shift_timers(tx, round(step * 1e6))
            tx.audit("clock_step", {"seconds": step}, alarm=True)

        self._health.clock_steps += 1
        log.warning("the wall clock jumped by %.1f s; order and timers do not depend on it", step)
        await self._writer.run(stepped)
        self._wake()


def free_bytes(path: Path) -> int | None:
    """What the disk of this file can still take; None where its folder cannot be found."""
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return None
