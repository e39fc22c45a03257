"""From publish to the ERP's acknowledgement, over an interleaved floor of two commits and one HTTP round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench import plant
from tests.bench.dispatch import outbox
from tests.bench.preload import preload
from tests.bench.results import Result, percentile
from tests.bench.stage import CLIENT_ID, FILTERS, Stage, staged

NAMES = ("decision_p50_over_floor", "decision_p99_over_floor")
SLOW = 10.0  # messages per second
FEW = 3  # orders: what no plant of that rate has; a detail beside the result
PERCENTS = (50, 90, 99)
SECONDS = 15.0  # of each segment
MORE = 1.5  # times what a full session is worked off at: no live stream of that rate can be carried


async def measure(stage: Stage) -> list[Result]:
    """At 10/s and at half of capacity, in a plant that has as many orders under way as that rate takes."""
    async with staged(stage.console, runs=stage.runs, quick=stage.quick, orders=plant.AT_WORK) as large:
        return await _measure(large)


async def _measure(stage: Stage) -> list[Result]:
    session = await _session(stage)
    capacity = await _capacity(stage, session * MORE)
    wire = await _wire(stage)
    half = max(SLOW, capacity / 2)
    rates = {"10/s": SLOW, "half of capacity": half}
    details: dict[str, Any] = {
        "capacity_per_s": capacity,
        "full_session_per_s": session,
        "orders_under_way": plant.AT_WORK,
    }
    for name, rate in rates.items():
        details[name] = await _at(stage, rate, wire, plant.AT_WORK)
        stage.console.print(f"  {name}: {details[name]}", highlight=False)
    details[f"half of capacity on {FEW} orders"] = few = await _at(stage, half, wire, FEW)
    stage.console.print(f"  half of capacity on {FEW} orders, beside the result: {few['over']}", highlight=False)
    return [
        Result(f"decision_p{percent}_over_floor", max(details[name]["over"][f"p{percent}"] for name in rates), details)
        for percent in (50, 99)
    ]


async def _at(stage: Stage, rate: float, wire: str, under_way: int) -> dict[str, Any]:
    """A segment of the agent, a segment of the floor, A B A B; percentiles of all."""
    agent: list[Mapping[str, Any]] = []
    floor: list[float] = []
    count = round(rate * (5.0 if stage.quick else SECONDS))
    for number in range(stage.runs):
        agent.append(await _segment(stage, f"latency-{rate:.0f}-{under_way}-{number}", rate, count, under_way))
        folder = stage.fresh("floor")
        floor += (await stage.side("floor", folder=folder, wire=wire, rate=rate, count=count))["ms"]
    ours, theirs = _percentiles([ms for one in agent for ms in one["ms"]]), _percentiles(floor)
    return {
        "rate_per_s": rate,
        "over": {name: ours[name] / theirs[name] for name in ours},
        "decision_ms": ours,
        "floor_ms": theirs,
        "stages_ms": {
            name: _percentiles([ms for one in agent for ms in one["stages"][name]]) for name in agent[0]["stages"]
        },
        "samples": sum(len(one["ms"]) for one in agent),
        "not_posted": sum(one["not_posted"] for one in agent),
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(percentile(values, percent), 3) for percent in PERCENTS}


async def _segment(stage: Stage, name: str, rate: float, count: int, under_way: int) -> Mapping[str, Any]:
    """An agent at work; milliseconds per message, and of each stage of its way."""
    await stage.sim("reset", {})
    data = stage.fresh(name)
    preload(stage.broker.port, CLIENT_ID, FILTERS, [])  # an empty session
    config = stage.config(data, "mqtt")
    return await stage.side("decide", configuration=config, rate=rate, count=count, under_way=under_way)


async def _capacity(stage: Stage, too_many: float) -> float:
    """Documents per second out of a live stream that is more than the agent can carry."""
    count = round(too_many * (3.0 if stage.quick else SECONDS))
    carried = float((await _segment(stage, "capacity", too_many, count, plant.AT_WORK))["carried_per_s"])
    stage.console.print(f"  capacity: {carried:.0f} documents/s of a live stream of {too_many:.0f} messages/s")
    return carried


async def _session(stage: Stage) -> float:
    """Documents per second from a full session to the last acknowledgement."""
    await stage.sim("reset", {})
    messages = plant.of_large_plant(300 if stage.quick else 3_000)
    preload(stage.broker.port, CLIENT_ID, FILTERS, messages)
    config = stage.config(stage.fresh("session"), "mqtt")
    found = await stage.side("decide", configuration=config, rate=0, count=len(messages))
    stage.console.print(f"  full session: {found['per_s']:.0f} documents/s from message to acknowledgement")
    return float(found["per_s"])


async def _wire(stage: Stage) -> str:
    """One goods issue as the agent would send it."""
    data, _ = await outbox(stage, 100, "latency-wire")
    return str((await stage.side("freeze", configuration=stage.config(data, "mqtt")))["wire"])
