"""The real dispatch: an agent whose target is paused lets it go, and is timed until the postings are acknowledged."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.store import pauses
from tests.bench.sides import Stopwatch, arguments, peak_mb, tell
from tests.bench.sides.live import Totals, running, until


async def main(configuration: str, postings: int, **_: Any) -> None:
    """Resume, and wait for the acknowledgements."""
    async with running(configuration) as (agent, _sources):
        totals, figures = Totals(agent.config.store.path), agent.writer.figures
        wanted = totals["postings acknowledged"] + postings
        commits, watch = figures.commits, Stopwatch()
        await agent.writer.run(lambda tx: pauses.resume(tx, "target", "s4", by="bench", reason="measured"))
        agent.wake()
        await until(lambda: totals["postings acknowledged"] >= wanted, "all acknowledged", every=0.05)
        spent, threads, made = watch.read(), watch.threads(), figures.commits - commits
        done = totals["postings acknowledged"] - wanted + postings
        tell({
            "per_s": done / spent["seconds"], **spent, "cpu_by_thread": threads, "postings": done,
            "documents_per_cpu_s": done / spent["cpu_s"],
            "commits_per_posting": made / done, "commits_per_s": made / spent["seconds"], "peak_mb": peak_mb(),
            "dead": totals["postings dead"], "in_doubt": totals["postings in_doubt"],
        })  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
