"""How far a report is off what is usual at its place, in standard deviations that were learnt there."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from typing import Any, Final, NamedTuple

from agent.detectors import usage
from agent.reconciliation.observed import Used

KNOWN: Final = 15.0  # reports before anything is said


class Off(NamedTuple):
    """A report beside the usual."""

    used: Used
    usual: float  # quantity
    off: float  # logarithm
    width: float  # one standard deviation of it
    known: bool  # whether enough was seen to say so

    @property
    def z(self) -> float:
        """In standard deviations."""
        return self.off / self.width


def key(used: Used) -> str:
    """Reports of one stream: a first report of an order has what setting up takes in it."""
    return "/".join((used.place.material, used.work_center, "first" if used.first else ""))


def together(lot: Sequence[Off]) -> str:
    """The stream of what the reports of a lot say together."""
    return f"together/{lot[0].used.work_center}/{'first' if lot[0].used.first else ''}" if lot else "together//"


def off(used: Used, stream: Any) -> Off | None:
    """Where a report lies; None: there is nothing to compare it with."""
    if not used.expected > 0 or not used.quantity > 0:
        return None
    state = usage.restored(stream)
    if state is None:
        return Off(used, used.expected, log(float(used.quantity) / used.expected), usage.FIRST_GUESS, False)
    ratio, allowance = state.ratio, state.allowance
    usual = used.expected * exp(ratio[1]) + max(0.0, allowance[1])
    width = sqrt(ratio[2] ** 2 + (allowance[2] / usual) ** 2)
    known = ratio[0] + allowance[0] >= KNOWN
    return Off(used, usual, log(float(used.quantity) / usual), width, known)


def learn(used: Used, stream: Any, step: float) -> Any:
    """The stream with this report among those that are usual."""
    return usage.follow(usage.restored(stream), float(used.quantity), used.expected, grain=step / 2)[0]
