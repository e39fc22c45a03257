"""What a person decided changes in the account of an order: a report refused or corrected, a finding put right.

None of it is a discrepancy itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import combinations
from typing import Final

from agent.digits import plain
from agent.reconciliation import lines
from agent.reconciliation.findings import Correction, Finding
from agent.reconciliation.observed import Booked, Corrected, Material, Scrapped
from agent.reconciliation.state import Order, Told

ALIKE: Final = Decimal("0.15")  # of a quantity that is missing: who books about so much books that
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
            expected=finding.expected, excess=finding.excess,
            whole=finding.whole if finding.correction is Correction.REVERSAL else 0.0,
        )  # fmt: skip


def corrected(order: Order, one: Booked) -> None:
    """A correction is booked: in the books, and in what counts as used where that was told wrongly, too."""
    total, line = order.total(one.place.material), order.line(one.place.material)
    lines.taken_back(line, one.takes_back)
    if one.quantity > 0:  # as much once more is a second one
        line.booked = [*line.booked, one][-lines.KEPT :]
    total.booked += one.quantity
    found = order.told.get(one.corrects)
    if found is None:
        return
    before, found.booked = found.signed, found.booked + one.quantity
    found.signed = bool(found.booked)  # else a person took the correction back
    if found.misreported:
        total.used += one.quantity
        total.expected += found.expected * (found.signed - before)  # taking back and issuing anew are one
    _name(order, one.corrects, found, put_right=found.signed)


def done_before(order: Order, one: Booked) -> str:
    """What had put the finding right before this agent issued what it missed; "" where nothing had."""
    found = order.told.get(one.corrects)
    late = found is not None and not found.whole and not one.others and one.quantity > 0
    return found.by_hand if found is not None and late else ""


def by_hand(order: Order, one: Booked, material: Material) -> Booked:
    """What others booked, as the correction that it is: they took back in the ERP what a finding proposes to.

    Where they took all of the booking back, what they booked next is what they put in its place.
    """
    id = proposed(order, one, material.step)
    if not id:
        return one
    found = order.told[id]
    amount = f"{plain(-one.quantity)} {material.unit} of {found.material}"
    found.by_hand = found.by_hand or f"{amount} were taken back in the ERP by others: {one.id}"
    return one._replace(corrects=id)


def shares(order: Order, one: Booked, material: Material) -> list[Booked]:
    """What others booked, in parts: what findings miss in the books, and the rest as a booking of its own."""
    if not one.others or one.corrects:
        return [one]
    told = ((id, _missed(found)) for id, found in order.told.items() if found.material == one.place.material)
    missed = {id: quantity for id, quantity in told if quantity}
    waiting = (use.quantity for use in order.line(one.place.material).uses)
    ids, rest, parts = _covered(missed, one.quantity, material.step, waiting), one.quantity, []
    for id in ids:
        about = id == ids[-1] and rest <= missed[id] * (1 + ALIKE)
        part = rest if about else missed[id]
        rest -= part
        amount = f"{plain(part)} {material.unit} of {order.told[id].material}"
        order.told[id].by_hand = f"{amount} were booked in the ERP by others: {one.id}"
        parts.append(one._replace(quantity=part, corrects=id))
    return [*parts, one._replace(quantity=rest)] if rest else parts


def _missed(found: Told) -> Decimal:
    """How much its correction would issue of what is not in the books; 0 where it would not, or somebody has."""
    closed = found.whole or found.booked or found.by_hand
    return Decimal(0) if closed else max(Decimal(f"{-found.excess:.6f}"), Decimal(0))


def _covered(missed: dict[str, Decimal], booked: Decimal, step: Decimal, waiting: Iterable[Decimal]) -> Sequence[str]:
    """Which findings miss what is booked: those that make it up, else the oldest for which it is enough.

    Not where it is as much as one of the reports that are `waiting` for their booking.
    """
    for number in (1, 2, len(missed)):
        for ids in combinations(missed, number):
            if ids and abs(sum(missed[id] for id in ids) - booked) <= step * number:
                return ids
    if any(abs(quantity - booked) <= step for quantity in waiting):
        return ()
    enough = []
    for id, quantity in missed.items():
        if booked >= quantity * (1 - ALIKE):
            enough.append(id)
            booked -= quantity
    return enough


def proposed(order: Order, one: Booked, step: Decimal) -> str:
    """Id of the finding whose correction others did by this booking; "" where it is none."""
    if one.corrects or not one.others:
        return ""
    mine = ((id, found) for id, found in order.told.items() if found.material == one.place.material)
    return next((id for id, found in mine if _does(found, float(one.quantity), float(step))), "")


def _does(found: Told, quantity: float, step: float) -> bool:
    """Whether a booking of others does what the correction would do, or the second half of it."""
    if quantity > 0:
        return bool(found.by_hand) and abs(float(found.booked) + found.whole) <= step and quantity < found.whole
    return _open(found) and any(abs(quantity + part) <= step for part in (found.whole, found.excess))


def _open(found: Told) -> bool:
    """Whether its correction would take a booking back, and nobody has done that."""
    return bool(found.whole) and not found.booked and not found.by_hand


def taken_back(order: Order, name: str) -> None:
    """A person took back a booking, or what was booked of a report: no finding about it is left to correct."""
    for id, found in order.told.items():
        if _open(found) and name in found.about:
            found.by_hand = f"{name} was taken back by a person"
            _name(order, id, found, put_right=True)


def _name(order: Order, id: str, found: Told, *, put_right: bool) -> None:
    named = _named(id)
    if order.found.get(found.material, "").endswith(named):
        order.found[found.material] = f"{found.cause}{' put right' if put_right else ''}{named}"


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


def came_after_all(order: Order, material: str, made: str, report: str) -> None:
    """The report of a lot that was told to be missing: it counts, and what was made up for it does not."""
    total = order.total(material)
    for id, found in order.told.items():
        if found.misreported and found.material == material and made in found.about:
            if _missed(found):
                found.by_hand = f"its report came after all: {report}"
                _name(order, id, found, put_right=True)
            total.used -= found.booked
            total.expected -= found.expected if found.signed else 0.0
            found.misreported, found.booked = False, Decimal(0)
