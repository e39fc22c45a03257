"""What an order took beside what it should take, component by component, with the sentence that explains it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from pydantic import BaseModel

from agent.digits import plain


class Total(BaseModel):
    """Of one component of one operation, in the unit of its stock."""

    expected: float = 0.0  # by the bill of material, for the lots that were reported
    used: Decimal = Decimal(0)
    booked: Decimal = Decimal(0)


class Line(NamedTuple):
    """One component of an order as it is told."""

    material: str
    unit: str
    expected: float
    used: Decimal
    booked: Decimal
    off: float  # used beyond expected
    money: float

    def record(self) -> dict[str, str]:
        """For programs; quantities as decimal strings with the three decimals of the ERP, whatever was converted."""
        return {
            "material": self.material, "unit": self.unit, "expected": f"{self.expected:.3f}",
            "used": f"{self.used:.3f}", "booked": f"{self.booked:.3f}", "off": f"{self.off:.3f}",
            "money": f"{self.money:.2f}",
        }  # fmt: skip


def lines(totals: Mapping[str, Total], units: Mapping[str, str], prices: Mapping[str, Decimal]) -> list[Line]:
    """The components of an order, what weighs most in money first."""
    found = []
    for material, total in totals.items():
        off = float(total.used) - total.expected
        money = off * float(prices.get(material, Decimal(0)))
        found.append(Line(material, units.get(material, ""), total.expected, total.used, total.booked, off, money))
    return sorted(found, key=lambda one: (-abs(one.money), one.material))


def sentence(order: str, told: list[Line], found: Mapping[str, str], currency: str) -> str:
    """Why an order cost more, or less, in material. `found`: material → what reconciliation found there."""
    if not told:
        return f"Nothing was reported for order {order}."
    total = sum(one.money for one in told)
    way = "more" if total >= 0 else "less"
    words = f"Order {order} took material for {abs(total):.2f} {currency} {way} than its bill of material"
    parts = [_part(one, found.get(one.material, "")) for one in told if abs(one.off) > 0.0005]
    return f"{words}: {'; '.join(parts[:4])}." if parts else f"{words}: every component as expected."


def _part(one: Line, found: str) -> str:
    share = f" ({one.off / one.expected:+.1%})".replace("%", " %") if one.expected else ""
    words = f"{abs(one.off):.4g} {one.unit} {'more' if one.off > 0 else 'less'} of {one.material}{share}"
    if one.booked != one.used:
        words += f", of which the books have {plain(round(one.booked, 3))} of {plain(round(one.used, 3))} {one.unit}"
    return f"{words}, {found}" if found else words
