"""A loop that owes a step is known by it, as long as it owes it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from agent.web import probes
from tests.plant import Plant, plant, until


def stuck_soon(line: Plant) -> set[str]:
    """The loops that would fail /live in half a minute if nothing changed."""
    return set(probes._stuck(line.agent, time.monotonic() + probes.STUCK_S)) - {"watch"}


async def test_a_commit_that_does_not_come_back_is_owed_by_the_writer(tmp_path: Path):
    """Row 14: while a job hangs on the writer's thread it owes its step, and afterwards nobody does."""
    async with plant(tmp_path) as line:
        await line.post()
        await until(lambda: not stuck_soon(line), "nobody owes anything")
        hangs = threading.Event()
        try:
            assert line.agent.writer.put(lambda tx: hangs.wait(60), 0, lambda error: None)
            await until(lambda: stuck_soon(line) == {"writer"}, "the writer owes its step")
        finally:
            hangs.set()
        await until(lambda: not stuck_soon(line), "nobody owes anything any more")
        await line.post()
