"""`python -m tests.bench`: runs the measurements, prints a table, writes build/bench.json."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
from pathlib import Path

from rich.console import Console

from tests.bench.disk import fdatasync_per_s
from tests.bench.results import GOALS, Result, show, write
from tests.bench.stage import ROOT, Stage, staged

MEASUREMENTS = (
    "intake",
    "whole_path",
    "dispatch",
    "latency",
    "feasibility",
    "backlog",
    "start",
    "opcua",
    "outage",
    "sparkplug",
    "models",
    "board",
    "idle",
)


async def main(options: argparse.Namespace) -> None:
    """Measure; whether a goal is met is said, not judged: a busy machine is no defect."""
    console = Console()
    runs = options.runs or (1 if options.quick else 3)
    results: list[Result] = []
    async with staged(console, runs=runs, quick=options.quick) as stage:
        _introduce(stage)
        for name in options.only or MEASUREMENTS:
            results += await _measured(stage, name)
            write(results, options.output)
    show(results, console)
    console.print(f"written to {options.output}")


def _introduce(stage: Stage) -> None:
    """Print what the numbers stand on: the machine, the disk and the broker's configuration."""
    stage.console.print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {stage.runs} runs each")
    stage.console.print("the broker's configuration:", style="bold")
    text = (stage.broker.folder / "mosquitto.conf").read_text(encoding="utf-8")
    stage.console.print(text, markup=False, highlight=False)


async def _measured(stage: Stage, name: str) -> list[Result]:
    disk = fdatasync_per_s(stage.folder)
    stage.console.print(f"{name}: fdatasync {disk:,.0f}/s", style="bold")
    found: list[Result] = await importlib.import_module(f"tests.bench.{name}").measure(stage)
    about = {"runs": stage.runs, "quick": stage.quick, "fdatasync_per_s": disk, "load": os.getloadavg()[0]}
    return [Result(one.name, one.value, {**about, **one.details}) for one in found]


def _name(given: str) -> str:
    """A measurement, or one of the names it measures."""
    owners = {name: module for module in MEASUREMENTS for name in names(module)}
    if given in MEASUREMENTS:
        return given
    if given in owners:
        return owners[given]
    raise argparse.ArgumentTypeError(f"no {given}; there are {', '.join((*MEASUREMENTS, *GOALS))}")


def names(module: str) -> tuple[str, ...]:
    """What a measurement measures."""
    found: tuple[str, ...] = importlib.import_module(f"tests.bench.{module}").NAMES
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", type=_name, action="append", metavar="NAME", help="a measurement or a name; repeat")
    parser.add_argument("--quick", action="store_true", help="one run of a fifth; to see whether it works")
    parser.add_argument("--runs", type=int, metavar="N", help="runs of each side (3)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(_options()))
