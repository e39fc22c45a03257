"""How effective work centres are: the OEE that a tag tells, where it has been lately and where it is going. Pure.

The streaming state keeps, for each work centre, an exponentially weighted mean of what the looks of the last hours saw.
It needs no history, and a steady fall lies as far below it as it falls within `WINDOW`: that is the trend.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from math import exp
from typing import Any, Final, NamedTuple

from agent.configuration.settings import LiveKind
from agent.facts import Facts
from agent.masterdata.entities import Order
from agent.workflows.constraints import Limits, Looked, live, open_operations

WINDOW: Final = timedelta(hours=4)  # the mean forgets like this; a memory that is older says nothing of now
STEP: Final = timedelta(minutes=1)  # looks that are closer together are one: a state is written once a minute
LEAST: Final = timedelta(minutes=30)  # what was not seen for so long is no trend
NOISE: Final = 0.05  # less than this is no fall
Memory = Mapping[str, Mapping[str, Any]]
"""Work centre → `mean`, 0 to 1; `at` and `since`, when it was last and first looked at (ISO 8601)."""


class Oee(NamedTuple):
    """One work centre: `now` as the tag tells it, `mean` of the `hours` before, `expected` while the order is made."""

    work_center: str
    now: float
    mean: float
    hours: float
    expected: float

    @property
    def said(self) -> str:
        """The sentence about a fall; empty: it does not fall."""
        if self.expected >= self.now:
            return ""
        return (
            f"OEE of {self.work_center} fell from {self.mean:.2f}, its mean of the last {self.hours:.1f} h, "
            f"to {self.now:.2f}; {self.expected:.2f} is expected"
        )


def told(order: Order, facts: Facts, limits: Limits, looked: list[Looked]) -> dict[str, float]:
    """Work centre of its route → OEE, 0 to 1, where a tag tells one that is good and fresh."""
    found: dict[str, float] = {}
    for place in dict.fromkeys(one.work_center for one in open_operations(order)):
        value = live(LiveKind.OEE, place, facts, limits, looked)
        if isinstance(value, int | Decimal):
            found[place] = float(value)
    return found


def expected(now: Mapping[str, float], memory: Memory, at: datetime, due: datetime | None) -> list[Oee]:
    """What it will be until the order is due: a fall goes on for at most as much again, and to no less than half.

    A rise is not expected to go on: that would be a promise.
    """
    ahead = min(1.0, max(0.0, (due - at) / WINDOW)) if due is not None else 1.0
    found = []
    for place, value in now.items():
        known = memory.get(place)
        if known is None or _forgotten(known, at):
            found.append(Oee(place, value, value, 0.0, value))
            continue
        mean = float(known["mean"])
        seen = max(timedelta(0), at - datetime.fromisoformat(known["since"]))
        fall = mean - value
        then = max(value - fall * ahead, value / 2) if fall >= NOISE and seen >= LEAST else value
        found.append(Oee(place, value, mean, min(seen, WINDOW) / timedelta(hours=1), then))
    return found


def remembered(now: Mapping[str, float], memory: Memory, at: datetime) -> Memory:
    """The memory after this look; the very same where nothing is new."""
    changed: dict[str, Mapping[str, Any]] = {}
    for place, value in now.items():
        known = memory.get(place)
        if known is None or _forgotten(known, at):
            changed[place] = {"mean": value, "at": at.isoformat(), "since": at.isoformat()}
            continue
        passed = at - datetime.fromisoformat(known["at"])
        if passed >= STEP:
            mean = value + (known["mean"] - value) * exp(-passed / WINDOW)
            changed[place] = {"mean": round(mean, 6), "at": at.isoformat(), "since": known["since"]}
    return {**memory, **changed} if changed else memory


def _forgotten(known: Mapping[str, Any], at: datetime) -> bool:
    return at - datetime.fromisoformat(known["at"]) > WINDOW
