"""From publish to the ERP's acknowledgement, over an interleaved floor of two commits and one HTTP round trip."""

from __future__ import annotations

from typing import Any

from tests.bench import plant
from tests.bench.dispatch import outbox
from tests.bench.preload import preload
from tests.bench.results import Result, percentile
from tests.bench.stage import CLIENT_ID, FILTERS, Stage

NAMES = ("decision_p50_over_floor", "decision_p99_over_floor")
SLOW = 10.0  # messages per second
PERCENTS = (50, 90, 99)
SECONDS = 15.0  # of each segment


async def measure(stage: Stage) -> list[Result]:
    """At 10/s and at half of capacity: a segment of the agent, a segment of the floor, A B A B; percentiles of all."""
    capacity = await _capacity(stage)
    wire = await _wire(stage)
    rates = {"10/s": SLOW, "half of capacity": max(SLOW, capacity / 2)}
    details: dict[str, Any] = {"capacity_per_s": capacity}
    for name, rate in rates.items():
        details[name] = {"rate_per_s": rate, **await _at(stage, rate, wire)}
        stage.console.print(f"  {name}: {details[name]}", highlight=False)
    return [
        Result(f"decision_p{percent}_over_floor", max(details[name]["over"][f"p{percent}"] for name in rates), details)
        for percent in (50, 99)
    ]


async def _at(stage: Stage, rate: float, wire: str) -> dict[str, Any]:
    agent: list[float] = []
    floor: list[float] = []
    count = round(rate * (5.0 if stage.quick else SECONDS))
    for number in range(stage.runs):
        agent += await _segment(stage, f"latency-{rate:.0f}-{number}", rate, count)
        folder = stage.fresh("floor")
        floor += (await stage.side("floor", folder=folder, wire=wire, rate=rate, count=count))["ms"]
    ours, theirs = ({f"p{percent}": percentile(side, percent) for percent in PERCENTS} for side in (agent, floor))
    over = {name: ours[name] / theirs[name] for name in ours}
    return {"over": over, "decision_ms": ours, "floor_ms": theirs, "samples": len(agent)}


async def _segment(stage: Stage, name: str, rate: float, count: int) -> list[float]:
    """An agent at work; milliseconds per message."""
    await stage.sim("reset", {})
    data = stage.fresh(name)
    preload(stage.broker.port, CLIENT_ID, FILTERS, [])  # an empty session
    found = await stage.side("decide", configuration=stage.config(data, "mqtt"), rate=rate, count=count)
    if found["not_posted"]:
        stage.console.print(f"  {found['not_posted']} of {count} messages were held, which is none of this measurement")
    return list(found["ms"])


async def _capacity(stage: Stage) -> float:
    """Documents per second from a full session to the last acknowledgement."""
    await stage.sim("reset", {})
    messages = plant.messages(300 if stage.quick else 3_000, spread=True)
    preload(stage.broker.port, CLIENT_ID, FILTERS, messages)
    config = stage.config(stage.fresh("capacity"), "mqtt")
    found = await stage.side("decide", configuration=config, rate=0, count=len(messages))
    stage.console.print(f"  capacity: {found['per_s']:.0f} documents/s from message to acknowledgement")
    return float(found["per_s"])


async def _wire(stage: Stage) -> str:
    """One goods issue as the agent would send it."""
    data, _ = await outbox(stage, 100, "latency-wire")
    return str((await stage.side("freeze", configuration=stage.config(data, "mqtt")))["wire"])
