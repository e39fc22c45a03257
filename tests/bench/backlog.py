"""1 000 and 1 000 000 waiting postings, in turn: what a claim takes, and how much memory a running agent."""

from __future__ import annotations

from typing import Any

from tests.bench.results import Result, median
from tests.bench.stage import CONCURRENCY, Stage
from tests.bench.waiting import BLOCKED, LANES, waiting

NAMES = ("backlog_rss_growth_mb", "backlog_claim_ratio")
SMALL = 1_000


async def measure(stage: Stage) -> list[Result]:
    """Claims alternate between the two stores in one process; the agents run one after the other, A B A B."""
    count = many(stage)
    large = await stage.once(f"backlog-{count}", lambda name: waiting(stage, count, name))
    claims, memory = [], []
    for number in range(stage.runs):
        small = await waiting(stage, SMALL, f"backlog-small-{number}")
        claims.append(await stage.side("claim", small=small, large=large, rounds=60, window=CONCURRENCY))
        small = await waiting(stage, SMALL, f"backlog-small-{number}")
        memory.append([await _memory(stage, data) for data in (small, large)])
        stage.console.print(f"  claim {claims[-1]['small']} {claims[-1]['large']}", highlight=False)
        stage.console.print(f"  memory {[one['peak_mb'] for one in memory[-1]]} MB", highlight=False)
    ratios = [one["large"]["claim_ms"] / one["small"]["claim_ms"] for one in claims]
    growth = [after["peak_mb"] - before["peak_mb"] for before, after in memory]
    about = {"waiting": [SMALL, count], "lanes": LANES, "blocked": BLOCKED}
    return [
        Result("backlog_rss_growth_mb", median(growth), {**about, "growth_mb": growth, "agents": memory}),
        Result("backlog_claim_ratio", median(ratios), {**about, "ratios": ratios, "claims": claims}),
    ]


def many(stage: Stage) -> int:
    """How large the large backlog is."""
    return 100_000 if stage.quick else 1_000_000


async def _memory(stage: Stage, data: Any) -> dict[str, Any]:
    await stage.sim("reset", {})
    return await stage.side("drain", configuration=stage.config(data, "mqtt"), seconds=5 if stage.quick else 15)
