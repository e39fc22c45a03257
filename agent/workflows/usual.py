"""What is said about a report beside those before it from its place: that it is rare, or that it completes a shift."""

from __future__ import annotations

from decimal import Decimal

from agent.detectors.usage import Finding
from agent.units import UnitTable
from agent.workflows.orders import shown


def rare(found: Finding, quantity: Decimal, unit: str, at_most: float, units: UnitTable) -> list[str]:
    """Why a person should look at this report alone: hardly one before it was as far off; empty: it is not rare."""
    if found.p > at_most:
        return []
    told, usual = (shown(value, unit, units) for value in (quantity, Decimal(f"{found.usual:.4g}")))
    return [f"{told} reported, {usual} are usual here; so far off are {found.p:.1%} of the reports".replace("%", " %")]


def shift(found: Finding, material: str, place: str) -> str:
    """What no single report shows: more or less has been used for a while now; "" where nothing is completed."""
    if not found.shift:
        return ""
    words = f"the last {found.over} reports of {material} at {place or 'this place'} are about {abs(found.shift):.1%} "
    if found.shift > 0:
        words += "above what was usual: a leak, loss that nobody reports, a scale that drifts, or another recipe"
    else:
        words += "below what was usual: a scale that drifts, use that is not reported, or another recipe"
    return words.replace("%", " %")
