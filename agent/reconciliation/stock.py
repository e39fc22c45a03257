"""One place with a gauge: what lies there beside what should, after all that was used, booked and received."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel

from agent.detectors import balance, level
from agent.detectors.balance import Balance, Change
from agent.detectors.level import Level
from agent.reconciliation.findings import Cause, Correction, Finding
from agent.reconciliation.observed import Place

PAIRED_WITHIN: Final = 6 * 3600.0  # seconds between the two halves of a substitution, beside what readings leave open
BACK_WITHIN: Final = 24 * 3600.0  # what was told a day late was not lost
BIAS_OVER: Final = 4 * 24 * 3600.0
LEAST_BIAS: Final = 0.0002
EQUAL: Final = 3.0  # standard deviations
DELIVERY: Final = 20.0  # standard deviations of a reading: so much at once was delivered
SAME_LOAD: Final = 0.25  # of it: a load and its booking
UNDERWAY: Final = 24 * 3600.0  # after that it is not booked at all
ALIKE: Final = 0.1  # of the larger, beside them
SURE: Final = 0.1  # of a step: known so well, it is moved between the books without a count


class Stock(BaseModel):
    """What was seen of a place, in one unit. Times are seconds of the epoch."""

    levels: list[tuple[float, float]] = []  # not held against the books yet
    flows: list[tuple[float, float]] = []  # used, not counted yet; when, how much
    books: list[tuple[float, float]] = []  # what the ERP had, and had booked as used until then: their sum
    bookings: list[tuple[float, float]] = []  # as used, not counted yet
    used: float = 0.0  # all that was counted
    booked: float = 0.0
    in_books: dict[str, float] = {}  # by batch
    seen: tuple[float, float] | None = None  # what came, and what was booked as received
    deliveries: list[tuple[float, float]] = []  # of which the gauge or the books do not know yet
    past: list[tuple[float, float, float, float]] = []  # when, residual, used, residual without bias
    raw: float | None = None  # the last residual, with all that was told
    bias: Level = (0.0, 0.0, 0.002)  # of the scales, as a share of what was used
    balance: Balance = Balance()

    def reading(self, overdue: float) -> list[Change]:
        """Hold levels from before `overdue` against the books: what changed."""
        found = []
        for at, lies in sorted(one for one in self.levels if one[0] < overdue):
            self.used += sum(amount for when, amount in self.flows if when <= at)
            self.flows = [one for one in self.flows if one[0] > at]
            earlier = [one for one in self.books if one[0] <= at]
            if not earlier:
                continue
            self.books = self.books[len(earlier) - 1 :]
            came = self._underway(at, lies + self.used, earlier[-1][1])
            residual = lies + self.used - earlier[-1][1] - came
            before = self.balance
            self.balance, change = balance.follow(before, at, self._without_bias(at, residual))
            self._explained(before, change)
            if change is not None:
                found.append(change)
        self.levels = [one for one in self.levels if one[0] >= overdue]
        return found

    def _without_bias(self, at: float, residual: float) -> float:
        """The residual without what scales hide: a share of what is used, which is learnt over days."""
        _, before, used, without = self.past[-1] if self.past else (at, residual, self.used, residual)
        before = self.raw if self.raw is not None else before
        without += residual - before - self.bias[1] * (self.used - used)
        self.raw = residual
        residual -= self.balance.taken + self.balance.slope * (at - self.balance.bent)  # was told, and is no bias
        self.past.append((at, residual, self.used, without))
        while self.past[0][0] < at - BIAS_OVER:
            self.past.pop(0)
        first, spent = self.past[0], self.used - self.past[0][2]
        if at - first[0] > BIAS_OVER / 2 and spent > 0:
            share = (residual - first[1]) / spent
            width = max(self.bias[2], LEAST_BIAS)
            self.bias = level.learn(self.bias, share - self.bias[1], width, 1.0, LEAST_BIAS)
        return without

    def _explained(self, before: Balance, change: Change | None) -> None:
        """What was told is no bias of the scales: without it they are learnt from what remains."""
        more, bent = self.balance.slope - before.slope, self.balance.bent
        if more:
            self.past = [
                (at, left - more * max(0.0, at - bent), used, without) for at, left, used, without in self.past
            ]
        elif change is not None:
            self.past = [
                (at, left + (change.by if at <= change.at else 0.0), used, without)
                for at, left, used, without in self.past
            ]

    def _underway(self, at: float, came: float, booked: float) -> float:
        """What was delivered and is not booked yet; below 0: booked and not delivered. Both in sum since ever."""
        before, self.seen = self.seen or (came, booked), (came, booked)
        least = DELIVERY * balance.spread(self.balance.readings)
        if least:
            for size, sign in ((came - before[0], 1), (booked - before[1], -1)):
                if size > least:
                    self._delivered(at, size, sign)
        self.deliveries = [one for one in self.deliveries if at - one[0] <= UNDERWAY]
        return sum(size for _, size in self.deliveries)

    def _delivered(self, at: float, size: float, sign: int) -> None:
        other = next((one for one in self.deliveries if abs(one[1] + sign * size) <= SAME_LOAD * size), None)
        if other is not None:
            self.deliveries.remove(other)
        else:
            self.deliveries.append((at, sign * size))

    def told(self, at: float, batch: str, quantity: float) -> None:
        """What the ERP says is there, of one batch; what is told at one moment counts as one."""
        self.in_books[batch] = quantity
        self.booked += sum(amount for when, amount in self.bookings if when <= at)
        self.bookings = [one for one in self.bookings if one[0] > at]
        same = self.books and self.books[-1][0] == at
        self.books[-1 if same else len(self.books) :] = [(at, sum(self.in_books.values()) + self.booked)]


def opposite(here: Place, one: Change, there: Place, other: Change) -> bool:
    """Whether as much is missing as is too much: at two places since the same time, or at one, some hours later."""
    if one.drift or other.drift or one.by * other.by >= 0:
        return False
    apart = abs(one.at - other.at) - max(one.width, other.width)
    equal = EQUAL * (one.error**2 + other.error**2) ** 0.5 + ALIKE * max(abs(one.by), abs(other.by))
    return apart <= (BACK_WITHIN if here == there else PAIRED_WITHIN) and abs(one.by + other.by) <= equal


def mixed_up(here: Place, one: Change, there: Place, other: Change) -> bool:
    """Whether an opposite pair is sure enough to move it in the books: both known well, equal without more ado.

    And of one material at two storage locations, or of two at one: nothing else is one movement.
    """
    equal = EQUAL * (one.error**2 + other.error**2) ** 0.5
    known = all(change.error <= SURE * abs(change.by) for change in (one, other))
    same_location = here.storage_location == there.storage_location
    same_stock = here.material == there.material and here.batch == there.batch
    movable = same_stock != same_location and (same_stock or here.material != there.material)
    return known and movable and abs(one.by + other.by) <= equal


def lost(place: Place, change: Change, unit: str) -> Finding:
    """What a change of one place alone means."""
    begun, seen = _moment(change.at), _moment(change.until)
    hours = (change.until - change.at) / 3600
    if change.drift:
        a_day = change.by * 86400
        total = change.by * (change.until - change.at)
        evidence = (
            f"{abs(a_day):.4g} ± {change.error * 86400:.2g} {unit} a day {'are lost' if a_day < 0 else 'are too many'} "
            f"since {begun:%Y-%m-%d %H:%M} UTC, {abs(total):.4g} {unit} so far, over {hours:.0f} hours",
            "it goes on whether anything is made or not, and no report is missing",
        )
        cause = Cause.LEAK if a_day < 0 else Cause.RECORDING
        return Finding(cause, place, begun, seen, total, change.error * 3600 * hours, Correction.COUNT, evidence)
    evidence = (
        f"{abs(change.by):.4g} ± {change.error:.2g} {unit} {'are gone' if change.by < 0 else 'are too many'} at once "
        f"since {begun:%Y-%m-%d %H:%M} UTC, within {max(change.width / 60, 1):.0f} minutes",
        "no report and no booking of that time explains it",
    )
    cause = Cause.THEFT if change.by < 0 else Cause.RECORDING
    return Finding(cause, place, begun, seen, change.by, change.error, Correction.COUNT, evidence)


def instead(place: Place, change: Change, other: Place, unit: str, *, sure: bool = False) -> Finding:
    """`other` was used, where `place` is what was told: there is more of it than should be.

    `sure`: of both, and of their being a pair; then it is moved in the books, else both are counted.
    """
    begun, seen = _moment(change.at), _moment(change.until)
    gone, told = other.material, place.material
    if gone == told:
        gone, told = (" ".join(filter(None, one)) for one in (other, place))
    evidence = (
        f"{abs(change.by):.4g} ± {change.error:.2g} {unit} of {told} are too many since "
        f"{begun:%Y-%m-%d %H:%M} UTC, and as much of {gone} is gone",
        f"{gone} was used and {told} told",
    )
    correction = Correction.TRANSFER if sure else Correction.COUNT
    return Finding(
        Cause.SUBSTITUTION, place, begun, seen, abs(change.by), change.error, correction, evidence, instead=other
    )  # fmt: skip


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
