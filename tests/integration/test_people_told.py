"""A held posting that nobody decides about reaches people through the whole agent, over an outage and a restart."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulators.receivers.hook import hook
from tests.plant import DEADLINE, Plant, plant, until


def people(url: str) -> dict[str, Any]:
    return {
        "name": "people", "kind": "notify", "postings": {"notification": "live"}, "otherwise": "planner",
        "channels": {"web": {"kind": "webhook", "url": url, "total_s": 2}}, "settle_s": 0.2,
        "people": {"planner": ["web"], "manager": ["web"]}, "next": {"planner": "manager"},
        "escalate_minutes": 0.02, "repeat_minutes": 60,
    }  # fmt: skip


async def until_told(line: Plant, told: Callable[[], bool], what: str) -> None:
    """The agent looks after its people more often than every ten seconds."""
    end = time.monotonic() + DEADLINE
    while not told():
        assert time.monotonic() < end, what
        await line.agent.housekeeping.end_holds()
        await line.agent.telling.look()
        await asyncio.sleep(0.05)


async def test_what_nobody_decides_about_is_told_although_it_could_not_be_at_first(tmp_path: Path):
    """The planner, once the web address takes it, and the manager, since nobody reacts: each once, over a restart."""
    async with hook() as web:

        def change(content: dict[str, Any]) -> None:
            content["targets"].append(people(web.url))
            content["workflows"]["consumption"]["targets"] = {"notify": "people"}
            content["authority"]["consumption"] |= {
                "mode": "assist",
                "escalate_hours": 0.0001,
                "escalate_to": ["planner"],
            }

        def told() -> dict[str, Any]:
            return {found["to"][0]: found for found in (json.loads(one.body) for one in web.posted)}

        async with plant(tmp_path, change=change) as line:
            web.fault = "503"
            body = line.report()
            line.publish(body)
            held = await line.settled(body["id"], "held")
            await until_told(line, lambda: "planner" in told(), "the planner is told")
            first = told()["planner"]
            assert first["cause"] == f"held/{held.id}"
            assert "9.6 KG of RM-RESIN was used for order 1000100" in first["text"]
            await line.restart()
            await until_told(line, lambda: set(told()) == {"planner", "manager"}, "the manager is told")
            assert told()["manager"]["subject"].startswith("Nobody has reacted: Held for")
            assert len(web.posted) == 2
            assert {one["alarm"] for one in line.audited("nobody_reacted")} == {True}
            await until(line.quiet, "all is told")
            assert line.states() == {"held": 1, "acknowledged": 2}
            assert line.sound()
