"""The simulated ERP with the orders of the busy plant, or so many of them, on the port it is told."""

from __future__ import annotations

import asyncio
import signal
import sys

from simulators.erp.server import running
from tests.bench.plant import busy_plant


async def main(port: int, orders: int | None = None) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(http=port, plan=busy_plant(orders)):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
