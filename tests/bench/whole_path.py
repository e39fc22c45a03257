"""The whole path into the outbox over a bare counting subscriber, and its CPU: map, dedupe, score, authorise, audit."""

from __future__ import annotations

from tests.bench import plant
from tests.bench.intake import drained
from tests.bench.results import Result, median
from tests.bench.stage import Stage

NAMES = ("whole_path_ratio", "cpu_s_per_10k")


async def measure(stage: Stage) -> list[Result]:
    """A B A B: the bare subscriber, then the agent with its target paused, until all events are decided."""
    messages = plant.messages(10_000 if stage.quick else 50_000)
    bare, whole = [], []
    for number in range(stage.runs):
        bare.append(await drained(stage, "bare_subscriber", messages))
        data = stage.fresh(f"whole-{number}")
        whole.append(await drained(stage, "whole_path", messages, configuration=stage.config(data, "mqtt")))
    ratios = [ours["per_s"] / theirs["per_s"] for ours, theirs in zip(whole, bare, strict=True)]
    details = {"messages": len(messages), "ratios": ratios, "bare": bare, "whole_path": whole}
    return [
        Result("whole_path_ratio", median(ratios), details),
        Result("cpu_s_per_10k", median(one["cpu_s_per_10k"] for one in whole)),
    ]
