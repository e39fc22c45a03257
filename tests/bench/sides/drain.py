"""A running agent with a backlog: it posts, checks the whole audit chain and counts its balances; how much memory."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.store import pauses
from tests.bench.sides import arguments, peak_mb, tell
from tests.bench.sides.live import Totals, running, until


async def main(configuration: str, seconds: float, **_: Any) -> None:
    """Let it work for so long, and until the housekeeping has been round once."""
    async with running(configuration) as (agent, _sources):
        totals = Totals(agent.config.store.path)
        before = totals["postings acknowledged"]
        await agent.writer.run(lambda tx: pauses.resume(tx, "target", "s4", by="bench", reason="measured"))
        agent.wake()
        await asyncio.sleep(seconds)
        health = agent.health
        await until(lambda: health.chain_checked_at and health.balance_checked_at, "chain and balances are checked")
        await agent.writer.run(lambda tx: pauses.pause(tx, "target", "s4", by="bench", reason="measured"))
        tell({
            "peak_mb": peak_mb(), "acknowledged": totals["postings acknowledged"] - before,
            "dead": totals["postings dead"], "chain_ok": health.chain_ok, "problems": health.problems,
        })  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
