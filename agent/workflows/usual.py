"""What is said about a report beside those before it from its place: that it is odd, or that it completes a shift."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import log
from typing import Final

from agent.detectors.usage import Finding
from agent.units import UnitTable
from agent.workflows.causes import Fits
from agent.workflows.orders import shown

Cause = Callable[[Fits], str]  # the error that explains a report, in words; "" where none does


RARE: Final = 8.0  # standard deviations: nearer to the usual a report is odd only where an error explains it
NEAR: Final = 3.0  # standard deviations: so near to the usual must be what would have been reported without the error


def odd(found: Finding, quantity: Decimal, unit: str, cause: Cause, at_most: float, units: UnitTable) -> list[str]:
    """Why a person should look at this report although its tolerance allows it; empty: nothing is odd.

    It is far off the usual, and an error of recording explains it, or at most this share of the reports before was as
    far off.
    """

    def fits(numerator: Decimal | int, denominator: Decimal | int) -> bool:
        corrected = float(quantity * numerator / denominator)
        return corrected > 0 and abs(log(corrected / found.usual)) <= NEAR * found.width

    explained = cause(fits)
    if not explained and (abs(found.z) < RARE or found.p > at_most):
        return []
    told, usual = (shown(value, unit, units) for value in (quantity, Decimal(f"{found.usual:.4g}")))
    why = explained or f"so far off are {found.p:.1%} of the reports".replace("%", " %")
    return [f"{told} reported, {usual} are usual here; {why}"]


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
