"""The moment of an event: the values of its tags, which of them are no good, and the JSON that is delivered."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from agent.tags.config import TagEvent
from agent.tags.counter import EXACT, reading
from agent.tags.handshake import Code
from agent.tags.scale import trusted, weigh
from agent.tags.values import Scalar, TagValue

Values = Mapping[str, Scalar]  # by JSON field
Current = Mapping[str, TagValue]  # by tag

_WHY = {
    Code.MISSING: "has not been heard of yet",
    Code.STALE: "is stale",
    Code.BAD: "is of bad or uncertain quality",
    Code.UNREADABLE: "is not the number or flag it should be",
    Code.NOT_STABLE: "says that the scale is not stable",
    Code.TOO_LIGHT: "shows less than the smallest load",
}


class Lack(NamedTuple):
    """A tag that keeps the event from being made."""

    tag: str
    code: int

    def __str__(self) -> str:
        return f"{self.tag} {_WHY[Code(self.code)]}"


def field_values(event: TagEvent, current: Current) -> Values | None:
    """The event's plain fields, if every one of them has a good value."""
    values = {name: current.get(tag) for name, tag in event.fields.items()}
    return None if any(fit(value) for value in values.values()) else {name: v.value for name, v in values.items() if v}


def take(event: TagEvent, current: Current, before: Values, *, counters: bool) -> tuple[Values, tuple[Lack, ...]]:
    """What is known of the event now, with what an earlier look found already, and what is missing still."""
    values = dict(before)
    lacks = {tag: code for tag in event.closed_by if (code := trusted(current.get(tag)))}
    for name, tag in event.fields.items():
        if name not in values:
            code = fit(current.get(tag))
            if code:
                lacks[tag] = code
            else:
                values[name] = current[tag].value
    for name, scale in event.weighed.items():
        if name not in values:
            weighing = weigh(scale, current)
            if weighing.code:
                lacks[weighing.tag] = weighing.code
            else:
                values[name] = EXACT.multiply(weighing.net, scale.factor)
    for one in event.counted.values() if counters else ():
        code = trusted(current.get(one.tag))
        if code or isinstance(reading(one, current[one.tag].value), str):
            lacks[one.tag] = code or Code.UNREADABLE
    return values, tuple(Lack(tag, code) for tag, code in lacks.items())


def fit(value: TagValue | None) -> int:
    """0 for a value that an event can carry, else the code that says why not."""
    code = trusted(value)
    if not code and value is not None and isinstance(value.value, Decimal) and not value.value.is_finite():
        return Code.UNREADABLE
    return code


def payload(event: TagEvent, head: Values, values: Values, quantities: Mapping[str, Decimal]) -> bytes:
    """The event as JSON, with every number exactly as it is."""
    parts = [*head.items(), *_in_order(event.fields, values), *event.constants.items()]
    parts += [*quantities.items(), *_in_order(event.weighed, values)]
    return ("{" + ",".join(f"{json.dumps(name)}:{_literal(value)}" for name, value in parts) + "}").encode()


def moment(at: datetime) -> str:
    """A time as an event says it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(lacks: Iterable[Lack]) -> str:
    """For people."""
    return "; ".join(map(str, lacks))


def _in_order(names: Collection[str], values: Values) -> Iterator[tuple[str, Scalar]]:
    return ((name, values[name]) for name in names if name in values)


def _literal(value: Scalar) -> str:
    return format(value, "f") if isinstance(value, Decimal) else json.dumps(value)
