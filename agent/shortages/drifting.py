"""Whether what is asked of the model of shortages still lies as it did, and whether its forecasts hold. Pure.

Rows of one place resemble each other: hours overlap, and a day is much like the next. So a row of each place is kept
every few hours only, a whole week is looked at together, and all rows of one place and day count as one. Training saw
many materials, a plant has its few: it is held against its own first week.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from math import ceil
from typing import Final

from pydantic import BaseModel, TypeAdapter

from agent.configuration.settings import Drift
from agent.features.shortage_forecast import DAY, FEATURES, HISTORY, QUANTILES, WEEK, features
from agent.scoring import drift
from agent.scoring.drift import Row, State, Watched
from agent.scoring.modelfiles import Manifest, Reference
from agent.scoring.outcomes import Held, held
from agent.shortages.outlook import HORIZONS, MIDDLE, PROFILE, Kept, Outlook, begin_of
from agent.shortages.used import Place, Seen

EVERY: Final = 11  # slots: it divides no day, so that all hours come by within a week
TIMES: Final = WEEK // EVERY
LEAST: Final = 55  # of these: a week with less has other days in it than the one before
CALENDAR: Final = frozenset({"sin_day", "cos_day", "weekday", "ends_weekday", "slots"})  # they come as they must
WATCHED: Final = tuple(at for at, name in enumerate(FEATURES) if name not in CALENDAR)
LONGEST: Final = HORIZONS[-1]


class Asked(BaseModel):
    """What was asked at one place. `seq` is the head of the trail at that time; `said` None: there was no answer."""

    place: Place
    slot: int
    seq: int
    inputs: list[float]  # WATCHED
    said: float | None  # the median, as a share of the mean use


ROWS: Final = TypeAdapter(list[Asked])


def due(slot: int) -> bool:
    """Whether rows of this slot are kept."""
    return slot % EVERY == 0


def asked(before: Sequence[Asked], seen: Sequence[Seen], now: Kept, seq: int, zone: tzinfo, most: int) -> list[Asked]:
    """The rows of the last week with those of `now`: of as many places in turn that a week has about `most` rows."""
    told = {(one.material, one.storage_location): one for one in now.outlooks}
    turns = max(1, ceil(len(seen) * TIMES / most))
    new = [
        _asked(one, told[one.place], now.slot, seq, zone)
        for one in seen[now.slot // EVERY % turns :: turns]
        if len(one.usage) >= HISTORY
    ]
    return [one for one in before if now.slot - WEEK <= one.slot < now.slot] + new


def _asked(one: Seen, told: Outlook, slot: int, seq: int, zone: tzinfo) -> Asked:
    row = features(one.usage, LONGEST, begin_of(slot).astimezone(zone))
    longest = told.horizons[-1]
    said = None if longest.by == PROFILE else longest.learnt.waiting[-1].told[MIDDLE]
    return Asked(place=one.place, slot=slot, seq=seq, inputs=[float(f"{row[at]:.5g}") for at in WATCHED], said=said)


def step(
    state: State, rows: Sequence[Asked], now: Kept, model: tuple[Manifest, Reference], settings: Drift, at: str
) -> State:
    """The state after a whole week of rows behind `state.after`, and after what came of what was forecast until now."""
    week = range(now.slot - WEEK, now.slot)
    rows = [one for one in rows if one.slot in week and one.seq > state.after and len(one.inputs) == len(WATCHED)]
    if len({one.slot for one in rows}) >= LEAST:
        manifest, reference = model
        inputs = manifest.model_copy(update={"features": tuple(manifest.features[one] for one in WATCHED)})
        alike = len(rows) / len({(one.place, week.index(one.slot) // DAY) for one in rows})
        whole = settings.model_copy(update={"rows": len(rows)})
        told = [Row(one.seq, tuple(one.inputs), one.said) for one in rows]
        state = drift.step(state, told, Watched(inputs, reference, alike, unlike=True), whole, 0.0, at)
    return drift.holding(state, coverage(now, state.sha256), at)


def coverage(now: Kept, sha256: str) -> Held:
    """How often no more was used in the longest horizon than this very version said at most."""
    learnt = [one.horizons[-1].learnt for one in now.outlooks if one.horizons[-1].learnt.model == sha256]
    inside, outcomes = sum(one.below[-1] for one in learnt), sum(one.outcomes for one in learnt)
    return held(inside, outcomes, QUANTILES[-1], alike=LONGEST)  # each shares its hours with the next ones
