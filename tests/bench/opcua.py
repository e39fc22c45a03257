"""Tag changes through the OPC UA source over a bare client of the same library that only counts, in turn."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from simulators.broker import free_port
from simulators.children import Child
from tests.bench.results import Result, median
from tests.bench.sides.opcua_server import NAMESPACE
from tests.bench.stage import ENVIRONMENT, ROOT, Stage
from tests.bench.tagged import COUNTERS, ROUNDS, TAGS, cpu_s_per_10k, events, in_turn, serving

NAMES = ("opcua_ratio", "opcua_cpu_s_per_10k", "opcua_subscribe_20k_s")
MANY_TAGS = 20_000
ADDRESS = "ns=bench;s=t{}"


async def measure(stage: Stage) -> list[Result]:
    """The changes, what they cost, and the time until many tags are subscribed and have a value."""
    rounds = ROUNDS // 5 if stage.quick else ROUNDS
    async with _server(stage, TAGS, rounds) as url:
        ratio = await in_turn(stage, "bare_opcua", source(url, TAGS), {"tags": TAGS, "rounds": rounds, "url": url})
    async with _server(stage, MANY_TAGS, 0) as url:
        configuration = stage.config(stage.fresh("opcua-many"), sources=[source(url, COUNTERS)])
        about = {"tags": MANY_TAGS, "rounds": 0, "address": ADDRESS, "configuration": configuration}
        many = await stage.side("tag_source", **about)
    cpu = {side: [cpu_s_per_10k(one) for one in ratio.details[side]] for side in ("source", "bare")}
    return [
        ratio,
        Result("opcua_cpu_s_per_10k", median(cpu["source"]), cpu),
        Result("opcua_subscribe_20k_s", many["subscribed_s"], {"tags": MANY_TAGS, **many}),
    ]


def source(url: str, tags: int) -> Mapping[str, Any]:
    """The configuration of a source with this many tags."""
    return {
        "name": "line",
        "kind": "opcua",
        "endpoints": [url],
        "policy": "none",
        "namespaces": {"bench": NAMESPACE},
        "publishing_ms": 100,
        "tags": {f"t{number}": ADDRESS.format(number) for number in range(tags)},
        "events": events(),
    }


@asynccontextmanager
async def _server(stage: Stage, tags: int, rounds: int) -> AsyncIterator[str]:
    """A server of the flood; its url."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.sides.opcua_server"]
    command.append(json.dumps({"port": port, "tags": tags, "rounds": rounds}))
    log, environment = stage.folder / f"opcua-server-{tags}.log", {**os.environ, **ENVIRONMENT}
    server = Child(f"server with {tags} tags", command, log=log, env=environment, folder=ROOT)
    async with serving(stage, server):
        yield f"opc.tcp://127.0.0.1:{port}/bench"
