"""A running agent that posts: messages come at a rate, and each is timed from publish to the ERP's acknowledgement."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from agent.app import Agent
from agent.store import file, pauses
from tests.bench.sides import arguments, tell
from tests.bench.sides.live import Totals, running, until

STAGES = ("to the agent", "stored and decided", "waited in its lane", "on disk, at SAP and back")  # of a message
FINAL = ("postings acknowledged", "postings held", "postings dead")


async def main(configuration: str, rate: float, count: int, broker: int, under_way: int = 0, **_: Any) -> None:
    """Publish in another process (rate 0: they are waiting already), and wait until every posting has an answer."""
    async with running(configuration) as (agent, sources):
        assert agent.intake is not None
        await agent.writer.run(lambda tx: pauses.resume(tx, "target", "s4", by="bench", reason="measured"))
        source = asyncio.create_task(sources[0].run(agent.intake))
        await until(lambda: sources[0].status()["connected"], "the broker is there")
        began, cpu = time.perf_counter(), time.process_time()
        published = await _publish(broker=broker, rate=rate, count=count, under_way=under_way) if rate else {}
        totals = Totals(agent.config.store.path)
        await until(lambda: sum(totals[name] for name in FINAL) >= count, "every posting has an answer")
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        source.cancel()
        await asyncio.gather(source, return_exceptions=True)
        acknowledged = _acknowledged(agent)
    times = {key: (published[key], *then) for key, then in acknowledged.items() if key in published}
    stages = {name: [round((one[n + 1] - one[n]) * 1e3, 3) for one in times.values()] for n, name in enumerate(STAGES)}
    tell({
        "ms": [(one[-1] - one[0]) * 1e3 for one in times.values()], "stages": stages,
        "per_s": len(acknowledged) / seconds, "carried_per_s": _carried(times), "not_posted": count - len(acknowledged),
        "cpu_ms": round(cpu * 1e3 / count, 3),
    })  # fmt: skip


def _carried(times: Mapping[str, tuple[float, ...]]) -> float:
    """Answers per second while messages came, but for the first quarter of that time, in which queues filled."""
    if not times:
        return 0.0
    first, last = min(one[0] for one in times.values()), max(one[0] for one in times.values())
    since = first + (last - first) / 4
    return sum(since <= one[-1] <= last for one in times.values()) / (last - since)


async def _publish(**arguments: Any) -> dict[str, float]:
    """When each message was published, by its id; Unix time."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.sides.publish", json.dumps(arguments), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    found: dict[str, float] = json.loads(said)
    return found


def _acknowledged(agent: Agent) -> dict[str, tuple[float, ...]]:
    """When each message was received, its posting claimed, and its answer there, by its id; Unix time.

    Of the two commits the clock is read as they begin.
    """
    with closing(file.reader(agent.config.store.path)) as reader:
        rows: list[Any] = reader.execute(
            "SELECT json_extract(CAST(e.payload AS TEXT), '$.id'), e.received_us, e.settled_us, p.last_sent_us, "
            "p.changed_us FROM posting AS p JOIN event AS e ON e.id = p.event_id WHERE p.state = 'acknowledged'"
        ).fetchall()
    return {key: tuple(time_us / 1e6 for time_us in times) for key, *times in rows}


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
