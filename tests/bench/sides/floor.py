"""What no agent can do without: a message on disk, a posting on disk, and one HTTP round trip; one after the other."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import httpx

from agent.sap.call import thaw
from agent.store.file import configure
from tests.bench.sides import arguments, tell
from tests.bench.sides.bare_http import tokens


async def main(folder: str, wire: str, rate: float, count: int, erp: str, **_: Any) -> None:
    """Do it `count` times, at most `rate` per second, without ever queueing; milliseconds of each."""
    service, _method, path, headers, body = thaw(wire.encode())
    base = f"{erp}/sap/opu/odata/sap"
    with closing(apsw.Connection(str(Path(folder) / "floor.db"))) as store:
        configure(store)
        store.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, content BLOB)")
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            token = (await tokens(client, {service}))[service]
            sent = {**{name.decode(): value.decode() for name, value in headers}, "x-csrf-token": token}
            took = []
            began = time.perf_counter() + 0.1
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                start = time.perf_counter()
                for _commit in range(2):
                    store.execute("INSERT INTO row (content) VALUES (?)", (body,))
                answer = await client.post(path, headers=sent, content=body)
                took.append((time.perf_counter() - start) * 1e3)
                answer.raise_for_status()
    tell({"ms": took})


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
