"""The whole path into the outbox: a real agent with its model and a paused target, until every event is decided."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.bench.sides import Stopwatch, arguments, peak_mb, tell
from tests.bench.sides.live import Totals, running, until


async def main(configuration: str, messages: int, **_: Any) -> None:
    """Drain the session until all of it is decided."""
    async with running(configuration) as (agent, sources):
        assert agent.intake is not None
        totals = Totals(agent.config.store.path)
        before, figures = totals.all(), agent.writer.figures
        commits, busy, wanted = figures.commits, figures.commit_seconds, before.get("events received", 0) + messages
        watch = Stopwatch()
        task = asyncio.create_task(sources[0].run(agent.intake))
        await until(
            lambda: totals["events received"] >= wanted and totals["events undecided"] == 0, "all decided", every=0.05
        )
        spent, threads = watch.read(), watch.threads()
        made = figures.commits - commits
        writer_busy = (figures.commit_seconds - busy) / spent["seconds"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        after = totals.all()
        became = {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}
        tell({
            "per_s": messages / spent["seconds"], **spent, "cpu_by_thread": threads,
            "cpu_s_per_10k": spent["cpu_s"] / messages * 1e4,
            "commits": made, "commits_per_s": made / spent["seconds"], "messages_per_commit": messages / made,
            "writer_busy": writer_busy, "peak_mb": peak_mb(), "became": became,
        })  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
