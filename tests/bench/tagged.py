"""What the measurements of tag sources share: a few counters that make events, and both sides in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from simulators.children import Child
from tests.bench.results import Result, median
from tests.bench.stage import Stage

TAGS, ROUNDS, COUNTERS = 1000, 300, 5
READY_S = 120.0


def events() -> Sequence[Mapping[str, Any]]:
    """A few counters that report once a second."""
    return [
        {
            "name": f"counter-{number}",
            "topic": f"plant/1710/bench/C-{number}/consumption",
            "when": {"counts": {"every_s": 1}},
            "counted": {"quantity": {"tag": f"t{number}", "max_step": "1000000"}},
            "constants": {"unit": "PC"},
        }
        for number in range(COUNTERS)
    ]


async def in_turn(stage: Stage, bare: str, source: Mapping[str, Any], about: Mapping[str, Any]) -> Result:
    """A B A B: the bare client, then the source; the ratio of their changes per second, under the name of the kind."""
    kind = source["kind"]
    theirs, ours = [], []
    for number in range(stage.runs):
        theirs.append(await _measured(stage, bare, about))
        configuration = stage.config(stage.fresh(f"{kind}-{number}"), sources=[source])
        ours.append(await _measured(stage, "tag_source", {**about, "configuration": configuration}))
    ratios = [mine["per_s"] / other["per_s"] for mine, other in zip(ours, theirs, strict=True)]
    details = {"tags": TAGS, "counters": COUNTERS, "ratios": ratios, "bare": theirs, "source": ours}
    return Result(f"{kind}_ratio", median(ratios), details)


def cpu_s_per_10k(side: Mapping[str, Any]) -> float:
    """CPU seconds per 10 000 changes of one run."""
    return float(side["cpu_s"] / side["changes"] * 10_000)


@asynccontextmanager
async def serving(stage: Stage, child: Child) -> AsyncIterator[None]:
    """A program that says that it is ready, and is ended with the block."""

    async def ready() -> bool:
        return child.log.exists() and "ready" in child.log.read_text(encoding="utf-8")

    async with child:
        await child.until(ready, READY_S)
        stage.console.print(f"  the {child.name} is ready")
        yield


async def _measured(stage: Stage, side: str, about: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: str(value) if isinstance(value, Path) else value for key, value in about.items()}
    figures = await stage.side(side, **told)
    each = cpu_s_per_10k(figures)
    stage.console.print(f"  {side}: {figures['per_s']:,.0f} changes/s, {each:.3f} s CPU per 10 000")
    return figures
