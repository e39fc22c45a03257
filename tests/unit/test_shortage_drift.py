"""Drift of the model of shortages: a plant that goes on as it did is no alarm, another rhythm and misses are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from agent.configuration.settings import Drift
from agent.features.shortage_forecast import DAY, FEATURES, HISTORY, QUANTILES, WEEK
from agent.scoring import registry
from agent.scoring.drift import Level, State, advice, shown
from agent.scoring.inference import Model
from agent.scoring.modelfiles import Manifest, Reference
from agent.shortages.drifting import EVERY, LEAST, TIMES, WATCHED, Asked, asked, coverage, due, step
from agent.shortages.outlook import PROFILE, Horizon, Kept, Learnt, Outlook, Waiting
from agent.shortages.used import Place, Seen
from models.shortage_forecast.simulate import usage

ROOT = Path(__file__).parents[2]
MONDAY = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) // 900
SHA = "a" * 64
AT = datetime(2026, 2, 20, tzinfo=UTC)
ROWS = Drift().rows
WEEKS, CHANGE = 7, 5  # of use, and when the rhythm changes


@pytest.fixture(scope="module")
def files() -> tuple[Manifest, Reference]:
    folder, keys = registry.champion(ROOT / "models/shortage_forecast"), ROOT / "edge_config/trust/models"
    with closing(Model.load(folder, registry.trusted(keys), FEATURES)) as one:
        return one.manifest, one.reference


def told(seen: Seen, slot: int, said: float | None = 1.0, learnt: Learnt | None = None) -> Outlook:
    """As the model (or, where it has no answer, the profile) says it."""
    waiting = [Waiting(slot=slot, unit=1.0, told=[said or 0.0] * len(QUANTILES))]
    last = Horizon(slots=12, by=PROFILE if said is None else "m/1", learnt=learnt or Learnt(model=SHA, waiting=waiting))
    return Outlook(
        material=seen.place.material, storage_location=seen.place.storage_location, unit="KGM", stock=None, safety=0,
        horizons=[last, last],
    )  # fmt: skip


def now_(slot: int, seen: Sequence[Seen], said: float | None = 1.0) -> Kept:
    return Kept(slot=slot, model="m/1", outlooks=[told(one, slot, said) for one in seen])


def seen_at(plant: Sequence[Sequence[float]], at: int) -> list[Seen]:
    return [
        Seen(Place(f"M{n}", "171A"), "KGM", one[max(0, at - HISTORY) : at], None, 0.0) for n, one in enumerate(plant)
    ]


def followed(plant: Sequence[Sequence[float]], files: tuple[Manifest, Reference]) -> list[State]:
    """Where it stands after each day, since the model can be asked."""
    rows: list[Asked] = []
    states = [State(sha256=SHA)]
    for at in range(HISTORY, len(plant[0])):
        slot = MONDAY + at
        if due(slot):
            seen = seen_at(plant, at)
            rows = asked(rows, seen, now_(slot, seen), at, UTC, ROWS)
        if at % DAY == 0:
            states.append(step(states[-1], rows, now_(slot, []), files, Drift(), AT.isoformat()))
    return states


@pytest.mark.parametrize("places", [1, 3])
def test_another_rhythm_is_an_alarm_and_the_usual_one_is_none(files, places):
    """As it was for weeks nothing is told; told of at the end of each shift only, it is an alarm within a week."""
    plant = [usage(3 + n, WEEKS) for n in range(places)]
    usual = followed(plant, files)
    assert {one.level for one in usual} == {Level.LEARNING, Level.GREEN}
    assert usual[-1].before is not None  # its own first week
    late = [[*one[: CHANGE * WEEK], *in_shifts(one[CHANGE * WEEK :])] for one in plant]
    levels = [one.level for one in followed(late, files)]
    week = (CHANGE - 2) * 7 + 1
    assert Level.ALARM not in levels[:week]
    assert Level.ALARM in levels[week : week + 8]


def in_shifts(told: Sequence[float]) -> list[float]:
    """The same use, reported at once at the end of eight hours."""
    return [each for at in range(0, len(told), 32) for each in [*[0.0] * 31, sum(told[at : at + 32])]]


def test_what_is_kept_of_a_week(files):
    """Of each place one row every few hours, of no more than a week, and of many places in turn."""
    plant = [usage(3, 4)] * 3
    rows: list[Asked] = []
    for at in range(HISTORY, 4 * WEEK):
        if due(MONDAY + at):
            seen = seen_at(plant, at)
            rows = asked(rows, seen, now_(MONDAY + at, seen), at, UTC, TIMES)
            rows = asked(rows, seen, now_(MONDAY + at, seen), at, UTC, TIMES)  # a restart within the same quarter
    assert TIMES - 1 <= len(rows) <= TIMES + 1
    assert {one.place.material for one in rows} == {"M0", "M1", "M2"}
    assert {two.slot - one.slot for one, two in pairwise(rows)} == {EVERY}
    assert [FEATURES[at] for at in WATCHED] == list(FEATURES[: len(WATCHED)])
    assert asked([], seen_at(plant, HISTORY - 1), now_(MONDAY, []), 1, UTC, ROWS) == []  # two weeks are not known


def test_half_a_week_is_not_held_against_a_whole_one(files):
    """While days are missing it waits; what the model had no answer to is counted."""
    slots = range(MONDAY, MONDAY + WEEK, EVERY)
    end = now_(MONDAY + WEEK, [])
    row = [1.0] * len(WATCHED)
    rows = [Asked(place=Place("M", ""), slot=one, seq=one, inputs=row, said=None) for one in slots]
    few = step(State(sha256=SHA), rows[: LEAST - 1], end, files, Drift(), AT.isoformat())
    all_ = step(State(sha256=SHA), rows, end, files, Drift(), AT.isoformat())
    assert (few.learning, few.figures, all_.learning) == (True, None, False)
    later = [one.model_copy(update={"seq": one.seq + 10_000}) for one in rows]
    after = step(all_, later, end, files, Drift(), AT.isoformat())
    assert after.figures is not None
    assert (after.figures.unanswered, after.level, after.raised) == (1.0, Level.ALARM, True)


def test_forecasts_that_do_not_hold_ask_for_another_version(files):
    """Where more is exceeded than should be, it is in doubt and says so; what another file said does not count."""
    place = Seen(Place("M", ""), "KGM", [], None, 0.0)

    def after(inside: int, sha256: str = SHA) -> State:
        learnt = Learnt(model=SHA, outcomes=900, below=[0] * 6 + [inside])
        kept = Kept(slot=0, outlooks=[told(place, 0, learnt=learnt)])
        return step(State(sha256=sha256), [], kept, files, Drift(), AT.isoformat())

    assert [after(inside).level for inside in (855, 830, 730, 600)] == ["green", "green", "warn", "alarm"]
    assert after(600, "b" * 64).level is Level.LEARNING
    words = advice("m/1", after(600), AT + timedelta(hours=1))
    assert words.startswith(
        "m/1: of 900 forecasts 67% held what they said at most, 95% should; what it forecasts is in"
    )
    assert words.endswith("train a version on the reports of today")
    assert "accept-drift" not in words  # nobody can say that it is right
    assert shown({"m/1": after(600)}, AT)["m/1"]["held"]["share"] == pytest.approx(2 / 3)
    assert coverage(Kept(slot=0), SHA).level is Level.LEARNING
