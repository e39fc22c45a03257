"""What a person decided changes in the account of an order: a report refused or corrected, a finding put right.

None of it is a discrepancy itself.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from agent.reconciliation import lines
from agent.reconciliation.findings import Correction, Finding
from agent.reconciliation.observed import Booked, Corrected, Scrapped
from agent.reconciliation.state import Order, Told

OF_ORDERS: Final = (Correction.REVERSAL, Correction.ISSUE)  # what changes the books of an order


def said(order: Order, one: Corrected) -> Decimal:
    """A report counts as a person said; returned is by how much more than before."""
    use, line, total = one.use, order.line(one.use.place.material), order.total(one.use.place.material)
    before = order.said.get(use.id, use.quantity)
    order.said[use.id] = one.quantity
    total.used += one.quantity - before
    total.expected += use.expected * (bool(one.quantity) - bool(before))
    if not one.taken_back:
        lines.corrected(line, use, one.quantity)
    elif not one.quantity:  # what is booked instead is held against it
        lines.refused(line, use)
    for lot in order.lots.values():
        lot.uses = [each._replace(quantity=one.quantity) if each.id == use.id else each for each in lot.uses]
        lot.uses = [each for each in lot.uses if each.quantity]
    return one.quantity - before


def told(order: Order, finding: Finding) -> None:
    """Something was found of this order."""
    material = finding.place.material
    order.found[material] = f"{finding.cause.value}{_named(finding.id)}"
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
    before, found.booked = found.signed, found.booked + one.quantity
    found.signed = bool(found.booked)  # else a person took the correction back
    if found.misreported:
        total.used += one.quantity
        total.expected += found.expected * (found.signed - before)  # taking back and issuing anew are one
    named = _named(one.corrects)
    if order.found.get(found.material, "").endswith(named):
        order.found[found.material] = f"{found.cause}{' put right' if found.signed else ''}{named}"


def scrapped(order: Order, one: Scrapped) -> None:
    """What was made beside what was told is confirmed: it takes of each component what the rest takes."""
    for place, per_piece in order.needs:
        order.total(place.material).expected += per_piece * float(one.quantity)
    named = _named(one.corrects)
    for material, found in order.found.items():
        if found.endswith(named) and "put right" not in found:
            order.found[material] = f"{found.removesuffix(named)} put right{named}"


def _named(finding: str) -> str:
    """How a sentence names it."""
    return f" (finding {finding[:8]})"


def came_after_all(order: Order, material: str, made: str) -> None:
    """The report of a lot that was told to be missing: it counts, and what was made up for it does not."""
    total = order.total(material)
    for found in order.told.values():
        if found.misreported and found.material == material and made in found.about:
            total.used -= found.booked
            total.expected -= found.expected if found.signed else 0.0
            found.misreported, found.booked = False, Decimal(0)
