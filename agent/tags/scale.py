"""A weigh scale: what lies on it, and one weighing per load."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from agent.tags.config import Weighed
from agent.tags.counter import EXACT, ZERO, readable
from agent.tags.handshake import Code
from agent.tags.trigger import truth
from agent.tags.values import Quality, TagValue


class Weighing(NamedTuple):
    """What the scale shows; `net` in its own unit. `code` says why it is no weighing, 0: it is one."""

    net: Decimal = ZERO
    code: int = 0
    tag: str = ""  # which tag is to blame


def weigh(rule: Weighed, current: Mapping[str, TagValue]) -> Weighing:
    """A look at the scale. One tag that cannot be trusted makes all of it nothing."""
    parts = [rule.gross, rule.stable] if rule.tare is None else [rule.gross, rule.stable, rule.tare]
    for tag in parts:
        code = trusted(current.get(tag))
        if code:
            return Weighing(code=code, tag=tag)
    gross, stable = readable(current[rule.gross].value), truth(current[rule.stable].value)
    tare = ZERO if rule.tare is None else readable(current[rule.tare].value)
    for tag, value in zip(parts, (gross, stable, tare), strict=False):
        if value is None:
            return Weighing(code=Code.UNREADABLE, tag=tag)
    net = EXACT.subtract(gross or ZERO, tare or ZERO)
    if not stable:
        return Weighing(net, Code.NOT_STABLE, rule.stable)
    return Weighing(net, Code.TOO_LIGHT if net < rule.least else 0, rule.gross)


def armed_after(rule: Weighed, weighing: Weighing, *, armed: bool) -> bool:
    """Whether the next stable load is a new one: the last one has gone, at rest or not."""
    return armed or (weighing.code in (0, Code.NOT_STABLE, Code.TOO_LIGHT) and weighing.net <= gone(rule))


def gone(rule: Weighed) -> Decimal:
    """At or below this net weight nothing lies on the scale."""
    return rule.least / 2 if rule.gone is None else rule.gone


def trusted(value: TagValue | None) -> int:
    """0 for a value that may feed an event, else the code that says why it may not."""
    if value is None:
        return Code.MISSING
    if value.quality is Quality.GOOD:
        return 0
    return Code.STALE if value.quality is Quality.STALE else Code.BAD
