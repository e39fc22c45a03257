"""The account of one operation of an order: pieces made, and of each component what was measured, expected and issued.

One rule keeps a quantity from being counted twice: what is known of a component is always the sum of its measurements
and of the expectation for the pieces that no measurement has covered yet. A measurement takes the place of the
expectation for its pieces; what was issued is held against the whole, never against its parts. Exact: fractions, in the
ERP's unit; rounded only where something is issued, and always the sum.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final

KEPT: Final = 100  # reports of pieces; older ones count as one
ZERO: Final = Fraction(0)
NO_BATCH: Final = ""
_NONE: Final[Mapping[str, Fraction]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Made:
    """Pieces of the order in its unit: all of them, and the latest reports as (seconds of the epoch, pieces as text).

    `totals` says that reports tell the order's total and not what came since the last one.
    """

    told: Fraction = ZERO  # a correction downwards may come before what it corrects
    reports: tuple[tuple[float, str], ...] = ()  # by their time; texts, because few of them are ever looked at
    totals: bool = False

    def after(self, at: float, pieces: Fraction) -> Made:
        """With another report, whenever it comes."""
        reports = list(self.reports)
        insort(reports, (at, str(pieces)), key=itemgetter(0))
        if len(reports) > KEPT:  # the two oldest become one, of the later time
            (_, first), (later, second) = reports[:2]
            reports[:2] = [(later, second if self.totals else str(Fraction(first) + Fraction(second)))]
        told = Fraction(reports[-1][1]) if self.totals else self.told + pieces
        return Made(told, tuple(reports), self.totals)

    @property
    def pieces(self) -> Fraction:
        """All of them; fewer than none are none."""
        return max(ZERO, self.told)

    def by(self, at: float) -> Fraction:
        """Pieces made until then."""
        if not self.reports or at >= self.reports[-1][0]:
            return self.pieces
        before = bisect_right(self.reports, at, key=itemgetter(0))
        if self.totals:
            return Fraction(self.reports[before - 1][1]) if before else ZERO
        return max(ZERO, self.told - sum((Fraction(pieces) for _, pieces in self.reports[before:]), ZERO))


@dataclass(frozen=True, slots=True)
class Account:
    """One component: `known` and `issued` are by batch, where the material is managed in batches."""

    known: Mapping[str, Fraction] = field(default_factory=lambda: _NONE)
    issued: Mapping[str, Fraction] = field(default_factory=lambda: _NONE)
    covered: Fraction = ZERO  # pieces whose lots were measured
    until: float | None = None  # up to when measurements without a lot have covered whatever was made
    set_up: Fraction = ZERO  # that no measurement has shown yet
    batch: str = NO_BATCH  # that is in use
    complete: bool = False  # the scale said that nothing comes any more
    reports: int = 0  # measurements that counted
    last: tuple[Any, ...] = ()  # of them, to know a double one by
    issued_at: float | None = None  # seconds of the epoch
    issued_pieces: Fraction = ZERO  # made or covered when something was issued last
    withheld: Fraction = ZERO  # that a person did not let be booked: not issued again because it is expected
    withheld_pieces: Fraction = ZERO  # so many must be measured before that is over
    asks: bool = False  # a person did not let be booked what was measured: a person lets it be issued again

    def measured_pieces(self, made: Made) -> Fraction:
        """How many pieces measurements cover: by lots or by time, whichever is more."""
        return self.covered if self.until is None else max(self.covered, made.by(self.until))

    def open_pieces(self, made: Made) -> Fraction:
        """Pieces made that no measurement covers."""
        return ZERO if self.complete else max(ZERO, made.pieces - self.measured_pieces(made))

    def expected(self, made: Made, per_piece: Fraction) -> Fraction:
        """What they should take, with the set-up while no measurement has shown it."""
        pieces = self.open_pieces(made)
        return pieces * per_piece + self.set_up if pieces else ZERO

    @property
    def total_known(self) -> Fraction:
        """Of all batches."""
        return sum(self.known.values(), ZERO)

    @property
    def total_issued(self) -> Fraction:
        """Of all batches."""
        return sum(self.issued.values(), ZERO)

    def due(self, made: Made, per_piece: Fraction, step: Decimal) -> dict[str, Fraction]:
        """By batch what is to be issued now, in whole steps of the ERP's unit; below 0: too much was issued."""
        total = dict(self.known)
        expected = max(ZERO, self.expected(made, per_piece) - self.held_back(made))
        total[self.batch] = total.get(self.batch, ZERO) + expected
        found = {}
        for batch in sorted({*total, *self.issued}):
            whole = rounded(total.get(batch, ZERO), step)
            if difference := whole - self.issued.get(batch, ZERO):
                found[batch] = difference
        return found

    def held_back(self, made: Made) -> Fraction:
        """What is expected and not issued, since a person said no and no measurement has spoken yet."""
        return self.withheld if self.measured_pieces(made) < self.withheld_pieces else ZERO

    def settled(self, made: Made, *, over: bool) -> bool:
        """Whether nothing more comes: the scale said so, or the order is `over` and every piece was measured."""
        return self.complete or (over and self.reports > 0 and not self.open_pieces(made))

    def with_issue(self, batch: str, quantity: Fraction, made: Made, at: float) -> Account:
        """After an issue, or with a negative quantity after what was too much is taken back."""
        issued = {**self.issued, batch: self.issued.get(batch, ZERO) + quantity}
        pieces = max(made.pieces, self.measured_pieces(made))
        return replace(self, issued=issued, issued_at=at, issued_pieces=pieces, asks=False)

    def without(self, batch: str, quantity: Fraction) -> Account:
        """After it turned out that so much of what was issued is not booked; below 0: that more is booked."""
        return replace(self, issued={**self.issued, batch: self.issued.get(batch, ZERO) - quantity})

    def refused(self, quantity: Fraction, made: Made) -> Account:
        """A person did not let so much be booked: it waits for a measurement, or where there is one for a person."""
        if self.measured_pieces(made) >= self.issued_pieces:
            return replace(self, asks=True)
        return replace(self, withheld=self.held_back(made) + quantity, withheld_pieces=self.issued_pieces)

    def with_measurement(self, batch: str, quantity: Fraction, lot: Fraction | None, at: float) -> Account:
        """After a measurement for a lot; for whatever was made until now where it names none."""
        known = {**self.known, batch: self.known.get(batch, ZERO) + quantity}
        if lot is None:
            until = at if self.until is None else max(at, self.until)
            return replace(self, known=known, until=until, reports=self.reports + 1)
        return replace(self, known=known, covered=self.covered + lot, reports=self.reports + 1)


def rounded(value: Fraction, step: Decimal) -> Fraction:
    """To the nearest whole step of the ERP's unit, half up."""
    size = Fraction(step)
    return size * ((value / size + Fraction(1, 2)).__floor__())


def as_decimal(value: Fraction, step: Decimal) -> Decimal:
    """A multiple of the step as the ERP takes it. Exact."""
    return Decimal(value.numerator * (Fraction(step).denominator // value.denominator)) * step


# ── for the store ───────────────────────────────────────────────────────────────────────────────────────────


def written(account: Account) -> dict[str, Any]:
    """As JSON; what is as at the beginning is left out."""
    found: dict[str, Any] = {}
    for name in ("known", "issued"):
        if amounts := getattr(account, name):
            found[name] = {batch: str(amount) for batch, amount in amounts.items()}
    for name in ("covered", "set_up", "issued_pieces", "withheld", "withheld_pieces"):
        if amount := getattr(account, name):
            found[name] = str(amount)
    for name in ("until", "issued_at", "batch", "complete", "reports", "asks"):
        if value := getattr(account, name):
            found[name] = value
    if account.last:
        found["last"] = [list(one) for one in account.last]
    return found


def restored(state: Mapping[str, Any]) -> Account:
    """What `written` made."""
    return Account(
        known={batch: Fraction(amount) for batch, amount in state.get("known", {}).items()},
        issued={batch: Fraction(amount) for batch, amount in state.get("issued", {}).items()},
        covered=Fraction(state.get("covered", 0)),
        until=state.get("until"),
        set_up=Fraction(state.get("set_up", 0)),
        batch=state.get("batch", NO_BATCH),
        complete=state.get("complete", False),
        reports=state.get("reports", 0),
        last=tuple(tuple(one) for one in state.get("last", ())),
        issued_at=state.get("issued_at"),
        issued_pieces=Fraction(state.get("issued_pieces", 0)),
        withheld=Fraction(state.get("withheld", 0)),
        withheld_pieces=Fraction(state.get("withheld_pieces", 0)),
        asks=state.get("asks", False),
    )


def made_written(made: Made) -> dict[str, Any]:
    """As JSON."""
    return {"told": str(made.told), "reports": made.reports}


def made_restored(state: Mapping[str, Any], *, totals: bool) -> Made:
    """What `made_written` made."""
    reports = tuple((at, pieces) for at, pieces in state.get("reports", ()))
    return Made(Fraction(state.get("told", 0)), reports, totals)
