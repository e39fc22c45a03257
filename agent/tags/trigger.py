"""Triggers: does this value, after the last one, make an event?

The last value is the one of the checkpoint. A rebirth, a reconnect or a restart that repeats it makes nothing; what
changed while nobody looked makes one event.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from agent.tags.config import When
from agent.tags.counter import readable
from agent.tags.values import Scalar


class Look(NamedTuple):
    """What a look at one value found; `last` is what the next one is compared with."""

    last: Scalar
    fires: bool = False
    wrong: str = ""  # why the value cannot be judged
    back: bool = False  # a number that was to grow went back


def look(when: When, last: Scalar, value: Scalar) -> Look:
    """Judge a good value. `last` None: none was seen yet, so this one is the baseline. No value (None) is no change."""
    if value is None:
        return Look(last)
    if when.change is not None:
        return Look(value, last is not None and not same(last, value))
    if when.step is not None:
        return _step(last, value)
    state = truth(value)
    if state is None:
        return Look(last, wrong="is neither true or false nor a number")
    return Look(state, last is not None and state != last and state == (when.rising is not None))


def truth(value: Scalar) -> bool | None:
    """A flag as controllers show it, a boolean or a number that is not zero; None: it is no flag."""
    if isinstance(value, bool):
        return value
    number = readable(value)
    return None if number is None else bool(number)


def same(one: Scalar, other: Scalar) -> bool:
    """Whether two values are the same to a person: 5 and 5.0 are, true and 1 are not."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _step(last: Scalar, value: Scalar) -> Look:
    number = readable(value)
    if number is None:
        return Look(last, wrong="is no number that can grow")
    before = last if isinstance(last, Decimal) else None
    if before is None:
        return Look(number)
    return Look(number, fires=number > before, back=number < before)
