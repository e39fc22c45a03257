"""The model that is shipped: more work, later material or less OEE never make an order likelier to be on time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.features.order_feasibility import CLASSES, FEATURES, Asked, Shop, Step, Waiting, WorkCentreState, features
from agent.scoring import registry
from models.order_feasibility.train import COLUMNS

ROOT = Path(__file__).parents[2]
FOLDER = registry.champion(ROOT / "models" / "order_feasibility")
VERSION = registry.read(FOLDER, registry.trusted(ROOT / "edge_config" / "trust" / "models"))
SESSION = ort.InferenceSession(VERSION.files["model.onnx"], providers=["CPUExecutionProvider"])
INPUTS = VERSION.manifest.features
WIGGLE = 1e-6  # of 32 bits
AT = CLASSES.index("on time")
PLACES = ("WC-1", "WC-2", "WC-3")


def on_time(*rows: Any) -> Any:
    """The probability of each row, as the agent is told it."""
    return SESSION.run(["probabilities"], {"features": np.array(rows, np.float32)})[0][:, AT]


def anywhere(least: float, low: float, high: float, most: float) -> st.SearchStrategy[float]:
    """Over the declared range, and half of the time where training was."""
    return st.floats(least, most, width=32) | st.floats(low, high)


rows = st.tuples(*(anywhere(one.least, one.low, one.high, one.most) for one in INPUTS))


@settings(max_examples=300)
@given(rows, st.integers(0, len(INPUTS) - 1), st.data())
def test_every_input_pulls_one_way_only(row, at, data):
    """Through ONNX, over the whole declared range of every input, whatever the others are."""
    one = INPUTS[at]
    ends = sorted((row[at], data.draw(anywhere(one.least, one.low, one.high, one.most))))
    below, above = on_time(*([*row[:at], value, *row[at + 1 :]] for value in ends))
    if COLUMNS.numbers[one.name].direction > 0:
        assert below <= above + WIGGLE
    else:
        assert above <= below + WIGGLE


minutes = st.floats(0, 3_000)
waiting = st.builds(Waiting, st.floats(-500, 6_000), minutes, minutes)
states = st.builds(
    WorkCentreState,
    busy=minutes,
    down=minutes,
    queue=st.lists(waiting, max_size=4).map(tuple),
    coming=st.lists(waiting, max_size=4).map(tuple),
    oee=st.floats(0.2, 1),
    family=st.sampled_from(("", "A")),
    set_up=st.floats(0, 200),
)
shops = st.builds(Shop, st.fixed_dictionaries(dict.fromkeys(PLACES, states)), st.floats(1, 10), st.floats(0, 1))
steps = st.builds(Step, st.sampled_from(PLACES), st.floats(5, 600), st.sampled_from(("", "A", "B")))
orders = st.builds(
    Asked,
    st.lists(steps, min_size=1, max_size=4).map(tuple),
    st.floats(-500, 8_000),
    st.floats(-500, 6_000),
    st.floats(0, 2_000),
)
WORSE = {
    "a queue": lambda one: replace(one, queue=(*one.queue, Waiting(-1_000.0, 240.0))),
    "a queue behind it": lambda one: replace(one, queue=(*one.queue, Waiting(50_000.0, 240.0))),
    "work on its way": lambda one: replace(one, coming=(*one.coming, Waiting(-1_000.0, 240.0, 0.0))),
    "a set-up": lambda one: replace(one, set_up=one.set_up + 60),
    "a machine that is down": lambda one: replace(one, down=one.down + 240),
    "less OEE": lambda one: replace(one, oee=one.oee / 2),
}


@settings(max_examples=100)
@given(orders, shops, st.sampled_from(sorted(WORSE)), st.sampled_from(PLACES))
def test_what_is_worse_on_the_floor_is_worse_in_the_score(asked, shop, what, place):
    """More of a queue, of work on its way, of set-ups or repairs at a work centre, or less OEE there."""
    worse = replace(shop, work_centers={**shop.work_centers, place: WORSE[what](shop.work_centers[place])})
    before, after = on_time(features(asked, shop), features(asked, worse))
    assert after <= before + WIGGLE


def row(oee: float = 0.9, ahead: float = 0.0, set_up: float = 0.0) -> tuple[float, ...]:
    """Four hours of work that are due in 16 hours and planned to begin in six."""
    state = WorkCentreState(oee=oee, queue=(Waiting(0.0, ahead),), family="A", set_up=set_up)
    return features(Asked((Step("WC-1", 240, "B"),), 16 * 60, 6 * 60), Shop({"WC-1": state}))


@pytest.mark.parametrize(
    ("worse", "least"),
    [(row(oee=0.2), 0.2), (row(ahead=12 * 60), 0.5), (row(set_up=10 * 60), 0.2)],
    ids=["an OEE at which it takes too long", "twelve hours ahead", "ten hours of set-up"],
)
def test_it_reacts(worse, least):
    """An order with time enough is likely on time, and much less so when nothing of that is left."""
    easy, hard = on_time(row(), worse)
    assert easy > 0.8
    assert easy - hard > least


def test_its_inputs_are_those_of_the_code():
    """In the order in which the workflow tells them."""
    assert tuple(one.name for one in INPUTS) == FEATURES
