"""An hour of simulated time before a gateway's open sessions: neither the agent's board nor the gateway grows."""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from simulators.gateway.gateway import Gateway
from simulators.gateway.sessions import Page
from tests.api_bench import Bench, until
from tests.gateway_stage import PASSWORD, plant, project

HOUR = timedelta(hours=1)
CHANGES = 40  # in the hour somebody decides, and something new is held
MOST = 1.25  # of what is kept at the end over what was kept half an hour before; one list that stays behind is 1.4


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    """What Python allocates is counted, as long as the test runs."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("held", "sessions", "polls"),
    [(20, 2, 120), pytest.param(500, 50, 3600, marks=pytest.mark.soak)],
)
async def test_an_hour_of_polls_leaves_nothing_behind(tmp_path: Path, held: int, sessions: int, polls: int):
    """After the last quarter as much is kept as after the second: the queue of now, and no other."""
    async with plant(tmp_path) as agent:
        ids = map("hour-{}".format, itertools.count(1))
        for _ in range(held):
            await agent.report(next(ids))
        await until(lambda: _waiting(agent, held))
        gateway = project(agent)
        tracemalloc.clear_traces()
        tabs = _open(gateway, sessions)
        kept = []
        started = agent.agent.clock()
        for number in range(polls):
            agent.agent.clock = _at(started + HOUR * number / polls)
            if number % (polls // CHANGES) == 0:
                await _change(agent, next(ids), held)
            await asyncio.to_thread(_seen, gateway, tabs)
            if (number + 1) % (polls // 4) == 0:
                gc.collect()
                kept.append(tracemalloc.get_traced_memory()[0])
        assert kept[3] < MOST * kept[1], [f"{one / 1e6:.2f} MB" for one in kept]


def _at(now: datetime) -> Callable[[], datetime]:
    return lambda: now


def _open(gateway: Gateway, sessions: int) -> list[Page]:
    found = [gateway.log_in(("anna", "ben", "olga")[number % 3], PASSWORD) for number in range(sessions)]
    return [Page(one, "/") for one in found if one]


def _seen(gateway: Gateway, tabs: Sequence[Page]) -> None:
    """One poll, and what each session then draws."""
    gateway.known["gatepost"].poll.run()
    for tab in tabs:
        if tab.wait(0):
            assert tab.drawn()["complaints"] == {}


async def _change(agent: Bench, id: str, held: int) -> None:
    """The oldest is refused, another one waits."""
    one = (await agent.get("/v1/approvals?limit=1"))["items"][0]
    body = {"expected_version": one["version"], "reason": "counted twice"}
    assert (await agent.ask("POST", f"/v1/approvals/{one['id']}/refuse", json=body)).status_code == 200
    assert (await agent.report(id)).status_code == 202
    await until(lambda: _waiting(agent, held))


async def _waiting(agent: Bench, held: int) -> bool:
    counts: dict[str, int] = (await agent.get("/v1/board", "gateway"))["counts"]
    return counts["held"] == held
