"""An agent inside of this process, for the sides that need to look into it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from agent import assembly
from agent.app import Agent
from agent.configuration import config
from agent.ports import Source
from agent.store import file

DEADLINE = 120.0


@asynccontextmanager
async def running(configuration: str) -> AsyncIterator[tuple[Agent, list[Source]]]:
    """An agent that is ready and has opened its targets, and its sources, which the caller starts."""
    agent = Agent(config.load(Path(configuration), assembly.resolver()))
    sources, agent.sources = agent.sources, []
    task = asyncio.create_task(agent.run())
    try:
        await until(lambda: task.done() or agent.health.ready, "the agent is ready")
        for dispatch in agent.dispatches.values():
            await until(lambda one=dispatch: task.done() or one.opened.is_set(), "the target is open")  # type: ignore[misc]
        if task.done():
            task.result()
        yield agent, sources
    finally:
        agent.stop()
        await task


async def until(true: Callable[[], object], what: str, seconds: float = DEADLINE, every: float = 0.01) -> None:
    """Look again and again until it is so. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        await asyncio.sleep(every)


class Totals:
    """The running totals of a store's balances."""

    def __init__(self, path: Path) -> None:
        self._reader = file.reader(path)

    def __getitem__(self, name: str) -> int:
        row = self._reader.execute("SELECT n FROM tally WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def all(self) -> dict[str, int]:
        """Every total."""
        return dict(self._reader.execute("SELECT name, n FROM tally"))
