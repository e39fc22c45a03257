"""Consumption: what a lot took of a component becomes a goods issue (SAP movement 261) against its reservation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from math import log
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from agent.detectors import usage
from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import MaterialActual, SegmentResponse
from agent.ports import Draft, Expected, Kind, Proposal
from agent.scores import Features, Score
from agent.shares import Shares, takes
from agent.workflows import usual
from agent.workflows.deviation import cause, deviation
from agent.workflows.orders import (
    as_much,
    converted,
    erp_quantity,
    remember,
    reported_before,
    shown,
    stale_orders,
)
from agent.workflows.use import ZERO, Need, Use, consumed_of, use_of

_GOODS_ISSUE: Final = Kind.GOODS_ISSUE
USES_KEPT: Final = 1000  # more than a batch has reports
FEATURES: Final = ("deviation", "distance", "log_expected", "counted", "share_of_required")


class Config(BaseModel):
    """Options of the workflow `consumption`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issues: Shares = ()
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
    rare: float = Field(
        default=0.005,
        ge=0,
        lt=1,
        description="hold what is rarer among reports of its place, or odd and explained by an error; 0: never",
    )


class Consumption:
    """A report of kind ``consumption``: one consumed MaterialActual, and a produced one that tells the lot."""

    name = "consumption"
    feature_names: tuple[str, ...] = FEATURES

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stale = timedelta(hours=config.stale_after_hours)
        self._uses: dict[int, tuple[SegmentResponse, Facts, Use]] = {}  # of scored reports, until they are proposed

    def takes(self, report: SegmentResponse) -> bool:
        """Whether it issues what this report says was consumed."""
        return takes(self.config.issues, report)

    def state_keys(self, report: SegmentResponse) -> tuple[str, ...]:
        """Reports of one material belong together: those of one order, and those of one work centre."""
        consumed = consumed_of(report)
        if len(consumed) != 1:
            return ()  # `propose` refuses it
        material = consumed[0].material
        return f"consumption/{report.order}/{material}", f"usage/{report.work_center}/{material}"

    def features(self, report: SegmentResponse, facts: Facts) -> Features | None:
        """The model's inputs, or None where there is nothing to compare with: `propose` says why."""
        try:
            use = use_of(report, facts)
            if len(self._uses) >= USES_KEPT:
                self._uses.clear()
            self._uses[id(report)] = report, facts, use
            return features(use)
        except BadPayload:
            return None

    def _use(self, report: SegmentResponse, facts: Facts) -> Use:
        """What `features` found for this very report, or found now. Raises BadPayload."""
        seen = self._uses.pop(id(report), None)
        return seen[2] if seen is not None and seen[0] is report and seen[1] is facts else use_of(report, facts)

    def propose(
        self, report: SegmentResponse, facts: Facts, score: Score | None, states: Sequence[Any]
    ) -> tuple[Proposal, Sequence[Any]]:
        """The goods issue, and why a person must look at it where one must. Raises BadPayload."""
        use = self._use(report, facts)
        actual, need, lot, _, _ = use
        if not actual.quantity.value:
            return Proposal((), reasons=(f"nothing of {actual.material} was used",)), states
        state, stream = states
        quantity, loss = erp_quantity(actual.quantity, need.into_unit)
        holds = [*need.holds, *stale_orders(report, facts, self._stale)]
        if loss and not self.config.allow_rounding:
            holds.append(f"{loss}; the option allow_rounding would post that")
        if not quantity:
            holds.append(f"{shown(*actual.quantity, facts.units)} is less than the ERP can keep")
        holds += _missing(use)
        used, last = Decimal(state.get("total", 0)), state.get("last", ())
        set_up = _set_up(use, state)
        doubts = [*deviation(report, use, quantity, facts, set_up), *_cumulated(need, used, quantity, facts)]
        fingerprint = as_much(quantity, actual.lot, lot, report.work_center)
        at = report.occurred_at.timestamp()
        if reported_before(last, fingerprint, at, self._double_within(need)):
            doubts.append("the same was reported a moment ago under another id: a double report")
        draft = _draft(report, actual, need, quantity, facts)
        alarm = ""
        if not doubts:  # what is in doubt says nothing of what is usual
            stream, found = _followed(use, quantity, set_up, stream)
            if found is not None:
                if self.config.rare and found.p < 1:
                    why = cause(report, use, facts)
                    doubts = usual.odd(found, quantity, need.unit, why, self.config.rare, facts.units)
                alarm = usual.shift(found, actual.material, report.work_center)
        confidence, reasons = (score.confidence, score.reasons) if score else (1.0, ())
        if reasons:
            reasons = (*reasons, *_allowed_for(use, set_up, facts))
        if alarm:
            reasons = (*reasons, alarm)
        proposal = Proposal(
            (draft,), confidence, (*holds, *doubts), reasons, need.subject, alarm, _expected(use, set_up)
        )
        # A doubtful quantity does not count as used: the ERP's own figure tells when a person released it.
        total, count = (used, 0) if doubts else (used + quantity, 1)
        last = remember(last, fingerprint, at)
        return proposal, [{"total": str(total), "count": state.get("count", 0) + count, "last": last}, stream]

    def _double_within(self, need: Need) -> int:
        """Two equal weighings in a row are a double report; two equal counts are not, unless at the same instant."""
        return 0 if need.counted else self.config.double_report_seconds


# ── what the model looks at ─────────────────────────────────────────────────────────────────────────────────


def features(use: Use) -> Features | None:
    """One row in the order of FEATURES, or None where nothing can be compared.

    ``deviation`` is the natural logarithm of used over expected, with or without the set-up, whichever is nearer to
    zero; ``distance`` its size; ``log_expected`` the logarithm of what is expected in the ERP's unit; ``counted`` is 1
    for pieces and 0 for what is weighed or measured; ``share_of_required`` is used over the order's requirement.
    """
    actual, need, _, expected, set_up = use
    value, unit = actual.quantity
    if not expected or not value or need.component is None:
        return None
    numerator, denominator = need.into_unit[unit]
    used, usual, required = float(value) * (numerator / denominator), float(expected), need.required
    deviation = log(used / usual)
    if set_up:
        deviation = min(deviation, log(used / (usual + float(set_up))), key=abs)
    return deviation, abs(deviation), log(usual), 1.0 if need.counted else 0.0, used / required if required else 1.0


# ── what is wrong without any model ─────────────────────────────────────────────────────────────────────────


def _missing(use: Use) -> list[str]:
    """What the report should say and does not."""
    actual, need, lot, _, _ = use
    holds: list[str] = []
    if need.component is None:
        return holds
    if need.material.batch_managed and not (actual.lot or need.component.batch):
        holds.append(f"{actual.material} is managed in batches, and the report names none")
    if lot is None:
        holds.append("the report does not say for what lot quantity: nothing to compare the consumption with")
    return holds


def _expected(use: Use, set_up: Decimal) -> Expected | None:
    """What the lot should take, and within what tolerance; None where nothing tells."""
    need, expected = use.need, use.expected
    if expected is None:
        return None
    return Expected(expected + set_up, need.least, need.most, need.unit, need.into_unit.step)


def _set_up(use: Use, state: Mapping[str, Any]) -> Decimal:
    """What setting up may have taken: it is in the first report of the component for the order."""
    component = use.need.component
    first = component is not None and not state.get("count") and not component.withdrawn
    return use.set_up if first else ZERO


def _allowed_for(use: Use, set_up: Decimal, facts: Facts) -> tuple[str, ...]:
    """Where the model allows for a set-up and the tolerance does not: a person sees two expectations side by side."""
    value, unit = use.actual.quantity
    if set_up or not use.set_up or not use.expected or not value:
        return ()
    used, more = converted(value, unit, use.need.into_unit), use.expected + use.set_up
    if used * used <= use.expected * more:  # nearer without it, as `features` measures
        return ()
    extra, all_of_it = (shown(quantity, use.need.unit, facts.units) for quantity in (use.set_up, more))
    return (f"the model compares with {all_of_it} expected, with {extra} for the set-up",)


def _cumulated(need: Need, used: Decimal, quantity: Decimal, facts: Facts) -> tuple[str, ...]:
    """More in sum than the order requires; the ERP's own figure counts where it is more than what passed here."""
    component = need.component
    if component is None:
        return ()
    total = (used if used > component.withdrawn else component.withdrawn) + quantity
    if total <= need.limit:
        return ()
    total_text, required = (shown(value, need.unit, facts.units) for value in (total, component.required))
    return (f"{total_text} used in all, {required} required by the order",)


# ── what is usual at its place ──────────────────────────────────────────────────────────────────────────────


def _followed(use: Use, quantity: Decimal, set_up: Decimal, stream: Any) -> tuple[Any, usage.Finding | None]:
    """The stream of the material at the work centre after this report, and what it found, if anything."""
    if not use.expected or use.need.component is None or not quantity:
        return stream, None
    before = usage.restored(stream)
    return usage.follow(before, float(quantity), float(use.expected), float(set_up), use.need.grain)


# ── what is proposed ────────────────────────────────────────────────────────────────────────────────────────


def _draft(report: SegmentResponse, actual: MaterialActual, need: Need, quantity: Decimal, facts: Facts) -> Draft:
    day, material = facts.plant.day_text(report.occurred_at), need.material
    payload = need.payload.copy()
    payload["quantity"] = str(quantity)
    payload["floor_quantity"], payload["floor_unit"] = f"{actual.quantity.value:f}", actual.quantity.unit
    payload["posting_date"] = payload["document_date"] = day
    payload["text"] = (report.id or "")[:50]
    if actual.storage_location:
        payload["storage_location"] = actual.storage_location
    if actual.lot:
        payload["batch"] = actual.lot
    value = material.price * converted(quantity, need.unit, need.into_base)
    return Draft(_GOODS_ISSUE, need.lane, payload, value)
