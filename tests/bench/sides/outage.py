"""An outage of an OPC UA server: how long after it listens again the real source has its first delivery on disk."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from agent import assembly
from agent.app import utc_now
from agent.configuration import config
from agent.pipeline import Intake
from agent.store.writer import Writer
from tests.bench.sides import arguments, tell
from tests.bench.sides.live import until

START_S = 60.0  # of a server on a busy machine
LOOK_S = 0.005


async def main(configuration: str, port: int, outage_s: float, **_: Any) -> None:
    """A server, the source, deliveries; then the server is killed, and so many seconds later another one started."""
    logging.getLogger("asyncua").setLevel(logging.ERROR)
    loaded = config.load(Path(configuration), assembly.resolver())
    writer = Writer(loaded.store.path, utc_now, queue_bytes=loaded.store.queue_mb << 20)
    writer.start()
    intake = Intake(writer)
    source: Any = assembly.sources(loaded, utc_now, {})[0]
    began = time.monotonic()
    server, _opened = await _serve(port, began)
    running = asyncio.create_task(source.run(intake))

    def stored() -> int:
        if running.done():
            running.result()
        return intake.stored[source.name]

    try:
        await until(lambda: source.status()["connected"] and stored() > 2, "deliveries are on disk", every=LOOK_S)
        server.kill()
        await server.wait()
        await until(lambda: not source.status()["connected"], "the outage is noticed", every=LOOK_S)
        await asyncio.sleep(outage_s)
        before = stored()
        server, opened = await _serve(port, began)
        await until(lambda: stored() > before, "a delivery is on disk again", every=LOOK_S)
        tell({"outage_s": outage_s, "flows_after_s": time.monotonic() - opened})
    finally:
        server.kill()
        await server.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        writer.stop()


async def _serve(port: int, began: float) -> tuple[asyncio.subprocess.Process, float]:
    """A server in a process of its own, and when its port opened."""
    told = json.dumps({"port": port, "began": began})
    command = (sys.executable, "-m", "tests.bench.sides.opcua_totaliser", told)
    server = await asyncio.create_subprocess_exec(*command, env=os.environ, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None  # it was asked for
    async with asyncio.timeout(START_S):
        line = (await server.stdout.readline()).decode()
    return server, float(line.removeprefix("listens "))


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
