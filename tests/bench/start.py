"""From the start of the process to 200 on /ready: with nothing waiting, and with a million postings waiting."""

from __future__ import annotations

from tests.bench.backlog import many
from tests.bench.process import agent
from tests.bench.results import Result, median
from tests.bench.stage import Stage
from tests.bench.waiting import waiting

NAMES = ("ready_s_empty", "ready_s_million")


async def measure(stage: Stage) -> list[Result]:
    """A B A B: both stores know their orders; targets are paused, so that nothing is sent."""
    count = many(stage)
    million = await stage.once(f"backlog-{count}", lambda name: waiting(stage, count, name))
    empty = stage.fresh("start-empty")
    seconds: dict[str, list[float]] = {"empty": [], "million": []}
    for _ in range(stage.runs):
        for name, data in (("empty", empty), ("million", million)):
            async with agent(stage, data) as ready:
                seconds[name].append(ready.seconds)
        stage.console.print(f"  ready after {seconds['empty'][-1]:.2f} s and {seconds['million'][-1]:.2f} s")
    about = {"file_mb": (million / "gatepost.db").stat().st_size / 1e6, "waiting": count}
    return [
        Result("ready_s_empty", median(seconds["empty"]), {"seconds": seconds["empty"]}),
        Result("ready_s_million", median(seconds["million"]), {"seconds": seconds["million"], **about}),
    ]
