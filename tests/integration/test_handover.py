"""The way of tags to the disk, with a real store: what the store refuses, and a store that takes nothing for long."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import apsw

from agent.pipeline import Intake
from agent.ports import Delivery
from agent.sources.handover import Handover
from agent.store import inbox
from agent.store.writer import Writer
from agent.tags.engine import Made
from agent.tags.values import Write
from tests.mqtt_bench import until
from tests.stores import Clock, opened, reading


class Pins:
    """What was written to the controller."""

    def __init__(self) -> None:
        self.writes: list[Write] = []

    async def write(self, writes: Sequence[Write]) -> None:
        self.writes += writes


@contextlib.asynccontextmanager
async def handing_over(writer: Writer, pins: Pins) -> AsyncIterator[Handover]:
    handover = Handover("line", "line/tags", Clock())
    task = asyncio.create_task(handover.run(Intake(writer), pins.write))
    try:
        yield handover
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended


def made(number: int, payload: bytes | None = None) -> Made:
    """An event, the checkpoint that commits with it, and the answer to its controller."""
    event = Delivery("plant/x", json.dumps({"n": number}).encode() if payload is None else payload)
    return Made((event,), (), str(number).encode(), (Write(f"ack{number}", value=True),))


async def test_an_event_that_the_store_refuses_holds_up_no_source(tmp_path: Path):
    """It is set aside alone; what came with it and after it, their checkpoint and their answers go on."""
    path, pins = tmp_path / "gp.db", Pins()
    with opened(path) as writer:
        writer.call(lambda tx: tx.connection.limit(apsw.SQLITE_LIMIT_LENGTH, 2 << 20))
        async with handing_over(writer, pins) as handover:
            for number in range(3):
                handover.add(made(number, b"x" * (3 << 20) if number == 1 else None))
            await until(lambda: len(pins.writes) == 3)
            handover.add(made(3))
            await until(lambda: len(pins.writes) == 4)
        with reading(path) as connection:
            kept = inbox.undecided(connection, 10)
            assert inbox.checkpoint(connection, "line/tags") == b"3"
    assert ["refused" in one.properties for one in kept] == [False, True, False, False]
