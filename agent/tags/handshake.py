"""The four phases of a handshake, safe against a kill in every one of them.

| request | agent | on disk |
|---|---|---|
| rises | makes the event | with it, that the request is answered: `STORED` |
| stays | writes ack TRUE, after the commit; again whenever the request is shown again | |
| falls | commits that it has fallen, then writes ack FALSE and error 0 | `IDLE` |
| stays low | at the first look after a start or a reconnect: ack FALSE and error 0 again | |

A kill before the commit of the event: the request is still up, the phase `IDLE`, the event is made. A kill after it:
the phase is `STORED`, and only the ack is written again. A refused request is `REFUSED` in the same way, with its code.
What was written is written again after some seconds, because not every protocol tells whether it arrived.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple

from agent.tags.config import Handshake
from agent.tags.values import Write


class Code(IntEnum):
    """What the error tag says; 0 is no error."""

    MISSING = 1  # a tag of the event has never been heard of
    STALE = 2  # nobody says any more what its value is
    BAD = 3  # its quality is bad or uncertain
    UNREADABLE = 4  # its value is of the wrong type
    NOT_STABLE = 5  # the scale moves
    TOO_LIGHT = 6  # less than `least` on the scale


class Phase(StrEnum):
    """How far the answer to the request is."""

    IDLE = "idle"
    STORED = "stored"
    REFUSED = "refused"


class Turn(NamedTuple):
    """What a look at the request asks for."""

    phase: Phase
    writes: tuple[Write, ...] = ()
    fires: bool = False


def requested(pins: Handshake, phase: Phase, code: int, *, up: bool, fresh: bool) -> Turn:
    """The answer to a request that is shown up or down; `fresh`: the first look since the connection was made."""
    if not up:
        return Turn(Phase.IDLE, released(pins) if phase is not Phase.IDLE or fresh else ())
    if phase is Phase.IDLE:
        return Turn(phase, fires=True)
    return Turn(phase, accepted(pins) if phase is Phase.STORED else refused(pins, code))


def accepted(pins: Handshake) -> tuple[Write, ...]:
    """The event is on disk."""
    return (Write(pins.ack, True),)


def refused(pins: Handshake, code: int) -> tuple[Write, ...]:
    """There is no event, and why."""
    return (Write(pins.error, int(code)),) if pins.error is not None else ()


def released(pins: Handshake) -> tuple[Write, ...]:
    """Ready for the next request."""
    return (Write(pins.ack, False), *refused(pins, 0))
