"""The session of one edge node: from birth to death, message by message. Pure: the time and the chance are handed in.

    unknown ──NBIRTH──▶ online ──NDEATH, missing number, unknown alias, connection lost──▶ stale ──NBIRTH──▶ online

Data count only while the node is online. Whatever leaves a doubt about what a message means (a number that stays
missing, an alias that nobody declared, data before a birth) makes the node's tags stale and asks for its births: a
value that may be old must not decide about one that is new. Totals lose nothing by that, for a birth carries them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from agent.errors import BadPayload
from agent.ports import Delivery, Notice
from agent.sparkplug.metrics import Found, Table, Wanted
from agent.sparkplug.names import REBIRTH, Topic, Verb
from agent.sparkplug.payload import Message, bd_seq
from agent.sparkplug.rebirth import Rebirths
from agent.sparkplug.schema import type_name
from agent.tags.values import Change

UNKNOWN, ONLINE, STALE = "unknown", "online", "stale"
FIRST_LOOK_S: Final = 2.0  # how long a node has to say its birth by itself after we have connected
CLOCK_S: Final = 5.0  # how often a node's clock is looked at while it sends data
UNANSWERED: Final = 3  # so many requests without a birth are an alarm
_MOST_UNDECLARED: Final = 1000


class Moment(NamedTuple):
    """Now: for people and records, and for measuring."""

    at: datetime
    ticks: float  # monotonic seconds


class Lost(NamedTuple):
    """Nobody vouches for these tags any more, and why."""

    tags: frozenset[str]
    why: str


class Refusal(NamedTuple):
    """Something arrived that could not be read, and why."""

    delivery: Delivery
    error: BadPayload


@dataclass(slots=True)
class Effects:
    """What messages and the passing of time lead to; `steps` are in order, the changes of one message together."""

    steps: list[Sequence[Change] | Lost] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    rebirths: list[str] = field(default_factory=list)  # nodes to be asked
    remember: bool = False  # births and deaths: the checkpoint has changed


class Patience(NamedTuple):
    """How long is waited for what, in seconds."""

    reorder_s: float = 2.0  # for a missing number
    rebirth_s: float = 30.0  # between two requests to one node
    skew_s: float = 300.0  # how far a node's clock may be off


@dataclass(slots=True)
class Trouble:
    """A time without good values, for people."""

    what: str
    since: datetime
    until: datetime | None = None

    def shown(self, now: datetime) -> dict[str, Any]:
        """As it stands in the status."""
        lasted = ((self.until or now) - self.since).total_seconds()
        return {"what": self.what, "since": self.since, "lasted_s": round(lasted, 1), "over": self.until is not None}


class _Arrived(NamedTuple):
    delivery: Delivery
    topic: Topic
    message: Message


class Node:
    """One edge node and its devices."""

    def __init__(
        self, name: str, wanted: Mapping[str, Wanted], patience: Patience, random: Callable[[], float]
    ) -> None:
        self.name = name
        self.state = UNKNOWN
        self.table = Table(wanted)
        self.rebirths = Rebirths(patience.rebirth_s, random)
        self.bd_seq: int | None = None
        self.seq: int | None = None
        self.gaps = self.duplicates = 0
        self.trouble: Trouble | None = None
        self.clock: Trouble | None = None  # the latest time that its clock was off
        self.skew_s = 0.0
        self.dead_devices: frozenset[str] = frozenset()  # replaced, never changed: others look at it
        self._patience = patience
        self._look_at_clock_at = 0.0  # monotonic
        self._since: datetime | None = None
        self._waiting: dict[int, _Arrived] = {}  # came before their turn
        self._waits_since: float | None = None
        self._last = b""
        self._undeclared: set[str] = set()  # named by data although no birth has it, and a rebirth did not help
        self._before: dict[tuple[str, str], int] = {}  # what the last births declared the metrics to be
        self._incomplete = False
        self._tags = {
            device: frozenset(t for tags in metrics.values() for t in tags) for device, metrics in wanted.items()
        }

    # what arrives

    def take(self, delivery: Delivery, topic: Topic, message: Message, now: Moment, out: Effects) -> None:
        """One message of this node, in the order of its arrival."""
        arrived = _Arrived(delivery, topic, message)
        if topic.verb is Verb.NBIRTH or (topic.verb is not Verb.NDEATH and now.ticks >= self._look_at_clock_at):
            self._look_at_clock(message, now, out)  # the time of a death is that of the connection that ended
        if topic.verb is Verb.NBIRTH:
            self._born(arrived, now, out)
        elif topic.verb is Verb.NDEATH:
            self._died(message, now, out)
        elif self.state is not ONLINE:
            self.rebirths.want(now.ticks)  # a late join, or nothing is certain until the births have come
        elif message.seq == self._next():
            self._apply(arrived, now, out)
            self._catch_up(now, out)
        elif message.seq == self.seq and delivery.payload == self._last:
            self.duplicates += 1  # brokers that are coupled may bring one twice
        else:
            self._waiting.setdefault(message.seq or 0, arrived)
            if self._waits_since is None:
                self._waits_since = now.ticks
            if self._patience.reorder_s == 0:
                self._gap(now, out)

    def refused(self, now: Moment) -> None:
        """A message of it could not be read, so it is not known what it said: its births will."""
        if self.state is not UNKNOWN:
            self.rebirths.want(now.ticks)

    def _next(self) -> int:
        return ((self.seq or 0) + 1) % 256

    def _catch_up(self, now: Moment, out: Effects) -> None:
        """What has waited for the message that has just come."""
        while self.state is ONLINE and (arrived := self._waiting.pop(self._next(), None)) is not None:
            self._apply(arrived, now, out)
        self._waits_since = (self._waits_since or now.ticks) if self._waiting else None

    def _apply(self, arrived: _Arrived, now: Moment, out: Effects) -> None:
        """A message whose turn it is."""
        self.seq, self._last = arrived.message.seq, arrived.delivery.payload
        device, at = arrived.topic.device, arrived.message.at or now.at
        if device not in self.table.wanted:
            return
        if arrived.topic.verb is Verb.DBIRTH:
            self.dead_devices -= {device}
            self._declare(device, arrived, now, out)
            out.remember = True
        elif arrived.topic.verb is Verb.DDEATH:
            self.dead_devices |= {device}
            self.table.forget(device)
            out.steps.append(Lost(self._tags[device], f"device {self.name}/{device} is dead"))
            out.notices.append(Notice("device_dead", {"device": f"{self.name}/{device}"}, alarm=False))
            out.remember = True
        elif not self.table.has(device):
            self.rebirths.want(now.ticks)
        else:
            self._note(self.table.read(device, arrived.message.metrics, at), arrived, now, out)

    def _note(self, found: Found, arrived: _Arrived, now: Moment, out: Effects) -> None:
        out.refusals.extend(
            Refusal(arrived.delivery, BadPayload(str(error), field=metric, reason=error.reason))
            for metric, error in found.refused
        )
        new = [name for name in found.unknown if name not in self._undeclared]
        if new:
            if len(self._undeclared) < _MOST_UNDECLARED:
                self._undeclared.update(new)
            detail = {"node": self.name, "metrics": new[:10], "topic": str(arrived.topic)}
            out.notices.append(Notice("metric_undeclared", detail))
            self._lose(f"data of {new[0]}, which no birth declares", now, out)
            self.rebirths.want(now.ticks)
        elif found.changes:
            out.steps.append(found.changes)

    # births

    def _born(self, arrived: _Arrived, now: Moment, out: Effects) -> None:
        message = arrived.message
        self.bd_seq, self.seq = bd_seq(message.metrics), message.seq
        self._waiting.clear()
        self._waits_since = None
        self.dead_devices = frozenset()
        self._before |= self.table.types()
        self.table.clear()
        self.rebirths.done()
        if of_devices := frozenset(tag for device, tags in self._tags.items() if device for tag in tags):
            why = f"edge node {self.name} was born, this device not yet"
            out.steps.append(Lost(of_devices, why))  # until their own births, which follow
        self._check(message, out)
        self.state, self._since = ONLINE, now.at
        self._declare("", arrived, now, out)
        if self.trouble is not None and self.trouble.until is None:
            self.trouble.until = now.at
            lasted = round((now.at - self.trouble.since).total_seconds(), 1)
            detail = {"node": self.name, "after": self.trouble.what, "lasted_s": lasted}
            out.notices.append(Notice("node_online", detail, alarm=False))
        out.remember = True

    def _declare(self, device: str, arrived: _Arrived, now: Moment, out: Effects) -> None:
        if device not in self.table.wanted:
            return
        self._note(self.table.declare(device, arrived.message.metrics, arrived.message.at or now.at), arrived, now, out)
        owner = f"{self.name}/{device}" if device else self.name
        for (of, metric), datatype in self.table.types().items():
            before = self._before.pop((of, metric), datatype) if of == device else datatype
            if before != datatype:
                detail = {"of": owner, "metric": metric, "was": type_name(before), "is": type_name(datatype)}
                out.notices.append(Notice("metric_changed", detail))
        if missing := self.table.missing(device):
            out.steps.append(Lost(frozenset(missing), f"the birth of {owner} does not have its metric"))
            out.notices.append(Notice("metrics_missing", {"of": owner, "tags": sorted(missing)}))

    def _check(self, message: Message, out: Effects) -> None:
        """What a birth lacks that the specification asks for."""
        names = {metric.name for metric in message.metrics}
        lacks = [name for name in ("bdSeq", REBIRTH) if name not in names]
        if lacks and not self._incomplete:
            out.notices.append(Notice("birth_incomplete", {"node": self.name, "lacks": lacks}))
        self._incomplete = bool(lacks)

    def _look_at_clock(self, message: Message, now: Moment, out: Effects) -> None:
        """Whether the node's clock is right, as its message comes; what it had stored says nothing about that."""
        if message.at is None or any(metric.is_historical for metric in message.metrics):
            return
        self._look_at_clock_at = now.ticks + CLOCK_S
        self.skew_s = (message.at - now.at).total_seconds()
        skewed, known = abs(self.skew_s) > self._patience.skew_s, self.clock is not None and self.clock.until is None
        if skewed and not known:
            self.clock = Trouble(f"its clock is off by {self.skew_s:.0f} s", now.at)
            out.notices.append(Notice("clock_skew", {"node": self.name, "seconds": round(self.skew_s, 1)}))
        elif self.clock is not None and known and not skewed:
            self.clock.until = now.at

    # the end of certainty

    def _died(self, message: Message, now: Moment, out: Effects) -> None:
        number = bd_seq(message.metrics)
        if None not in (number, self.bd_seq) and number != self.bd_seq:
            return  # of an earlier session: the broker was late to notice its end
        self.rebirths.done()
        if self.state is ONLINE:
            self._lose("the node died", now, out)
            out.notices.append(Notice("node_dead", {"node": self.name, "bd_seq": number}))
            out.remember = True
        if number is None and self.bd_seq is not None:
            self.rebirths.want(now.ticks)  # whose death it was is not certain

    def _gap(self, now: Moment, out: Effects) -> None:
        came = min(self._waiting, key=lambda seq: (seq - self._next()) % 256)
        detail = {
            "node": self.name,
            "first_missing": self._next(),
            "missing": (came - self._next()) % 256,
            "then": came,
            "dropped": len(self._waiting),
        }
        out.notices.append(Notice("sequence_gap", detail))
        self.gaps += 1
        self._lose(f"number {self._next()} is missing", now, out)
        self.rebirths.want(now.ticks)

    def _lose(self, why: str, now: Moment, out: Effects) -> None:
        self.state, self._since = STALE, now.at
        self._waiting.clear()
        self._waits_since = None
        if self.trouble is None or self.trouble.until is not None:
            self.trouble = Trouble(why, now.at)
        tags = frozenset(tag for tags in self._tags.values() for tag in tags)
        out.steps.append(Lost(tags, f"edge node {self.name}: {why}"))

    def cut(self, why: str, now: Moment) -> None:
        """The connection to the broker is lost; who lost it tells the tags."""
        if self.state is ONLINE:
            self._lose(why, now, Effects())
        self.rebirths.done()

    def connected(self, now: Moment) -> None:
        """There is a connection: if the node does not speak by itself it is asked."""
        self.rebirths.want(now.ticks, FIRST_LOOK_S)

    # the passing of time

    def due(self) -> float | None:
        """When `tick` has something to do, in monotonic seconds."""
        waits = None if self._waits_since is None else self._waits_since + self._patience.reorder_s
        return min((moment for moment in (waits, self.rebirths.due) if moment is not None), default=None)

    def tick(self, now: Moment, out: Effects) -> None:
        """What is due by now."""
        if self._waits_since is not None and now.ticks >= self._waits_since + self._patience.reorder_s:
            self._gap(now, out)
        if self.rebirths.take(now.ticks):
            out.rebirths.append(self.name)
            if self.rebirths.unanswered == UNANSWERED:
                detail = {"node": self.name, "asked": self.rebirths.unanswered, "state": self.state}
                out.notices.append(Notice("rebirth_unanswered", detail))

    # what is kept and shown

    def kept(self) -> dict[str, Any]:
        """What outlives a restart: to which session a late death belongs, and how to write before the next birth."""
        metrics: dict[str, dict[str, list[int | None]]] = {}
        for one in self.table.read_ones():
            metrics.setdefault(one.device, {})[one.name] = [one.alias, one.datatype]
        return {"bd_seq": self.bd_seq, "online": self.state is ONLINE, "metrics": metrics}

    def recall(self, kept: Mapping[str, Any], now: Moment) -> None:
        """Go on from `kept`: nothing it said is certain until its births come."""
        self.bd_seq, self.state, self._since = kept["bd_seq"], STALE, now.at
        self.trouble = Trouble("the agent was away", now.at)
        for device, metrics in kept["metrics"].items():
            self.table.recall(device, metrics)

    def shown(self, now: datetime) -> dict[str, Any]:
        """The node as the status tells it."""
        return {
            "state": self.state,
            "since": self._since,
            "bd_seq": self.bd_seq,
            "dead_devices": sorted(self.dead_devices),
            "gaps": self.gaps,
            "duplicates": self.duplicates,
            "rebirths_asked": self.rebirths.asked,
            "unanswered": self.rebirths.unanswered,
            "clock_skew_s": round(self.skew_s, 1),
            "clock": self.clock.shown(now) if self.clock else None,
            "trouble": self.trouble.shown(now) if self.trouble else None,
        }
