"""Whether a reported quantity is beyond what its lot should take, and what would explain that."""

from __future__ import annotations

from decimal import Decimal

from agent.facts import Facts
from agent.isa95 import Quantity, SegmentResponse
from agent.workflows import usual
from agent.workflows.causes import Fits, likely_cause, lost_with_scrap, stand_in
from agent.workflows.orders import shown
from agent.workflows.use import ZERO, Use, made_of


def deviation(report: SegmentResponse, use: Use, quantity: Decimal, facts: Facts, set_up: Decimal) -> tuple[str, ...]:
    """Why a person must look: beyond what the lot should take, plus the set-up where it may be in this report."""
    _, need, lot, expected, _ = use
    unit = need.unit
    if need.component is None:
        return _instead(report, use, facts)
    if lot is None or expected is None:
        return ()
    expected += set_up
    low = expected * need.least - need.half_step
    high = expected * need.most + need.half_step
    if low <= quantity <= high:
        return ()

    def fits(numerator: Decimal | int, denominator: Decimal | int) -> bool:
        return low * denominator <= quantity * numerator <= high * denominator

    why = cause(report, use, facts)(fits)
    percent = f": {quantity / expected:.0%}".replace("%", " %") if expected else ""
    words = f"{shown(quantity, unit, facts.units)} reported, {shown(expected, unit, facts.units)} expected{percent}"
    return (f"{words}; {why}" if why else words,)


def _instead(report: SegmentResponse, use: Use, facts: Facts) -> tuple[str, ...]:
    """What an unplanned withdrawal may be used instead of."""
    actual, need, *_ = use
    made = made_of(report, need.order)
    same = stand_in(actual.quantity, need.material, need.order, Quantity(*made), facts) if made else ""
    return (same,) if same else ()


def cause(report: SegmentResponse, use: Use, facts: Facts) -> usual.Cause:
    """What explains a quantity, once it is known which factor on it would fit."""
    actual, need, lot, *_ = use

    def explain(fits: Fits) -> str:
        scrap = lost_with_scrap(report.material_actuals, lot or ZERO, need.into_lot, fits)
        return scrap or likely_cause(actual.quantity, fits, need.material, facts)

    return explain
