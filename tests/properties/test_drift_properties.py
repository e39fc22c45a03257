"""Drift: chance is no alarm, a shift is one, the more the sooner; and what is said of it is kept and taken back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from math import nan
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.configuration.settings import Drift
from agent.scoring import drift, modelfiles
from agent.scoring.drift import Level, Row, State, Watched, learnt, measured, noise, psi
from agent.scoring.modelfiles import Input, InputReference, Manifest, Output, Reference

ROWS = 400
SETTINGS = Drift(rows=ROWS)
AT = "2026-11-20T12:00:00+00:00"
MANIFEST = Manifest(
    name="m", version="1", kind="probability",
    files=dict.fromkeys(modelfiles.FILES, "0" * 64),
    features=tuple(
        Input(name=name, least=-99, most=99, low=-2, high=2, null="allowed")
        for name in ("warm", "few", "tool=A", "tool=B")
    ),
    categories={"tool": ("A", "B")},
    output=Output(name="y", column=1, columns=2), opsets={"": 18}, trained={},
)  # fmt: skip
DECILES = (-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816)  # of a standard normal
REFERENCE = Reference(
    rows=5000, mean=(0.1, 0.9),
    inputs={
        "warm": InputReference(deciles=DECILES),
        "few": InputReference(deciles=(0, 0, 0, 0, 0, 1, 1, 1, 1)),
        "tool": InputReference(shares={"A": 0.6, "B": 0.4}),
    },
)  # fmt: skip
WATCHED = Watched(MANIFEST, REFERENCE)
WHERE = drift.columns(MANIFEST)
SHARES = st.lists(st.floats(0, 1), min_size=11, max_size=11).filter(any).map(lambda of: [one / sum(of) for one in of])


def rows(seed: int, count: int = ROWS, *, first: int = 1, shift: float = 0.0, lost: float = 0.0, b: float = 0.4):
    """What a plant sends: a measured value, a switch that is off for 55 of 100, a tool; maybe drifted."""
    random = Random(seed)
    found = []
    for number in range(count):
        warm = nan if random.random() < lost else random.gauss(shift)
        tool = (0.0, 1.0) if random.random() < b else (1.0, 0.0)
        found.append(Row(first + number, (warm, float(random.random() < 0.45), *tool), 0.95))
    return found


def stepped(state: State, *batches: list[Row], settings_: Drift = SETTINGS) -> State:
    """One look after each batch, at all rows until then."""
    seen: list[Row] = []
    for batch in batches:
        seen += [row._replace(seq=len(seen) + number) for number, row in enumerate(batch, 1)]
        state = drift.step(state, seen, WATCHED, settings_, 0.9, AT)
    return state


# ── the index ───────────────────────────────────────────────────────────────────────────────────────────────


@given(SHARES, SHARES)
def test_the_index_is_never_negative_and_the_same_both_ways(one, other):
    """0 for what is equal, and it does not matter which of two came first."""
    assert psi(one, one) == 0
    assert psi(one, other) >= 0
    assert psi(one, other) == pytest.approx(psi(other, one))


@given(SHARES, SHARES, st.floats(0, 1), st.floats(0, 1))
def test_the_index_grows_with_the_share_that_has_moved(before, other, some, more):
    """Whatever the drift looks like: the more rows of it, the larger the index."""
    mixed = [
        psi(before, [(1 - share) * one + share * two for one, two in zip(before, other, strict=True)])
        for share in sorted((some, more))
    ]
    assert mixed[0] <= mixed[1] + 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_chance_is_no_drift(seed):
    """Two samples of one plant: not even a warning, and the index is about what chance makes of it, or less."""
    figures = measured(rows(seed), WHERE, learnt(rows(seed + 10**7), WHERE), ROWS, 0.9)
    assert figures.level is Level.GREEN
    assert all(value < noise(11, ROWS, ROWS) + drift.WARN for value in figures.psi.values())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([{"shift": 1.2}, {"lost": 0.1}, {"b": 0.75}]))
def test_a_shift_a_gap_and_another_mix_are_an_alarm(seed, change):
    """Each of an input alone, against the first rows of the plant and against training."""
    now = rows(seed, **change)
    for before, count in (
        (learnt(rows(seed + 10**7), WHERE), ROWS),
        (drift.trained(REFERENCE.inputs, MANIFEST, now, WHERE), 5000),
    ):
        assert measured(now, WHERE, before, count, 0.9).level is Level.ALARM


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_a_larger_shift_has_a_larger_index(seed):
    """Of the same rows, moved further and further."""
    before = learnt(rows(seed), WHERE)
    found = [measured(rows(seed + 1, shift=by), WHERE, before, ROWS, 0.9).psi["warm"] for by in (0.3, 0.7, 1.1, 1.5)]
    assert found == sorted(found)


# ── what rows are held against ──────────────────────────────────────────────────────────────────────────────


def test_a_plant_like_training_is_held_against_training():
    """Values that many rows have do not count as drift only because deciles say little about them."""
    state = stepped(State(), rows(1))
    assert (state.level, state.before, state.learning) == (Level.GREEN, None, False)


def test_a_plant_unlike_training_is_held_against_its_own_first_rows():
    """A model that was trained elsewhere rings no alarm for that; a drift from what the plant was does."""
    state = stepped(State(), rows(1, shift=3), rows(2, shift=3))
    assert state.before is not None
    assert (state.level, state.raised) == (Level.GREEN, False)
    state = stepped(State(), rows(1, shift=3), rows(2, shift=3), rows(3, shift=4.5))
    assert (state.level, state.raised) == (Level.ALARM, True)


def test_where_training_counts_a_plant_unlike_it_is_an_alarm():
    """`compare_with: training`: for a model that was trained on this plant's own reports."""
    strict = Drift(rows=ROWS, compare_with="training")
    state = stepped(State(), rows(1, shift=3), settings_=strict)
    assert (state.level, state.raised, state.before) == (Level.ALARM, True, None)


def test_few_rows_say_nothing():
    """Until so many are there the state is the one before, whatever they look like."""
    assert stepped(State(), rows(1, ROWS - 1, shift=9)) == State()
    known = stepped(State(), rows(1, shift=3), rows(2, ROWS // 2 - 1, shift=9))
    assert (known.level, known.raised) == (Level.GREEN, False)


# ── the bar ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_bar_stays_up_until_all_is_as_before():
    """Not until it is a little better: a warning does not take an alarm back."""
    here = stepped(State(), rows(1, shift=3))
    alarm = drift.step(here, rows(2, first=ROWS + 1, shift=4.5), WATCHED, SETTINGS, 0.9, AT)
    assert alarm.raised
    warn = drift.step(alarm, rows(3, first=2000, shift=3.4), WATCHED, SETTINGS, 0.9, "later")
    assert (warn.level, warn.raised, warn.since) == (Level.WARN, True, "later")
    green = drift.step(warn, rows(4, first=3000, shift=3), WATCHED, SETTINGS, 0.9, AT)
    assert (green.level, green.raised) == (Level.GREEN, False)
    assert drift.advice("m/1", green, datetime.now(UTC)) == ""


def test_what_a_person_accepts_is_the_measure_from_then_on():
    """What comes behind it, not what came before; and it holds for this file alone."""
    here = stepped(State(sha256="ab"), rows(1, shift=3), rows(2, shift=4.5))
    state = drift.accepted(here, 2 * ROWS)
    assert (state.level, state.raised, state.sha256) == (Level.LEARNING, False, "ab")
    state = drift.step(state, rows(3, first=2 * ROWS + 1, shift=4.5), WATCHED, SETTINGS, 0.9, AT)
    assert (state.level, state.learning, state.accepted) == (Level.GREEN, False, True)
    state = drift.step(state, rows(4, first=3 * ROWS + 1, shift=4.5), WATCHED, SETTINGS, 0.9, AT)
    assert state.level is Level.GREEN
    state = drift.step(state, rows(5, first=4 * ROWS + 1, shift=6), WATCHED, SETTINGS, 0.9, AT)
    assert state.raised


def test_rows_without_an_answer_are_doubt_of_their_own():
    """A value out of every range is refused by the model: many of these are an alarm."""
    silent = [row._replace(confidence=None) if row.seq % 3 == 0 else row for row in rows(1)]
    figures = measured(silent, WHERE, learnt(rows(2), WHERE), ROWS, 0.9)
    assert figures.level is Level.ALARM
    assert "33% had no answer" in figures.worst


def test_each_step_is_said_in_words():
    """What has drifted, what was done, what a person does; after a day, that another version is needed."""
    state = stepped(State(), rows(1, shift=3), rows(2, shift=4.5))
    began = datetime.fromisoformat(AT)
    said = drift.advice("m/1", state, began)
    assert said.startswith("m/1: inputs are spread otherwise (PSI: warm ")
    assert "the bar is raised" in said
    assert "gatepost models accept-drift m" in said
    assert "train" not in said
    assert "train a version on the reports of today" in drift.advice("m/1", state, began + timedelta(days=1))


def test_a_state_is_kept_as_it_is():
    """Written as JSON and read again."""
    state = stepped(State(), rows(1, shift=3), rows(2, shift=4.5))
    assert State.model_validate(json.loads(state.model_dump_json())) == state
