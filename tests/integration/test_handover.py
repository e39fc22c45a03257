"""The way of tags to the disk, with a real store: what the store refuses, and a store that takes nothing for long."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import apsw

from agent.pipeline import Intake
from agent.ports import Delivery, Notice
from agent.sources.handover import AT_ONCE, ROOM, Handover
from agent.store import inbox
from agent.tags.engine import Made
from agent.tags.values import Write
from tests.mqtt_bench import Shelf, until
from tests.stores import Clock, opened, reading


class Pins:
    """What was written to the controller."""

    def __init__(self) -> None:
        self.writes: list[Write] = []

    async def write(self, writes: Sequence[Write]) -> None:
        self.writes += writes


@contextlib.asynccontextmanager
async def handing_over(intake: Intake | Shelf, pins: Pins) -> AsyncIterator[Handover]:
    handover = Handover("line", "line/tags", Clock())
    task = asyncio.create_task(handover.run(intake, pins.write))
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
        async with handing_over(Intake(writer), pins) as handover:
            for number in range(3):
                handover.add(made(number, b"x" * (3 << 20) if number == 1 else None))
            await until(lambda: len(pins.writes) == 3)
            handover.add(made(3))
            await until(lambda: len(pins.writes) == 4)
        with reading(path) as connection:
            kept = inbox.undecided(connection, 10)
            assert inbox.checkpoint(connection, "line/tags") == b"3"
    assert ["refused" in one.properties for one in kept] == [False, True, False, False]


def noticing(number: int) -> Notice:
    return Notice("tag_refused" if number % 2 else "outage", {"n": number})


async def test_while_the_store_takes_nothing_notices_are_left_out_and_counted():
    """A source that goes on noticing for an hour fills no memory: what was left out is told by kind and number."""
    shelf, pins = Shelf(), Pins()
    shelf.full = True
    async with handing_over(shelf, pins) as handover:
        for number in range(10_000):
            handover.notice(noticing(number))
        assert handover._size <= ROOM
        shelf.open()
        await until(lambda: shelf.notices("notices_left_out"))
        handover.add(made(1))
        await until(lambda: pins.writes)
    (left_out,) = shelf.notices("notices_left_out")
    kept = len(shelf.notices("outage")) + len(shelf.notices("tag_refused"))
    assert left_out.alarm
    assert (left_out.detail["count"], sum(left_out.detail["actions"].values())) == (10_000 - kept, 10_000 - kept)


async def test_while_the_store_takes_nothing_states_are_not_heaped_up():
    """Of triggers that went back a thousand times the last state is kept; what they answered is written once."""
    shelf, pins = Shelf(), Pins()
    shelf.full = True
    async with handing_over(shelf, pins) as handover:
        for number in range(5_000):
            handover.add(Made((), (), str(number).encode(), (Write("ack", value=bool(number % 2)),), keep=True))
        shelf.open()
        await until(lambda: shelf.kept.get("line/tags") == b"4999")
        await until(lambda: pins.writes and pins.writes[-1].value)
    assert len(shelf.batches) <= 2
    assert len(pins.writes) <= 2


async def test_no_event_is_left_out_and_each_comes_with_its_state():
    """Totals are in them: they are all kept, in order, and a source that asks for room waits until there is some."""
    shelf, pins = Shelf(), Pins()
    shelf.full = True
    async with handing_over(shelf, pins) as handover:
        handover.add(made(0))
        await until(lambda: handover.blocked_since)
        for number in range(1, ROOM + 1):
            handover.add(made(number))
        waits = asyncio.ensure_future(handover.room())
        await asyncio.sleep(0)
        assert not waits.done()
        shelf.open()
        await waits
        await until(lambda: len(pins.writes) == ROOM + 1)
    assert [json.loads(one) for one in shelf.payloads] == [{"n": number} for number in range(ROOM + 1)]
    for batch in shelf.batches:
        last = json.loads(batch.deliveries[-1].payload)["n"]
        assert batch.checkpoints == (("line/tags", str(last).encode()),)
        assert len(batch.deliveries) <= AT_ONCE
