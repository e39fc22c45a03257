"""Which slip turns one number into another: a unit, a point, two digits. With numbers alone, without a report."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from agent.digits import transpositions
from agent.reconciliation.findings import Cause
from agent.reconciliation.observed import Material

Fits = Callable[
    [float, float], bool
]  # whether this number, give or take what rounding hid, is what it should have been
POWERS = (1, -1, 2, -2, 3, -3)


def slip(number: Decimal, fits: Fits, material: Material) -> tuple[Cause, str] | None:
    """The slip that explains a number, with its words; None: none does. Whole units before points before digits."""
    value, step = float(number), float(material.step)
    for name, size in material.confusions.items():
        for told, factor in ((f"meant in {name}, booked in {material.unit}", size), (
            f"meant in {material.unit}, told in {name}", 1 / size)):  # fmt: skip
            if fits(value * factor, step * factor):
                return Cause.UNIT, told
    for power in POWERS:
        if fits(value / 10.0**power, step / 10.0**power):
            way = "high" if power > 0 else "low"
            return Cause.RECORDING, f"{10 ** abs(power)} times too {way}: a slipped decimal point"
    for other in transpositions(number):
        if fits(float(other), step):
            return Cause.RECORDING, f"two digits swapped: {number:f} instead of {other:f}"
    return None
