"""One life of a process that some reports end: `python -m tests.mortal STORE DEADLY [NUMBER …]`.

Reports of these numbers arrive once it has nothing to do; a life ends well when all that is stored is decided.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.judging.rules import OWN
from agent.pipeline import Intake, Process
from agent.ports import Batch, Kind
from agent.store import file
from tests.integration.test_process import report, rules
from tests.plant import until
from tests.stores import Clock, opened
from tests.unit.test_judge import Narrow


class Deadly(Narrow):
    """A target whose check of one report ends the process, as a fault in a compiled library does."""

    def check(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[str]:
        if payload["text"] in self.refused:
            os.kill(os.getpid(), signal.SIGKILL)
        return []


async def live(store: Path, deadly: str, numbers: Sequence[int]) -> None:
    """Until all is decided."""
    known = rules()
    assignment = known.assignments["consumption"]
    assignment = replace(assignment, doors={OWN: assignment.doors[OWN]._replace(target=Deadly(deadly))})
    with opened(store) as writer, closing(file.reader(store)) as reader:
        process = Process(writer, reader, replace(known, assignments={"consumption": assignment}), Clock(), {})
        process.orders_read.set()
        running = asyncio.create_task(process.run())
        await asyncio.sleep(0)  # it has begun
        await until(lambda: not process._has_turn, "it has nothing to do")
        stored = asyncio.Event()
        if numbers:
            loop = asyncio.get_running_loop()
            batch = Batch("line", [report(n) for n in numbers], Clock()(), lambda: _set(loop, stored))
            Intake(writer).put(batch)
            await stored.wait()
        undecided = "SELECT 1 FROM event WHERE state = 'undecided' LIMIT 1"
        await until(lambda: not reader.execute(undecided).get, "all is decided")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _set(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), sys.argv[2], [int(one) for one in sys.argv[3:]]))
