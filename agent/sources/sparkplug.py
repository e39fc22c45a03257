"""Sparkplug B: metrics of edge nodes become tags, tags become events, events go to disk with the state they came from.

    PUBLISH ─▶ session of its node ─▶ changes ─▶ events ─▶ one Batch ─▶ intake.put ─▶ stored ─▶ handshakes are written

Data come with QoS 0, so a lost message is not delivered again. What makes totals exact all the same: counters are read
as totals, what they counted last is on disk with the event that reported it, a missing number makes a node's tags
stale until it has said everything anew, and nodes that have us as primary host keep their data while we cannot take
them. One batch is under way at a time: what comes meanwhile joins the next, and no state overtakes the one before it.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from agent.ports import Batch, Clock, Delivery, Intake, Notice, Surroundings
from agent.sources.mqtt import MqttSource, Pace
from agent.sources.mqtt_config import Broker
from agent.sources.mqtt_wire import Arrivals, Link
from agent.sources.sparkplug_config import SparkplugConfig
from agent.sparkplug import commands
from agent.sparkplug.host import Host
from agent.sparkplug.nodes import Nodes
from agent.sparkplug.session import Effects, Lost, Moment
from agent.tags.engine import Made, TagEvents
from agent.tags.live import LiveTags
from agent.tags.values import Change, LivePart, Write

__all__ = ["SparkplugConfig", "SparkplugSource"]

log = logging.getLogger("gatepost.sparkplug")
ROOM: Final = 2000  # deliveries and notices that wait for the disk before nothing more is read


class SparkplugSource(MqttSource):
    """Source over the Sparkplug sessions of the configured nodes."""

    clean_session = True
    offline_after_s = 5.0  # a store that takes nothing for so long: nodes shall keep their data

    def __init__(
        self,
        config: SparkplugConfig,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(config.connection(), clock=clock, monotonic=monotonic, pace=pace)
        self._sparkplug = config
        self._nodes = Nodes(config.addresses, config.patience, chance)
        self._host = Host(config.host_id) if config.host_id else None
        self._keys = f"sparkplug/{config.name}/nodes", f"sparkplug/{config.name}/tags"
        self._events: TagEvents | None = None
        self._live = LiveTags(config.live, clock())
        self._checkpoint = b""  # of the events, as they made it last
        self._intake: Intake | None = None
        # what waits for the next batch
        self._deliveries: list[Delivery] = []
        self._writes: dict[str, Write] = {}  # by tag: only what it shall be in the end
        self._remember = False  # births, deaths, triggers: worth a commit of their own
        # the batch under way
        self._underway_since: float | None = None  # monotonic
        self._after: Collection[Write] = ()  # handshakes that belong to it
        self._stored_count = self._seen_stored = 0  # the first is the writer's, the second ours
        self._proved = False  # in this connection the store has taken something
        self._open = False
        self._cut_at: datetime | None = None
        self._refused_writes: dict[str, str] = {}  # tag → why, as it was told last

    @classmethod
    def of(cls, config: SparkplugConfig, around: Surroundings) -> SparkplugSource:  # type: ignore[override]
        """Made by the app."""
        return cls(config, clock=around.clock)

    async def run(self, intake: Intake) -> None:
        """Deliver until cancelled, from the state that was committed last. Raises StoreUnfit for one it cannot read."""
        self._intake = intake
        if self._events is None:  # what is under way from an earlier run belongs to the state that we still have
            nodes, events = map(intake.checkpoint, self._keys)
            self._nodes.recall(nodes, self._moment())
            addresses = {tag: str(address) for tag, address in self._sparkplug.addresses.items()}
            self._events = TagEvents(self._sparkplug.events, self.name, events, addresses)
            self._checkpoint = events or b""
        await super().run(intake)

    def status(self) -> Mapping[str, Any]:
        """As of any MQTT source; ``nodes`` with state, gaps, rebirths asked for and the last trouble of each.

        ``writes_refused`` are handshake tags that cannot be written, and why; ``unstored_s`` says how long the batch
        under way has not been on disk: seconds are a disk in trouble.
        """
        host = self._host
        shown = {"host_id": self._sparkplug.host_id, "online": host.said is True} if host else None
        return {
            **super().status(),
            "nodes": self._nodes.shown(self._moment()),
            "host": shown,
            "refused": dict(self._nodes.refused),
            "writes_refused": dict(self._refused_writes),
            "waiting": len(self._deliveries),
            "unstored_s": None if (since := self._underway_since) is None else round(self._monotonic() - since, 1),
        }

    def live(self) -> LivePart:
        """See `TellsLive`: a node whose connection ended would have been told dead by the broker that we hear."""
        link = self._link  # first: without one, no fact is good any more
        silent = 0.0 if link is None else self._monotonic() - link.heard_at
        return LivePart(self._live.facts, silent)

    # the connection

    def _connect(self, broker: Broker) -> Link:
        self._session = self._new_session()  # a new one has nothing left to send of an older connection
        if self._host is not None:
            will = self._host.connecting(self._clock())
            self._session.will_set(self._host.topic, will, qos=1, retain=True)
        self._proved = False
        return super()._connect(broker)

    def _on_subscribe(self, *told: Any) -> None:
        super()._on_subscribe(*told)
        now = self._moment()
        self._open = self._remember = True  # a first commit shows that the store takes what comes
        self._nodes.connected(now)
        if self._cut_at is not None:
            detail = {"broker": self._status["broker"], "lasted_s": round((now.at - self._cut_at).total_seconds(), 1)}
            self._notices.append(Notice("connection_back", detail, alarm=False))
            self._cut_at = None

    def _hang_up(self) -> None:
        link = self._link
        if self._host is not None and self._open and link is not None and not link.closed:
            self._publish(self._host.topic, self._host.leaving(self._clock()), qos=1, retain=True)
        if self._open:
            self._live.lost(None, "the connection to the broker was lost", self._clock())
        super()._hang_up()
        if self._open:
            self._open = False
            now = self._moment()
            self._cut_at = now.at
            self._nodes.cut("the connection to the broker was lost", now)
            self._writes.clear()  # they are asked for again when the nodes are back
            self._after = ()
            self._add(self._of_events().lost(None, now.at))

    def _settle(self, intake: Intake) -> None:
        self._place(intake, None)
        self._hand_over(intake, None)
        self._wait_for_room(None)

    # round by round

    def _nap(self) -> float:
        """Until the next timer, at most."""
        due = self._nodes.due() if self._open else None
        waits: list[float] = [super()._nap(), *([due - self._monotonic()] if due is not None else ())]
        if (at := self._of_events().due()) is not None:
            waits.append((at - self._clock()).total_seconds())
        return max(min(waits), 0.0)

    def _pressing(self) -> bool:
        due = self._nodes.due()
        if due is not None and due <= self._monotonic():
            return True
        at = self._of_events().due()
        return (at is not None and at <= self._clock()) or (self._underway_since is None and self._something_waits())

    def _deliver(self, intake: Intake, link: Link | None, arrivals: Arrivals) -> None:
        now, effects = self._moment(), Effects()
        self._note_retained(arrivals.retained)
        for one in arrivals.deliveries:
            if self._host is not None and one.topic == self._host.topic:
                notice = self._host.heard(one.payload)
                self._notices.extend([notice] if notice else ())
            else:
                self._nodes.take(one, now, effects)
        if arrivals.deliveries:
            self._status["last_delivery_at"] = now.at
        if link is not None:
            self._nodes.tick(now, effects)
            link.send(arrivals.acks)
        self._carry_out(effects, now)
        self._hand_over(intake, link)
        self._wait_for_room(link)

    def _wait_for_room(self, link: Link | None) -> None:
        """While too much waits for the disk, read nothing and let no timer make more, with and without a connection.

        Raises SourceLost when the broker cannot wait so long.
        """
        while self._full() and not self._stopping:
            self._hold(link, self._monotonic() - (self._underway_since or self._monotonic()))
            self._wait(None, self._pace.slice)
            self._take_stored(link)

    def _full(self) -> bool:
        return self._underway_since is not None and len(self._deliveries) + len(self._notices) > ROOM

    def _carry_out(self, effects: Effects, now: Moment) -> None:
        events = self._of_events()
        for step in effects.steps:
            self._tell_live(step, now)
            made = events.lost(step.tags, now.at) if isinstance(step, Lost) else events.changed(step, now.at)
            if made.writes or made.to_store:
                self._add(made)
        due = events.due()
        if due is not None and due <= now.at:
            self._add(events.tick(now.at))
        self._deliveries += self._nodes.quarantined(effects.refusals, now)
        self._notices += effects.notices
        self._remember |= effects.remember
        for node in effects.rebirths:
            request = commands.rebirth(node, now.at)
            self._publish(request.topic, request.payload)

    def _tell_live(self, step: Sequence[Change] | Lost, now: Moment) -> None:
        if isinstance(step, Lost):
            self._live.lost(step.tags, step.why, now.at)
        else:
            self._live.changed(step, now.at)

    def _add(self, made: Made) -> None:
        self._deliveries += made.deliveries
        self._notices += made.notices
        for one in made.writes:
            self._writes.pop(one.tag, None)
            self._writes[one.tag] = one
        self._checkpoint = made.checkpoint
        self._remember |= made.keep

    # the way to the disk

    def _hand_over(self, intake: Intake, link: Link | None) -> None:
        """A batch of what waits, unless one is under way; what is only to be written goes out at once."""
        if self._underway_since is not None:
            return
        if not self._something_waits():
            self._write(self._take_writes())
            return
        keys = self._keys
        self._held = Batch(
            source=self.name,
            deliveries=tuple(self._deliveries),
            received_at=self._clock(),
            stored=self._batch_stored,
            checkpoints=(
                (self._key, self._memory.write()),
                (keys[0], self._nodes.kept()),
                *(((keys[1], self._checkpoint),) if self._checkpoint else ()),
            ),
            notices=tuple(self._notices),
        )
        self._deliveries.clear()
        self._notices.clear()
        self._after = self._take_writes()
        self._remember = False
        self._underway_since = self._monotonic()
        self._place(intake, link)

    def _batch_stored(self) -> None:
        """On the writer's thread."""
        self._stored_count += 1
        self._ring()

    def _take_writes(self) -> Collection[Write]:
        """What shall be written, taken out."""
        writes, self._writes = self._writes, {}
        return writes.values()

    def _send_stored(self, link: Link | None) -> None:
        self._take_stored(link)
        if link is None and self._intake is not None and self._pressing():  # between two connections
            self._deliver(self._intake, None, Arrivals())

    def _take_stored(self, link: Link | None) -> None:
        """Once the batch is on disk the handshakes that belong to it are written; then the next one may follow."""
        super()._send_stored(link)
        if self._stored_count != self._seen_stored:
            self._seen_stored, self._underway_since = self._stored_count, None
            self._proved = self._proved or self._open
            writes, self._after = self._after, ()
            self._write(writes)
        self._speak()

    def _hold(self, link: Link | None, seconds: float) -> None:
        if link is not None:
            self._speak()
        super()._hold(link, seconds)

    def _something_waits(self) -> bool:
        return bool(self._deliveries or self._notices or self._remember)

    # what we say

    def _write(self, writes: Iterable[Write]) -> None:
        now = self._moment()
        for one in writes:
            try:
                message = self._nodes.command(one, now)
            except ValueError as error:  # of a type that cannot be written: the configuration is wrong
                self._note_write(one, str(error))
                continue
            if message is not None:
                self._publish(message.topic, message.payload)
                self._note_write(one, None)

    def _note_write(self, one: Write, why: str | None) -> None:
        """Say once that a tag cannot be written, however often it is tried, and once that it can again."""
        before = self._refused_writes.pop(one.tag, None)
        if why is not None:
            self._refused_writes[one.tag] = why
            if before != why:
                log.error("source %s: %s = %s was not written: %s", self.name, one.tag, one.value, why)
                self._notices.append(Notice("write_refused", {"tag": one.tag, "value": one.value, "error": why}))
        elif before is not None:
            self._notices.append(Notice("write_works", {"tag": one.tag}, alarm=False))

    def _speak(self) -> None:
        """Say as a host whether we take what nodes send: from the first commit on, while the store keeps up."""
        if self._host is None or not self._open:
            return
        since = self._underway_since
        stuck = since is not None and self._monotonic() - since > self.offline_after_s
        state = self._host.say(online=self._proved and not stuck) if self._proved or self._host.said else None
        if state is not None:
            self._publish(self._host.topic, state, qos=1, retain=True)

    def _publish(self, topic: str, payload: bytes, **options: Any) -> None:
        """Cork it; it leaves with the end of this round, or never where the connection is gone."""
        if self._open:
            self._session.publish(topic, payload, **options)

    def _note_retained(self, topics: list[str]) -> None:
        """Births and data must not be retained: they may be of last year. Our own state is, and we know it."""
        ignored = [topic for topic in topics if self._host is None or topic != self._host.topic]
        if ignored:
            detail = {"count": len(ignored), "topics": sorted(set(ignored))[:10]}
            self._notices.append(Notice("retained_ignored", detail, alarm=False))

    def _of_events(self) -> TagEvents:
        assert self._events is not None  # noqa: S101  # `run` has made it before there is a thread
        return self._events

    def _moment(self) -> Moment:
        return Moment(self._clock(), self._monotonic())
