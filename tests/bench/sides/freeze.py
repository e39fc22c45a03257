"""The bytes an agent would send for a waiting posting."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

from agent.store import file, postings
from tests.bench.sides import arguments, tell
from tests.bench.sides.live import running


async def main(configuration: str, **_: Any) -> None:
    """Freeze the first one."""
    async with running(configuration) as (agent, _sources):
        with closing(file.reader(agent.config.store.path)) as reader:
            sql = "SELECT id FROM posting WHERE state = 'ready' AND kind = 'goods_issue' LIMIT 1"
            rows: list[Any] = reader.execute(sql).fetchall()
            waiting = postings.read(reader, rows[0][0])
        tell({"wire": agent.targets["s4"].freeze(waiting.posting).decode()})


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
