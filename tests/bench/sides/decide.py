"""A running agent that posts: messages come at a rate, and each is timed from publish to the ERP's acknowledgement."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import closing
from typing import Any

from agent.app import Agent
from agent.store import file, pauses
from tests.bench.sides import arguments, tell
from tests.bench.sides.live import Totals, running, until

FINAL = ("postings acknowledged", "postings held", "postings dead")


async def main(configuration: str, rate: float, count: int, broker: int, **_: Any) -> None:
    """Publish in another process (rate 0: they are waiting already), and wait until every posting has an answer."""
    async with running(configuration) as (agent, sources):
        assert agent.intake is not None
        await agent.writer.run(lambda tx: pauses.resume(tx, "target", "s4", by="bench", reason="measured"))
        source = asyncio.create_task(sources[0].run(agent.intake))
        await until(lambda: sources[0].status()["connected"], "the broker is there")
        began = time.perf_counter()
        published = await _publish(broker, rate, count) if rate else {}
        totals = Totals(agent.config.store.path)
        await until(lambda: sum(totals[name] for name in FINAL) >= count, "every posting has an answer")
        seconds = time.perf_counter() - began
        source.cancel()
        await asyncio.gather(source, return_exceptions=True)
        acknowledged = _acknowledged(agent)
    ms = [(at - published[key]) * 1e3 for key, at in acknowledged.items() if key in published]
    tell({"ms": ms, "per_s": len(acknowledged) / seconds, "not_posted": count - len(acknowledged)})


async def _publish(broker: int, rate: float, count: int) -> dict[str, float]:
    """When each message was published, by its id; Unix time."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.sides.publish", json.dumps({"broker": broker, "rate": rate, "count": count}),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    found: dict[str, float] = json.loads(said)
    return found


def _acknowledged(agent: Agent) -> dict[str, float]:
    """When the answer to each message was there, by its id; Unix time. The clock is read as its commit begins."""
    with closing(file.reader(agent.config.store.path)) as reader:
        rows: list[Any] = reader.execute(
            "SELECT json_extract(CAST(e.payload AS TEXT), '$.id'), p.changed_us FROM posting AS p "
            "JOIN event AS e ON e.id = p.event_id WHERE p.state = 'acknowledged'"
        ).fetchall()
    return {key: changed / 1e6 for key, changed in rows}


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
