"""What is to be issued of a component now: how much, and the goods issue of it; at the end also what goes back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from agent.detectors import ratio
from agent.detectors.ratio import Ratio
from agent.facts import Facts
from agent.isa95 import SegmentResponse
from agent.ports import Draft, Kind
from agent.workflows.account import ZERO, Account, Made, as_decimal, rounded
from agent.workflows.backflush_books import Books, Place
from agent.workflows.orders import converted, shown, stale_orders

CAUTION: Final = Fraction(3, 2)  # so far beyond the 95 % interval nothing is issued that no later issue makes up for
TAKE_BACK: Final = "262"  # the movement that takes an issue to an order back


class Pace(NamedTuple):
    """How often a component is issued, so that the ERP is not flooded."""

    pieces: Fraction  # made since its last issue, in the order's unit
    seconds: int  # since then, however few
    stale: timedelta  # after which orders are too old to issue anything on expectations


class Due(NamedTuple):
    """Of one component."""

    drafts: Sequence[Draft] = ()
    reasons: Sequence[str] = ()
    holds: Sequence[str] = ()


def due(report: SegmentResponse, facts: Facts, books: Books, place: Place, pace: Pace) -> Due:
    """What is to be issued of a component now; once it is settled also what is to be taken back."""
    name, account, made = place.material, books.account(place), books.made
    own, centre = books.ratio(place)
    at = report.occurred_at.timestamp()
    per_piece = place.per_piece * Fraction(f"{centre:.6f}")
    settled = account.settled(made, over=books.over)
    if not settled and not _is_time(account, books, at, pace):
        return Due()
    if not settled and stale_orders(report, facts, pace.stale):
        return Due(reasons=[f"{name}: nothing is issued on expectations while the orders may be stale"])
    drafts, reasons, holds = list[Draft](), list[str](), list[str]()
    for batch, quantity in account.due(made, per_piece, place.step).items():
        if quantity > 0 and not settled and batch == account.batch:
            quantity = min(quantity, _sure(account, books, place, per_piece, own, quantity))
        if quantity > 0 and place.need.material.batch_managed and not batch:
            reasons.append(f"{name} is managed in batches: it is issued when a measurement names its batch")
        elif quantity > 0 and (why := _beyond(account, quantity, place, facts)) and not settled:
            reasons.append(why)
        elif quantity > 0 or (quantity < 0 and settled):
            drafts.append(draft(report, place, quantity, batch, facts))
            holds += _against_a_person(account, name) if quantity > 0 else [_taken_back(drafts[-1], facts)]
            account = account.with_issue(batch, quantity, made, at)
    if drafts:
        reasons.append(_told(account, made, place, own, centre, facts))
    books.put(place, account)
    return Due(drafts, reasons, holds)


def _against_a_person(account: Account, name: str) -> list[str]:
    """Why a person must look although it was measured, or nothing."""
    return [f"{name} was measured, and a person did not let all of it be booked: somebody decides"] * account.asks


def _is_time(account: Account, books: Books, at: float, pace: Pace) -> bool:
    """Whether enough pieces came, or time went by, since the last issue; at the end always."""
    if books.over:
        return True
    pieces = max(books.made.pieces, account.measured_pieces(books.made))
    if pieces - account.issued_pieces >= pace.pieces:
        return True
    begun = account.issued_at
    if begun is None:
        begun = books.made.reports[0][0] if books.made.reports else at
    return at - begun >= pace.seconds


def _sure(
    account: Account, books: Books, place: Place, per_piece: Fraction, own: Ratio, quantity: Fraction
) -> Fraction:
    """The part of it that is no more than what is used, or that later pieces make up for.

    A component that nobody measures is issued as expected: nothing better will ever be known.
    """
    if not account.reports:
        return quantity
    open_pieces = account.open_pieces(books.made)
    doubt = ratio.half_width(own, float(open_pieces * place.per_piece)) if open_pieces else 0.0
    rest = ZERO if books.over else max(ZERO, Fraction(place.need.order.quantity) - books.made.pieces) * per_piece
    return rounded(quantity - max(ZERO, CAUTION * Fraction(f"{doubt:.6f}") - rest), place.step)


def _beyond(account: Account, quantity: Fraction, place: Place, facts: Facts) -> str:
    """Why no more is issued on expectations, or ""."""
    need = place.need
    if need.component is None:
        return ""
    total = max(Fraction(need.component.withdrawn), account.total_issued) + quantity
    if total <= Fraction(need.limit):
        return ""
    told, required = (shown(value, need.unit, facts.units) for value in (shortened(total), need.component.required))
    return f"{need.material.material}: {told} would be issued, {required} are required: it waits for a measurement"


def draft(report: SegmentResponse, place: Place, quantity: Fraction, batch: str, facts: Facts) -> Draft:
    """A goods issue, or with a quantity below 0 the movement that takes so much back."""
    need, day = place.need, facts.plant.day_text(report.occurred_at)
    amount = as_decimal(abs(quantity), place.step)
    payload = need.payload | {
        "quantity": str(amount),
        "floor_quantity": f"{amount:f}",
        "floor_unit": need.unit,
        "posting_date": day,
        "document_date": day,
        "text": (report.id or "")[:50],
    }
    if quantity < 0:
        payload["movement"] = TAKE_BACK
    if batch:
        payload["batch"] = batch
    value = need.material.price * converted(amount, need.unit, need.into_base)
    return Draft(Kind.GOODS_ISSUE, need.lane, payload, value)


def apart(one: Draft) -> Draft:
    """A posting that its account counts neither way: whatever a person decides about it, the account stays right."""
    return one._replace(payload={**one.payload, "apart": True})


def _taken_back(one: Draft, facts: Facts) -> str:
    """Why a person signs what goes back at the end of an order."""
    amount = shown(Decimal(one.payload["quantity"]), one.payload["unit"], facts.units)
    return f"{amount} of {one.payload['material']} were issued and not used: they go back with movement {TAKE_BACK}"


def _told(account: Account, made: Made, place: Place, own: Ratio, centre: float, facts: Facts) -> str:
    """Where the component stands: what is measured, what is expected beside it and how sure that is."""
    need = place.need
    known, open_pieces = account.total_known, account.open_pieces(made)
    words = [f"{need.material.material}: {shown(shortened(known), need.unit, facts.units)} measured"]
    if open_pieces:
        expected = rounded(account.expected(made, place.per_piece * Fraction(f"{centre:.6f}")), place.step)
        doubt = Decimal(f"{ratio.half_width(own, float(open_pieces * place.per_piece)):.2g}")
        pieces = shown(shortened(open_pieces), need.order.unit, facts.units)
        words.append(
            f"{shown(shortened(expected), need.unit, facts.units)} ± {doubt:f} expected for {pieces} beside it "
            f"(ratio {centre:.4f} from {own.lots:.0f} lots)"
        )
    if kept := account.held_back(made):
        words.append(f"{shown(shortened(kept), need.unit, facts.units)} of it not issued again before it is measured")
    return ", ".join(words)


def shortened(value: Fraction) -> Decimal:
    """For comparing and for telling, never for posting."""
    return Decimal(value.numerator) / Decimal(value.denominator) if value.denominator == 1 else _six(value)


def _six(value: Fraction) -> Decimal:
    short = round(value, 6)
    return Decimal(short.numerator) / Decimal(short.denominator)
