"""One totaliser: a pure fold of its readings into how much was counted.

| the reading is | counted | noticed |
|---|---|---|
| the first one | nothing: it is the baseline | `counter_started` |
| the same, or lower by at most `dead_band` | nothing; the higher one stays | |
| higher, by what is believed | the difference | |
| higher, by more | nothing; a new baseline | `counter_jump` |
| lower; the way over the turn at `modulus` is what is believed | that way | |
| lower, and itself what is believed | the reading: it began again at 0 | `counter_reset` |
| lower, and more than that | nothing: another totaliser was put there | `counter_replaced` |

Believed is `max_step`, and with `max_rate_per_s` besides what it can have grown since the last reading. That time is
the longer one of the source's and our own: a clock that was set back must not make a true growth unbelievable.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, NamedTuple

from agent.ports import Notice
from agent.tags.config import Counted
from agent.tags.values import Scalar

EXACT: Final = Context(prec=80, traps=[Inexact, InvalidOperation])  # more digits than two readable numbers can need
ZERO: Final = Decimal(0)

_LARGEST: Final = 10**20  # beyond any 64 bit
_FINEST: Final = -30  # decimal exponent


class Total(NamedTuple):
    """What is known of a totaliser: its last good reading, when the source took it, and when it came here."""

    last: Decimal
    at: datetime
    seen: datetime

    def kept(self) -> list[str]:
        """For the checkpoint."""
        return [str(self.last), self.at.isoformat(), self.seen.isoformat()]

    @classmethod
    def of(cls, kept: Any) -> Total:
        """From the checkpoint."""
        last, at, seen = kept
        return cls(Decimal(last), datetime.fromisoformat(at), datetime.fromisoformat(seen))


class Step(NamedTuple):
    """What one reading did."""

    total: Total
    counted: Decimal = ZERO
    notice: Notice | None = None


def readable(value: Scalar) -> Decimal | None:
    """The value as a number that can be counted with; None: it is none."""
    if type(value) is int:
        return Decimal(value) if -_LARGEST < value < _LARGEST else None
    if not isinstance(value, Decimal) or not value.is_finite() or not -_LARGEST < value < _LARGEST:
        return None
    return value if value.as_tuple().exponent >= _FINEST else None  # type: ignore[operator]  # finite: a number


def reading(rule: Counted, value: Scalar) -> Decimal | str:
    """The value as a reading of this totaliser, or why it is none."""
    number = readable(value)
    if number is None:
        return "is no number that can be counted with"
    if rule.modulus is None:
        return number if number >= 0 else "is negative, and without a modulus a totaliser cannot be"
    if number >= rule.modulus or number * 2 < -rule.modulus:
        return f"is outside of modulus {rule.modulus}"
    # a signed 16-bit word shows the upper half of its turn as negative numbers
    return number if number >= 0 else EXACT.add(number, rule.modulus)


def fold(rule: Counted, total: Total | None, number: Decimal, at: datetime, now: datetime) -> Step:
    """What a good reading does to the totaliser."""
    new = Total(number, at, now)
    if total is None:
        return Step(new, notice=Notice("counter_started", {"now": str(number)}, alarm=False))
    grown = EXACT.subtract(number, total.last)
    if not grown or _trembled(rule, grown):
        return Step(Total(total.last, at, now))
    believed = _believed(rule, total, new)
    if 0 < grown <= believed:
        return Step(new, grown)
    detail = {"before": str(total.last), "now": str(number), "believed": str(believed)}
    if grown > 0:
        return Step(new, notice=Notice("counter_jump", detail))
    if rule.modulus is not None:
        over = EXACT.add(grown, rule.modulus)
        if over <= min(believed, rule.modulus / 2):  # after a long outage everything would be a rollover
            return Step(new, over)
    if number <= believed:
        return Step(new, number, Notice("counter_reset", {**detail, "counted": str(number)}))
    return Step(new, notice=Notice("counter_replaced", detail))


def _trembled(rule: Counted, grown: Decimal) -> bool:
    """Whether this is a step back within the dead band, also back over the turn."""
    back = EXACT.minus(grown) if grown < 0 or rule.modulus is None else EXACT.subtract(rule.modulus, grown)
    return 0 < back <= rule.dead_band


def _believed(rule: Counted, total: Total, new: Total) -> Decimal:
    if rule.max_rate_per_s is None:
        return rule.max_step
    elapsed = max((new.at - total.at).total_seconds(), (new.seen - total.seen).total_seconds(), 0)
    return rule.max_step + rule.max_rate_per_s * int(elapsed)
