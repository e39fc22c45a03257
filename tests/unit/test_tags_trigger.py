"""Triggers: which values make an event after which."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agent.tags.config import When
from agent.tags.trigger import look, same
from agent.tags.values import Scalar


def fired(kind: str, *values: Scalar) -> list[bool]:
    when, last, found = When.model_validate({kind: "tag"}), None, []
    state: Any = last
    for value in values:
        judged = look(when, state, value)
        state = judged.last
        found.append(judged.fires)
    return found


@pytest.mark.parametrize(
    ("kind", "values", "fires"),
    [
        ("rising", (False, True, True, False, True), [0, 1, 0, 0, 1]),
        ("rising", (True, True, False, True), [0, 0, 0, 1]),  # the first one is the baseline
        ("rising", (0, 1, 5, 0, Decimal("0.5")), [0, 1, 0, 0, 1]),
        ("falling", (True, False, False, True, False), [0, 1, 0, 0, 1]),
        ("change", ("A", "A", "B", "A"), [0, 0, 1, 1]),
        ("change", (5, Decimal("5.0"), 6), [0, 0, 1]),  # the same number, written otherwise
        ("change", (1, True, 1), [0, 1, 1]),  # of another type
        ("change", ("A", None, "A", "B"), [0, 0, 0, 1]),  # no value is no change
        ("step", (5, 6, 6, 9, Decimal("9.5")), [0, 1, 0, 1, 1]),
        ("step", (5, 3, 4), [0, 0, 1]),  # a lower one is where it begins anew
    ],
)
def test_edges(kind: str, values: tuple[Scalar, ...], fires: list[int]):
    """An event for each edge, none for the first value and none for its repetition."""
    assert fired(kind, *values) == [bool(one) for one in fires]


@pytest.mark.parametrize("kind", ["rising", "falling", "step"])
@pytest.mark.parametrize("value", ["true", Decimal("NaN")])
def test_a_value_of_the_wrong_type_is_refused_and_changes_nothing(kind: str, value: Scalar):
    """A text or NaN on a flag or number says why it is no use, and the last value stands."""
    judged = look(When.model_validate({kind: "tag"}), Decimal(1), value)

    assert judged.wrong
    assert judged.last == 1
    assert not judged.fires


def test_a_number_that_goes_back_is_told():
    """`step` says that its number went back: a reload of the controller, or a rollover."""
    assert look(When(step="tag"), Decimal(5), 3).back
    assert not look(When(step="tag"), Decimal(5), 5).back


def test_true_is_not_one():
    """Flags and numbers are different values, 5 and 5.0 are one."""
    assert same(5, Decimal("5.0"))
    assert not same(1, True)
