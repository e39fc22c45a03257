"""What a server's history says of a gap, and whether it can be believed: pure decisions.

History is used where it is proven complete: it begins with the value that was taken last and ends with the value of
now, each with its own time stamp. Events that share a tag are made up for together or not at all, because a trigger
needs its fields, and a counter its order, of the same moment. A counter must come out as it would without history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import timedelta
from typing import Final, NamedTuple

from agent.sources.opcua_moments import moments
from agent.tags.config import Counted, TagEvent
from agent.tags.counter import EXACT, ZERO, Total, fold, reading
from agent.tags.values import Change, Quality, TagValue

LATE: Final = "its history does not have the value of now"  # yet, maybe

Path = tuple[TagValue, ...]  # of one tag: the value that was taken last, what followed, the value of now


class Group(NamedTuple):
    """Events that share tags, with the tags that must be known to make up for them."""

    events: tuple[TagEvent, ...]
    tags: frozenset[str]


def groups(events: Sequence[TagEvent]) -> list[Group]:
    """Which events can only be made up for together.

    The request of a handshake is no part of it: a controller that still wants its answer still shows it.
    """
    found: list[Group] = []
    for event in events:
        mine = Group((event,), frozenset(needed(event)))
        for other in [one for one in found if one.tags & mine.tags]:
            found.remove(other)
            mine = Group(other.events + mine.events, other.tags | mine.tags)
        found.append(mine)
    return found


def needed(event: TagEvent) -> set[str]:
    """The tags whose past an event needs. A timer reports nothing of it, unless what it counted closes."""
    if event.when is not None and event.when.every_s is not None and not event.closed_by:
        return {rule.tag for rule in event.counted.values()}
    return {tag for key, tag in event.reads() if not (key == "when" and event.handshake is not None)}


def requests(events: Sequence[TagEvent]) -> set[str]:
    """The tags whose past must trigger nothing: a request that was withdrawn is answered by nobody."""
    return {event.when.tag for event in events if event.handshake and event.when and event.when.tag}


def weighed_at_trigger(event: TagEvent) -> set[str]:
    """The scales whose load may come to rest later than the agent would wait: not to be taken for that moment's."""
    if event.when is None or event.handshake is not None:
        return set()
    return {one.gross for one in event.weighed.values()}


def bound(events: Sequence[TagEvent], tags: Set[str]) -> set[str]:
    """These tags with all of the events that look at one of them, and so on: the other events can do without them."""
    found = set(tags)
    apart = [{tag for _, tag in event.reads()} for event in events]
    while near := [one for one in apart if one & found]:
        found.update(*near)
        apart = [one for one in apart if one not in near]
    return found


def unchanged(before: TagValue, now: TagValue) -> bool:
    """Whether nothing was said since: the same value, said at the same time."""
    return before.at == now.at and _alike(before, now)


def path(before: TagValue, told: Iterable[TagValue], now: TagValue) -> Path | str:
    """From the value that was taken last to that of now, in order and each once; or why it is not proven complete."""
    if before.quality is not Quality.GOOD or now.quality is not Quality.GOOD:
        return "its value is not good"
    if unchanged(before, now):
        return (before,)
    if now.at <= before.at:
        return "its time stamps went back"
    between = sorted((one for one in told if before.at <= one.at <= now.at), key=lambda one: one.at)
    once: list[TagValue] = []
    for one in between:
        if one.quality is not Quality.GOOD:
            return "a value in its history is not good"
        if not once or one.at != once[-1].at:
            once.append(one)
        elif not _alike(one, once[-1]):
            return "its history has two values of one time"
    if not once or not unchanged(once[0], before):
        return "its history does not have the value that was taken last"
    if not unchanged(once[-1], now):
        return LATE
    return tuple(once)


def unfit(group: Group, paths: Mapping[str, Path | str]) -> dict[str, str]:
    """Why a group cannot be made up for: tag → reason. Empty: it can."""
    why: dict[str, str] = {}
    for tag in sorted(group.tags):
        one = paths.get(tag, "nothing was taken of it before by the events as they are declared now")
        if isinstance(one, str):
            why[tag] = one
    for event in group.events:
        why |= dict.fromkeys(weighed_at_trigger(event), f"event {event.name} weighs at a trigger")
        for rule in event.counted.values():
            one = paths.get(rule.tag, "")
            if isinstance(one, tuple) and not _counts_alike(rule, one):
                why[rule.tag] = "its history and its totals do not agree"
    return why


def replay(paths: Mapping[str, Path], together: timedelta) -> list[list[Change]]:
    """The moments of a gap, in order across tags; the first one restates what was taken last.

    What follows within `together` is judged as one message of the subscription would be.
    """
    later = sorted((one.at, tag, one) for tag, ones in paths.items() for one in ones[1:])
    if not later:
        return []
    found = [[Change(tag, ones[0]) for tag, ones in paths.items()]]
    part: list[Change] = []
    until = later[0][0] + together
    for at, tag, one in later:
        if at >= until:
            found += moments(part)
            part, until = [], at + together
        part.append(Change(tag, one))
    return found + moments(part)


def _alike(one: TagValue, other: TagValue) -> bool:
    return type(one.value) is type(other.value) and one.value == other.value and one.quality is other.quality


def _counts_alike(rule: Counted, ones: Path) -> bool:
    """Whether the steps of a path count, without anything to notice, what its two ends do."""
    readings = [(reading(rule, one.value), one.at) for one in ones]
    total: Total | None = None
    counted, first = ZERO, readings[0]
    for number, at in readings:
        if isinstance(number, str):
            return False
        step = fold(rule, total, number, at, at)
        if total is not None and step.notice is not None:
            return False
        if rule.dead_band and total is not None and number < total.last:
            return False  # the counter may have stayed at a higher one
        total, counted = step.total, EXACT.add(counted, step.counted)
    if isinstance(first[0], str) or total is None:
        return False
    number, at = readings[-1]
    if isinstance(number, str):
        return False
    direct = fold(rule, Total(first[0], first[1], first[1]), number, at, at)
    return direct.notice is None and direct.counted == counted
