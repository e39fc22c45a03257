"""When somebody is there who may make an order: the hours of people with a certificate, by the plant's clock. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from types import MappingProxyType
from typing import Final

from agent.facts import Facts
from agent.masterdata.entities import Operation, Operator, Order
from agent.worktime import Window, merged

BEHIND: Final = 29  # days for which people's hours are laid out, for what was finished lately
AHEAD: Final = 28
DAY: Final = timedelta(days=1)


def staffed(facts: Facts, now: datetime) -> Mapping[str, tuple[Window, ...]]:
    """By certificate the minutes from now in which at least one who has it is there; empty: nobody any more.

    The one that is under way begins in the past, so that a rest of it is not taken for all that there ever is.
    """
    known = _laid_out(facts, facts.plant.day(now))
    return MappingProxyType({name: hours(name, facts, now) for name in known})


def hours(certificate: str, facts: Facts, now: datetime, *, since: float = 0.0) -> tuple[Window, ...]:
    """Those of one certificate that end after `since`; none where nobody has it, or none is asked for."""
    if not certificate:
        return ()
    zero = now.timestamp() / 60
    laid = _laid_out(facts, facts.plant.day(now)).get(certificate, ())
    return tuple((start - zero, end - zero) for start, end in laid if end - zero > since)


def of_route(order: Order, facts: Facts, now: datetime, skill: str = "") -> list[tuple[Window, ...]]:
    """The hours for each certificate that what is left of an order needs; `skill` where the routing asks for none."""
    needed = (certificate(order, one, facts) or skill for one in order.operations if not one.confirmed)
    return [found for name in dict.fromkeys(needed) if (found := hours(name, facts, now))]


def certificate(order: Order, operation: Operation, facts: Facts) -> str:
    """What the routing asks of whoever makes it; empty: anybody may, at any time."""
    routing = facts.routing(order.material, operation.work_center)
    return routing.certificate if routing else ""


def _laid_out(facts: Facts, today: date) -> Mapping[str, tuple[Window, ...]]:
    """By certificate in minutes since 1970; found once for this snapshot and day."""
    known: Mapping[str, tuple[Window, ...]] | None = facts.memo.get(("presence", today))
    if known is not None:
        return known
    found: defaultdict[str, list[Window]] = defaultdict(list)
    for one in facts.operators.values():
        for name, last in one.certificates.items():
            found[name] += _present(one, last, facts, today)
    laid = MappingProxyType({name: tuple(merged(windows)) for name, windows in found.items()})
    return facts.remember(("presence", today), laid)


def _present(one: Operator, last: str, facts: Facts, today: date) -> Iterator[Window]:
    zone = facts.plant.zone
    start, _, end = (one.hours or "00:00-00:00").partition("-")
    first, _, final = (one.days or "1-7").partition("-")
    for number in range(-BEHIND, AHEAD):
        day = today + number * DAY
        if not int(first) <= day.isoweekday() <= int(final) or (last and day.isoformat() > last):
            continue
        begins = datetime.combine(day, time.fromisoformat(start), zone)
        ends = datetime.combine(day if start < end else day + DAY, time.fromisoformat(end), zone)
        yield begins.timestamp() / 60, ends.timestamp() / 60
