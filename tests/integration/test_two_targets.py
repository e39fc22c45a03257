"""Two targets on one store: what ails one is no matter of the other."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path

from agent.dispatch import Dispatch
from agent.ports import Acknowledgement, Kind, Posting
from agent.store import file, outbox
from agent.store.postings import Waiting
from tests.integration.test_dispatch import Told
from tests.stores import Clock, add, opened, posting, send, state
from tests.unit.test_groups import group, states


class Silent(Told):
    """A target that takes every posting and never answers."""

    name = "dead"

    async def post(self, posting: Posting) -> Acknowledgement:
        await asyncio.Event().wait()
        raise AssertionError("never")


class Willing(Told):
    """A target that books everything."""

    async def post(self, posting: Posting) -> Acknowledgement:
        return Acknowledgement(f"2026/{posting.id}")


async def test_a_dead_target_keeps_no_other_waiting(tmp_path: Path):
    """F17: one target hangs with all its places taken; the postings of the other are booked, also of the same order."""
    with opened(tmp_path / "gp.db") as writer:
        stuck = add(writer, *(posting(n, f"order/{n}", target="dead") for n in range(20)))
        good = add(writer, *(posting(100 + n, f"order/{n}") for n in range(20)))
        async with AsyncExitStack() as stack:
            reader = stack.enter_context(closing(file.reader(writer.path)))
            loops = [
                Dispatch(target, writer, reader, Clock(), window=4, admit=send) for target in (Silent(), Willing())
            ]
            running = [asyncio.create_task(one.run()) for one in loops]
            async with asyncio.timeout(60):
                while any(state(writer, one) != "acknowledged" for one in good):  # noqa: ASYNC110  on disk
                    await asyncio.sleep(0.01)
            assert loops[0].in_the_air == 4
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for dispatch in loops:
                await dispatch.drain(0.1)
        states = [state(writer, one) for one in stuck]
        assert states.count("sending") == 4
        assert states.count("ready") == 16


class Warehouse(Willing):
    """The other target of a group."""

    name = "wms"


async def test_a_group_goes_on_at_another_target_as_soon_as_the_one_before_is_booked(tmp_path: Path):
    """Nobody else wakes the second target: the booking at the first does, a dry run just as well."""
    with opened(tmp_path / "gp.db") as writer, closing(file.reader(writer.path)) as reader:
        loops = [
            Dispatch(target, writer, reader, Clock(), window=4, admit=_dry_defects)
            for target in (Willing(), Warehouse())
        ]
        wake_all = partial(_wake, loops)
        for one in loops:
            one.wake_others = wake_all
        running = [asyncio.create_task(one.run()) for one in loops]
        async with asyncio.timeout(60):
            for one in loops:
                await one.opened.wait()
            ids = group(writer)
            loops[0].wake()
            while states(writer, ids) != ["acknowledged", "acknowledged", "simulated"]:  # noqa: ASYNC110  on disk
                await asyncio.sleep(0.01)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _wake(loops: list[Dispatch]) -> None:
    for one in loops:
        one.wake()


def _dry_defects(waiting: Waiting) -> outbox.Admission:
    return outbox.Simulate() if waiting.posting.kind is Kind.DEFECT else outbox.Send(b"wire")
