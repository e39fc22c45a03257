"""A measured figure beside its goal: what every part of the evaluation returns, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Figure(NamedTuple):
    """One figure. `spread` is one standard deviation over folds, seeds or runs, in the units of `value`.

    `goal` is None where a figure is only told; `at_least` says on which side of it is good; `slack` is how far on the
    other side still counts as met: one fold's standard deviation where the protocol says so, else nothing.
    """

    name: str
    value: float
    goal: float | None = None
    at_least: bool = True
    spread: float | None = None
    protocol: str = ""
    slack: float = 0.0

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal. A value that is no number reaches nothing."""
        if self.goal is None:
            return None
        short = self.goal - self.value if self.at_least else self.value - self.goal
        return short <= self.slack

    def record(self) -> dict[str, Any]:
        """As it stands in ``build/evaluate.json``."""
        told = {"name": self.name, "value": round(self.value, 5), "goal": self.goal, "met": self.met}
        spread = None if self.spread is None else round(self.spread, 5)
        return {**told, "spread": spread, "protocol": self.protocol}


def dataset(data: Path | None, name: str) -> Path | None:
    """The folder of one data set below `data`, or None where it is not there."""
    folder = data / name if data else None
    return folder if folder and folder.is_dir() else None


def table(figures: Sequence[Figure]) -> str:
    """The figures as lines for people."""
    width = max((len(one.name) for one in figures), default=0)
    return "\n".join(_line(one, width) for one in figures)


def _line(one: Figure, width: int) -> str:
    spread = f" ± {one.spread:.3f}" if one.spread is not None else ""
    goal = "" if one.goal is None else f"{'≥' if one.at_least else '≤'} {one.goal:g}"
    verdict = {True: "met", False: "NOT met", None: ""}[one.met]
    return f"{one.name:{width}}  {one.value:8.4f}{spread:10}  {goal:9} {verdict:8} {one.protocol}".rstrip()
