"""Will a material run out at its place within the next hours? From quantiles of its use to a probability.

The model gives the quantiles; where it cannot be asked because too little is known, `profile` gives them from the same
hours before. Statistics are floats; the quantities that are posted are not computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isfinite, log
from typing import Final

from agent.features.shortage_forecast import DAY, WEEK

DAMPED: Final = 0.5  # how much of a deviation of the last hours goes on
STEEPEST: Final = 4.0  # no level is so many times what it was
STEP: Final = 0.003  # of the offsets that follow the outcomes, as a share of the mean use: chosen on the energy series
FEWEST: Final = 24  # forecasts of the past from which the spread of errors is taken


def exceeds(quantiles: Sequence[float], values: Sequence[float], limit: float) -> float:
    """The probability that the use is above `limit`. `values` rise; between them the distribution is a straight line.

    Below the lowest value it falls to nothing at no use, above the highest it thins out as it did between the last two.
    Raises ValueError where values do not rise or are no numbers.
    """
    if len(quantiles) != len(values) or not all(map(isfinite, (*values, limit))) or list(values) != sorted(values):
        raise ValueError(f"{list(values)} are not the quantiles {list(quantiles)} of a use; the answer is unfit")
    if limit < values[0]:
        return 1 - quantiles[0] * max(limit, 0.0) / values[0] if values[0] > 0 else 1.0
    if limit >= values[-1]:
        return _tail(quantiles, values, limit)
    above = next(at for at, value in enumerate(values) if limit < value)
    low, high = quantiles[above - 1], quantiles[above]
    share = (limit - values[above - 1]) / (values[above] - values[above - 1])
    return 1 - (low + (high - low) * share)


def _tail(quantiles: Sequence[float], values: Sequence[float], limit: float) -> float:
    beyond, spread = 1 - quantiles[-1], values[-1] - values[-2]
    if spread <= 0:
        return beyond if limit == values[-1] else 0.0
    halves = log((1 - quantiles[-2]) / beyond) / spread
    return beyond * exp(-halves * (limit - values[-1]))


def shortage(quantiles: Sequence[float], values: Sequence[float], stock: float, safety: float) -> float:
    """The probability that less than `safety` is left of `stock`. All three are in one unit."""
    return exceeds(quantiles, values, stock - safety)


def profile(usage: Sequence[float], horizon: int, quantiles: Sequence[float]) -> tuple[float, ...]:
    """Quantiles of the use of the next `horizon` slots from a short history, oldest first.

    The same hours a week ago (a day ago where nothing older is told), moved by half of what the last hours deviate from
    them; spread as the errors that this would have made so far. Raises ValueError where even for that too little is
    told, about two days.
    """
    first = DAY + horizon
    past = range(first, len(usage) - horizon + 1)
    if len(past) < FEWEST:
        raise ValueError(
            f"{len(usage)} quarters of an hour are told, {first + horizon + FEWEST} are needed; watch it yourself"
        )
    errors = sorted(sum(usage[at : at + horizon]) - _expected(usage, at, horizon) for at in past)
    point = _expected(usage, len(usage), horizon)
    return tuple(max(0.0, point + errors[min(int(one * len(errors)), len(errors) - 1)]) for one in quantiles)


def _expected(usage: Sequence[float], at: int, horizon: int) -> float:
    """What `usage` before `at` lets one expect of the `horizon` slots from there on."""
    usual = _before(usage, at, horizon)
    recent, then = sum(usage[at - horizon : at]), _before(usage, at - horizon, horizon)
    if then <= 0 or recent <= 0:
        return usual
    return usual * float(min(max(recent / then, 1 / STEEPEST), STEEPEST) ** DAMPED)


def _before(usage: Sequence[float], at: int, horizon: int) -> float:
    back = WEEK if at >= WEEK else DAY
    return sum(usage[at - back : at - back + horizon])
