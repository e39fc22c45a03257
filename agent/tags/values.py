"""What a tag says at a moment: a value, how far it can be trusted, and since when."""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import c_float
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from agent.configuration.settings import LiveKind

Scalar = bool | int | Decimal | str | None
"""What an event can carry: no binary float. None: the controller says that there is no value."""


Key = tuple[LiveKind, str]  # a live fact, and of which work centre, or work centre/material


class Quality(StrEnum):
    """How far a value can be trusted. Only `GOOD` ever feeds a decision."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"
    STALE = "stale"  # it was good; nobody says that it still is: node dead, connection lost


class TagValue(NamedTuple):
    """A value with its quality and the source's own time (UTC, aware)."""

    value: Scalar
    quality: Quality
    at: datetime


class Change(NamedTuple):
    """A tag, by the name that the configuration gives it, has said something.

    `historical` values were stored by the sender while nobody listened: they count, but are no current state.
    """

    tag: str
    now: TagValue
    historical: bool = False


class Told(NamedTuple):
    """What is known of one live fact."""

    value: Scalar
    unit: str
    quality: Quality
    at: datetime | None  # the source's own time of the value; None: nothing has told it yet
    since: datetime  # since when it has this quality, by our clock
    why: str = ""  # it is not good


class LivePart(NamedTuple):
    """What one source says, and how many seconds ago it was last known to be alive (see docs/live.md)."""

    facts: Mapping[Key, Told]
    silent_s: float


class Write(NamedTuple):
    """A tag, by the name that the configuration gives it, shall get a value (a handshake)."""

    tag: str
    value: bool | int


def exact(number: float, *, single: bool) -> Decimal:
    """The shortest decimal that is this binary number: 12.4 where a 32-bit float says 12.399999618530273.

    Raises ValueError for NaN and infinities, which are no quantities.
    """
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(f"{number} is no number")
    if single:
        for digits in range(1, 10):
            text = f"{number:.{digits}g}"
            if c_float(float(text)).value == number:
                return Decimal(text)
    return Decimal(repr(number))
