"""Does what lies there fall away from what should? Finds a step and a drift in a residual that should stay level.

The mean of the last readings, without their extremes, is held against the mean of as many before, over a short and a
long span. How far the two differ by chance is learnt at each place. Where they differ by more, a step and a bend are
fitted to the readings around, and the one that leaves less unexplained says what it was and when it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from statistics import fmean, median
from typing import Final, NamedTuple

from agent.detectors import level
from agent.detectors.level import Level

SPANS: Final = (12, 48)  # readings
WARM_UP: Final = 72.0  # contrasts of a span before anything is said
FAR: Final = (5.0, 5.0)  # standard deviations of a contrast, by span
RIPE: Final = 12  # readings to wait behind the first that is far off: a step must be seen from both sides
BLIP: Final = 5  # readings: what is back sooner was a delivery that is booked later
ODD: Final = 6.0  # standard deviations of a reading
KEPT: Final = 2 * SPANS[1] + 2 * RIPE
CUT: Final = 0.2  # of the readings of a mean, at each end
LEAST_SPREAD: Final = 1e-6
CERTAIN: Final = 3.5  # standard deviations of what was fitted: less is nothing
LOST: Final = 1.7  # standard deviations of one reading: less cannot be told from what scales leave open
GAINED: Final = 2.5  # the same for what is there too much
STOPPED: Final = 0.5  # of a drift that was told: when less is left, it has stopped
BEND_BETTER: Final = 0.97  # of what a step leaves unexplained: a bend must leave less

Reading = tuple[float, float]
"""Seconds of the epoch, and the residual."""


UNKNOWN: Final[Level] = (0.0, 0.0, 0.0)


class Balance(NamedTuple):
    """The state of one place."""

    readings: Sequence[Reading] = ()
    raw: Sequence[Reading] = ()  # the newest, before blips are taken out
    contrasts: tuple[Level, Level] = (UNKNOWN, UNKNOWN)
    since: int = 0  # readings since a contrast was far off; 0: none is
    taken: float = 0.0  # of the residual, up to `bent`: drift that was told already
    slope: float = 0.0  # per second, since then
    bent: float = 0.0


class Change(NamedTuple):
    """What was found. `by` is the size of a step, or the drift per second."""

    at: float  # seconds of the epoch, between the last reading before it and the first behind it
    width: float  # seconds between the two
    by: float
    error: float  # one standard deviation of it
    drift: bool
    until: float  # the newest reading


def follow(balance: Balance, at: float, residual: float) -> tuple[Balance, Change | None]:
    """The state after one reading, and what it completes."""
    raw = [*balance.raw, (at, residual)][-2 * BLIP - 1 :]
    balance = balance._replace(raw=raw)
    if len(raw) <= BLIP:
        return balance, None
    middle = raw[-BLIP - 1]
    noise = spread(balance.readings)
    usual = median(value for _, value in raw)
    value = middle[1] if abs(middle[1] - usual) <= ODD * noise or not noise else usual
    return _followed(balance, middle[0], value, noise)


def _followed(balance: Balance, at: float, residual: float, noise: float) -> tuple[Balance, Change | None]:
    residual -= balance.taken + balance.slope * (at - balance.bent)
    readings = [*balance.readings, (at, residual)][-KEPT:]
    far, contrasts = False, [*balance.contrasts]
    for number, span in enumerate(SPANS):
        found = contrast(readings, span)
        if found is None:
            continue
        known, least = contrasts[number], noise * sqrt(2 / span)
        if known[0] >= WARM_UP and abs(found - known[1]) > FAR[number] * max(known[2], least):
            far = True
        elif not balance.since:
            contrasts[number] = level.learn(known, found - known[1], max(known[2], least), 1.0, LEAST_SPREAD)
    since = balance.since + (far or balance.since > 0)
    balance = balance._replace(readings=readings, contrasts=(contrasts[0], contrasts[1]), since=since)
    return _told(balance, noise) if since > RIPE else (balance, None)


def spread(readings: Sequence[Reading]) -> float:
    """The standard deviation of one reading, from how far it is off the one before."""
    apart = sorted(abs(one[1] - other[1]) for one, other in pairwise(readings))
    return apart[len(apart) // 2] / 0.6745 / sqrt(2) if len(apart) >= 2 * SPANS[0] else 0.0


def contrast(readings: Sequence[Reading], span: int) -> float | None:
    """The newest readings beside as many before, each as a mean without extremes; None: too few."""
    if len(readings) < 2 * span:
        return None
    values = [value for _, value in readings[-2 * span :]]
    return _mean(values[span:]) - _mean(values[:span])


def _mean(values: Sequence[float]) -> float:
    cut = int(CUT * len(values))
    return fmean(sorted(values)[cut : len(values) - cut])


def _told(balance: Balance, noise: float) -> tuple[Balance, Change | None]:
    """Fit a step and a bend to what was seen, say which it was, and go on as if it had not been."""
    readings = list(balance.readings)
    places = range(max(2, len(readings) - KEPT), len(readings) - 2)
    step = min((_step(readings, at) for at in places), key=lambda one: one[0])
    bend = min((_bend(readings, at) for at in places), key=lambda one: one[0])
    drift = bend[0] < BEND_BETTER * step[0]
    _, at, by = bend if drift else step
    before, behind, newest = readings[at - 1][0], readings[at][0], readings[-1][0]
    count = len(readings) - at
    noise = max(noise, LEAST_SPREAD)
    error = noise * sqrt(1 / at + 1 / count)
    if drift:  # of the slope of a line through `count` readings
        error = sqrt(12 / count) * noise / max(1.0, newest - before)
    fresh = balance._replace(since=0)
    size = abs(by) * (newest - before if drift else 1.0)
    if abs(by) < CERTAIN * error or size < (GAINED if by > 0 else LOST) * noise:
        return fresh, None
    change = Change(before, behind - before, by, error, drift, newest)
    if not drift:
        shifted = [(when, value + (by if number < at else 0.0)) for number, (when, value) in enumerate(readings)]
        return fresh._replace(readings=shifted), change
    stopped = abs(balance.slope + by) < STOPPED * abs(balance.slope)
    bent = fresh._replace(
        readings=[(when, value - by * max(0.0, when - before)) for when, value in readings],
        taken=balance.taken + balance.slope * (before - balance.bent),
        slope=balance.slope + by,
        bent=before,
    )
    return bent, None if stopped else change


def _step(readings: Sequence[Reading], at: int) -> tuple[float, int, float]:
    """What a step before this reading leaves unexplained, and its size."""
    before = [value for _, value in readings[:at]]
    behind = [value for _, value in readings[at:]]
    low, high = fmean(before), fmean(behind)
    rest = sum((value - low) ** 2 for value in before) + sum((value - high) ** 2 for value in behind)
    return rest, at, high - low


def _bend(readings: Sequence[Reading], at: int) -> tuple[float, int, float]:
    """The same for a drift that begins with the reading before it."""
    start = readings[at - 1][0]
    times = [max(0.0, when - start) for when, _ in readings]
    values = [value for _, value in readings]
    mean_t, mean_v = fmean(times), fmean(values)
    spread = sum((time - mean_t) ** 2 for time in times)
    slope = sum((time - mean_t) * (value - mean_v) for time, value in zip(times, values, strict=True)) / spread
    rest = sum((value - mean_v - slope * (time - mean_t)) ** 2 for time, value in zip(times, values, strict=True))
    return rest, at, slope
