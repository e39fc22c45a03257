"""Confirmation: yield, scrap, rework and times of an operation become an order confirmation (SAP ProdnOrdConf2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agent.errors import BadPayload
from agent.facts import Facts, Material, Order
from agent.isa95 import MaterialUse, Quantity, SegmentResponse
from agent.ports import Draft, Features, Kind, Proposal, Score
from agent.workflows.orders import converted, erp_quantity, order_holds, order_of, remember, reported_before, shown

ZERO: Final = Decimal(0)
_CONFIRMATION: Final = Kind.CONFIRMATION
_FINGERPRINT: Final = ("yield", "scrap", "rework", "start", "end")  # of the payload: equal in a double report
_AT_ONCE: Final = timedelta(0)
_SECONDS: Final = {"SEC": 1, "MIN": 60, "HUR": 3600, "DAY": 86400}
_USES: Final = {MaterialUse.PRODUCED: "yield", MaterialUse.SCRAP: "scrap", MaterialUse.REWORK: "rework"}


class Config(BaseModel):
    """Options of the workflow `confirmation`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backflush: bool = Field(
        default=False,
        description="let the ERP consume components with the confirmation; refused beside `consumption` postings",
    )
    activities: Mapping[str, str] = Field(
        default_factory=lambda: {"machine": "1", "labor": "2"},
        description="duration of the report → number of the activity in the work centre (1 to 6)",
    )
    over_delivery: Decimal = Field(
        default=Decimal("0.05"), ge=0, description="yield and scrap may exceed the order quantity by this fraction"
    )
    longest_hours: int = Field(default=24, ge=1, description="a report about a longer time than this is held")
    allow_rounding: bool = Field(
        default=False, description="post quantities and times that are finer than the ERP keeps, rounded half up"
    )
    stale_after_hours: int = Field(
        default=24, ge=1, description="hold reports when the orders were last read from the ERP longer ago than this"
    )


class Work(NamedTuple):
    """What was made and how long it took, in the ERP's units and precision."""

    order: Order
    operation: str
    unit: str
    quantities: Mapping[str, Decimal]  # yield, scrap, rework
    scrap_reason: str
    activities: Mapping[str, Quantity]  # by the activity's number in the work centre

    @property
    def done(self) -> Decimal:
        """What counts against the order's quantity."""
        return self.quantities["yield"] + self.quantities["scrap"]


class Confirmation:
    """A report of kind ``confirmation``: produced, scrapped and reworked MaterialActuals with start, end, durations."""

    name = "confirmation"
    feature_names = ()  # no model looks at confirmations

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stale = timedelta(hours=config.stale_after_hours)
        self._longest = timedelta(hours=config.longest_hours)

    def state_key(self, report: SegmentResponse) -> str | None:
        """Reports of one operation of one order belong together."""
        return f"confirmation/{report.order}/{report.operation.lstrip('0')}"

    def features(self, report: SegmentResponse, facts: Facts) -> Features | None:
        """No model looks at confirmations."""
        return None

    def propose(
        self, report: SegmentResponse, facts: Facts, score: Score | None, state: Mapping[str, Any]
    ) -> tuple[Proposal, Mapping[str, Any]]:
        """The confirmation, and why a person must look at it where one must. Raises BadPayload."""
        order = order_of(report, facts)
        holds = order_holds(report, order, facts, self._stale)
        work = self._work(report, order, facts, holds)
        if not any(work.quantities.values()) and not work.activities and not report.final:
            return Proposal((), reasons=("nothing was made and no time was used",)), state
        holds += self._times(report, work)
        payload = self._payload(report, work, facts)
        fingerprint = " ".join([*map(payload.__getitem__, _FINGERPRINT), report.work_center])
        doubts = [*self._quantity_holds(work, facts, state), *_repeated(report, work, fingerprint, state)]
        draft = Draft(_CONFIRMATION, f"order/{order.order}", payload, _value(work, facts), report.final)
        proposal = Proposal((draft,), holds=(*holds, *doubts), subject=_subject(report, order, facts))
        return proposal, _after(state, work, report, fingerprint, counts=not doubts)

    def _work(self, report: SegmentResponse, order: Order, facts: Facts, holds: list[str]) -> Work:
        operation = order.operation(report.operation)
        unit = operation.unit if operation else order.unit
        product = facts.materials.get(order.material)
        quantities, reason = {"yield": ZERO, "scrap": ZERO, "rework": ZERO}, ""
        for actual in report.material_actuals:
            name = _USES.get(actual.use)
            if name is None or actual.material not in ("", order.material):
                what = f"{actual.use} of {actual.material or 'the product'}"
                raise BadPayload(f"{what} does not belong into a confirmation", field="material_actuals")
            if actual.quantity.value:
                quantities[name] += self._exact(actual.quantity, name, unit, facts, holds, product)
                reason = reason or (actual.reason if name == "scrap" else "")
        return Work(
            order=order,
            operation=operation.operation if operation else report.operation,
            unit=unit,
            quantities=quantities,
            scrap_reason=reason,
            activities=self._activities(report, facts, holds),
        )

    def _activities(self, report: SegmentResponse, facts: Facts, holds: list[str]) -> dict[str, Quantity]:
        activities = {}
        for name, duration in report.durations.items():
            number = self.config.activities.get(name)
            if number is None:
                known = ", ".join(self.config.activities) or "none"
                holds.append(f"duration {name!r} has no activity number; options.activities knows {known}")
            elif duration.value:
                value = self._exact(duration, name, duration.unit, facts, holds, None)
                activities[number] = Quantity(value, duration.unit)
        return activities

    def _exact(
        self, quantity: Quantity, name: str, unit: str, facts: Facts, holds: list[str], material: Material | None
    ) -> Decimal:
        """The quantity at ERP precision; a loss that the options do not allow is a hold. Raises BadPayload."""
        if not quantity.value > 0:
            raise BadPayload(f"is {quantity}: a correction is a reversal", field=name, reason="negative")
        value, loss = erp_quantity(quantity, unit, facts, material)
        if loss and not self.config.allow_rounding:
            holds.append(f"{name}: {loss}; the option allow_rounding would post that")
        return value

    def _times(self, report: SegmentResponse, work: Work) -> list[str]:
        holds = []
        if report.start and report.end:
            if report.end < report.start:
                holds.append(f"end {report.end:%Y-%m-%d %H:%M} is before start {report.start:%Y-%m-%d %H:%M}")
            elif report.end - report.start > self._longest:
                holds.append(
                    f"start to end is {report.end - report.start}, more than {self.config.longest_hours} hours"
                )
        longest = self.config.longest_hours * 3600
        for number, duration in work.activities.items():
            if not 0 < duration.value * _SECONDS.get(duration.unit, 0) <= longest:
                holds.append(f"activity {number} is {duration}: not a time of up to {self.config.longest_hours} hours")
        return holds

    def _quantity_holds(self, work: Work, facts: Facts, state: Mapping[str, Any]) -> list[str]:
        holds, units = [], facts.units
        if work.quantities["scrap"] and not work.scrap_reason:
            holds.append(f"{shown(work.quantities['scrap'], work.unit, units)} of scrap without a reason")
        product = facts.materials.get(work.order.material)
        quantity = converted(work.order.quantity, work.order.unit, work.unit, facts, product)
        total = Decimal(state.get("total", 0)) + work.done
        if total > quantity * (1 + self.config.over_delivery):
            ordered = shown(quantity, work.unit, units)
            holds.append(f"{shown(total, work.unit, units)} of yield and scrap in all, {ordered} ordered")
        return holds

    def _payload(self, report: SegmentResponse, work: Work, facts: Facts) -> dict[str, Any]:
        return {
            "plant": work.order.plant,
            "order": work.order.order,
            "operation": work.operation,
            "sequence": "0",
            "yield": f"{work.quantities['yield']:f}",
            "scrap": f"{work.quantities['scrap']:f}",
            "rework": f"{work.quantities['rework']:f}",
            "unit": work.unit,
            "final": report.final,
            "scrap_reason": work.scrap_reason,
            "posting_date": facts.plant.day_text(report.occurred_at),
            "start": _iso(report.start),
            "end": _iso(report.end),
            "activities": {
                number: {"quantity": f"{duration.value:f}", "unit": duration.unit}
                for number, duration in work.activities.items()
            },
            "backflush": self.config.backflush,
            "text": (report.id or "")[:40],
            "personnel": report.personnel,
        }


def _iso(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""


def _value(work: Work, facts: Facts) -> Decimal:
    """Money at stake: what was made and scrapped, at the product's price; 0 where the price is not known."""
    product = facts.materials.get(work.order.material)
    if product is None:
        return ZERO
    return product.price * converted(work.done, work.unit, product.base_unit, facts, product)


def _subject(report: SegmentResponse, order: Order, facts: Facts) -> dict[str, str]:
    work_center = facts.work_centers.get(report.work_center)
    return {
        "order": order.order,
        "material": order.material,
        "work_center": report.work_center,
        "line": work_center.line if work_center else "",
    }


def _repeated(report: SegmentResponse, work: Work, fingerprint: str, state: Mapping[str, Any]) -> list[str]:
    holds = []
    if state.get("final"):
        holds.append(f"operation {work.operation} of order {work.order.order} was finally confirmed before")
    if reported_before(state.get("last", ()), fingerprint, report.occurred_at, _AT_ONCE):
        holds.append("the same was reported at the same time under another id: a double report")
    return holds


def _after(
    state: Mapping[str, Any], work: Work, report: SegmentResponse, fingerprint: str, *, counts: bool
) -> Mapping[str, Any]:
    """A doubtful report does not count as made; a person who releases it sees what stands before it."""
    total = Decimal(state.get("total", 0))
    return {
        "total": f"{total + work.done if counts else total:f}",
        "final": bool(state.get("final")) or (counts and report.final),
        "last": remember(state.get("last", ()), fingerprint, report.occurred_at),
    }
