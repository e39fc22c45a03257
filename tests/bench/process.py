"""The agent as people run it: `python -m agent run`, with API and management listeners, timed until it is ready."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from simulators.broker import free_port
from simulators.children import Child
from tests.bench.stage import ENVIRONMENT, ROOT, Stage

DEADLINE = 120.0


@dataclass(frozen=True, slots=True)
class Ready:
    """A running agent: its process, where its management listener is, and how long it took to be ready."""

    pid: int
    management: str
    seconds: float
    api: str


@asynccontextmanager
async def agent(stage: Stage, data: Path, **more: Any) -> AsyncIterator[Ready]:
    """Start it with every source, wait for /ready, and stop it calmly at the end of the block. `more` is configured."""
    management, api = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    faces = {"api": {"address": api, "rate_per_second": 2000}, "management": {"address": management}, **more}
    command = [sys.executable, "-m", "agent", "run", str(stage.config(data, "mqtt", "orders", **faces))]
    child = Child("agent", command, log=data / "agent.log", env={**os.environ, **ENVIRONMENT}, folder=ROOT)
    began = time.perf_counter()
    async with child, httpx.AsyncClient(base_url=f"http://{management}", trust_env=False) as client:
        while not await _ready(client):
            if time.perf_counter() - began > DEADLINE:
                raise TimeoutError(f"the agent was not ready within {DEADLINE:.0f} s; {child.tail()}")
            await asyncio.sleep(0.01)
        yield Ready(child.pid, f"http://{management}", time.perf_counter() - began, f"http://{api}")


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/ready")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
