"""What a signed correction of a finding changes in the account of its order. It is no discrepancy itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from agent.reconciliation import lines
from agent.reconciliation.findings import Correction, Finding
from agent.reconciliation.observed import Booked
from agent.reconciliation.state import Order, Told

OF_ORDERS: Final = (Correction.REVERSAL, Correction.ISSUE)  # what changes the books of an order


def told(order: Order, finding: Finding) -> None:
    """Something was found of this order."""
    material = finding.place.material
    order.found[material] = f"{finding.cause.value} (finding {finding.id[:8]})"
    if finding.correction in OF_ORDERS:
        order.told[finding.id] = Told(
            material=material, cause=finding.cause.value, about=finding.about, misreported=finding.misreported,
            expected=finding.expected,
        )  # fmt: skip


def corrected(order: Order, one: Booked) -> None:
    """A correction is booked: in the books, and in what counts as used where that was told wrongly, too."""
    total = order.total(one.place.material)
    lines.taken_back(order.line(one.place.material), one.takes_back)
    total.booked += one.quantity
    found = order.told.get(one.corrects)
    if found is None:
        return
    if found.misreported:
        total.used += one.quantity
        total.expected += 0.0 if found.signed else found.expected  # taking back and issuing anew are one
    found.signed, found.booked = True, found.booked + one.quantity
    if order.found.get(found.material, "").endswith(f"(finding {one.corrects[:8]})"):
        order.found[found.material] = f"{found.cause} put right (finding {one.corrects[:8]})"


def came_after_all(order: Order, material: str, made: str) -> None:
    """The report of a lot that was told to be missing: it counts, and what was made up for it does not."""
    total = order.total(material)
    for found in order.told.values():
        if found.misreported and found.material == material and made in found.about:
            total.used -= found.booked
            total.expected -= found.expected if found.signed else 0.0
            found.misreported, found.booked = False, Decimal(0)
