"""What will be used at each place within the next hours, and whether it runs short. Later it is held against what came.

Pure. The trained model says it where it can; where too little is known, or it has no answer, the profile does, and that
is said. Quantiles of the model follow its outcomes by adaptive conformal inference, for each place and horizon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol

from pydantic import BaseModel

from agent.errors import ModelUnfit
from agent.features.shortage_forecast import DAY, HISTORY, QUANTILES, SLOT_MINUTES, features, unit
from agent.scores import Features, Forecast
from agent.scoring.recalibration import QuantileOffsets
from agent.scoring.shortage import FEWEST, STEP, profile, shortage
from agent.shortages.used import Seen

HORIZONS: Final = (8, 12)  # slots: two and three hours
PROFILE: Final = "profile"
GAP: Final = 4  # slots without a look: what was used meanwhile is not known so well that it could teach
MOST: Final = 1000  # outcomes that are counted: older ones fade
EVEN: Final = 0.5  # odds
FINEST: Final = 5  # minutes: no moment is known better
MIDDLE: Final = QUANTILES.index(0.5)
_SLOT: Final = timedelta(minutes=SLOT_MINUTES)


class Waiting(BaseModel):
    """A forecast of which the outcome is not known yet: what was told, as shares of `unit`."""

    slot: int
    unit: float
    told: list[float]


class Learnt(BaseModel):
    """What outcomes taught about one model at one place, for one horizon."""

    model: str = ""  # SHA-256 of its file: another one begins anew
    offsets: list[float] = []
    waiting: list[Waiting] = []
    outcomes: int = 0
    below: list[int] = [0] * len(QUANTILES)  # how many of them lay below what was told for each quantile


class Horizon(BaseModel):
    """What is said of the next `slots`. `used` are quantiles in base units; empty: nobody can say, `why` says why."""

    slots: int
    used: list[float] = []
    by: str = ""  # name/version of the model, or PROFILE
    why: str = ""  # why the model did not say it
    short: float | None = None  # probability of less than the safety stock; None: stock or use are not known
    learnt: Learnt = Learnt()


class Outlook(BaseModel):
    """One place, as it was seen at its slot."""

    material: str
    storage_location: str
    unit: str
    stock: float | None
    safety: float
    horizons: list[Horizon]
    earliest_at: datetime | None = None  # less than the safety stock is left: at the 95 % quantile
    likely_at: datetime | None = None  # at the median


class Left(BaseModel):
    """A place of which nothing is forecast."""

    material: str
    storage_location: str
    why: str


class Kept(BaseModel):
    """All that is kept, and all that is shown; `slot` is the first that was forecast."""

    slot: int
    model: str = ""
    stock_as_of: datetime | None = None
    outlooks: list[Outlook] = []
    left_out: list[Left] = []
    told: list[str] = []  # causes that people were told of, and which last


def likely(kept: Kept) -> int:
    """How many places have less than their safety stock within the longest horizon, rather than not."""
    return sum((one.horizons[-1].short or 0.0) >= EVEN for one in kept.outlooks)


class Forecasts(Protocol):
    """A model that tells quantiles."""

    name: str
    digest: str

    def forecast(self, rows: Sequence[Features]) -> Sequence[Forecast | ModelUnfit]:
        """One answer per row."""


def begin_of(slot: int) -> datetime:
    """When a slot begins."""
    return datetime(1970, 1, 1, tzinfo=UTC) + slot * _SLOT


def outlooks(before: Kept | None, seen: Iterable[Seen], model: Forecasts, slot: int, zone: tzinfo) -> Iterator[Outlook]:
    """What is to be expected from `slot` on, after the outcomes of what was told before were learnt: place by place."""
    told = before.outlooks if before is not None else []
    known = {(one.material, one.storage_location, at.slots): at.learnt for one in told for at in one.horizons}
    gap = before is None or not 0 <= slot - before.slot <= GAP
    for one in seen:
        learnt = [
            _learnt(known.get((*one.place, slots), Learnt()), one, slots, slot, model, gap=gap) for slots in HORIZONS
        ]
        yield _outlook(one, learnt, model, slot, zone)


def _learnt(learnt: Learnt, one: Seen, slots: int, slot: int, model: Forecasts, *, gap: bool) -> Learnt:
    """With the outcomes of all whose hours are over."""
    if learnt.model != model.digest:
        return Learnt(model=model.digest) if model.digest else learnt
    if gap:
        return learnt.model_copy(update={"waiting": []})
    offsets, below, count = _offsets(learnt), list(learnt.below), learnt.outcomes
    over = [each for each in learnt.waiting if each.slot + slots <= slot <= each.slot + len(one.usage)]
    for each in over:
        start = len(one.usage) - (slot - each.slot)
        outcome = sum(one.usage[start : start + slots]) / each.unit
        offsets = moved(offsets, each.told, outcome)
        below = [have + (outcome <= value) for have, value in zip(below, each.told, strict=True)]
        count += 1
        if count >= MOST:
            below, count = [have // 2 for have in below], count // 2
    waiting = [each for each in learnt.waiting if each not in over and each.slot < slot]
    kept = [_short(each) for each in offsets.offsets]
    return Learnt(model=learnt.model, offsets=kept, waiting=waiting, outcomes=count, below=below)


def moved(offsets: QuantileOffsets, told: Sequence[float], outcome: float) -> QuantileOffsets:
    """After an outcome. Where nothing was used and nothing was foreseen a quantile is no surprise, and stays.

    Else a line that stands still every night would pull down what is said of its mornings.
    """
    learnt = offsets.learn(told, outcome)
    each = zip(offsets.offsets, learnt.offsets, told, strict=True)
    return replace(learnt, offsets=tuple([old if value == outcome == 0 else new for old, new, value in each]))


def _outlook(one: Seen, learnt: Sequence[Learnt], model: Forecasts, slot: int, zone: tzinfo) -> Outlook:
    answers = _asked(one, model, begin_of(slot).astimezone(zone))
    horizons: list[Horizon] = []
    for slots, answer, taught in zip(HORIZONS, answers, learnt, strict=True):
        used, by, why = _used(one, slots, answer, taught)
        if used and horizons and horizons[-1].used:  # what is used in three hours is no less than in two of them
            used = [max(pair) for pair in zip(used, horizons[-1].used, strict=True)]
        if isinstance(answer, Forecast):
            size = unit(one.usage, slots)
            told = [_short(max(0.0, each)) for each in _offsets(taught).forecast(answer.values)]
            taught = taught.model_copy(update={"waiting": [*taught.waiting, Waiting(slot=slot, unit=size, told=told)]})
        short = shortage(QUANTILES, used, one.stock, one.safety) if used and one.stock is not None else None
        horizons.append(Horizon(slots=slots, used=used, by=by, why=why, short=short, learnt=taught))
    return Outlook(
        material=one.place.material, storage_location=one.place.storage_location, unit=one.unit, stock=one.stock,
        safety=one.safety, horizons=horizons,
        earliest_at=_below_at(one, horizons, -1, slot), likely_at=_below_at(one, horizons, MIDDLE, slot),
    )  # fmt: skip


def _asked(one: Seen, model: Forecasts, now: datetime) -> list[Forecast | str]:
    """The model's answer for each horizon, or why there is none."""
    if len(one.usage) < HISTORY:
        return [f"{_span(len(one.usage))} of use are known, the model needs {_span(HISTORY)}" for _ in HORIZONS]
    rows = [features(one.usage, slots, now) for slots in HORIZONS]
    return [str(answer) if isinstance(answer, ModelUnfit) else answer for answer in model.forecast(rows)]


def _used(one: Seen, slots: int, answer: Forecast | str, learnt: Learnt) -> tuple[list[float], str, str]:
    """Quantiles in the base unit, who says so, and why it is not the model."""
    if isinstance(answer, Forecast):
        size = unit(one.usage, slots)
        return [max(0.0, each) * size for each in _offsets(learnt).forecast(answer.values)], answer.model, ""
    try:
        return list(profile(one.usage, slots, QUANTILES)), PROFILE, answer
    except ValueError:
        needed = DAY + 2 * slots + FEWEST
        return [], "", f"{_span(len(one.usage))} of use are known, {_span(needed)} are needed; watch it yourself"


def _offsets(learnt: Learnt) -> QuantileOffsets:
    return QuantileOffsets(QUANTILES, STEP, tuple(learnt.offsets))


def _below_at(one: Seen, horizons: Sequence[Horizon], quantile: int, slot: int) -> datetime | None:
    """When so much is used that less than the safety stock is left; None: not within the longest horizon."""
    if one.stock is None or not all(each.used for each in horizons):
        return None
    spare, slots, used = one.stock - one.safety, 0, 0.0
    if spare < 0:
        return begin_of(slot)
    for each in horizons:
        more = each.used[quantile] - used
        if each.used[quantile] > spare:
            minutes = (slots + (spare - used) / more * (each.slots - slots)) * SLOT_MINUTES
            return begin_of(slot) + timedelta(minutes=minutes // FINEST * FINEST)
        slots, used = each.slots, each.used[quantile]
    return None


def _span(slots: int) -> str:
    return f"{slots / 4:g} h" if slots < 2 * DAY else f"{slots / DAY:.3g} days"


def _short(value: float) -> float:
    """As many digits as count: hundreds of them are kept of each place."""
    return float(f"{value:.5g}")
