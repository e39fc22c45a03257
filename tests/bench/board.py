"""The board that a gateway polls, with 500 postings held and each time another one decided: milliseconds per answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from tests.bench import plant
from tests.bench.preload import publish
from tests.bench.process import Ready, agent
from tests.bench.results import Result, median, percentile
from tests.bench.stage import Stage

NAMES = ("board_poll_ms",)
HELD = 500
POLLS = 100
ASSIST = {"consumption": {"mode": "assist"}, "confirmation": {"mode": "assist"}}
DEADLINE = 120.0


async def measure(stage: Stage) -> list[Result]:
    """Hold somewhat more than the board shows, then refuse one and ask for the whole board, so many times."""
    polls = POLLS // 5 if stage.quick else POLLS
    found = []
    for number in range(stage.runs):
        data = stage.fresh(f"board-{number}")
        async with agent(stage, data, authority=ASSIST) as ready:
            token = (data / "operator.token").read_text(encoding="ascii").strip()
            headers = {"Authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(base_url=ready.api, headers=headers, trust_env=False, timeout=60) as client:
                found.append(await _polled(stage, ready, client, polls))
        stage.console.print(f"  p50 {found[-1]['p50_ms']:.1f} ms, p99 {found[-1]['p99_ms']:.1f} ms", highlight=False)
    return [Result("board_poll_ms", median(one["p99_ms"] for one in found), {"held": HELD, "runs_each": found})]


async def _polled(stage: Stage, ready: Ready, client: httpx.AsyncClient, polls: int) -> dict[str, float]:
    await asyncio.to_thread(publish, stage.broker.port, plant.messages(HELD + 2 * polls, spread=True))
    await _held(client, HELD + polls)
    taken = []
    for _ in range(polls):
        (one,) = await _items(client)
        body = {"expected_version": one["version"], "reason": "measured"}
        (await client.post(f"/v1/approvals/{one['id']}/refuse", json=body)).raise_for_status()
        began = time.perf_counter()
        answer = (await client.get("/v1/board")).raise_for_status()
        taken.append((time.perf_counter() - began) * 1000)
        assert len(answer.json()["approvals"]) == HELD
    return {"p50_ms": percentile(taken, 50), "p99_ms": percentile(taken, 99), "pid": ready.pid}


async def _items(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/v1/approvals?limit=1")).raise_for_status().json()["items"]
    return found


async def _held(client: httpx.AsyncClient, count: int) -> None:
    until = time.monotonic() + DEADLINE
    while (await client.get("/v1/board")).raise_for_status().json()["counts"]["held"] < count:
        if time.monotonic() > until:
            raise TimeoutError(f"fewer than {count} postings were held after {DEADLINE:.0f} s")
        await asyncio.sleep(0.2)
