"""The Sparkplug source against a real mosquitto: births, aliases, gaps, deaths, host state, cuts and restarts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.mqtt_bench import Shelf, mosquitto, until
from tests.sparkplug_bench import (
    COUNTING,
    LOTS,
    Edge,
    birth_of_device,
    metric,
    quantity,
    running,
    source,
)


def born(edge: Edge, total: int, **values: object) -> None:
    edge.say("NBIRTH", metric("Speed", 12.5, 9, alias=9))
    edge.say("DBIRTH", *birth_of_device(total, **values), device="D")  # type: ignore[arg-type]


async def test_data_by_alias_become_events(tmp_path: Path):
    """What a totaliser grows by between birth and data is reported, with the order that the birth named."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port), shelf) as line:
        with Edge(broker.port) as edge:
            born(edge, 100)
            await until(lambda: line.status()["nodes"]["G/N"]["state"] == "online")
            edge.say("DDATA", metric(value=107, alias=1), device="D")
            await until(lambda: shelf.deliveries)
    event = json.loads(shelf.deliveries[0].payload)
    assert (event["quantity"], event["order"], event["id"]) == (7, "1000100", "line/made/1")
