"""The record of a decision gives back what the model was given and answered, bit by bit."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.authority import Mode, Rule
from agent.judging import record
from agent.ports import Draft, Kind, Proposal, Route
from agent.scores import Score
from agent.store.encode import encode

FLOAT32 = st.floats(width=32, allow_infinity=False)
SMALLEST = 1e-45  # the least that float32 can tell from zero
RULE = Rule(mode=Mode.AUTO, min_confidence=0.9, model="m", version="7")
PROPOSAL = Proposal((Draft(Kind.GOODS_ISSUE, "order/1", {}),), 0.95, subject={"order": "1"})


def bits(values: tuple[float, ...]) -> bytes:
    """As float32; a missing value is a missing value, whatever bits say that it is no number."""
    return np.array([math.nan if value != value else value for value in values], np.float32).tobytes()


def kept(detail: object) -> dict[str, Any]:
    """What is read back from the trail."""
    return dict(json.loads(encode(detail)))


@given(st.lists(FLOAT32, max_size=8), st.lists(st.floats(width=32, allow_infinity=False, allow_nan=False), max_size=8))
@example([math.nan, -math.nan, -0.0, SMALLEST], [-SMALLEST, 0.1, 3.4028234663852886e38])
def test_what_was_kept_is_the_same_to_the_last_bit(features, outputs):
    """Whatever float32 values, tiny and missing ones among them: written, read and written again they are the same."""
    score = Score(0.5, "m/1", "", tuple(features), outputs=tuple(outputs))
    once = kept(record.scored(score, 0.9))
    assert bits(record.values(once["features"])) == bits(tuple(features))
    assert bits(record.values(once["outputs"])) == bits(tuple(outputs))
    again = Score(0.5, "m/1", "", record.values(once["features"]), outputs=record.values(once["outputs"]))
    assert kept(record.scored(again, 0.9)) == once


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_what_is_infinite_is_refused(value):
    """No answer and no input of a model is infinite: it would not come back."""
    with pytest.raises(ValueError, match="cannot be kept"):
        encode(record.scored(Score(0.5, "m/1", "", (value,)), 0.9))


def test_the_record_says_where_it_went_and_what_it_was_held_against():
    """Mode, route, version of the rules, the bar that was applied, the place in the run."""
    score = Score(0.95, "m/1", "ab", (1.0,), outputs=(0.05, 0.95), run=(3, 8), ms=0.2)
    told = kept(record.of(b"\1", "consumption", RULE, PROPOSAL, Route.POST, (), score=score))
    assert (told["mode"], told["route"], told["policy"]) == ("auto", "posted", "7")
    assert told["score"] == {
        "kind": "probability", "model": "m/1", "sha256": "ab", "confidence": 0.95, "bar": 0.9, "features": [1.0],
        "outputs": [0.05, 0.95], "run": [3, 8], "ms": 0.2, "reasons": [],
    }  # fmt: skip
