"""How late an answer may be: learnt from how late answers were, so that what only waits is not missed."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

SHORTEST: Final = timedelta(hours=1)
LONGEST: Final = timedelta(hours=72)
AT_FIRST: Final = timedelta(hours=24)  # until enough was seen
ENOUGH: Final = 200
FADING: Final = 0.9998  # of the latest answer that is remembered, with every answer behind it
TIMES: Final = 1.5  # of it: then an answer comes no more

Late = tuple[int, float]
"""Answers, and how many seconds late the latest of them was, fading."""

NOTHING: Final[Late] = (0, 0.0)


def learn(late: Late, by: timedelta) -> Late:
    """The same with this answer among them."""
    count, latest = late
    return count + 1, max(by.total_seconds(), latest * FADING)


def wait(late: Late) -> timedelta:
    """How long to wait for an answer."""
    count, latest = late
    if count < ENOUGH:
        return AT_FIRST
    return min(max(timedelta(seconds=TIMES * latest), SHORTEST), LONGEST)
