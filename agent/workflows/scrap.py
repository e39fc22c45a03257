"""Scrap: a report of defective pieces becomes what the ERP books of it, a record of the defect, and a blocked lot.

A model tells the likeliest cause; a table of the plant says who bears it. Where the model cannot rule out another cause
it abstains: a person sees what it may be, and says what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.errors import BadPayload
from agent.facts import Facts
from agent.features import scrap_classification as features
from agent.features.scrap_classification import Pieces
from agent.isa95 import SegmentResponse
from agent.masterdata.entities import ScrapReason
from agent.own_events import UNBOOKED_SCRAP
from agent.ports import Draft, Proposal
from agent.scores import Classified, Features
from agent.workflows import follow_on, scrap_drafts, severity
from agent.workflows.orders import REMEMBERED, remember, reported_before, shown, stale_orders
from agent.workflows.scrap_drafts import Kept
from agent.workflows.scrap_report import Found, fingerprint, found, number, scrapped, teller, text
from agent.workflows.scrap_unbooked import unbooked
from agent.workflows.severity import Judged, Limits

FOLLOW_ON: Final = "follow_on"  # the kind of report that says what becomes of a blocked lot
UNKNOWN: Final = "unknown"  # the cause, where neither model nor person says one
_NOTHING: Final = Proposal((), reasons=("nothing was scrapped",))


def lot_key(material: str, lot: str) -> str:
    """Under which key the history of a lot is kept."""
    return f"scrap/lot/{material}/{lot}"


class Config(BaseModel):
    """Options of the workflow `scrap`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    book: Literal["goods_movement", "confirmation"] = Field(
        default="goods_movement",
        description="`goods_movement` takes it from stock (551, 553 or 555) at the expense of the cause's cost centre; "
        "`confirmation` confirms it as scrap of the operation with the cause's variance reason, for pieces of the "
        "order's product that no confirmation reports",
    )
    may_be_wrong: Decimal = Field(
        default=Decimal("0.1"), gt=0, lt=1,
        description="Share of reports of which the cause may lie outside of what the model does not rule out; where "
        "that is more than one cause, it abstains",
    )  # fmt: skip
    double_report_seconds: int = Field(
        default=900, ge=0, description="The same quantity of the same defect of a lot within this time is one defect"
    )
    history_hours: int = Field(
        default=24, ge=1, description="How long a defect at the work centre counts as seen before"
    )
    major_share: Decimal = Field(default=Decimal("0.05"), gt=0, le=1, description="Share of the lot that is major")
    critical_share: Decimal = Field(default=Decimal("0.25"), gt=0, le=1, description="Share that is critical")
    major_repeats: int = Field(
        default=3, ge=2, description="The same defect at the work centre or of the lot for so many times is major"
    )
    critical_repeats: int = Field(default=8, ge=2, description="For so many times it is critical")
    block_from: Literal["minor", "major", "critical", "never"] = Field(
        default="major", description="From which severity on the rest of the lot goes to blocked stock (344)"
    )
    block_as: Mapping[Literal["minor", "major", "critical"], Literal["blocked", "restricted"]] = Field(
        default={},
        description="Severity → `restricted`: not the rest of the lot goes to blocked stock, its whole batch is put "
        "into restricted use, where the material is kept by batch; `blocked` else",
    )
    notify_from: Literal["minor", "major", "critical", "never"] = Field(
        default="major", description="From which severity on people are told"
    )
    notify: tuple[str, ...] = Field(default=(), description="Who is told, by role or address; none: nobody")
    rework_share: Decimal = Field(
        default=Decimal("0.3"), ge=0, le=1, description="What rework costs, as a share of the price of a piece"
    )
    stale_after_hours: int = Field(
        default=24, ge=1, description="hold reports when the orders were last read from the ERP longer ago than this"
    )


class Scrap:
    """A report of kind ``scrap``: one Scrap MaterialActual with its lot; ``follow_on``: what becomes of the rest.

    The agent's own says what of it people corrected, and what is not booked after all.
    """

    name = "scrap"
    hears = UNBOOKED_SCRAP
    feature_names: tuple[str, ...] = (*features.NUMBERS, *features.CATEGORIES)

    def __init__(self, config: Config) -> None:
        self.config = config
        self._limits = Limits(config.major_share, config.critical_share, config.major_repeats, config.critical_repeats)
        self._within = config.history_hours * 3600.0
        self._stale = timedelta(hours=config.stale_after_hours)

    def state_keys(self, report: SegmentResponse) -> tuple[str, ...]:
        """What came before at the work centre, and of the lot."""
        lots = [lot_key(one.material or report.order, one.lot) for one in report.material_actuals if one.lot]
        return (f"scrap/place/{report.work_center}", *lots[:1])

    def features(self, report: SegmentResponse, facts: Facts) -> Features | None:
        """Its model tells classes: see `values`."""
        return None

    def values(
        self, report: SegmentResponse, facts: Facts, states: Sequence[Any]
    ) -> Mapping[str, float | str | None] | None:
        """What the model looks at; None where the report does not say how large the lot is. Raises BadPayload."""
        if report.kind in (FOLLOW_ON, UNBOOKED_SCRAP):
            return None
        one = found(report, facts)
        if not one.lot_quantity:
            return None
        place, lot = _histories(states)
        return features.values(
            features.Scrap(
                machine=report.work_center,
                defect=text(report, "defect"),
                at=report.occurred_at.astimezone(facts.plant.zone),
                pieces=float(one.lot_quantity),
                scrapped=float(one.quantity),
                since_set_up=number(report, "since_set_up"),
                tool_used=number(report, "tool_used"),
                since_stop=number(report, "since_stop"),
                temperature_off=number(report, "temperature_off"),
                pressure_off=number(report, "pressure_off"),
                cycle_off=number(report, "cycle_off"),
                of_machine=_pieces(place),
                of_batch=_pieces(lot),
            )
        )

    def propose(
        self, report: SegmentResponse, facts: Facts, score: Classified | None, states: Sequence[Any]
    ) -> tuple[Proposal, Sequence[Any]]:
        """What is booked of it, as one group, and why a person must look at it where one must. Raises BadPayload."""
        if report.kind == UNBOOKED_SCRAP:
            return unbooked(report, states)
        if report.kind == FOLLOW_ON:
            return follow_on.proposed(report, facts, self.config.rework_share, states)
        if not scrapped(report).quantity.value:
            return _NOTHING, states
        one = found(report, facts)
        cause, doubts = self._cause(report, facts, score)
        reason = self._reason(cause, report, facts)
        double = self._double(report, one, states)
        judged = self._severity(report, one, reason, states, again=not double)
        lost, stale = (one.lost,) if one.lost else (), stale_orders(report, facts, self._stale)
        kept = Kept() if double else self._kept(one, judged)  # else its lot is seen to already
        odd = (*self._implausible(one, facts), *_blocked_before(one, kept, states, facts))
        odd += () if double else self._told_by_another(report, one, states, facts)
        holds = (*one.place.holds, *stale, *lost, *odd, *double, *doubts)
        drafts = self._drafts(report, facts, one, reason, judged, kept, tell=not double)
        left = follow_on.suggested(one, judged, kept.rest, self.config.rework_share, facts)
        confidence = 1.0 if score is None or scrapped(report).reason else score.confidence
        said = scrap_drafts.said(report, one, reason, judged, kept, facts)
        reasons = (*_may_be(score), *judged.reasons, *left)
        subject = {**one.place.subject, "cause": cause}
        proposal = Proposal(drafts, confidence, holds, reasons, subject, said=said, together=True)
        return proposal, states if double else self._after(report, one, cause, kept, states)

    # ── why ─────────────────────────────────────────────────────────────────────────────────────────────

    def _cause(self, report: SegmentResponse, facts: Facts, score: Classified | None) -> tuple[str, tuple[str, ...]]:
        """The cause that is taken, and why a person must say whether it is so."""
        said = scrapped(report).reason
        if score is None:
            return (said, ()) if said else (UNKNOWN, ("nobody says what caused it: correct the cause",))
        left = score.possible.get(f"{self.config.may_be_wrong:f}")
        if left is None:
            return said or score.likeliest, (f"{score.model} has no bound for {self.config.may_be_wrong}: it abstains",)
        if said and said not in left:
            return said, (f"reported as {said}, which {score.model} rules out: it takes it for {score.likeliest}",)
        if said:
            return said, ()
        if len(left) != 1:
            several = f"it cannot rule out {', '.join(left)}" if left else "it is like nothing that it knows"
            return score.likeliest, (f"{score.model} abstains: {several}",)
        return score.likeliest, ()

    def _reason(self, cause: str, report: SegmentResponse, facts: Facts) -> ScrapReason:
        """What the cause means in the ERP. Raises BadPayload."""
        if cause == UNKNOWN:
            return ScrapReason(UNKNOWN, "", text="a cause that nobody has told yet")
        known = facts.scrap_reason(cause, report.work_center)
        if known is None:
            raise BadPayload(
                f"nobody knows who bears {cause!r}: mend the sender, or add it to scrap_reasons.yaml: the event is "
                "read again by itself if that is in time",
                field="reason",
                reason="unknown_cause",
                awaits=(ScrapReason.kind, f"{cause}@{report.work_center}"),
            )
        return known

    def _severity(
        self, report: SegmentResponse, one: Found, reason: ScrapReason, states: Sequence[Any], *, again: bool
    ) -> Judged:
        """How bad it is; with `again` it is one more of its kind, else perhaps the same that was seen before."""
        defect, at = text(report, "defect"), report.occurred_at.timestamp()
        before = [severity.seen_before(state.get("seen", ()), defect, at, self._within) for state in states]
        return severity.judged(one.share, max(1, max(before) + again) if defect else 1, self._limits, reason.severity)

    def _implausible(self, one: Found, facts: Facts) -> list[str]:
        """More than there can be."""
        units, unit, holds = facts.units, one.unit, []
        if one.lot_quantity is not None and one.quantity > one.lot_quantity:
            lot = shown(one.lot_quantity, unit, units)
            holds.append(f"{shown(one.quantity, unit, units)} scrapped of a lot of {lot}")
        order = one.place.order
        if one.place.material.material == order.material and order.unit == unit and one.quantity > order.quantity:
            ordered = shown(order.quantity, unit, units)
            holds.append(f"{shown(one.quantity, unit, units)} scrapped, {ordered} ordered")
        return holds

    def _double(self, report: SegmentResponse, one: Found, states: Sequence[Any]) -> tuple[str, ...]:
        """One defect that two report: a person and a camera, or the same sender under another id."""
        at, last = report.occurred_at.timestamp(), states[-1].get("last", ())
        if reported_before(last, _fingerprint(report, one), at, within=self.config.double_report_seconds):
            where = f"lot {one.actual.lot}" if one.actual.lot else f"work centre {report.work_center}"
            return (f"as much of the same defect of {where} was reported just before: two reports of one defect",)
        return ()

    def _told_by_another(
        self, report: SegmentResponse, one: Found, states: Sequence[Any], facts: Facts
    ) -> tuple[str, ...]:
        """What may be one defect, counted by two people: not as much, but of one lot and at one time."""
        who, at = teller(report), report.occurred_at.timestamp()
        for defect, when, other, quantity in states[-1].get("tellers", ()) if one.actual.lot and who else ():
            near = abs(at - when) <= self.config.double_report_seconds
            if near and other and other != who and defect == text(report, "defect"):
                before, now = (shown(value, one.unit, facts.units) for value in (Decimal(quantity), one.quantity))
                return (
                    f"somebody else told {before} of the same defect of lot {one.actual.lot} just before, now it is "
                    f"{now}: look whether that is one defect, counted twice",
                )
        return ()

    # ── what ────────────────────────────────────────────────────────────────────────────────────────────

    def _kept(self, one: Found, judged: Judged) -> Kept:
        """How the rest of the lot is kept from use, where it is."""
        if not one.actual.lot or not severity.at_least(judged.severity, self.config.block_from):
            return Kept()
        gone = one.quantity if self.config.book == "goods_movement" else Decimal(0)
        left = max((one.in_stock or Decimal(0)) - gone, Decimal(0)).quantize(one.place.into_unit.step)
        restricted = self.config.block_as.get(judged.severity.value) == "restricted"
        return Kept(left, restricted and one.place.material.batch_managed)

    def _drafts(
        self,
        report: SegmentResponse,
        facts: Facts,
        one: Found,
        reason: ScrapReason,
        judged: Judged,
        kept: Kept,
        *,
        tell: bool,
    ) -> tuple[Draft, ...]:
        booked = scrap_drafts.movement if self.config.book == "goods_movement" else scrap_drafts.confirmation
        drafts = [booked(report, one, reason, facts)]
        if one.defect is not None:
            drafts.append(scrap_drafts.defect(report, one, one.defect, judged))
        if kept.restricted:
            drafts.append(
                scrap_drafts.kept_from_use(scrap_drafts.batch_status(report, one, restricted=True), report, one, judged)
            )
        elif kept.rest:
            transfer = scrap_drafts.transfer(report, one, kept.rest, "344", facts)
            drafts.append(scrap_drafts.kept_from_use(transfer, report, one, judged))
        if tell and self.config.notify and severity.at_least(judged.severity, self.config.notify_from):
            drafts.append(scrap_drafts.notification(report, one, judged, self.config.notify, facts))
        return tuple(drafts)

    # ── what came before ────────────────────────────────────────────────────────────────────────────────

    def _after(
        self, report: SegmentResponse, one: Found, cause: str, block: Kept, states: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """The histories of work centre and lot with this report."""
        at, defect = report.occurred_at.timestamp(), text(report, "defect")
        pieces, quantity = float(one.lot_quantity or one.quantity), float(one.quantity)
        made = number(report, "made_before") or 0.0  # without scrap, since the report before
        after = []
        for number_, state in enumerate(states):
            before = _pieces(state)
            kept = features.KEPT if not number_ and before.made > features.LONG else 1.0
            new = {
                "made": kept * before.made + pieces + (0.0 if number_ else made),
                "scrapped": kept * before.scrapped + quantity,
                "seen": severity.remembered(state.get("seen", ()), defect, at),
                "last": remember(state.get("last", ()), _fingerprint(report, one), at),
            }
            if number_:
                blocked = Decimal(0) if block.restricted else block.rest
                new |= {"cause": cause, "blocked": str(Decimal(state.get("blocked", 0)) + blocked)}
                new |= {"restricted": block.restricted or bool(state.get("restricted"))}
                told = (defect, at, teller(report), str(one.quantity))
                new |= {"tellers": [*state.get("tellers", ())[1 - REMEMBERED :], told]}
            after.append(new)
        return after


def _blocked_before(one: Found, kept: Kept, states: Sequence[Any], facts: Facts) -> tuple[str, ...]:
    """More of a lot than there is: its defects may be told one by one, each with what was there before the first."""
    before, rest = Decimal(_histories(states)[1].get("blocked", 0)), Decimal(0) if kept.restricted else kept.rest
    if not (rest and before) or (one.lot_quantity is not None and before + rest + one.quantity <= one.lot_quantity):
        return ()
    had, more = (shown(value, one.unit, facts.units) for value in (before, rest))
    return (f"{had} of lot {one.actual.lot} were blocked before, and {more} more would be: look what is left of it",)


def _histories(states: Sequence[Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Of the work centre, and of the lot: nothing where it has none."""
    return states[0], states[1] if len(states) > 1 else {}


def _pieces(state: Mapping[str, Any]) -> Pieces:
    return Pieces(state.get("made", 0.0), state.get("scrapped", 0.0))


def _fingerprint(report: SegmentResponse, one: Found) -> str:
    return fingerprint(report, one.place.material.material, one.quantity)


def _may_be(score: Classified | None) -> tuple[str, ...]:
    if score is None:
        return ()
    told = ", ".join(f"{cause} {100 * share:.0f} %" for cause, share in score.top())
    return (f"it may be: {told}", *score.reasons)
