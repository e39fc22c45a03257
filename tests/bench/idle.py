"""The resident memory of an agent that has nothing to do: listeners open, model loaded, MQTT and SAP connected."""

from __future__ import annotations

import asyncio

import httpx

from simulators.ticker import unconnected
from tests.bench.process import agent
from tests.bench.results import Result, median
from tests.bench.sides import rss_mb
from tests.bench.stage import Stage

NAMES = ("idle_rss_mb",)
SETTLE = 5.0  # seconds after everything is connected


async def measure(stage: Stage) -> list[Result]:
    """Start it, wait until its sources are connected and it has settled, and look at VmRSS."""
    found, peaks = [], []
    for number in range(stage.runs):
        async with agent(stage, stage.fresh(f"idle-{number}")) as ready:
            await _connected(ready.management)
            await asyncio.sleep(SETTLE)
            found.append(rss_mb(ready.pid))
            peaks.append(rss_mb(ready.pid, "VmHWM"))
        stage.console.print(f"  {found[-1]:.1f} MB")
    return [Result("idle_rss_mb", median(found), {"rss_mb": found, "peak_mb": peaks})]


async def _connected(management: str) -> None:
    async with httpx.AsyncClient(base_url=management, trust_env=False) as client:
        for _ in range(300):
            if not unconnected((await client.get("/metrics")).text):
                return
            await asyncio.sleep(0.1)
        raise TimeoutError("the agent's sources were not connected within 30 s")
