"""Features of the usage of one material at one place over the next hours: recent use, the same hours before, the time.

Pure, the same in training and in serving. Usage is told in slots of a quarter of an hour, oldest first, in any unit:
all features are shares of the mean use of a slot over the weeks that are told, so one model serves every material.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import cos, inf, pi, sin
from typing import Final

SLOT_MINUTES: Final = 15
DAY: Final = 24 * 60 // SLOT_MINUTES
WEEK: Final = 7 * DAY
HISTORY: Final = 2 * WEEK  # slots that must be told; with fewer the profile forecasts

FEATURES: Final = (
    "last",
    "before_last",
    "two_before_last",
    "three_before_last",
    "hour",  # mean of the last hour
    "hour_before",
    "horizon",  # mean over as long as is forecast
    "quarter_day",
    "day",
    "day_ahead",  # mean of the hours to come, as they were a day ago
    "week_ahead",
    "two_weeks_ahead",
    "week_past",  # the last hour, as it was a week ago
    "day_past",
    "week_next_hour",
    "week_day",  # the day that ended now, a week ago
    "share_idle",  # of the last day, below a tenth of the mean
    "sin_day",
    "cos_day",
    "weekday",
    "ends_weekday",  # of the last slot that is forecast
    "slots",  # that are forecast
)
QUANTILES: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # of the use of all of them, over `unit`


def unit(usage: Sequence[float], horizon: int) -> float:
    """What `horizon` slots use on average of HISTORY: the model's answers are shares of it."""
    return sum(usage[-HISTORY:]) / HISTORY * horizon


def features(usage: Sequence[float], horizon: int, now: datetime) -> tuple[float, ...]:
    """The row in the order of FEATURES. `horizon` counts slots, `now` is the plant's local time after the last slot.

    Raises ValueError where less than HISTORY is told, a use is negative or no number, or nothing was used at all.
    """
    if not 1 <= horizon <= DAY:
        raise ValueError(f"{horizon} slots cannot be forecast, 1 to {DAY} can")
    if len(usage) < HISTORY:
        raise ValueError(f"{len(usage)} quarters of an hour are told, {HISTORY} are needed; forecast by the profile")
    told = usage[-HISTORY:]
    mean_slot = unit(told, 1)
    if not 0 < mean_slot < inf or min(told) < 0:
        raise ValueError("use must not be negative, and not zero all the time; look at what is counted")
    hour = 60 // SLOT_MINUTES

    def mean(start: int, length: int) -> float:
        return sum(told[len(told) + start : len(told) + start + length]) / length / mean_slot

    day = told[-DAY:]
    minutes = now.hour * 60 + now.minute
    turn = 2 * pi * minutes / (24 * 60)
    later = (now.weekday() + (minutes + (horizon - 1) * SLOT_MINUTES) // (24 * 60)) % 7
    return (
        mean(-1, 1),
        mean(-2, 1),
        mean(-3, 1),
        mean(-4, 1),
        mean(-hour, hour),
        mean(-2 * hour, hour),
        mean(-horizon, horizon),
        mean(-DAY // 4, DAY // 4),
        mean(-DAY, DAY),
        mean(-DAY, horizon),
        mean(-WEEK, horizon),
        mean(-2 * WEEK, horizon),
        mean(-WEEK - hour, hour),
        mean(-DAY - hour, hour),
        mean(-WEEK, hour),
        mean(-WEEK - DAY, DAY),
        sum(one < 0.1 * mean_slot for one in day) / DAY,
        sin(turn),
        cos(turn),
        float(now.weekday()),
        float(later),
        float(horizon),
    )
