"""An agent with its API, until it is stopped: what others in their own processes ask."""

from __future__ import annotations

import asyncio
import signal
import sys

from agent import assembly
from agent.app import Agent
from agent.commands.run import server
from agent.configuration import config


async def main(configuration: str) -> None:
    """Serve until SIGTERM."""
    loaded = config.load(configuration, assembly.resolver())
    agent = Agent(loaded)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, agent.stop)
    await agent.run(server(loaded))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
