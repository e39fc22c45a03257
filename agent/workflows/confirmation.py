"""Confirmation: yield, scrap, rework and times of an operation become an order confirmation (SAP ProdnOrdConf2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agent.errors import BadPayload
from agent.facts import Facts, day_text
from agent.isa95 import MaterialUse, Quantity, SegmentResponse
from agent.masterdata.entities import Material, Order
from agent.ports import Draft, Kind, Proposal
from agent.scores import Features, Score
from agent.workflows.orders import (
    Into,
    converted,
    erp_quantity,
    into,
    order_holds,
    order_of,
    remember,
    reported_before,
    shown,
    stale_orders,
    subject_of,
)

ZERO: Final = Decimal(0)
_CONFIRMATION: Final = Kind.CONFIRMATION
_written: Final = itemgetter("yield", "scrap", "rework", "start", "end")  # of the payload: equal in a double report
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


@dataclass(frozen=True, slots=True)
class Place:
    """What the facts say about one operation of one order: the same for every report from there."""

    order: Order
    operation: str
    unit: str  # in which the operation is confirmed
    into_unit: Into
    product: Material | None
    into_base: Into  # the unit that the product's price is for
    ordered: Decimal  # in that unit
    holds: tuple[str, ...]
    subject: Mapping[str, str]
    payload: dict[str, Any]  # of the confirmation, before the report's own words
    lane: str  # in which it reaches the ERP


class Work(NamedTuple):
    """What was made and how long it took, in the ERP's units and precision."""

    quantities: Mapping[str, Decimal]  # yield, scrap, rework
    scrap_reason: str
    activities: Mapping[str, Mapping[str, str]]  # by the activity's number in the work centre
    done: Decimal  # yield and scrap: what counts against the order's quantity
    odd_times: Sequence[str]  # why a person must look at the activities' times


class Confirmation:
    """A report of kind ``confirmation``: produced, scrapped and reworked MaterialActuals with start, end, durations."""

    name = "confirmation"
    feature_names = ()  # no model looks at confirmations

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stale = timedelta(hours=config.stale_after_hours)
        self._most = 1 + config.over_delivery
        self._longest = timedelta(hours=config.longest_hours)
        self._longest_in = {unit: Decimal(config.longest_hours * 3600) / one for unit, one in _SECONDS.items()}

    def state_keys(self, report: SegmentResponse) -> tuple[str, ...]:
        """Reports of one operation of one order belong together."""
        return (f"confirmation/{report.order}/{report.operation.lstrip('0')}",)

    def features(self, report: SegmentResponse, facts: Facts) -> Features | None:
        """No model looks at confirmations."""
        return None

    def propose(
        self, report: SegmentResponse, facts: Facts, score: Score | None, states: Sequence[Any]
    ) -> tuple[Proposal, Sequence[Any]]:
        """The confirmation, and why a person must look at it where one must. Raises BadPayload."""
        key = ("confirmation", report.order, report.operation, report.work_center)
        place: Place = facts.memo.get(key) or facts.remember(key, _place(report, facts))
        holds = [*place.holds, *stale_orders(report, facts, self._stale)]
        work = self._work(report, place, facts, holds)
        if not (work.done or work.quantities["rework"] or work.activities or report.final):
            return Proposal((), reasons=("nothing was made and no time was used",)), states
        holds += (*self._span(report), *work.odd_times)
        payload = self._payload(report, place, work, facts)
        fingerprint = " ".join([*_written(payload), report.work_center])
        (state,) = states
        at, made, last = report.occurred_at.timestamp(), Decimal(state.get("total", 0)), state.get("last", ())
        doubts = self._quantity_holds(place, work, made, facts)
        if state.get("final"):
            doubts.append(f"operation {place.operation} of order {place.order.order} was finally confirmed before")
        if reported_before(last, fingerprint, at, within=0):
            doubts.append("the same was reported at the same time under another id: a double report")
        draft = Draft(_CONFIRMATION, place.lane, payload, _value(place, work), report.final)
        proposal = Proposal((draft,), 1.0, (*holds, *doubts), (), place.subject)
        # A doubtful report does not count as made; a person who releases it sees what stands before it.
        total, final = (made, False) if doubts else (made + work.done, report.final)
        last = remember(last, fingerprint, at)
        return proposal, [{"total": str(total), "final": bool(state.get("final")) or final, "last": last}]

    def _work(self, report: SegmentResponse, place: Place, facts: Facts, holds: list[str]) -> Work:
        quantities, reason = {"yield": ZERO, "scrap": ZERO, "rework": ZERO}, ""
        for actual in report.material_actuals:
            name = _USES.get(actual.use)
            if name is None or actual.material not in ("", place.order.material):
                what = f"{actual.use} of {actual.material or 'the product'}"
                raise BadPayload(f"{what} does not belong into a confirmation", field="material_actuals")
            if actual.quantity.value:
                quantities[name] += self._exact(actual.quantity, name, place.into_unit, holds)
                reason = reason or (actual.reason if name == "scrap" else "")
        activities, odd_times = self._activities(report, facts, holds)
        return Work(quantities, reason, activities, quantities["yield"] + quantities["scrap"], odd_times)

    def _activities(
        self, report: SegmentResponse, facts: Facts, holds: list[str]
    ) -> tuple[dict[str, dict[str, str]], list[str]]:
        activities, odd_times, numbers = {}, [], self.config.activities
        for name, duration in report.durations.items():
            number, unit = numbers.get(name), duration.unit
            if number is None:
                known = ", ".join(numbers) or "none"
                holds.append(f"duration {name!r} has no activity number; options.activities knows {known}")
            elif duration.value:
                time = self._exact(duration, name, into(unit, None, facts), holds)
                activities[number] = {"quantity": str(time), "unit": unit}
                if not ZERO < time <= self._longest_in.get(unit, ZERO):
                    limit = f"not a time of up to {self.config.longest_hours} hours"
                    odd_times.append(f"activity {number} is {shown(time, unit, facts.units)}: {limit}")
        return activities, odd_times

    def _exact(self, quantity: Quantity, name: str, into: Into, holds: list[str]) -> Decimal:
        """The quantity at ERP precision; a loss that the options do not allow is a hold. Raises BadPayload."""
        if not quantity.value > ZERO:
            raise BadPayload(f"is {quantity}: a correction is a reversal", field=name, reason="negative")
        value, loss = erp_quantity(quantity, into)
        if loss and not self.config.allow_rounding:
            holds.append(f"{name}: {loss}; the option allow_rounding would post that")
        return value

    def _span(self, report: SegmentResponse) -> list[str]:
        holds, start, end = [], report.start, report.end
        if start and end:
            if end < start:
                holds.append(f"end {end:%Y-%m-%d %H:%M} is before start {start:%Y-%m-%d %H:%M}")
            elif end - start > self._longest:
                holds.append(f"start to end is {end - start}, more than {self.config.longest_hours} hours")
        return holds

    def _quantity_holds(self, place: Place, work: Work, made: Decimal, facts: Facts) -> list[str]:
        holds, units = [], facts.units
        if work.quantities["scrap"] and not work.scrap_reason:
            holds.append(f"{shown(work.quantities['scrap'], place.unit, units)} of scrap without a reason")
        total = made + work.done
        if total > place.ordered * self._most:
            ordered = shown(place.ordered, place.unit, units)
            holds.append(f"{shown(total, place.unit, units)} of yield and scrap in all, {ordered} ordered")
        return holds

    def _payload(self, report: SegmentResponse, place: Place, work: Work, facts: Facts) -> dict[str, Any]:
        payload, made = place.payload.copy(), work.quantities
        payload["yield"], payload["scrap"], payload["rework"] = map(str, (made["yield"], made["scrap"], made["rework"]))
        payload["final"], payload["scrap_reason"] = report.final, work.scrap_reason
        payload["posting_date"] = facts.plant.day_text(report.occurred_at)
        payload["start"], payload["end"] = _iso(report.start), _iso(report.end)
        payload["activities"], payload["backflush"] = work.activities, self.config.backflush
        payload["text"], payload["personnel"] = (report.id or "")[:40], report.personnel
        return payload


def _place(report: SegmentResponse, facts: Facts) -> Place:
    """Look up what does not change from report to report. Raises BadPayload for an unknown order."""
    order = order_of(report, facts)
    operation, product = order.operation(report.operation), facts.materials.get(order.material)
    unit = operation.unit if operation else order.unit
    into_unit = into(unit, product, facts)
    payload = {
        "plant": order.plant,
        "order": order.order,
        "operation": operation.operation if operation else report.operation,
        "sequence": "0",
        "yield": "",
        "scrap": "",
        "rework": "",
        "unit": unit,
        "final": False,
        "scrap_reason": "",
        "posting_date": "",
        "start": "",
        "end": "",
        "activities": {},
        "backflush": False,
        "text": "",
        "personnel": "",
    }
    return Place(
        order=order,
        operation=operation.operation if operation else report.operation,
        unit=unit,
        into_unit=into_unit,
        product=product,
        into_base=into(product.base_unit, product, facts) if product else into_unit,
        ordered=converted(order.quantity, order.unit, into_unit),
        holds=tuple(order_holds(report, order, facts)),
        subject=subject_of(report, order, order.material, facts),
        payload=payload,
        lane=f"order/{order.order}",
    )


def _iso(moment: datetime | None) -> str:
    """``2026-11-20T14:00:05+00:00``; a UTC time's own `isoformat` takes twice as long."""
    return f"{day_text(moment.date())}T{moment.time().isoformat()}+00:00" if moment else ""


def _value(place: Place, work: Work) -> Decimal:
    """Money at stake: what was made and scrapped, at the product's price; 0 where the price is not known."""
    product = place.product
    if product is None:
        return ZERO
    return product.price * converted(work.done, place.unit, place.into_base)
