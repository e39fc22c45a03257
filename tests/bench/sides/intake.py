"""Durable intake alone: the real MQTT source, intake and writer on a real file; nobody decides."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import assembly, config
from agent.app import utc_now
from agent.pipeline import Intake
from agent.ports import Batch
from agent.store.writer import Writer
from tests.bench.sides import Stopwatch, arguments, peak_mb, tell
from tests.bench.sides.live import until


class Counted(Intake):
    """The intake, counting what is on disk."""

    durable = 0
    sizes: list[int]

    def put(self, batch: Batch, timeout: float | None = None) -> bool:
        """See `Intake`; the sender is told first."""

        def stored() -> None:
            batch.stored()
            self.durable += len(batch.deliveries)

        self.sizes.append(len(batch.deliveries))
        return super().put(replace(batch, stored=stored), timeout)


async def main(configuration: str, messages: int, **_: Any) -> None:
    """Drain the session into a store until everything is durable and acknowledged."""
    loaded = config.load(Path(configuration), assembly.resolver())
    writer = Writer(loaded.store.path, utc_now, queue_bytes=loaded.store.queue_mb << 20)
    writer.start()
    intake = Counted(writer, lambda: None)
    intake.sizes = []
    source = assembly.sources(loaded, utc_now, {})[0]
    commits, watch = writer.figures.commits, Stopwatch()
    running = asyncio.create_task(source.run(intake))
    await until(lambda: intake.durable >= messages or running.done(), "all durable")
    figures = watch.read()
    made = writer.figures.commits - commits
    busy = writer.figures.commit_seconds
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    writer.stop()
    tell({
        "per_s": messages / figures["seconds"], **figures, "commits": made, "commits_per_s": made / figures["seconds"],
        "messages_per_commit": messages / made, "writer_busy": busy / figures["seconds"],
        "read_batch_median": statistics.median(intake.sizes), "read_batch_max": max(intake.sizes), "peak_mb": peak_mb(),
    })  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
