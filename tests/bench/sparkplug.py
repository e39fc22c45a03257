"""Tag changes through the Sparkplug source over a bare client of the same libraries that only counts, in turn."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from simulators.children import Child
from tests.bench.results import Result
from tests.bench.sides.sparkplug_edge import GO, GROUP, NODE
from tests.bench.stage import ENVIRONMENT, ROOT, Stage
from tests.bench.tagged import ROUNDS, TAGS, events, in_turn, serving

NAMES = ("sparkplug_ratio",)
PER_MESSAGE = 5  # metrics in a scan of the simulated line, on average
LARGE = 20


async def measure(stage: Stage) -> list[Result]:
    """One edge node, QoS 0 as the specification asks; large messages, which are nearly free to count, as a detail."""
    rounds = ROUNDS // 5 if stage.quick else ROUNDS
    usual = await _with_messages_of(stage, PER_MESSAGE, rounds)
    large = await _with_messages_of(stage, LARGE, rounds)
    return [
        Result(
            usual.name, usual.value, {**usual.details, f"messages of {LARGE}": {"ratio": large.value, **large.details}}
        )
    ]


async def _with_messages_of(stage: Stage, metrics: int, rounds: int) -> Result:
    stage.console.print(f"  {metrics} metrics in a message")
    command = [sys.executable, "-m", "tests.bench.sides.sparkplug_edge"]
    told = {"broker": stage.broker.port, "tags": TAGS, "rounds": rounds, "per_message": metrics}
    log, environment = stage.folder / f"sparkplug-edge-{metrics}.log", {**os.environ, **ENVIRONMENT}
    edge = Child("edge node", [*command, json.dumps(told)], log=log, env=environment, folder=ROOT)
    async with serving(stage, edge):
        about = {"tags": TAGS, "rounds": rounds, "go": GO}
        return await in_turn(stage, "bare_sparkplug", source(stage.broker.port), about)


def source(broker: int) -> Mapping[str, Any]:
    """The configuration of a source that reads every metric of the node."""
    return {
        "name": "line",
        "kind": "sparkplug",
        "brokers": [f"mqtt://127.0.0.1:{broker}"],
        "client_id": "gatepost-bench-host",
        "tags": {f"t{number}": f"{GROUP}/{NODE}:t{number}" for number in range(TAGS)},
        "events": events(),
    }
