"""What was measured: a name, a value and its goal; as a table for people and as build/bench.json."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Goal:
    """A least or a largest value, or both; `beyond` says that the bound itself is not met."""

    least: float | None = None
    most: float | None = None
    beyond: bool = False

    def met(self, value: float) -> bool:
        """Whether a value is inside; NaN never is."""
        if self.beyond:
            return (self.least is None or value > self.least) and (self.most is None or value < self.most)
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        strict = "" if self.beyond else "="
        least = [f">{strict} {self.least:g}"] if self.least is not None else []
        most = [f"<{strict} {self.most:g}"] if self.most is not None else []
        return ", ".join(least + most)


GOALS: Mapping[str, tuple[Goal, str]] = {
    "intake_ratio": (Goal(least=0.75), "x"),
    "whole_path_ratio": (Goal(least=0.4), "x"),
    "cpu_s_per_10k": (Goal(most=1.0), "s"),
    "dispatch_ratio": (Goal(least=0.7), "x"),
    "decision_p50_over_floor": (Goal(most=3.0), "x"),
    "decision_p99_over_floor": (Goal(most=3.0), "x"),
    "feasibility_p99_over_floor": (Goal(most=3.0), "x"),
    "backlog_rss_growth_mb": (Goal(most=50.0, beyond=True), "MB"),
    "backlog_claim_ratio": (Goal(least=0.8333, most=1.2), "x"),
    "ready_s_empty": (Goal(most=3.0, beyond=True), "s"),
    "ready_s_million": (Goal(most=10.0, beyond=True), "s"),
    "opcua_ratio": (Goal(least=0.5), "x"),
    "opcua_cpu_s_per_10k": (Goal(most=0.5), "s"),
    "opcua_subscribe_20k_s": (Goal(most=60.0, beyond=True), "s"),
    "opcua_outage_s": (Goal(most=15.0), "s"),
    "sparkplug_ratio": (Goal(least=0.5), "x"),
    "model_score_us": (Goal(most=50.0, beyond=True), "µs"),
    "model_score_ratio": (Goal(least=25.0), "x"),
    "model_load_ms": (Goal(most=100.0, beyond=True), "ms"),
    "models_rss_mb": (Goal(most=120.0, beyond=True), "MB"),
    "board_poll_ms": (Goal(most=100.0, beyond=True), "ms"),
    "idle_rss_mb": (Goal(most=150.0, beyond=True), "MB"),
}
"""Every name that is measured, its goal and its unit."""


@dataclass(frozen=True, slots=True)
class Result:
    """One measured value; `details` is what it was computed from."""

    name: str
    value: float
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The entry of bench.json."""
        goal, unit = GOALS[self.name]
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": unit,
            "goal": str(goal),
            "met": goal.met(self.value),
            "details": self.details,
        }


def median(values: Iterable[float]) -> float:
    """The median; a single one is itself."""
    return float(statistics.median(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of 100 do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * percent // 100) - 1))]


def write(results: Sequence[Result], path: Path) -> None:
    """Write bench.json; what an earlier run measured under other names stays in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    entries = {one["name"]: one for one in kept} | {one.name: one.as_json() for one in results}
    ordered = [entries[name] for name in GOALS if name in entries]
    path.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def show(results: Sequence[Result], console: Console) -> None:
    """Print the table."""
    table = Table(title="Measured")
    for column in ("name", "value", "unit", "goal", "met"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for one in map(Result.as_json, results):
        met = "[green]yes[/]" if one["met"] else "[red]no[/]"
        table.add_row(one["name"], f"{one['value']:.3f}", one["unit"], one["goal"], met)
    console.print(table)
