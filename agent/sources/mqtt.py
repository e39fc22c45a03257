"""MQTT messages become deliveries; each is acknowledged to the broker only after it is on disk.

One thread owns the connection:

    poll ─▶ read 64 KiB ─▶ one Batch ─▶ intake.put ─▶ (writer commits) ─▶ stored ─▶ wake ─▶ all PUBACKs in one send

While the intake is full nothing more is read and the broker holds its messages back; blocked for longer than 1.2 ×
keep-alive the source disconnects and comes back when there is room. Nothing is ever dropped: what is not acknowledged
stays in the persistent session and is delivered again, so every message arrives at least once.
"""

from __future__ import annotations

import asyncio
import logging
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.errors import SourceLost
from agent.ports import Batch, Clock, Intake, Notice, Receipt, Surroundings
from agent.sources.mqtt_config import Broker, MqttConfig
from agent.sources.mqtt_memory import Memory
from agent.sources.mqtt_receipts import MAX_RECEIPTS, Receipts
from agent.sources.mqtt_retry import BrokerRefused, Pace, Retry, plain, refusal
from agent.sources.mqtt_wire import Arrivals, Decoder, Link, Session, Wake

__all__ = ["MqttConfig", "MqttSource", "Pace"]

log = logging.getLogger("gatepost.mqtt")

_TAKEN_OVER = 0x8E


class MqttSource:
    """Source over one persistent MQTT session; see the configuration for what it promises."""

    clean_session = False  # of MQTT 3.1.1; MQTT 5 says it at the connection

    def __init__(
        self,
        config: MqttConfig,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
    ) -> None:
        self.name = config.name
        self.receipts = Receipts(config.name, config.receipts, self._ring)
        self._config = config
        self._clock = clock
        self._monotonic = monotonic
        self._pace = pace or Pace()
        self._key = f"mqtt/{config.name}/session"
        self._retry = Retry(self._pace, config.endpoints, monotonic)
        self._memory = Memory(config.client_id)
        self._session = self._new_session()
        self._wake: Wake | None = None
        self._stopping = False
        self._acks: deque[tuple[Link | None, bytes]] = deque()  # filled by the writer's thread
        self._held: Batch | None = None
        self._notices: list[Notice] = []
        self._told: dict[Broker, str] = {}  # what was last said about a broker since it was lost
        self._link: Link | None = None
        self._up_at: float | None = None  # monotonic; None: not subscribed
        self._goodbye: ReasonCode | None = None
        self._stepped: float | None = None  # monotonic: when the thread last went round
        self._served = False  # was there a connection before
        self._status: dict[str, Any] = {
            "connected": False, "since": None, "broker": None, "last_delivery_at": None, "session_present": None,
            "reconnects": 0, "failures": 0, "blocked_since": None, "error": None,
        }  # fmt: skip

    @classmethod
    def of(cls, config: MqttConfig, around: Surroundings) -> MqttSource:
        """Made by the app."""
        return cls(config, clock=around.clock)

    async def run(self, intake: Intake) -> None:
        """Deliver until cancelled. What was not committed by then is not acknowledged, and comes again."""
        self._memory = Memory.read(self._config.client_id, intake.checkpoint(self._key))
        self._wake, self._stopping = Wake(), False
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def network() -> None:
            try:
                self._network(intake)
            finally:
                loop.call_soon_threadsafe(over.set)

        thread = threading.Thread(target=network, name=f"mqtt-{self.name}", daemon=True)
        thread.start()
        try:
            await over.wait()
            raise SourceLost(f"source {self.name}: its network thread has ended; restart the agent")
        finally:
            self._stopping = True
            self._wake.ring()
            if not over.is_set():
                await over.wait()
            thread.join()
            wake, self._wake = self._wake, None
            wake.close()

    def status(self) -> Mapping[str, Any]:
        """``connected``, ``since``, ``last_delivery_at``, ``error``; ``in_flight`` counts what waits for its commit.

        ``failures`` counts the tries since the connection was lost, ``reconnects`` the ones that succeeded.
        ``loop_silent_s`` stays below some seconds while the thread lives; ``blocked_since`` is set while the intake
        is full. ``silent_s`` is set while the broker leaves a ping unanswered: it may be gone, but nobody knows yet.
        """
        link = self._link
        return {
            **self._status,
            "loop_silent_s": None if self._stepped is None else self._monotonic() - self._stepped,
            "silent_s": self._silence(link),
            "in_flight": link.owed if link is not None else 0,
        }

    def _silence(self, link: Link | None) -> float | None:
        if link is None or self._up_at is None or self._status["blocked_since"] is not None:  # then we do not listen
            return None
        seconds = self._monotonic() - link.heard_at
        return seconds if seconds > self._session.keepalive / 2 else None

    @property
    def gives_receipts(self) -> bool:
        """Whether the configuration names a topic for them."""
        return self.receipts.topic is not None

    def give_receipt(self, receipt: Receipt) -> None:
        """Publish what became of a message on the topic of `receipts`."""
        self.receipts.give(receipt)

    # the writer's thread

    def _stored(self, link: Link | None, acks: bytes) -> None:
        self._acks.append((link, acks))
        self._ring()

    def _ring(self) -> None:
        wake = self._wake
        if wake is not None:
            wake.ring()

    # the network thread

    def _network(self, intake: Intake) -> None:
        while not self._stopping:
            broker = self._retry.broker
            try:
                self._settle(intake)
                self._serve(intake, self._connect(broker))
            except SourceLost as error:
                self._lost(broker, error)
            except OSError as error:
                self._lost(broker, SourceLost(plain(error, self._config)))
            except Exception as error:  # one bad connection must not end the thread: shown, and again
                log.exception("source %s: unexpected error", self.name)
                self._notices.append(Notice("source_error", {"broker": str(broker), "error": repr(error)}))
                self._lost(broker, SourceLost(f"unexpected error: {error!r}"))
            finally:
                self._hang_up()
            self._pause()

    def _connect(self, broker: Broker) -> Link:
        self._goodbye = None
        self._session.connect(broker.host, broker.port, self._config.keep_alive_s, **self._config.connect_options())
        link = self._session.link
        assert link is not None  # noqa: S101  # connect returned, so the socket was created
        self._link = link
        return link

    def _serve(self, intake: Intake, link: Link) -> None:
        """One connection, from CONNACK to its end. Raises SourceLost."""
        while not self._stopping:
            readable = self._wait(link, self._nap())
            self._send_stored(link)
            arrivals = link.read() if readable else Arrivals()
            self._talk(link)
            if arrivals.acks or arrivals.deliveries or arrivals.retained or self._notices or self._pressing():
                self._deliver(intake, link, arrivals)
            if link.closed:
                raise SourceLost(str(self._goodbye or link.reason or "the connection was closed"))
            self._check_alive(link)
            link.flush()

    def _wait(self, link: Link | None, seconds: float) -> bool:
        """Sleep until something happens; true: there is something to read."""
        self._stepped = self._monotonic()
        assert self._wake is not None  # noqa: S101  # set by `run` for as long as the thread lives
        if link is not None and link.pending():
            return True
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if link is not None:
            poll.register(link, select.POLLIN | (select.POLLOUT if link.corked else 0))
        ready = {descriptor for descriptor, event in poll.poll(seconds * 1000) if event != select.POLLOUT}
        if self._wake.fileno() in ready:
            self._wake.clear()
        return link is not None and link.fileno() in ready

    def _nap(self) -> float:
        """How long the thread may sleep while nothing arrives, s."""
        return self._pace.idle

    def _pressing(self) -> bool:
        """Whether there is something to do although nothing has arrived."""
        return False

    def _talk(self, link: Link) -> None:  # let paho read its packets and write its answers
        while link.talk:
            self._session.loop_read()
        if not link.closed and self._session.want_write():
            self._session.loop_write()

    def _send_stored(self, link: Link | None) -> None:
        self._acknowledge(link)
        if self._up_at is not None:
            self.receipts.publish(self._session)

    def _acknowledge(self, link: Link | None) -> None:
        """Cork the acknowledgements of what is committed; those of an older connection go nowhere."""
        while self._acks:
            owner, acks = self._acks.popleft()
            if owner is link and link is not None:
                link.send(acks)
                link.owed -= len(acks) // 4

    def _deliver(self, intake: Intake, link: Link | None, arrivals: Arrivals) -> None:
        now = self._clock()
        if arrivals.retained:
            detail = {"count": len(arrivals.retained), "topics": sorted(set(arrivals.retained))[:10]}
            self._notices.append(Notice("retained_ignored", detail, alarm=False))
        if arrivals.deliveries:
            packet_id = int.from_bytes(arrivals.acks[-2:], "big")
            self._memory.last = {"topic": arrivals.deliveries[-1].topic, "packet_id": packet_id, "at": now.isoformat()}
            self._status["last_delivery_at"] = now
        if link is not None:
            link.owed += len(arrivals.acks) // 4
        self._held = Batch(
            source=self.name,
            deliveries=arrivals.deliveries,
            received_at=now,
            stored=partial(self._stored, link, bytes(arrivals.acks)),
            checkpoints=((self._key, self._memory.write()),),
            notices=tuple(self._notices),
        )
        self._notices.clear()
        self._place(intake, link)

    def _place(self, intake: Intake, link: Link | None) -> None:
        """Hand the held batch over, for as long as it takes. Raises SourceLost when the broker cannot wait so long."""
        began = self._monotonic()
        while self._held is not None and not self._stopping:
            if intake.put(self._held, self._pace.slice):
                self._held = self._status["blocked_since"] = None
            else:
                self._hold(link, self._monotonic() - began)

    def _hold(self, link: Link | None, seconds: float) -> None:
        self._stepped = self._monotonic()
        if self._status["blocked_since"] is None:
            self._status["blocked_since"] = self._clock()
            log.warning("source %s: the store takes nothing more; the broker holds its messages back", self.name)
        if link is None:
            return
        self._send_stored(link)
        self._ping_when_due(link)
        link.flush()
        if seconds > 1.2 * self._session.keepalive:
            self._up_at = None  # our own doing: no sign of a second instance
            self._notices.append(Notice("back_pressure", {"blocked_s": round(seconds, 1)}))
            raise SourceLost(f"the store took nothing for {seconds:.0f} s; the broker keeps the messages meanwhile")

    def _settle(self, intake: Intake) -> None:
        """Before a connection: hand over what the last one left, and what happened since."""
        self._place(intake, None)
        if self._notices and not self._stopping:
            self._deliver(intake, None, Arrivals())

    def _check_alive(self, link: Link) -> None:
        silence = self._monotonic() - link.heard_at
        if silence > 1.5 * self._session.keepalive:
            raise SourceLost(f"the broker was silent for {silence:.0f} s")
        self._ping_when_due(link)

    def _ping_when_due(self, link: Link) -> None:
        due = self._monotonic() - self._session.keepalive / 4  # long before `_silence`: an idle broker is not silent
        if min(link.heard_at, link.sent_at) <= due and link.pinged_at <= due:
            link.ping()

    def _hang_up(self) -> None:
        link, self._link, self._up_at = self._link, None, None
        self._status["connected"] = False
        if link is not None and not link.closed:
            self._acknowledge(link)  # what was committed since the last round need not come again
            self._session.disconnect()  # the session, and what is not acknowledged, stays at the broker
            link.close()

    def _lost(self, broker: Broker, error: SourceLost) -> None:
        """Note why the connection ended, and decide how long to wait."""
        why = f"{broker}: {error}"
        if self._told.get(broker) != why:  # once, however often it is tried
            self._told[broker] = why
            log.warning("source %s lost: %s", self.name, why)
            if isinstance(error, BrokerRefused):
                self._notices.append(Notice(error.action, {"broker": str(broker), "error": str(error)}))
        since = self._status["since"] if self._status["error"] else self._clock()
        self._status.update(error=why, since=since, failures=self._status["failures"] + 1)
        refused = isinstance(error, BrokerRefused)
        if self._up_at is None:
            self._retry.failed(refused=refused)
            return
        explained = self._goodbye is not None and self._goodbye.value != _TAKEN_OVER  # MQTT 5 says why
        if self._retry.ended(self._up_at, refused=refused, explained=explained):
            self._second_instance(broker)

    def _second_instance(self, broker: Broker) -> None:
        detail = {"broker": str(broker), "client_id": self._config.client_id, "disconnects": self._pace.takeovers}
        self._notices.append(Notice("second_instance", detail))
        log.error(
            "source %s: %s ends every connection at once; is a second agent running with client_id %s?",
            self.name, broker, self._config.client_id,
        )  # fmt: skip

    def _pause(self) -> None:
        """Wait before the next try, and go on taking what the writer has stored."""
        until = self._monotonic() + self._retry.wait()
        while not self._stopping and (left := until - self._monotonic()) > 0:
            self._wait(None, min(left, self._nap()))
            self._send_stored(None)

    # what paho reports, on the network thread; an exception from here ends the connection, never the thread

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            raise refusal(f"the broker refuses the connection: {reason}", reason)
        broker, present = str(self._retry.broker), flags.session_present
        previous = self._status["broker"]
        if previous not in (None, broker):
            self._notices.append(Notice("failed_over", {"from": previous, "to": broker}))
        self._compare_session(broker, present=present)
        topics, now = list(self._config.topics), self._clock().isoformat()
        self._subscribe(self._memory.subscribed(broker, topics, now, present=present))
        self._status.update(broker=broker, session_present=present)

    def _compare_session(self, broker: str, *, present: bool) -> None:
        notice = self._memory.compared(broker, present=present, persistent=self._config.expects_persistent)
        if notice is None:
            return
        self._notices.append(notice)
        if notice.alarm:
            log.error(
                "source %s: %s has lost the session; what it still held is gone (last seen: %s)",
                self.name, broker, self._memory.last or "nothing",
            )  # fmt: skip

    def _subscribe(self, stale: list[str]) -> None:
        """Ask for what is configured; `stale` topics no longer are, and the session would go on delivering them."""
        if stale:
            self._session.unsubscribe(stale)
        if self._config.version == "5":
            options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            self._session.subscribe([(topic, options) for topic in self._config.topics])
        else:
            self._session.subscribe([(topic, 1) for topic in self._config.topics])

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        for topic, reason in zip(self._config.topics, reasons, strict=False):
            if reason.is_failure:
                raise refusal(f"the broker refuses the subscription to {topic}: {reason}", reason)
            if reason.value == 0:
                self._notices.append(Notice("not_protected", {"topic": topic, "granted_qos": 0}))
        again = self._served
        self._served = True
        log.info("source %s %s: %s", self.name, "back" if again else "connected", self._status["broker"])
        self._up_at = self._monotonic()
        self._retry.connected()
        self._told.clear()
        self._status.update(connected=True, since=self._clock(), error=None, failures=0)
        self._status["reconnects"] += again

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._goodbye = reason

    def _new_session(self) -> Session:
        config = self._config
        version5 = config.version == "5"
        session = Session(
            client_id=config.client_id,
            version5=version5,
            clean=self.clean_session,
            decoder=lambda: Decoder(version5=version5, max_payload=config.max_payload_kb * 1024),
            tls=config.tls_context,
            monotonic=self._monotonic,
        )
        if config.user is not None:
            session.username_pw_set(config.user, config.password.reveal() if config.password else None)
        session.max_queued_messages_set(MAX_RECEIPTS)
        session.on_connect = self._on_connect
        session.on_subscribe = self._on_subscribe
        session.on_disconnect = self._on_disconnect
        return session
