"""Prepares a store: the order source reads every order and stock from the simulated ERP, then the target is paused."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.store import pauses
from tests.bench.plant import busy_plant
from tests.bench.sides import arguments, tell
from tests.bench.sides.live import running, until


async def main(configuration: str, orders: int | None, **_: Any) -> None:
    """Run an agent until it knows the orders, and the stock of their components."""
    wanted = len(busy_plant(orders).orders())
    async with running(configuration) as (agent, sources):
        assert agent.intake is not None
        task = asyncio.create_task(sources[0].run(agent.intake))
        await until(lambda: len(agent.rules.facts.orders) >= wanted, f"{wanted} orders are known")
        await until(lambda: agent.rules.facts.stocks, "what is in stock is known")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await agent.writer.run(lambda tx: pauses.pause(tx, "target", "s4", by="bench", reason="measured without it"))
        tell({"orders": len(agent.rules.facts.orders)})


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
