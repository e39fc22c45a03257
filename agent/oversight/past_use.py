"""Two versions of the model of shortages on what this plant used: the forecasts of its last weeks, made again by both.

All that a forecast looks at is in the store, so none has to be asked in shadow. Both are taken as they answer, before
outcomes move their quantiles: so a version begins that is promoted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from itertools import accumulate
from typing import Final, NamedTuple

import apsw

from agent.configuration.settings import Promotion
from agent.errors import ModelUnfit
from agent.facts import Facts
from agent.features.shortage_forecast import DAY, FEATURES, HISTORY, QUANTILES, features, unit
from agent.oversight import contest
from agent.scores import Features
from agent.scoring import forecast_comparison
from agent.scoring.forecast_comparison import Case, ForecastComparison
from agent.scoring.inference import Model
from agent.scoring.modelfiles import Manifest
from agent.scoring.paired import Speed
from agent.shortages.outlook import HORIZONS, begin_of
from agent.shortages.used import OFTEN, Seen, Used
from agent.store import issues
from agent.store.encode import to_us

KIND: Final = "quantiles"
DAYS: Final = 28  # the latest, of which forecasts are made again
EVERY: Final = 5  # slots from one forecast of a place to the next: an odd number comes round to every time of the day
MOST: Final = 10_000  # forecasts: of many places there are fewer of each
BATCH: Final = 64  # rows of one run


@dataclass(frozen=True, slots=True)
class Past:
    """What the past is looked at with: the plant as it is known today, until when, and how far the store goes back."""

    facts: Facts
    now: datetime
    retention_days: int


class Row(NamedTuple):
    """A forecast that can be judged: what it is made of, and what was used as a share of the mean."""

    place: str
    slot: int  # the first that is forecast
    features: Features
    used: float


def held(
    connection: apsw.Connection, champion: Model, challenger: Model, gate: Promotion, past: Past
) -> ForecastComparison:
    """Compare two versions, loaded apart. Raises ModelUnfit where one of both is no model of shortages."""
    for model in (champion, challenger):
        _check(model.manifest)
    zone = past.facts.plant.zone
    until = to_us(past.now) // issues.SLOT_US
    learnt_to = max(contest.learnt_to(champion), contest.learnt_to(challenger)) // issues.SLOT_US
    known = rows(used(connection, past, until), until, zone)
    fresh = [one for one in known if one.slot > learnt_to]
    each = zip(fresh, _asked(champion, fresh), _asked(challenger, fresh), strict=True)
    cases = [Case(row.place, _day(row.slot, zone), one, other, row.used) for row, one, other in each]
    seen = {_day(one.slot, zone) for one in known if one.slot <= learnt_to}
    speed = _speed(champion, fresh), _speed(challenger, fresh)
    return forecast_comparison.compare(cases, QUANTILES, speed, gate, seen=len(seen))


def _check(manifest: Manifest) -> None:
    """Raises ModelUnfit."""
    takes = tuple(one.name for one in manifest.features)
    if (manifest.kind, takes, manifest.quantiles) != (KIND, FEATURES, QUANTILES):
        raise ModelUnfit(
            f"{manifest.name}/{manifest.version} does not take and tell what forecasts of shortages do: it cannot be "
            "compared on what was used here; train it with this version of the agent"
        )


def used(connection: apsw.Connection, past: Past, until: int) -> list[Seen]:
    """What the store knows of each place before the slot `until`, read in pieces."""
    begun = issues.begun(connection)
    first = max(until - HISTORY - DAYS * DAY, until - past.retention_days * DAY, until if begun is None else begun)
    found, after, last = Used(), issues.before(connection, first), issues.last(connection)
    while after < last:
        piece = min(after + issues.PIECE, last)
        found.add(issues.between(connection, after, piece, first))
        after = piece
    found.forget(before=first, since=until)
    return found.seen(past.facts, (), first=first, until=until)[0]


def rows(seen: Sequence[Seen], until: int, zone: tzinfo) -> list[Row]:
    """The forecasts of these places of which all hours are over at the slot `until`, at the times that the agent asks.

    A place is left out while it was used too seldom in the two weeks before.
    """
    total = sum(max(0, len(one.usage) - HISTORY) for one in seen) * len(HORIZONS)
    step = max(EVERY, -(-total // MOST)) | 1
    return [row for one in seen for row in _rows(one, until, step, zone)]


def _rows(one: Seen, until: int, step: int, zone: tzinfo) -> Iterator[Row]:
    first, place = until - len(one.usage), " at ".join(filter(None, one.place))
    often = list(accumulate((used > 0 for used in one.usage), initial=0))
    for at in range(HISTORY, len(one.usage) - max(HORIZONS) + 1, step):
        if often[at] - often[at - HISTORY] < OFTEN:
            continue
        told = one.usage[at - HISTORY : at]
        for slots in HORIZONS:
            row = features(told, slots, begin_of(first + at).astimezone(zone))
            yield Row(place, first + at, row, sum(one.usage[at : at + slots]) / unit(told, slots))


def _day(slot: int, zone: tzinfo) -> date:
    return begin_of(slot).astimezone(zone).date()


def _asked(model: Model, known: Sequence[Row]) -> Iterator[tuple[float, ...] | None]:
    most = min(BATCH, model.proven)
    for at in range(0, len(known), most):
        for answer in model.forecast([one.features for one in known[at : at + most]]):
            yield None if isinstance(answer, ModelUnfit) else answer.values


def _speed(model: Model, known: Sequence[Row]) -> Speed:
    return contest.speed(lambda: model.forecast([known[0].features])) if known else Speed(0.0, 0.0)
