"""What a count of a place would be worth: the money that its books are probably off by, less what counting costs.

What the books may be off by grows with what moved there since somebody counted: each report and booking adds its noise,
and what was found and is not put right adds its size.
"""

from __future__ import annotations

from datetime import datetime
from math import pi, sqrt
from typing import Final, NamedTuple

from pydantic import BaseModel

from agent.reconciliation.observed import Place

UNKNOWN_SHARE: Final = 0.02  # of what moves, where no scale is known yet
DAY_SHARE: Final = 0.0005  # of what lies there, in a day: damage, loss, what nobody reports


class Moved(BaseModel):
    """What moved at a place since it was counted."""

    since: datetime
    counted: bool = False  # else: since it was first seen
    quantity: float = 0.0
    variance: float = 0.0
    doubt: float = 0.0  # of what was found since


class Worth(NamedTuple):
    """One line of the list of what to count."""

    place: Place
    in_books: float
    off: float  # by so much the books are probably off
    value: float  # of counting it: money
    since: datetime
    counted: bool
    moved: float
    doubt: float


def worth(
    place: Place, moved: Moved, in_books: float, price: float, costs: float, now: datetime
) -> Worth:  # fmt: skip
    """What counting this place is worth now."""
    days = max(0.0, (now - moved.since).total_seconds() / 86400)
    slow = DAY_SHARE * abs(in_books) * sqrt(days)
    off = sqrt(2 / pi * (moved.variance + slow**2)) + abs(moved.doubt)
    return Worth(
        place, in_books, off, off * price - costs, moved.since, moved.counted, moved.quantity, moved.doubt
    )  # fmt: skip


def ranked(lines: list[Worth]) -> list[Worth]:
    """The most valuable first."""
    return sorted(lines, key=lambda one: (-one.value, one.place))
