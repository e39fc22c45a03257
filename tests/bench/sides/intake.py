"""Durable intake alone: the real MQTT source, intake and writer on a real file; nobody decides."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agent import assembly
from agent.app import utc_now
from agent.configuration import config
from agent.pipeline import Intake
from agent.store.writer import Writer
from tests.bench.sides import Stopwatch, arguments, peak_mb, tell
from tests.bench.sides.live import until


async def main(configuration: str, messages: int, **_: Any) -> None:
    """Drain the session into a store until everything is durable and acknowledged."""
    loaded = config.load(Path(configuration), assembly.resolver())
    writer = Writer(loaded.store.path, utc_now, queue_bytes=loaded.store.queue_mb << 20)
    writer.start()
    intake = Intake(writer)
    source = assembly.sources(loaded, utc_now, {})[0]
    commits, watch = writer.figures.commits, Stopwatch()
    running = asyncio.create_task(source.run(intake))
    await until(lambda: intake.stored[source.name] >= messages or running.done(), "all durable")
    figures = watch.read()
    made = writer.figures.commits - commits
    busy, reads = writer.figures.commit_seconds, writer.figures.jobs
    if running.done():
        await running  # the source has ended: raise why
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    writer.stop()
    tell({
        "per_s": messages / figures["seconds"], **figures, "commits": made, "commits_per_s": made / figures["seconds"],
        "messages_per_commit": messages / made, "writer_busy": busy / figures["seconds"],
        "messages_per_read": messages / reads, "peak_mb": peak_mb(),
    })  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
