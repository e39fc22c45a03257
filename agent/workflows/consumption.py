"""Consumption: what a lot took of a component becomes a goods issue (SAP movement 261) against its reservation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from math import log
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agent.errors import BadPayload
from agent.facts import BomItem, Component, Facts, Material, Order, Tolerance
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.ports import Draft, Features, Kind, Proposal, Score
from agent.workflows.causes import likely_cause
from agent.workflows.orders import (
    STEPS,
    converted,
    erp_quantity,
    material_of,
    order_holds,
    order_of,
    remember,
    reported_before,
    shown,
)

_CONSUMED: Final = MaterialUse.CONSUMED
_PRODUCED: Final = MaterialUse.PRODUCED
_GOODS_ISSUE: Final = Kind.GOODS_ISSUE
ZERO: Final = Decimal(0)
ONE: Final = Decimal(1)
EXACT: Final = Tolerance("", "", ZERO, ZERO)  # where no tolerance is configured
USES_KEPT: Final = 1000  # more than a batch has reports
FEATURES: Final = ("deviation", "distance", "log_expected", "counted", "share_of_required")


class Config(BaseModel):
    """Options of the workflow `consumption`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow_rounding: bool = Field(
        default=False,
        description="post a quantity that is finer than the ERP keeps, rounded half up; otherwise it is held",
    )
    double_report_seconds: int = Field(
        default=10, ge=0, description="the same weight under another id within this time is held as a double report"
    )
    stale_after_hours: int = Field(
        default=24, ge=1, description="hold reports when the orders were last read from the ERP longer ago than this"
    )


class Use(NamedTuple):
    """What was used of a component, in the ERP's unit, beside what the lot should take. None: nothing to compare."""

    actual: MaterialActual
    order: Order
    material: Material
    component: Component | None
    unit: str
    lot: Decimal | None  # of the product, in the unit of its bill of material
    expected: Decimal | None  # bill of material × lot
    set_up: Decimal = ZERO  # used once per order, on top of the first report


class Consumption:
    """A report of kind ``consumption``: one consumed MaterialActual, and a produced one that tells the lot."""

    name = "consumption"
    feature_names = FEATURES

    def __init__(self, config: Config) -> None:
        self.config = config
        self._within = timedelta(seconds=config.double_report_seconds)
        self._stale = timedelta(hours=config.stale_after_hours)
        self._uses: dict[int, tuple[SegmentResponse, Facts, Use]] = {}  # of scored reports, until they are proposed

    def state_key(self, report: SegmentResponse) -> str | None:
        """Reports of one material of one order belong together."""
        materials = [actual.material for actual in report.material_actuals if actual.use is _CONSUMED]
        return (
            f"consumption/{report.order}/{materials[0]}" if len(materials) == 1 else None
        )  # else `propose` refuses it

    def features(self, report: SegmentResponse, facts: Facts) -> Features | None:
        """The model's inputs, or None where there is nothing to compare with: `propose` says why."""
        try:
            use = use_of(report, facts)
            if len(self._uses) >= USES_KEPT:
                self._uses.clear()
            self._uses[id(report)] = report, facts, use
            return features(use, facts)
        except BadPayload:
            return None

    def _use(self, report: SegmentResponse, facts: Facts) -> Use:
        """What `features` found for this very report, or found now. Raises BadPayload."""
        seen = self._uses.pop(id(report), None)
        return seen[2] if seen is not None and seen[0] is report and seen[1] is facts else use_of(report, facts)

    def propose(
        self, report: SegmentResponse, facts: Facts, score: Score | None, state: Mapping[str, Any]
    ) -> tuple[Proposal, Mapping[str, Any]]:
        """The goods issue, and why a person must look at it where one must. Raises BadPayload."""
        use = self._use(report, facts)
        if not use.actual.quantity.value:
            return Proposal((), reasons=(f"nothing of {use.actual.material} was used",)), state
        quantity, loss = erp_quantity(use.actual.quantity, use.unit, facts, use.material)
        holds = order_holds(report, use.order, facts, self._stale)
        if loss and not self.config.allow_rounding:
            holds.append(f"{loss}; the option allow_rounding would post that")
        if not quantity:
            holds.append(f"{use.actual.quantity} is less than the ERP can keep")
        holds += _component_holds(use)
        tolerance = facts.tolerance(use.material.material, report.work_center) or EXACT
        fingerprint = f"{use.actual.quantity.value!s} {use.actual.lot} {use.lot!s} {report.work_center}"
        doubts = _deviation(use, quantity, tolerance, facts, state)
        doubts += _cumulated(use, quantity, tolerance, facts, state)
        if reported_before(state.get("last", ()), fingerprint, report.occurred_at, self._double_within(use, facts)):
            doubts.append("the same was reported a moment ago under another id: a double report")
        proposal = Proposal(
            drafts=(_draft(report, use, quantity, facts),),
            confidence=score.confidence if score else 1.0,
            holds=(*holds, *doubts),
            reasons=score.reasons if score else (),
            subject=_subject(report, use, facts),
        )
        return proposal, _after(state, quantity, fingerprint, report, counts=not doubts)

    def _double_within(self, use: Use, facts: Facts) -> timedelta:
        """Two equal weighings in a row are a double report; two equal counts are not, unless at the same instant."""
        return self._within if facts.units.decimals(use.unit) else timedelta(0)


def _consumed(report: SegmentResponse) -> MaterialActual:
    found = [actual for actual in report.material_actuals if actual.use is _CONSUMED]
    if len(found) != 1:
        raise BadPayload(
            f"a consumption report names one consumed material, this one {len(found)}", field="material_actuals"
        )
    return found[0]


def use_of(report: SegmentResponse, facts: Facts) -> Use:
    """What the report says beside what the bill of material lets expect. Raises BadPayload."""
    actual, order = _consumed(report), order_of(report, facts)
    _refuse_negative(actual.quantity, "quantity")
    material = material_of(actual.material, facts)
    component = order.component(actual.material, report.operation)
    unit = component.unit if component else material.base_unit
    bom = facts.bom_items.get((order.material, actual.material)) or _bom_of(order, component)
    produced = _produced(report, order)
    if produced is not None:
        _refuse_negative(produced, "lot quantity")
    if bom is None or produced is None:
        return Use(actual, order, material, component, unit, None, None)
    product_unit, item = bom
    product = facts.materials.get(order.material)
    lot = converted(produced.value, produced.unit, product_unit, facts, product)
    expected = converted(item.quantity * lot, item.unit, unit, facts, material)
    set_up = converted(item.set_up, item.unit, unit, facts, material) if item.set_up else ZERO
    return Use(actual, order, material, component, unit, lot, expected, set_up)


def _refuse_negative(quantity: Quantity, field: str) -> None:
    if not (quantity.value.is_finite() and quantity.value >= ZERO):
        raise BadPayload(f"is {quantity}: a return is no consumption", field=field, reason="negative")


def _bom_of(order: Order, component: Component | None) -> tuple[str, BomItem] | None:
    """Without a bill of material of its own, the order's requirement says what one unit takes."""
    if component is None or not order.quantity:
        return None
    return order.unit, BomItem(component.material, component.required / order.quantity, component.unit)


def _produced(report: SegmentResponse, order: Order) -> Quantity | None:
    """The lot that was made of it. A bare number (C62, no material) counts in the order's own unit."""
    for actual in report.material_actuals:
        if actual.use is _PRODUCED and actual.material in ("", order.material):
            bare = actual.quantity.unit == "C62" and not actual.material
            return Quantity(actual.quantity.value, order.unit) if bare else actual.quantity
    return None


# ── what the model looks at ─────────────────────────────────────────────────────────────────────────────────


def features(use: Use, facts: Facts) -> Features | None:
    """One row in the order of FEATURES, or None where nothing can be compared.

    ``deviation`` is the natural logarithm of used over expected, with or without the set-up, whichever is nearer to
    zero; ``distance`` its size; ``log_expected`` the logarithm of what is expected in the ERP's unit; ``counted`` is 1
    for pieces and 0 for what is weighed or measured; ``share_of_required`` is used over the order's requirement.
    """
    if not use.expected or not use.actual.quantity.value or use.component is None:
        return None
    reported = use.actual.quantity
    used = float(reported.value)
    if reported.unit != use.unit:
        used *= float(facts.factor(reported.unit, use.unit, use.material))
    expected = float(use.expected)
    deviation = log(used / expected)
    if use.set_up:
        deviation = min(deviation, log(used / (expected + float(use.set_up))), key=abs)
    required = float(use.component.required)
    counted = 0.0 if facts.units.decimals(use.unit) else 1.0
    return deviation, abs(deviation), log(expected), counted, used / required if required else 1.0


# ── what is wrong without any model ─────────────────────────────────────────────────────────────────────────


def _component_holds(use: Use) -> list[str]:
    if use.component is None:
        return [f"{use.actual.material} is no component of order {use.order.order}: an unplanned withdrawal"]
    holds = []
    if use.component.backflush:
        holds.append(f"{use.actual.material} is backflushed with the confirmation: it would be consumed twice")
    if use.material.batch_managed and not (use.actual.lot or use.component.batch):
        holds.append(f"{use.actual.material} is managed in batches, and the report names none")
    if use.lot is None:
        holds.append("the report does not say for what lot quantity: nothing to compare the consumption with")
    return holds


def _deviation(use: Use, quantity: Decimal, tolerance: Tolerance, facts: Facts, state: Mapping[str, Any]) -> list[str]:
    """Beyond what the lot should take, plus the set-up on the first report of the component."""
    if use.expected is None or use.component is None:
        return []
    expected = use.expected
    if use.set_up and not state.get("count") and not use.component.withdrawn:
        expected += use.set_up
    rounding = STEPS[facts.units.decimals(use.unit)] / 2
    low = expected * (ONE - tolerance.under) - rounding
    high = expected * (ONE + tolerance.over) + rounding
    if low <= quantity <= high:
        return []
    cause = likely_cause(
        use.actual.quantity, lambda factor: low <= Fraction(quantity) * factor <= high, use.material, facts.units
    )
    percent = f": {quantity / expected:.0%}".replace("%", " %") if expected else ""
    words = (
        f"{shown(quantity, use.unit, facts.units)} reported, {shown(expected, use.unit, facts.units)} expected{percent}"
    )
    return [f"{words}; {cause}" if cause else words]


def _cumulated(use: Use, quantity: Decimal, tolerance: Tolerance, facts: Facts, state: Mapping[str, Any]) -> list[str]:
    """More in sum than the order requires; the ERP's own figure counts where it is more than what passed here."""
    if use.component is None:
        return []
    total = max(Decimal(state.get("total", 0)), use.component.withdrawn) + quantity
    required = use.component.required
    if total <= required * (ONE + tolerance.over):
        return []
    units = facts.units
    return [f"{shown(total, use.unit, units)} used in all, {shown(required, use.unit, units)} required by the order"]


# ── what is proposed, and what is remembered ────────────────────────────────────────────────────────────────


def _draft(report: SegmentResponse, use: Use, quantity: Decimal, facts: Facts) -> Draft:
    component, operation = use.component, use.order.operation(report.operation)
    day = facts.plant.day_text(report.occurred_at)
    value = use.material.price * converted(quantity, use.unit, use.material.base_unit, facts, use.material)
    payload = {
        "plant": use.order.plant,
        "material": use.actual.material,
        "order": use.order.order,
        "operation": operation.operation if operation else report.operation,
        "reservation": component.reservation if component else "",
        "reservation_item": component.item if component else "",
        "quantity": f"{quantity:f}",
        "unit": use.unit,
        "floor_quantity": f"{use.actual.quantity.value:f}",
        "floor_unit": use.actual.quantity.unit,
        "storage_location": use.actual.storage_location or (component.storage_location if component else ""),
        "batch": use.actual.lot or (component.batch if component else ""),
        "posting_date": day,
        "document_date": day,
        "text": (report.id or "")[:50],
    }
    return Draft(_GOODS_ISSUE, f"order/{use.order.order}", payload, value)


def _subject(report: SegmentResponse, use: Use, facts: Facts) -> dict[str, str]:
    work_center = facts.work_centers.get(report.work_center)
    return {
        "order": use.order.order,
        "material": use.actual.material,
        "work_center": report.work_center,
        "line": work_center.line if work_center else "",
    }


def _after(
    state: Mapping[str, Any], quantity: Decimal, fingerprint: str, report: SegmentResponse, *, counts: bool
) -> Mapping[str, Any]:
    """A doubtful quantity does not count as used: the ERP's own figure tells when a person released it."""
    total, count = Decimal(state.get("total", 0)), state.get("count", 0)
    return {
        "total": f"{total + quantity if counts else total:f}",
        "count": count + counts,
        "last": remember(state.get("last", ()), fingerprint, report.occurred_at),
    }
