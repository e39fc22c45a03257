"""Backflush: pieces made become goods issues of what they should take, which measurements then put right.

Two sorts of report meet here. One of production says how many pieces an operation made: each component is then expected
to have been used, by its bill of material and the ratio that was learnt at this place. One of measurement says what a
scale or a counter saw: it takes the place of the expectation for its pieces (see `account`). A third one is the agent's
own: what is not booked after all (see `backflush_unbooked`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agent.detectors import ratio, usage
from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import MaterialUse, SegmentResponse
from agent.masterdata.entities import Order
from agent.own_events import UNBOOKED
from agent.ports import Draft, Expected, Proposal
from agent.scores import Features, Score
from agent.shares import Shares, issues, takes
from agent.workflows import usual
from agent.workflows.account import ZERO, Account, Made, rounded
from agent.workflows.backflush_books import Books, Place, components_of, place_of
from agent.workflows.backflush_issue import Pace, apart, draft, due, shortened
from agent.workflows.backflush_unbooked import unbooked
from agent.workflows.deviation import cause, deviation
from agent.workflows.orders import (
    as_much,
    into,
    order_holds,
    order_of,
    remember,
    reported_before,
    shown,
    stale_orders,
    subject_of,
)
from agent.workflows.use import BACKFLUSHED, Need, Use, consumed_of, made_of, use_of

NOTHING: Final = Decimal(0)
FIRST_LOTS: Final = 3  # measurements in which the set-up may show; behind them it was too small to be seen
_PIECES: Final = (MaterialUse.PRODUCED, MaterialUse.SCRAP)  # both have taken their components


class Config(BaseModel):
    """Options of the workflow `backflush`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issues: Shares = ()
    every_pieces: Decimal = Field(
        default=Decimal(50),
        ge=0,
        description="a component is issued when so many pieces were made since its last issue, in the order's unit; "
        "0: with every report",
    )
    every_s: int = Field(
        default=900, ge=0, description="and with the first report so many seconds after its last issue, however few"
    )
    totals: bool = Field(
        default=False,
        description="reports of production tell the order's total at the operation, not what came since the last one",
    )
    marked: bool = Field(
        default=False,
        description="issue also components that are marked for backflush in the ERP; only where no confirmation does",
    )
    over_delivery: Decimal = Field(
        default=Decimal("0.05"), ge=0, description="pieces may exceed the order quantity by this fraction"
    )
    double_report_seconds: int = Field(
        default=10, ge=0, description="the same weight under another id within this time is held as a double report"
    )
    stale_after_hours: int = Field(
        default=24,
        ge=1,
        description="issue nothing on expectations when the orders were last read longer ago than this",
    )
    rare: float = Field(
        default=0.005,
        ge=0,
        lt=1,
        description="hold what is rarer among measurements of its place, or odd and explained by an error; 0: never",
    )


class Seen(NamedTuple):
    """One measurement, in the ERP's unit and the order's."""

    report: SegmentResponse
    place: Place
    use: Use
    at: float  # seconds of the epoch
    quantity: Fraction
    lot: Fraction | None  # the pieces it is for; None: whatever was made until then
    covers: Fraction  # pieces, either way
    batch: str
    set_up: Fraction  # that may be in it
    double: bool  # the same was reported a moment ago


class Backflush:
    """Reports of production (Produced and Scrap of the product), and of measurement (one Consumed material)."""

    name = "backflush"
    feature_names = ()  # no model looks at what is only expected
    hears = UNBOOKED

    def __init__(self, config: Config) -> None:
        self.config = config
        self._pace = Pace(Fraction(config.every_pieces), config.every_s, timedelta(hours=config.stale_after_hours))
        self._most = 1 + config.over_delivery

    def takes(self, report: SegmentResponse) -> bool:
        """Whether it issues what this report says was consumed."""
        return takes(self.config.issues, report)

    def state_keys(self, report: SegmentResponse) -> tuple[str, ...]:
        """Of the operation, of the work centre, and of a material measured there."""
        own = f"backflush/{report.order}/{report.operation.lstrip('0')}"
        if report.kind == UNBOOKED:
            return (own,)
        keys = (own, f"ratio/{report.work_center}")
        consumed = consumed_of(report)
        return (*keys, f"measured/{report.work_center}/{consumed[0].material}") if consumed else keys

    def features(self, report: SegmentResponse, facts: Facts) -> Features | None:
        """No model looks at what is only expected."""
        return None

    def propose(
        self, report: SegmentResponse, facts: Facts, score: Score | None, states: Sequence[Any]
    ) -> tuple[Proposal, Sequence[Any]]:
        """The goods issues that are due, and why a person must look at them where one must. Raises BadPayload."""
        if report.kind == UNBOOKED:
            return unbooked(report, states[0], facts, totals=self.config.totals)
        kept, ratios, *streams = states
        books = Books.of(kept, ratios, totals=self.config.totals)
        if streams:
            proposal, stream = self._measured(report, facts, books, streams[0])
            return proposal, [*books.written(), stream]
        return self._produced(report, facts, books), books.written()

    # ── production ──────────────────────────────────────────────────────────────────────────────────────────

    def _produced(self, report: SegmentResponse, facts: Facts, books: Books) -> Proposal:
        """What the pieces should have taken. What is in doubt about pieces is not counted: it waits in quarantine."""
        order = order_of(report, facts)
        if why := order_holds(report, order, facts):
            raise BadPayload("; ".join(why), field="order", reason="order_unfit")
        made = self._counted(report, order, facts, books.made)
        books.made, books.over = made, books.over or report.final
        reasons: list[str] = []
        drafts, holds = list[Draft](), list[str]()
        for material in components_of(order, order.operation(report.operation)):
            place = place_of(report, material, facts)
            if why_not := self._left_alone(place, report.work_center):
                reasons.append(why_not)
                continue
            found = due(report, facts, books, place, self._pace)
            drafts += found.drafts
            reasons += found.reasons
            holds += found.holds
        subject = subject_of(report, order, order.material, facts)
        if not drafts:
            total = shown(shortened(made.pieces), order.unit, facts.units)
            reasons = reasons or [f"{total} made so far: counted, and no issue is due yet"]
        return Proposal(tuple(drafts), holds=tuple(holds), reasons=tuple(reasons), subject=subject)

    def _counted(self, report: SegmentResponse, order: Order, facts: Facts, before: Made) -> Made:
        """The pieces with those of this report. Raises BadPayload for what cannot be."""
        pieces, into_order = ZERO, into(order.unit, facts.materials.get(order.material), facts)
        told = False
        for actual in report.material_actuals:
            if actual.material not in ("", order.material):
                what = f"{actual.use} of {actual.material} does not belong into a report of production"
                raise BadPayload(what, field="material_actuals")
            if actual.use in _PIECES:
                value, unit = actual.quantity
                own = order.unit if unit == "C62" and not actual.material else unit  # a bare number
                pieces += Fraction(value) * Fraction(*into_order[own])
                told = True
        if not told and not report.final:
            raise BadPayload("a report of production says how many pieces were made", field="material_actuals")
        if self.config.totals and pieces < 0:
            raise BadPayload(f"a total of {shortened(pieces)} cannot be", field="quantity", reason="negative")
        most = Fraction(order.quantity * self._most)
        if -pieces > most:  # a counter that began anew, say: no issue would follow for so many pieces
            less, ordered = (shown(value, order.unit, facts.units) for value in (shortened(-pieces), order.quantity))
            raise BadPayload(
                f"{less} would be taken back, {ordered} are ordered; mend the sender's numbers, then send it again",
                field="quantity",
                reason="out_of_range",
            )
        made = before.after(report.occurred_at.timestamp(), pieces) if told else before
        if made.pieces > before.pieces and made.pieces > most:
            total, ordered = (
                shown(value, order.unit, facts.units) for value in (shortened(made.pieces), order.quantity)
            )
            raise BadPayload(
                f"{total} would be made in all, {ordered} are ordered; raise the order in the ERP, then replay it",
                field="quantity",
                reason="too_many_pieces",
            )
        return made

    def _left_alone(self, place: Place, work_center: str) -> str:
        """Why nothing is issued of this component on expectations, or ""."""
        component, name = place.need.component, place.material
        if not issues(self.config.issues, work_center, name):
            return f"{name} is issued by another workflow, when it is measured"
        if component is None:
            return f"{name} stands several times in the operation: it waits for a person"
        if component.backflush and not self.config.marked:
            return f"{name} {BACKFLUSHED}: left to the ERP"
        return ""

    # ── measurement ─────────────────────────────────────────────────────────────────────────────────────────

    def _measured(self, report: SegmentResponse, facts: Facts, books: Books, stream: Any) -> tuple[Proposal, Any]:
        """What a scale or counter saw, and what is now due: the books then hold what was measured."""
        seen, account = self._seen(report, facts, books)
        doubts = [*self._doubts(seen, facts, account, stale_orders(report, facts, self._pace.stale))]
        if seen.place.need.component is None:
            return _unplanned(seen, doubts, facts), stream
        alarm = ""
        if not doubts and seen.use.expected and seen.quantity:
            stream, doubts, alarm = self._unusual(seen, facts, books, stream)
        if alarm:
            books.forget(seen.place)
        if doubts:
            return self._in_doubt(seen, account, doubts, facts, books)._replace(alarm=alarm), stream
        shows = bool(seen.set_up) and seen.quantity > seen.covers * seen.place.per_piece + seen.set_up / 2
        if seen.use.expected:
            used = seen.quantity - (seen.set_up if shows else ZERO)
            books.learn(seen.place, float(used), float(seen.covers * seen.place.per_piece))
        account = account.with_measurement(seen.batch, seen.quantity, seen.lot, seen.at)
        if shows or account.reports >= FIRST_LOTS:
            account = replace(account, set_up=ZERO)
        books.put(seen.place, account)
        drafts, told, holds = due(report, facts, books, seen.place, self._pace)
        reasons = (*told, alarm) if alarm else tuple(told)
        return Proposal(tuple(drafts), 1.0, tuple(holds), reasons, seen.place.need.subject, alarm), stream

    def _seen(self, report: SegmentResponse, facts: Facts, books: Books) -> tuple[Seen, Account]:
        """The report in the ERP's words, and its component's account that remembers it. Raises BadPayload."""
        use = use_of(report, facts)
        place, at = place_of(report, use.actual.material, facts), report.occurred_at.timestamp()
        account, lot = books.account(place), _lot(report, place, facts)
        covers = lot if lot is not None else max(ZERO, books.made.by(at) - account.measured_pieces(books.made))
        batch = (use.actual.lot or account.batch) if place.need.material.batch_managed else ""
        quantity = Fraction(use.actual.quantity.value) * Fraction(*place.need.into_unit[use.actual.quantity.unit])
        fingerprint = as_much(quantity, use.actual.lot, lot, report.work_center)
        seen = Seen(
            report=report,
            place=place,
            use=_comparable(use, place, covers),
            at=at,
            quantity=quantity,
            lot=lot,
            covers=covers,
            batch=batch,
            set_up=account.set_up if account.reports < FIRST_LOTS else ZERO,
            double=reported_before(account.last, fingerprint, at, self._double_within(place.need)),
        )
        last = tuple(remember(account.last, fingerprint, at))
        return seen, replace(account, last=last, batch=batch, complete=account.complete or report.final)

    def _doubts(self, seen: Seen, facts: Facts, account: Account, stale: tuple[str, ...]) -> Iterator[str]:
        """Why a person must look at this measurement, as far as it can be told without what is usual."""
        need, told = seen.place.need, shortened(seen.quantity)
        yield from (one for one in need.holds if not (self.config.marked and BACKFLUSHED in one))
        yield from stale
        if need.material.batch_managed and not seen.batch:
            yield f"{need.material.material} is managed in batches, and the report names none"
        off = deviation(seen.report, seen.use, told, facts, shortened(seen.set_up))
        if off and (not seen.set_up or deviation(seen.report, seen.use, told, facts, NOTHING)):
            yield from off  # with and without the set-up: a later lot may overtake the first
        if seen.double:
            yield "the same was reported a moment ago under another id: a double report"
        if need.component is not None:
            by_others = max(ZERO, Fraction(need.component.withdrawn) - account.total_issued)
            total = by_others + account.total_known + seen.quantity
            if total > Fraction(need.limit):
                used, required = (
                    shown(one, need.unit, facts.units) for one in (shortened(total), need.component.required)
                )
                yield f"{used} used in all, {required} required by the order"

    def _unusual(self, seen: Seen, facts: Facts, books: Books, stream: Any) -> tuple[Any, list[str], str]:
        """The stream of the place after this measurement, why it is odd beside it, and a shift that it completes.

        It is held against what its recipe was found to take, once a few lots have told: recipes share a work centre.
        """
        need, place = seen.place.need, seen.place
        own, centre = books.ratio(place)
        if own.lots < ratio.FEW:
            return stream, [], ""
        before, expected = usage.restored(stream), float(seen.covers * place.per_piece) * centre
        after, found = usage.follow(before, float(seen.quantity), expected, float(seen.set_up), need.grain)
        if found is None:
            return after, [], ""
        if found.shift and before is not None:  # the ratio forgets and follows, so the stream stays where it was
            after = after._replace(ratio=(0.0, before.ratio[1], after.ratio[2]))
        doubts: list[str] = []
        if self.config.rare and found.p < 1:
            why = cause(seen.report, seen.use, facts)
            doubts = usual.odd(found, shortened(seen.quantity), need.unit, why, self.config.rare, facts.units)
        return after, doubts, usual.shift(found, place.material, seen.report.work_center)

    def _in_doubt(self, seen: Seen, account: Account, doubts: list[str], facts: Facts, books: Books) -> Proposal:
        """What was issued ahead for its pieces stands; a person decides about the difference, and either answer holds.

        Approved, the books have what was measured; refused, they keep what was expected. The account counts neither.
        """
        place, report = seen.place, seen.report
        ahead = max(ZERO, account.issued.get(seen.batch, ZERO) - account.known.get(seen.batch, ZERO))
        expected = seen.covers * books.per_piece(place) + seen.set_up
        stands = ZERO if seen.double else min(expected, ahead)
        difference = rounded(seen.quantity - stands, place.step)
        account = account.with_measurement(seen.batch, seen.quantity - difference, seen.lot, seen.at)
        books.put(place, account)
        drafts = [apart(draft(report, place, difference, seen.batch, facts))] if difference else []
        if account.settled(books.made, over=books.over):  # no later report would issue the rest
            drafts += due(report, facts, books, place, self._pace).drafts
        reasons = (_difference(place, seen.quantity, stands, difference, facts),)
        expects = None if stands else _expected(seen.use, seen.set_up)  # a part compares with nothing
        return Proposal(tuple(drafts), 1.0, tuple(doubts), reasons, place.need.subject, "", expects)

    def _double_within(self, need: Need) -> int:
        """Two equal weighings in a row are a double report; two equal counts are not, unless at the same instant."""
        return 0 if need.counted else self.config.double_report_seconds


def _unplanned(seen: Seen, doubts: list[str], facts: Facts) -> Proposal:
    """What the order does not plan has no account: a person decides about all of it."""
    whole = rounded(seen.quantity, seen.place.step)
    drafts = (apart(draft(seen.report, seen.place, whole, seen.batch, facts)),) if whole else ()
    return Proposal(drafts, 1.0, tuple(doubts), (), seen.place.need.subject)


def _lot(report: SegmentResponse, place: Place, facts: Facts) -> Fraction | None:
    """For how many pieces, in the order's unit; None: the report does not say."""
    order = place.need.order
    made = made_of(report, order)
    if made is None:
        return None
    value, unit = made
    return Fraction(value) * Fraction(*into(order.unit, facts.materials.get(order.material), facts)[unit])


def _comparable(use: Use, place: Place, covers: Fraction) -> Use:
    """The report beside what its pieces should take, also where it names no lot."""
    if use.lot is not None or not covers or not place.per_piece:
        return use
    factor = Fraction(*place.need.into_lot[place.need.order.unit])
    return use._replace(lot=shortened(covers * factor), expected=shortened(covers * place.per_piece))


def _expected(use: Use, set_up: Fraction) -> Expected | None:
    need = use.need
    if use.expected is None:
        return None
    return Expected(use.expected + shortened(set_up), need.least, need.most, need.unit, need.into_unit.step)


def _difference(place: Place, quantity: Fraction, stands: Fraction, difference: Fraction, facts: Facts) -> str:
    """What the held posting is, and what becomes of the rest."""
    unit, units = place.need.unit, facts.units
    measured, ahead, rest = (
        shown(shortened(value), unit, units) for value in (quantity, rounded(stands, place.step), abs(difference))
    )
    what = "goes back" if difference < 0 else "is to be issued"
    return f"{measured} measured, {ahead} of it issued ahead: {rest} {what} if this is right; refused, nothing changes"
