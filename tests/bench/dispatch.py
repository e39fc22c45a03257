"""The real dispatch over a bare httpx loop: the same bodies, the same concurrency, the same simulated ERP, in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench import plant
from tests.bench.intake import drained
from tests.bench.results import Result, median
from tests.bench.stage import CONCURRENCY, Stage

NAMES = ("dispatch_ratio",)


async def measure(stage: Stage) -> list[Result]:
    """A B A B: an agent with waiting postings of many orders, then httpx with what that agent has sent."""
    waiting, postings = await outbox(stage, 1_000 if stage.quick else 5_000)
    bare, dispatch = [], []
    for number in range(stage.runs):
        data = stage.fresh(f"dispatch-{number}", waiting)
        dispatch.append(await _posted(stage, "dispatch", postings, configuration=stage.config(data, "mqtt")))
        bare.append(await _posted(stage, "bare_http", postings, store=data / "gatepost.db", concurrency=CONCURRENCY))
    ratios = [ours["per_s"] / theirs["per_s"] for ours, theirs in zip(dispatch, bare, strict=True)]
    details = {
        "concurrency": CONCURRENCY, "ratios": ratios, "bare": bare, "dispatch": dispatch,
        "documents_per_cpu_s": median(one["documents_per_cpu_s"] for one in dispatch),
        "commits_per_posting": median(one["commits_per_posting"] for one in dispatch),
    }  # fmt: skip
    return [Result("dispatch_ratio", median(ratios), details)]


async def outbox(stage: Stage, count: int, name: str = "outbox") -> tuple[Path, int]:
    """A data folder with so many decided events of all orders in turn, and how many postings of them are ready."""
    data = stage.fresh(name)
    messages = plant.messages(count, spread=True)
    made = await drained(stage, "whole_path", messages, configuration=stage.config(data, "mqtt"))
    return data, made["became"]["postings ready"]


async def _posted(stage: Stage, side: str, postings: int, **more: Any) -> dict[str, Any]:
    await stage.sim("reset", {})
    figures = await stage.side(side, postings=postings, **more)
    stage.console.print(f"  {side}: {figures['per_s']:,.0f} postings/s, {figures['cpu_s']:.2f} s CPU")
    return figures
