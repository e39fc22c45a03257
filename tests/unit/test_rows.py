"""A row on record is taken by another version by the names of its inputs, or not at all."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ModelUnfit
from agent.features import row
from agent.oversight.rows import Rows
from agent.scoring import registry
from agent.scoring.modelfiles import Manifest
from agent.store.scored import Scored
from tests.trained import KEYS, SHIPPED, put

NUMBERS = ("share", "minutes")


def version(models: Path, number: str, numbers: tuple[str, ...], machines: tuple[str, ...]) -> Manifest:
    """A version of a model of two classes; only its manifest counts here, and the bytes that tell it from others."""
    names = row.names(numbers, {"machine": machines})
    folder = put(
        models, number.encode(), version=number, kind="classes", features=names, classes=("a", "b"),
        categories={"machine": machines}, shares={"machine": dict.fromkeys(machines, 0.5)},
        output={"name": "y", "columns": 2},
    )  # fmt: skip
    return registry.read(folder, KEYS).manifest


def scored(by: Manifest, *features: float) -> Scored:
    graph = by.files["model.onnx"]
    return Scored(1, 7, 0, f"{by.name}/{by.version}", graph, 0.9, None, features, "assist", ())


def test_another_version_takes_the_row_by_its_names(tmp_path: Path):
    """As long as the champion's, with other machines in other places: a value that it does not know is unknown."""
    one = version(tmp_path, "1", NUMBERS, ("M-1", "M-2"))
    two = version(tmp_path, "2", NUMBERS, ("M-2", "M-3"))
    known = Rows(tmp_path, KEYS)
    assert known.taken_by(two, scored(one, 0.1, 5.0, 0.0, 1.0)) == (0.1, 5.0, 1.0, 0.0)
    assert known.taken_by(two, scored(one, 0.1, 5.0, 1.0, 0.0)) == (0.1, 5.0, 0.0, 0.0)
    assert known.taken_by(one, scored(one, 0.1, 5.0, 0.0, 1.0)) == (0.1, 5.0, 0.0, 1.0)
    new = scored(one, 0.1, 5.0, 0.0, 0.0)._replace(unknown={"machine": "M-3"})
    assert known.taken_by(two, new) == (0.1, 5.0, 0.0, 1.0)  # which the first did not know, and the record does


def test_a_version_may_do_without_an_input_but_not_want_another(tmp_path: Path):
    """Which input no record has is named."""
    one = version(tmp_path, "1", NUMBERS, ("M-1",))
    less = version(tmp_path, "2", ("minutes",), ("M-1",))
    known = Rows(tmp_path, KEYS)
    assert known.taken_by(less, scored(one, 0.1, 5.0, 1.0)) == (5.0, 1.0)
    with pytest.raises(ModelUnfit, match=r"test/1 takes share, which test/2 was not given"):
        known.taken_by(one, scored(less, 5.0, 1.0))


def test_what_a_version_scored_that_is_gone_is_taken_by_none(tmp_path: Path):
    """Its names are not known any more; the message says which version to put back."""
    one = version(tmp_path / "elsewhere", "1", NUMBERS, ("M-1",))
    two = version(tmp_path, "2", NUMBERS, ("M-1",))
    with pytest.raises(ModelUnfit, match=r"test/1 .* is not in .* any more: put the folder of that version back"):
        Rows(tmp_path, KEYS).taken_by(two, scored(one, 0.1, 5.0, 1.0))


def test_a_probability_takes_the_row_as_it_is(tmp_path: Path):
    """Its features are those of the workflow, in their order, whatever the version."""
    manifest = registry.read(SHIPPED, KEYS).manifest
    one = Scored(1, 7, 0, "gone/1", "ab", 0.9, None, (1.0, 2.0), "assist", ())
    assert Rows(tmp_path, KEYS).taken_by(manifest, one) == (1.0, 2.0)


VALUES = st.fixed_dictionaries({
    "share": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    "minutes": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    "machine": st.none() | st.sampled_from(["M-1", "M-2"]),
})  # fmt: skip


@given(VALUES)
def test_named_values_come_back_from_their_row(values: dict[str, Any]):
    """Numbers to the last bit, categories by name; what was missing is missing."""
    categories = {"machine": ("M-1", "M-2")}
    made = row.row(values, NUMBERS, categories)
    assert row.values(made, row.names(NUMBERS, categories), categories) == values
    assert [isnan(value) for value in made[:2]] == [values[name] is None for name in NUMBERS]
