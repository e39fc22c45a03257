"""The gap between two sessions: what was taken of each tag before it, and what the server's history says of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from agent.errors import SourceLost
from agent.ports import Clock, Notice
from agent.sources.opcua_config import OpcuaConfig
from agent.sources.opcua_history import (
    LATE,
    Path,
    bound,
    groups,
    path,
    replay,
    requests,
    unchanged,
    unfit,
    weighed_at_trigger,
)
from agent.sources.opcua_session import Session
from agent.sources.opcua_shown import first
from agent.sources.opcua_taken import Taken
from agent.sources.opcua_values import Limits, read
from agent.tags.values import Change, TagValue

log = logging.getLogger("gatepost.opcua")

BUDGET_S: Final = 8.0  # for all of it: the server keeps a subscription that nobody asks about for 30 s
PATIENCE_S: Final = 1.5  # a historian may be a little behind its server
PAUSE_S: Final = 0.2
BEYOND: Final = timedelta(seconds=1)  # the end of a request is not part of its answer
HISTORY_READ: Final = 1 << 2  # bit of an access level
AGAIN_S: Final = 60.0  # between two sessions that end because the server dropped something
SELDOM_S: Final = 3600.0  # the same, where it drops all the time

Moments = Sequence[Sequence[Change]]
Happened = Callable[[Sequence[Change]], Awaitable[None]]


class Gaps:
    """Remembers what was taken, and makes up for what happened since: after a lost connection and after a restart."""

    def __init__(self, config: OpcuaConfig, limits: Limits) -> None:
        self._on = config.history
        self._most = config.history_values
        self._together = timedelta(milliseconds=config.publishing_ms)
        self._limits = limits
        self._groups = groups(config.events)
        self._requests = requests(config.events)
        self._events = config.events
        self._never = self._requests.union(*map(weighed_at_trigger, config.events))  # their past is not made up for
        self._refused: set[str] = set()  # tags that had no history for us when it was last asked for
        self._patient_until = 0.0  # monotonic
        self._again_at = -AGAIN_S  # monotonic
        self._pause_s = AGAIN_S
        self._taken = Taken(self._groups, config.addresses())
        self._replayed: dict[str, set[datetime]] = {}  # what the subscription may tell once more
        self._timeless: set[str] = set()  # tags that were told without the source's own time in this session

    def recall(self, kept: Any) -> None:
        """What was taken by the agent that wrote the checkpoint; nothing where it kept nothing."""
        if self._on and kept:
            try:
                self._taken.recall(kept)
            except ValueError as error:  # of another version: totals do not need it
                log.warning("what the last agent had taken cannot be read, and is not made up for: %s", error)

    @property
    def kept(self) -> Callable[[], str] | None:
        """What belongs into the checkpoint of the events, whenever it is written."""
        return self._taken.kept if self._on else None

    def new(self, tag: str, told: ua.DataValue, value: TagValue) -> bool:
        """Whether the events shall take a value of the subscription; else it was made up for already."""
        if not self._on:
            return True
        if told.SourceTimestamp is None:
            self._timeless.add(tag)
        if tag in self._replayed:
            known = told.SourceTimestamp is not None and value.at in self._replayed[tag]
            if known and value.at < self._taken[tag].value.at:
                return False
            del self._replayed[tag]
        return True

    def took(self, moment: Sequence[Change]) -> None:
        """The events take these values now."""
        if self._on:
            self._taken.note(moment)
            for tag in self._timeless:
                self._taken.forget(tag)

    def held(self, dropped: Iterable[str], now: float) -> set[str]:
        """The tags that the events must not take now: a new session shall ask history for what the server dropped.

        None where no history may have it, and none while a pause lasts: a minute, and twice as long each time, up to an
        hour, if the next one is due before the pause has passed twice. Else a server that drops all the time would
        never be listened to. `now` is monotonic.
        """
        told = (group.tags for group in self._groups if group.tags.isdisjoint(self._never | self._refused))
        asked = {tag for tags in told for tag in tags.intersection(dropped) if tag in self._taken}
        if not asked or now < self._again_at:
            return set()
        recurs = now < self._again_at + self._pause_s
        self._pause_s = min(2 * self._pause_s, SELDOM_S) if recurs else AGAIN_S
        self._again_at = now + self._pause_s
        return bound(self._events, asked)

    async def make_up(self, session: Session, clock: Clock, happened: Happened) -> Sequence[Notice]:
        """Tell `happened` the moments of the gap before this session; returns what is to be said about it."""
        self._taken.session += 1
        self._replayed.clear()
        self._timeless.clear()
        if not self._on or not self._taken:
            return ()
        moments, notices = await self._look(session, clock())
        for moment in moments:
            for tag, value, _ in moment:
                self._replayed.setdefault(tag, set()).add(value.at)
            await happened(moment)
            await asyncio.sleep(0)  # the loop has other work
        return notices

    async def _look(self, session: Session, now: datetime) -> tuple[Moments, Sequence[Notice]]:
        """Ask what happened since. Nothing that goes wrong here is worth the connection."""
        nodes = session.watched
        tags = [tag for group in self._groups for tag in group.tags if tag in self._taken and tag in nodes]
        try:
            async with asyncio.timeout(BUDGET_S):
                paths = await self._paths(session, {tag: nodes[tag] for tag in tags}, now)
        except (SourceLost, TimeoutError) as error:
            why = str(error) or f"the server did not tell its history within {BUDGET_S:g} s"
            return (), (_missing(dict.fromkeys(tags, why)),)
        return self._judge(paths)

    def _judge(self, paths: Mapping[str, Path | str]) -> tuple[Moments, Sequence[Notice]]:
        paths = {**paths, **dict.fromkeys(self._requests, "it is the request of a handshake")}
        chosen: dict[str, Path] = {}
        refused: dict[str, str] = {}
        for group in self._groups:
            why = unfit(group, paths)
            if not why and len({self._taken[tag].session for tag in group.tags}) > 1:
                why = dict.fromkeys(group.tags, "the last connection ended before all values were there")
            if why:
                refused |= why
            else:
                chosen |= {tag: one for tag in group.tags if isinstance(one := paths[tag], tuple)}
        found = replay(chosen, self._together)
        notices = [_missing(refused)] if refused else []
        if found:
            values = sum(map(len, found[1:]))
            first, last = found[1][0].now.at, max(one.now.at for one in found[-1])
            about = {"values": values, "from": first.isoformat(), "to": last.isoformat()}
            notices.append(Notice("history_filled", about, alarm=False))
        return found, notices

    async def _paths(self, session: Session, nodes: Mapping[str, ua.NodeId], now: datetime) -> dict[str, Path | str]:
        """Of each tag: its values since, or why they are not known."""
        told = await session.read(nodes, AttributeIds.Value)
        current = {tag: read(one, now, self._limits).value for tag, one in told.items() if one.SourceTimestamp}
        paths: dict[str, Path | str] = dict.fromkeys(nodes.keys() - current.keys(), "it has no time stamp")
        changed = {}
        for tag, value in current.items():
            if unchanged(self._taken[tag].value, value):
                paths[tag] = path(self._taken[tag].value, (), value)
            else:
                changed[tag] = nodes[tag]
        without = await _without_history(session, changed)
        paths |= without
        self._refused = (self._refused - changed.keys()) | without.keys()
        left = self._most * 10
        self._patient_until = time.monotonic() + PATIENCE_S
        for tag in sorted(changed.keys() - without.keys()):
            before = self._taken[tag].value
            most = min(self._most, left)
            paths[tag] = one = await self._path(session, nodes[tag], before, current[tag], most, now)
            left -= len(one) if isinstance(one, tuple) else 0
        return paths

    async def _path(
        self, session: Session, node: ua.NodeId, before: TagValue, now: TagValue, most: int, clock: datetime
    ) -> Path | str:
        while True:
            told = await session.history(node, before.at, now.at + BEYOND, most)
            if isinstance(told, str):
                return told
            if any(one.SourceTimestamp is None for one in told):
                return "its history has no time stamps"
            found = path(before, [read(one, clock, self._limits).value for one in told], now)
            if found != LATE or time.monotonic() > self._patient_until:
                return found
            await asyncio.sleep(PAUSE_S)


async def _without_history(session: Session, nodes: Mapping[str, ua.NodeId]) -> dict[str, str]:
    """Which of these have none that we may read, and why."""
    why: dict[str, str] = {}
    for tag, one in (await session.read(nodes, AttributeIds.Historizing)).items():
        if one.Value is None or one.Value.Value is not True:
            why[tag] = "the server keeps no history of it"
    for tag, one in (await session.read(nodes, AttributeIds.UserAccessLevel)).items():
        level = one.Value.Value if one.Value is not None else None
        if tag not in why and not (isinstance(level, int) and level & HISTORY_READ):
            why[tag] = "its history may not be read"
    return why


def _missing(why: Mapping[str, str]) -> Notice:
    return Notice("history_missing", {"count": len(why), "tags": first(why)})
