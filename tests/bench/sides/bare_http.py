"""The floor of the dispatch: httpx posts what an agent has sent, as many at a time, and only looks at the status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from agent.sap.call import thaw
from agent.store import file
from tests.bench.sides import Stopwatch, arguments, tell

Request = tuple[str, str, dict[str, str], bytes]  # service, path, headers, body


def sent(store: str, postings: int) -> list[Request]:
    """What an agent has sent, in the order in which it was sent."""
    with closing(file.reader(Path(store))) as reader:
        rows: list[Any] = reader.execute(
            "SELECT wire FROM posting WHERE state = 'acknowledged' ORDER BY first_sent_us, id LIMIT ?", (postings,)
        ).fetchall()
    thawed = (thaw(wire) for (wire,) in rows)
    return [
        (service, path, {name.decode(): value.decode() for name, value in headers}, body)
        for service, _method, path, headers, body in thawed
    ]


async def tokens(client: httpx.AsyncClient, services: set[str]) -> dict[str, str]:
    """One CSRF token per service; the cookies stay in the client."""
    answers = {one: await client.get(f"{one}/", headers={"x-csrf-token": "Fetch"}) for one in services}
    return {service: answer.headers["x-csrf-token"] for service, answer in answers.items()}


async def main(store: str, postings: int, concurrency: int, erp: str, **_: Any) -> None:
    """Post everything."""
    requests = sent(store, postings)
    async with httpx.AsyncClient(base_url=f"{erp}/sap/opu/odata/sap", trust_env=False) as client:
        token = await tokens(client, {one[0] for one in requests})
        await asyncio.gather(*(client.get(f"{requests[0][0]}/") for _ in range(concurrency)))  # connections are made
        work, watch = iter(requests), Stopwatch()
        await asyncio.gather(*(_post(client, work, token) for _ in range(concurrency)))
        figures = watch.read()
    tell({"per_s": len(requests) / figures["seconds"], **figures, "postings": len(requests)})


async def _post(client: httpx.AsyncClient, work: Iterator[Request], token: dict[str, str]) -> None:
    for service, path, headers, body in work:
        answer = await client.post(path, headers={**headers, "x-csrf-token": token[service]}, content=body)
        if answer.status_code != httpx.codes.CREATED:
            raise ValueError(f"{path}: answered {answer.status_code}: {answer.text[:500]}")


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
