"""Changes of tags become events: the state of all declared events of one source, from checkpoint to checkpoint.

All changes of one call are one message of the protocol and one moment: they are applied together before a trigger
looks. Only what `closed_by` reports has the values from before the message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from agent.errors import StoreUnfit
from agent.ports import Delivery, Notice
from agent.tags.config import TagEvent
from agent.tags.event import AT_ONCE, OneEvent, Outcome
from agent.tags.origin import told_gone
from agent.tags.values import Change, Quality, TagValue, Write

VERSION: Final = 1
NO_ADDRESSES: Final[Mapping[str, str]] = MappingProxyType({})
LATEST: Final = datetime.max.replace(tzinfo=UTC)
KEEP_AFTER: Final = timedelta(seconds=10)  # how much counting, at most, a kill may leave without its order


class Made(NamedTuple):
    """What a call made. Nothing of it has happened before `checkpoint` is stored together with `deliveries`.

    Where there is nothing `to_store`, the checkpoint is the last one again: what was only counted since is in the
    totaliser itself, and is counted anew after a kill.
    """

    deliveries: Sequence[Delivery]
    notices: Sequence[Notice]
    checkpoint: bytes
    writes: Sequence[Write]
    """For the controller, in this order: only after the batch is stored, or at once when there is nothing `to_store`.
    A write that fails may be forgotten: `tick`, and the next connection, ask for it again."""
    keep: bool = False
    """The checkpoint must be stored although nothing is delivered: a trigger went back, a request has fallen."""

    @property
    def to_store(self) -> bool:
        """Whether a batch must be handed to the intake; `writes` then wait for it."""
        return bool(self.keep or self.deliveries or self.notices)


class TagEvents:
    """The declared events of one source. Never blocks; no method may be called while another one runs."""

    def __init__(
        self,
        events: Sequence[TagEvent],
        source: str,
        checkpoint: bytes | None,
        addresses: Mapping[str, str] = NO_ADDRESSES,
        besides: Callable[[], str] | None = None,
    ) -> None:
        """From the checkpoint that was committed last. Raises StoreUnfit when it cannot be read.

        `addresses` are what the tags are read from: by them it is seen that a name means something else than it did.
        `besides` gives JSON that the source wants in every checkpoint, see `kept_besides`; asked as it is written.
        """
        self._besides = besides
        self._source = source
        kept = _read(checkpoint, source)
        try:
            self._events = [OneEvent(event, addresses, kept["events"].get(event.name, {})) for event in events]
            self._numbers: dict[str, int] = {sender: int(number) for sender, number in kept["numbers"].items()}
            mine = {event.name for event in events}
            others = {name: state for name, state in kept["events"].items() if name not in mine}
            self._news = [notice for one in self._events for notice in one.counting.news]  # told by the next call
            self._news += [n for name, state in others.items() for n in told_gone(name, state.get("counted", {}))]
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise _unfit(source, f"{type(error).__name__}: {error}") from error
        # An event that is no longer declared keeps its number, so that no id is used twice when it comes back.
        self._parts = {name: _compact(state) for name, state in others.items()}
        self.tags = frozenset(tag for one in self._events for tag in one.tags)
        self.written = frozenset(tag for event in events for _, tag in event.writes())
        self._watchers: dict[str, list[OneEvent]] = {}
        for one in self._events:
            for tag in one.tags:
                self._watchers.setdefault(tag, []).append(one)
        self._current: dict[str, TagValue] = {}
        self._past = False  # what tags said last is of a time that is over
        self._now = LATEST
        self._stored_at = LATEST  # brought down by the first call
        self._unstored = False  # something was counted that a kill would leave without its order
        self._moved = set(self._events)  # whose part of the checkpoint is old
        self._checkpoint = self._written_down()

    def changed(self, changes: Sequence[Change], now: datetime, *, past: bool = False) -> Made:
        """What the changes of one message make.

        `past`: they are told late, in their order, and what follows is told until it is now. Triggers see each moment;
        timers wait for a call without `past`, because they would report it as now.
        """
        self._past = past
        self._look_at_clock(now)
        current, watchers = self._current, self._watchers
        touched: dict[OneEvent, list[Change]] = {}
        for change in changes:
            for one in watchers.get(change[0], ()):
                touched.setdefault(one, []).append(change)
        if not touched and not self._news:
            self._apply(changes)
            return Made((), (), self._checkpoint, ())
        out = Outcome(self._source, self._numbers, now, past=past)
        for one, mine in touched.items():
            one.before(mine, current, out)
        self._apply(changes)
        for one, mine in touched.items():
            one.after(mine, current, out)
        self._unstored = self._unstored or self._besides is not None
        return self._made(out, touched)

    def lost(self, tags: Iterable[str] | None, now: datetime) -> Made:
        """Nobody says any more what these tags are (None: all of them)."""
        self._past = self._past and tags is not None
        self._look_at_clock(now)
        current = self._current
        which: Collection[str] = list(current) if tags is None else set(tags)
        for tag in which:
            if tag in current:
                current[tag] = current[tag]._replace(quality=Quality.STALE)
        for one in self._events:
            one.lost(None if tags is None else which)
        out = Outcome(self._source, self._numbers, now, keep=self._unstored)
        return self._made(out, ())

    def due(self) -> datetime | None:
        """When `tick` wants to be called next; it may be in the past. None: not before something changes."""
        if self._news:
            return AT_ONCE
        asked = (one for one in self._events if not (self._past and one.beats))
        times = [at for one in asked if (at := one.due()) is not None]
        if self._unstored:
            times.append(self._stored_at + KEEP_AFTER)
        return min(times, default=None)

    def tick(self, now: datetime) -> Made:
        """What is due makes."""
        self._look_at_clock(now)
        out = Outcome(self._source, self._numbers, now, past=self._past)
        for one in self._events:
            one.tick(self._current, out)
        return self._made(out, self._events)

    def current(self) -> Mapping[str, TagValue]:
        """What every tag said last, whether an event looks at it or not. A view, not a copy."""
        return MappingProxyType(self._current)

    def _look_at_clock(self, now: datetime) -> None:
        """A clock that was set back must stop no timer, and no checkpoint."""
        if now < self._now:
            for one in self._events:
                one.set_back(now)
            self._stored_at = min(self._stored_at, now)
        self._now = now

    def _apply(self, changes: Sequence[Change]) -> None:
        current = self._current
        for tag, value, historical in changes:
            if not historical:
                current[tag] = value

    def _made(self, out: Outcome, touched: Iterable[OneEvent]) -> Made:
        out.notices[:0], self._news = self._news, []
        for one in touched:
            if one.dirty:
                self._moved.add(one)
                self._unstored = self._unstored or bool(one.event.closed_by)
        late = self._unstored and out.now >= self._stored_at + KEEP_AFTER
        keep = out.keep or late
        if keep or out.deliveries or out.notices:
            self._stored_at, self._unstored = out.now, False
            self._checkpoint = self._written_down()
        return Made(out.deliveries, out.notices, self._checkpoint, out.writes, keep)

    def _written_down(self) -> bytes:
        """The checkpoint; only the events that have moved are written anew."""
        for one in self._moved:
            self._parts[one.event.name] = _compact(one.kept())
        self._moved.clear()
        parts = ",".join(f"{json.dumps(name)}:{part}" for name, part in self._parts.items())
        numbers = _compact(self._numbers)
        besides = "" if self._besides is None else f',"besides":{self._besides()}'
        return f'{{"version":{VERSION},"numbers":{numbers},"events":{{{parts}}}{besides}}}'.encode()


def kept_besides(checkpoint: bytes | None, source: str) -> Any:
    """What the source had put into the checkpoint; None: nothing. Raises StoreUnfit when it cannot be read."""
    return _read(checkpoint, source).get("besides")


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _read(checkpoint: bytes | None, source: str) -> dict[str, Any]:
    if not checkpoint:
        return {"events": {}, "numbers": {}}
    try:
        kept = json.loads(checkpoint)
        version = kept["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _unfit(source, f"{type(error).__name__}: {error}") from error
    if version != VERSION:
        raise _unfit(source, f"it is of version {version}, this agent knows {VERSION}")
    return kept  # type: ignore[no-any-return]  # what is in it is looked at where it is used


def _unfit(source: str, why: str) -> StoreUnfit:
    return StoreUnfit(
        f"source {source}: the checkpoint of its tags cannot be read ({why}); the counters would begin anew and what "
        "was counted since would be lost. Run the version of the agent that wrote it"
    )
