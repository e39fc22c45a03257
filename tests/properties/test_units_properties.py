"""Units for any quantity: round trips are exact, splits add up, rounding stays within half a place."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import BadPayload
from agent.isa95 import Quantity
from agent.units import BUILT_IN, UnitTable, round_to, split

TABLE = UnitTable()
values = st.decimals(min_value=-(10**12), max_value=10**12, allow_nan=False, allow_infinity=False)
codes = st.sampled_from(sorted(BUILT_IN))
decimals = st.integers(0, 6)


@given(value=values, unit=codes, to_unit=codes)
def test_a_round_trip_is_exact_or_refused(value: Decimal, unit: str, to_unit: str):
    """There and back again is the same number; where the way there is not exact it is refused."""
    quantity = Quantity(value, unit)
    try:
        there = TABLE.convert(quantity, to_unit)
    except BadPayload as refusal:
        assert refusal.reason in ("inexact", "other_dimension")  # noqa: PT017  # either outcome is allowed
        return

    assert TABLE.convert(there, unit) == quantity
    assert Fraction(there.value) == Fraction(value) * TABLE.factor(unit, to_unit)


@given(value=values, places=decimals)
def test_rounding_stays_within_half_a_place(value: Decimal, places: int):
    """A rounded value is at most half a last place away, and rounding it again changes nothing."""
    rounded = round_to(Quantity(value, "KGM"), places, loss_allowed=True)

    assert abs(Fraction(rounded.value) - Fraction(value)) <= Fraction(1, 2 * 10**places)
    assert round_to(rounded, places, loss_allowed=False) == rounded


@given(value=values, places=decimals)
def test_rounding_without_loss_is_the_same_number_or_refused(value: Decimal, places: int):
    """Where no loss is allowed the number stays the same."""
    quantity = Quantity(value, "KGM")
    if Fraction(value) * 10**places % 1:
        with pytest.raises(BadPayload):
            round_to(quantity, places, loss_allowed=False)
    else:
        assert round_to(quantity, places, loss_allowed=False) == quantity


@given(places=decimals, amount=st.integers(-(10**12), 10**12), weights=st.lists(st.integers(0, 10**6), min_size=1))
def test_a_split_adds_up_and_is_fair(places: int, amount: int, weights: list[int]):
    """Parts add up to the total and each is less than one last place from its exact share."""
    if not sum(weights):
        weights[0] = 1
    total = Quantity(Decimal(amount).scaleb(-places), "KGM")

    parts = split(total, weights, places)

    assert sum(Fraction(part.value) for part in parts) == Fraction(total.value)
    for part, weight in zip(parts, weights, strict=True):
        share = Fraction(total.value) * weight / sum(weights)
        assert abs(Fraction(part.value) - share) < Fraction(1, 10**places)
