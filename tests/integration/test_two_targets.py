"""Two targets on one store: what ails one is no matter of the other."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, closing
from pathlib import Path

from agent.dispatch import Dispatch
from agent.ports import Acknowledgement, Posting
from agent.store import file
from tests.integration.test_dispatch import Told
from tests.stores import Clock, add, opened, posting, send, state


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
