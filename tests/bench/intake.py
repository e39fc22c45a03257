"""Durable intake over a bare counting subscriber: both drain the same preloaded session of the same broker, in turn."""

from __future__ import annotations

from typing import Any

from tests.bench import plant
from tests.bench.preload import preload
from tests.bench.results import Result, median
from tests.bench.stage import CLIENT_ID, FILTERS, Stage

NAMES = ("intake_ratio",)


async def measure(stage: Stage) -> list[Result]:
    """A B A B: the bare subscriber, then the intake."""
    messages = plant.messages(10_000 if stage.quick else 50_000)
    bare, intake = [], []
    for number in range(stage.runs):
        bare.append(await drained(stage, "bare_subscriber", messages))
        data = stage.fresh(f"intake-{number}")
        intake.append(await drained(stage, "intake", messages, configuration=stage.config(data, "mqtt")))
    ratios = [ours["per_s"] / theirs["per_s"] for ours, theirs in zip(intake, bare, strict=True)]
    details = {"messages": len(messages), "ratios": ratios, "bare": bare, "intake": intake}
    return [Result("intake_ratio", median(ratios), details)]


async def drained(stage: Stage, side: str, messages: list[Any], **more: Any) -> dict[str, Any]:
    """Preload the session, then let one side drain it."""
    preload(stage.broker.port, CLIENT_ID, FILTERS, messages)
    figures = await stage.side(side, messages=len(messages), **more)
    stage.console.print(f"  {side}: {figures['per_s']:,.0f} messages/s, {figures['cpu_s']:.2f} s CPU")
    return figures
