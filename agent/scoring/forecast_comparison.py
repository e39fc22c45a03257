"""Two versions of a model that forecasts, about the same hours of the past and what these used, and the gate.

Pure: what both said comes in. What was used is a share of what its place uses on average in so many hours, so places of
any size count alike. Neighbouring quarters of an hour, and places of one line, are not independent of each other: the
bootstrap draws whole days.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

import numpy as np

from agent.configuration.settings import Promotion
from agent.scoring import paired
from agent.scoring.paired import Difference, Numbers, Share, Speed

FEWEST_DAYS: Final = 7  # a week, for no day of it is like another: fewer are no evidence
HELD: Final = (0.9, 0.95)  # quantiles of which it matters most that no more is used


class Case(NamedTuple):
    """One forecast: one value per quantile of either (None: it had no answer), and what was used."""

    place: str
    day: date  # with which the hours begin, by the plant's calendar
    champion: Sequence[float] | None
    challenger: Sequence[float] | None
    used: float


@dataclass(frozen=True, slots=True)
class Held:
    """The share of forecasts of which no more was used than this quantile says: it should be as large."""

    quantile: float
    share: Share


@dataclass(frozen=True, slots=True)
class OfPlace:
    """One place: how many forecasts of it both gave, and the pinball loss of either."""

    name: str
    forecasts: int
    pinball: Share


@dataclass(frozen=True, slots=True)
class Judged:
    """Both versions beside what was used, where both had an answer."""

    pinball: Difference  # mean over quantiles and forecasts
    held: tuple[Held, ...]
    by_place: tuple[OfPlace, ...]


@dataclass(frozen=True, slots=True)
class ForecastComparison:
    """What both would have said, and who was nearer."""

    forecasts: int
    places: int
    days: int  # with a forecast that both gave
    no_answer: Share  # shares of the forecasts
    judged: Judged | None  # None: too few days
    seen: int  # days that do not count: one of both may have learnt from them
    against: tuple[str, ...]  # why the gate does not let the challenger pass; empty: it does


def compare(
    cases: Sequence[Case], quantiles: Sequence[float], speed: tuple[Speed, Speed], gate: Promotion, *, seen: int = 0
) -> ForecastComparison:
    """All figures. `speed` is the champion's and the challenger's; `seen` is how many days one of them has learnt from.

    Raises ValueError where a version does not tell one value per quantile.
    """
    answered = [one for one in cases if one.champion is not None and one.challenger is not None]
    days = len({one.day for one in answered})
    silent = paired.unanswered([one.champion for one in cases], [one.challenger for one in cases])
    judged = _judged(answered, quantiles) if days >= FEWEST_DAYS else None
    return ForecastComparison(
        len(cases),
        len({one.place for one in cases}),
        days,
        silent,
        judged,
        seen,
        tuple(_against(judged, days, silent, speed[1], gate)),
    )


def pinball(said: Numbers, used: Numbers, quantiles: Sequence[float]) -> Numbers:
    """Of each forecast the mean loss over its quantiles, least where each is what it says it is.

    What is missing of the use costs as much as the quantile says, what is too much as the rest (Koenker and Bassett
    1978, "Regression Quantiles").
    """
    missing, share = used[:, None] - said, np.array(quantiles)
    losses: Numbers = np.maximum(share * missing, (share - 1) * missing).mean(axis=1)
    return losses


def _judged(cases: Sequence[Case], quantiles: Sequence[float]) -> Judged:
    used = np.array([one.used for one in cases])
    told = [np.array([one[part] for one in cases], np.float64) for part in (2, 3)]
    losses = np.array([pinball(said, used, quantiles) for said in told])
    days = np.unique([one.day.toordinal() for one in cases], return_inverse=True)[1]
    by_day = np.array([np.bincount(days, row) for row in losses])
    forecasts = np.bincount(days).astype(np.float64)
    figures = {"pinball": paired.ratio(by_day, np.array([forecasts, forecasts]))}
    held = [
        Held(quantile, Share(*(float((used <= said[:, at]).mean()) for said in told)))
        for at, quantile in enumerate(quantiles)
        if quantile in HELD
    ]
    found = paired.differences(figures, len(forecasts))
    return Judged(found["pinball"], tuple(held), tuple(_by_place(cases, losses)))


def _by_place(cases: Sequence[Case], losses: Numbers) -> Iterator[OfPlace]:
    names, places = np.unique([one.place for one in cases], return_inverse=True)
    counts = np.bincount(places)
    means = [np.bincount(places, row) / counts for row in losses]
    for name, count, champion, challenger in zip(names, counts, *means, strict=True):
        yield OfPlace(str(name), int(count), Share(float(champion), float(challenger)))


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────────────


def _against(judged: Judged | None, days: int, silent: Share, speed: Speed, gate: Promotion) -> Iterator[str]:
    """Every reason not to promote: too little is known, or it is no better, silent or slow.

    How much its quantiles hold is no reason by itself: at work outcomes move them, and the loss knows it.
    """
    yield from paired.too_slow(speed, float(gate.max_p99_ms))
    most = float(gate.max_recall_drop)
    if silent.challenger > silent.champion + most:
        yield (
            f"it has no answer to {silent.challenger:.1%} of the forecasts, the champion to {silent.champion:.1%}; "
            f"{most:.1%} more are allowed"
        )
    if judged is None:
        told = f"{days} {'day' if days == 1 else 'days'}"
        yield (
            f"of {told} that neither has learnt from both forecasts and what was used are known; fewer than "
            f"{FEWEST_DAYS} are no evidence"
        )
        return
    loss = judged.pinball
    if not loss.better:
        how = "is worse beyond chance" if loss.worse else "is not better than the champion's beyond chance"
        yield f"its pinball loss {how}: {loss.challenger:.4g} instead of {loss.champion:.4g}"
