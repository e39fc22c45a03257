"""What an order took beside its bill of material, as people read it."""

from __future__ import annotations

from decimal import Decimal

from agent.reconciliation.account import Total, lines, sentence


def test_what_was_converted_is_told_with_the_decimals_of_the_erp():
    """961 pounds are 435.902267557 kilograms: nobody reads nine decimals."""
    used = Total(expected=384.0, used=Decimal("435.902267557"), booked=Decimal("96.1"))
    found = lines({"RM-RESIN": used}, {"RM-RESIN": "KG"}, {"RM-RESIN": Decimal("3.2")})
    assert "of which the books have 96.1 of 435.902 KG" in sentence("1000101", found, {}, "EUR")
    (record,) = (one.record() for one in found)
    assert (record["used"], record["booked"], record["off"]) == ("435.902", "96.100", "51.902")
