"""Causes of scrap: features are pure and shared, the simulation repeats itself, the shipped model is worth it."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.features import row
from agent.features import scrap_classification as features
from agent.features.scrap_classification import Pieces, Scrap
from agent.scoring import registry
from agent.scoring.inference import Model
from models.scrap_classification import simulate, train
from models.training import evaluating
from tests.trained import KEYS

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SCRAP = Scrap("MOLD-02", "0002", NOON, pieces=200, scrapped=10, of_batch=Pieces(800, 40))


def test_columns_of_training_are_the_features_that_serve():
    """The same names in the same order."""
    assert tuple(train.COLUMNS.numbers) == features.NUMBERS
    assert tuple(train.COLUMNS.categories) == features.CATEGORIES
    assert set(features.values(SCRAP)) == {*features.NUMBERS, *features.CATEGORIES}


def test_what_nobody_measured_is_missing():
    """Not zero: zero pieces since the set-up would be a cause."""
    found = features.values(SCRAP)
    assert found["scrapped_share"] == 0.05
    assert found["since_set_up"] is None
    assert features.values(replace(SCRAP, pieces=0))["scrapped_share"] is None
    assert features.values(replace(SCRAP, defect=""))["defect"] is None


@pytest.mark.parametrize(("hour", "name"), [(5, "night"), (6, "early"), (13, "early"), (14, "late"), (22, "night")])
def test_a_shift_begins_at_its_hour(hour, name):
    """In the plant's own time."""
    assert features.shift(NOON.replace(hour=hour)) == name


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_share_of_scrap_is_a_share_and_near_the_usual_one_where_history_is_short(made, scrapped):
    """Whatever was counted, more scrap than pieces included."""
    share = Pieces(made, scrapped).share()
    assert 0 < share <= 1
    assert Pieces().share() == pytest.approx(features.USUAL_SCRAP)
    assert Pieces(1, 1).share() < 0.02


def test_the_cost_centre_of_a_machine_comes_before_that_of_a_cause():
    """And where the table has neither, there is none: nobody is charged by a default."""
    centres = {"tool": "4100", "tool@MOLD-02": "4120"}
    assert features.cost_centre("tool", "MOLD-02", centres) == "4120"
    assert features.cost_centre("tool", "ASSY-05", centres) == "4100"
    assert features.cost_centre("material", "ASSY-05", centres) is None


def test_the_simulation_repeats_itself():
    """The same seed gives the same cases, in the order of time, with every cause and no other."""
    once, again = (list(simulate.cases(300, seed=3)) for _ in range(2))
    assert once == again
    assert [one.scrap.at for one in once] == sorted(one.scrap.at for one in once)
    assert set(Counter(one.cause for one in once)) == set(simulate.CAUSES)
    assert list(simulate.cases(300, seed=4)) != once


@pytest.fixture(scope="module")
def shipped():
    place = registry.champion(train.HERE)
    version, model = registry.read(place, KEYS), Model.load(place, KEYS, kind="classes")
    yield version, model
    model.close()


def test_the_shipped_model_is_small_and_finds_what_was_put_in(shipped):
    """On a run that it has not seen: four of five causes, and nine of ten where it may decide alone."""
    version, model = shipped
    assert sum(map(len, version.files.values())) < 1.5 * 1024 * 1024
    told = train.data(list(simulate.cases(1000, seed=77)))
    figures = evaluating.judge(model, version, told, train.COLUMNS, "seed 77").judged.figures()
    assert figures["accuracy"] > 0.75
    assert figures["right_of_accepted"] > 0.85
    assert figures["accepted"] > 0.4
    assert figures["covered_0.1"] > 0.87


def test_the_shipped_model_answers_with_causes(shipped):
    """A worn tool: the top three begin with it; a machine that training did not know is no error."""
    version, model = shipped
    usual = replace(
        SCRAP, of_batch=Pieces(), scrapped=3, since_set_up=3000, since_stop=300, temperature_off=0, pressure_off=0
    )
    worn = replace(usual, tool_used=0.97, cycle_off=0.5)
    manifest = version.manifest
    numbers, known = features.NUMBERS, manifest.categories
    rows = [row.row(features.values(one), numbers, known) for one in (worn, replace(worn, machine="MOLD-09"))]
    first, second = model.classify(rows)
    assert first.top(3)[0][0] == "tool"
    assert len(first.top(3)) == 3
    assert np.isclose(sum(second.probabilities), 1, atol=1e-5)
    assert row.names(numbers, known) == tuple(one.name for one in manifest.features)
