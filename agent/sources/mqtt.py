"""MQTT messages become deliveries; each is acknowledged to the broker only after it is on disk.

One thread owns the connection:

    poll ─▶ read 64 KiB ─▶ one Batch ─▶ intake.put ─▶ (writer commits) ─▶ stored ─▶ wake ─▶ all PUBACKs in one send

While the intake is full nothing more is read and the broker holds its messages back; blocked for longer than 1.2 ×
keep-alive the source disconnects and comes back when there is room. Nothing is ever dropped: what is not acknowledged
stays in the persistent session and is delivered again, so every message arrives at least once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import select
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.errors import SourceLost
from agent.ports import Batch, Clock, Intake, Notice, Receipt, Surroundings
from agent.sources.mqtt_config import Broker, MqttConfig
from agent.sources.mqtt_wire import Arrivals, Decoder, Link, Session, Wake

__all__ = ["MqttConfig", "MqttSource", "Pace"]

log = logging.getLogger("gatepost.mqtt")

MAX_RECEIPTS = 10_000  # waiting for a connection; the oldest go first: a sender that misses one repeats its report
_TAKEN_OVER = 0x8E
_NOT_AUTHORISED = (0x80, 0x86, 0x87)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the source tries again, in seconds."""

    first: float = 1.0
    most: float = 60.0
    refused: float = 60.0  # after "not authorised", a refused subscription, and a second instance
    takeovers: int = 3  # so many connections that ended within …
    takeover_window: float = 30.0  # … this time, the broker being up throughout, mean a second instance
    slice: float = 0.25  # how long one try to hand over blocks while the intake is full
    idle: float = 1.0  # how long the thread sleeps at most

    def delay(self, rounds: int) -> float:
        """Exponential back-off with full jitter, after `rounds` failed rounds over all brokers."""
        most = min(self.most, self.first * 2.0 ** min(rounds + 1, 16))
        return random.uniform(min(self.first, most), most)  # noqa: S311  # spreads reconnects, keeps no secret


class _Refused(SourceLost):
    """The broker answered, and said no: trying again soon would not help."""

    def __init__(self, message: str, action: str) -> None:
        super().__init__(message)
        self.action = action


class MqttSource:
    """Source over one persistent MQTT session; see the configuration for what it promises."""

    def __init__(
        self,
        config: MqttConfig,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
    ) -> None:
        self.name = config.name
        self._config = config
        self._clock = clock
        self._monotonic = monotonic
        self._pace = pace or Pace()
        self._key = f"mqtt/{config.name}/session"
        self._brokers = config.endpoints
        self._session = self._new_session()
        self._wake: Wake | None = None
        self._stopping = False
        self._acks: deque[tuple[Link | None, bytes]] = deque()  # filled by the writer's thread
        self._receipts: deque[tuple[str, bytes]] = deque(maxlen=MAX_RECEIPTS)  # filled by any thread
        self._held: Batch | None = None
        self._notices: list[Notice] = []
        self._sessions: dict[str, dict[str, Any]] = {}  # broker → since, topics: what it should remember of us
        self._last: dict[str, Any] = {}  # the last message seen: topic, packet_id, at
        self._turn = self._rounds = 0
        self._ups: deque[float] = deque(maxlen=self._pace.takeovers)  # when the last connections were made
        self._penalty = 0.0
        self._told: dict[Broker, str] = {}  # what was last said about a broker since it was lost
        self._link: Link | None = None
        self._up_at: float | None = None  # monotonic; None: not subscribed
        self._goodbye: ReasonCode | None = None
        self._served = False  # was there a connection before
        self._status: dict[str, Any] = {
            "connected": False,
            "since": None,
            "broker": None,
            "last_delivery_at": None,
            "session_present": None,
            "reconnects": 0,
            "failures": 0,
            "blocked_since": None,
            "loop_alive_at": None,
            "error": None,
        }

    @classmethod
    def of(cls, config: MqttConfig, around: Surroundings) -> MqttSource:
        """Made by the app."""
        return cls(config, clock=around.clock)

    async def run(self, intake: Intake) -> None:
        """Deliver until cancelled. What was not committed by then is not acknowledged, and comes again."""
        self._remember(intake.checkpoint(self._key))
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
        ``loop_alive_at`` moves at least every second while the thread lives; ``blocked_since`` is set while the
        intake is full.
        """
        link = self._link
        return {**self._status, "in_flight": link.owed if link is not None else 0}

    def receipt(self, topic: str, payload: bytes) -> None:
        """Publish an application receipt with QoS 1, from any thread, after the commit it speaks of.

        Raises ValueError for a topic that cannot be published to.
        """
        if not topic or any(sign in topic for sign in "+#\0") or len(topic.encode()) > 65535:
            raise ValueError(f"{topic!r} is no topic to publish a receipt to; it must be without wildcards")
        self._receipts.append((topic, payload))
        self._ring()

    @property
    def gives_receipts(self) -> bool:
        """Whether the configuration names a topic for them."""
        return self._config.receipts is not None

    def give_receipt(self, receipt: Receipt) -> None:
        """Publish what became of a message: ``{"id": …, "event": …, "state": …}`` on the topic of `receipts`."""
        if self._config.receipts is None:
            return
        topic = self._config.receipts.replace("{sender}", receipt.sender)
        body = {"id": receipt.message_id, "event": receipt.event_id, "state": receipt.state}
        try:
            self.receipt(topic, json.dumps(body).encode())
        except ValueError as error:  # a sender whose name is no topic level
            log.warning("source %s gives no receipt: %s", self.name, error)

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
            broker = self._brokers[self._turn % len(self._brokers)]
            try:
                self._settle(intake)
                self._serve(intake, self._connect(broker))
            except SourceLost as error:
                self._lost(broker, error)
            except OSError as error:
                self._lost(broker, SourceLost(_plain(error, self._config)))
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
            readable = self._wait(link, self._pace.idle)
            self._send_stored(link)
            arrivals = link.read() if readable else Arrivals()
            self._talk(link)
            if arrivals.acks or arrivals.deliveries or self._notices:
                self._deliver(intake, link, arrivals)
            if link.closed:
                raise SourceLost(str(self._goodbye or link.reason or "the connection was closed"))
            self._check_alive(link)
            link.flush()

    def _wait(self, link: Link | None, seconds: float) -> bool:
        """Sleep until something happens; true: there is something to read."""
        self._status["loop_alive_at"] = self._clock()
        poll = select.poll()
        assert self._wake is not None  # noqa: S101  # set by `run` for as long as the thread lives
        poll.register(self._wake, select.POLLIN)
        if link is None:
            poll.poll(seconds * 1000)
            return False
        poll.register(link, select.POLLIN | (select.POLLOUT if link.corked else 0))
        if link.pending():
            return True
        descriptor = link.fileno()
        return any(fd == descriptor and event != select.POLLOUT for fd, event in poll.poll(seconds * 1000))

    def _talk(self, link: Link) -> None:
        """Let paho read its packets and write its answers."""
        while link.talk:
            self._session.loop_read()
        if not link.closed and self._session.want_write():
            self._session.loop_write()

    def _send_stored(self, link: Link | None) -> None:
        """Cork the acknowledgements of what is committed; those of an older connection go nowhere."""
        if self._wake is not None:
            self._wake.clear()
        while self._acks:
            owner, acks = self._acks.popleft()
            if owner is link and link is not None:
                link.send(acks)
                link.owed -= len(acks) // 4
        while self._receipts and self._up_at is not None:
            topic, payload = self._receipts.popleft()
            self._session.publish(topic, payload, qos=1)

    def _deliver(self, intake: Intake, link: Link | None, arrivals: Arrivals) -> None:
        now = self._clock()
        if arrivals.retained:
            detail = {"count": len(arrivals.retained), "topics": sorted(set(arrivals.retained))[:10]}
            self._notices.append(Notice("retained_ignored", detail, alarm=False))
        if arrivals.deliveries:
            packet_id = int.from_bytes(arrivals.acks[-2:], "big")
            self._last = {"topic": arrivals.deliveries[-1].topic, "packet_id": packet_id, "at": now.isoformat()}
            self._status["last_delivery_at"] = now
        if link is not None:
            link.owed += len(arrivals.acks) // 4
        self._held = Batch(
            source=self.name,
            deliveries=arrivals.deliveries,
            received_at=now,
            stored=partial(self._stored, link, bytes(arrivals.acks)),
            checkpoints=((self._key, self._memory()),),
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
        self._status["loop_alive_at"] = self._clock()
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
        due = self._monotonic() - self._session.keepalive / 2
        if min(link.heard_at, link.sent_at) <= due and link.pinged_at <= due:
            link.ping()

    def _hang_up(self) -> None:
        link, self._link, self._up_at = self._link, None, None
        self._status["connected"] = False
        if link is not None and not link.closed:
            self._session.disconnect()  # the session, and what is not acknowledged, stays at the broker
            link.close()

    def _lost(self, broker: Broker, error: SourceLost) -> None:
        """Note why the connection ended, and decide how long to wait."""
        why = f"{broker}: {error}"
        if self._told.get(broker) != why:  # once, however often it is tried
            self._told[broker] = why
            log.warning("source %s lost: %s", self.name, why)
            if isinstance(error, _Refused):
                self._notices.append(Notice(error.action, {"broker": str(broker), "error": str(error)}))
        since = self._status["since"] if self._status["error"] else self._clock()
        self._status.update(error=why, since=since, failures=self._status["failures"] + 1)
        self._penalty = self._pace.refused if isinstance(error, _Refused) else 0.0
        if self._up_at is None:
            self._turn += 1
            self._rounds += self._turn % len(self._brokers) == 0
            self._ups.clear()
            return
        self._turn = self._rounds = 0
        if self._goodbye is not None and self._goodbye.value != _TAKEN_OVER:
            self._ups.clear()  # MQTT 5: the broker said why, and it was not a second instance
            return
        self._ups.append(self._up_at)
        if len(self._ups) == self._ups.maxlen and self._monotonic() - self._ups[0] < self._pace.takeover_window:
            self._second_instance(broker)

    def _second_instance(self, broker: Broker) -> None:
        self._ups.clear()
        self._penalty = self._pace.refused
        detail = {"broker": str(broker), "client_id": self._config.client_id, "disconnects": self._pace.takeovers}
        self._notices.append(Notice("second_instance", detail))
        log.error(
            "source %s: %s ends every connection at once; is a second agent running with client_id %s?",
            self.name, broker, self._config.client_id,
        )  # fmt: skip

    def _pause(self) -> None:
        """Wait before the next try; at once where another broker of the list is still to be tried."""
        if self._turn % len(self._brokers) and not self._penalty:
            return
        until = self._monotonic() + (self._penalty or self._pace.delay(self._rounds))
        while not self._stopping and (left := until - self._monotonic()) > 0:
            self._wait(None, min(left, self._pace.idle))
            self._send_stored(None)

    # what paho reports, on the network thread; an exception from here ends the connection, never the thread

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        broker = str(self._brokers[self._turn % len(self._brokers)])
        if reason.is_failure:
            raise _refusal(f"the broker refuses the connection: {reason}", reason)
        previous = self._status["broker"]
        if previous not in (None, broker):
            self._notices.append(Notice("failed_over", {"from": previous, "to": broker}))
        known = self._sessions.get(broker)
        self._compare_session(broker, known, present=flags.session_present)
        self._subscribe(known["topics"] if known and flags.session_present else ())
        topics = list(self._config.topics)
        since = known["since"] if known and flags.session_present else self._clock().isoformat()
        self._sessions[broker] = {"since": since, "topics": topics}
        self._status.update(broker=broker, session_present=flags.session_present)

    def _compare_session(self, broker: str, known: Mapping[str, Any] | None, *, present: bool) -> None:
        if known is None:
            detail = {"broker": broker, "client_id": self._config.client_id, "session_present": present}
            self._notices.append(Notice("session_started", detail, alarm=False))
        elif not present and self._config.expects_persistent:
            detail = {"broker": broker, "client_id": self._config.client_id, "since": known["since"]}
            self._notices.append(Notice("session_lost", {**detail, "last": self._last}))
            log.error(
                "source %s: %s has lost the session; what it still held is gone (last seen: %s)",
                self.name, broker, self._last or "nothing",
            )  # fmt: skip

    def _subscribe(self, before: Any) -> None:
        stale = [topic for topic in before if topic not in self._config.topics]
        if stale:
            self._session.unsubscribe(stale)  # no longer configured; the session would go on delivering them
        if self._config.version == "5":
            options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            self._session.subscribe([(topic, options) for topic in self._config.topics])
        else:
            self._session.subscribe([(topic, 1) for topic in self._config.topics])

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        for topic, reason in zip(self._config.topics, reasons, strict=False):
            if reason.is_failure:
                raise _refusal(f"the broker refuses the subscription to {topic}: {reason}", reason)
            if reason.value == 0:
                self._notices.append(Notice("not_protected", {"topic": topic, "granted_qos": 0}))
        again = self._served
        self._served = True
        log.info("source %s %s: %s", self.name, "back" if again else "connected", self._status["broker"])
        self._up_at, self._rounds = self._monotonic(), 0
        self._told.clear()
        self._status.update(connected=True, since=self._clock(), error=None, failures=0)
        self._status["reconnects"] += again

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._goodbye = reason

    # what outlives a restart

    def _memory(self) -> bytes:
        memory = {"client_id": self._config.client_id, "sessions": self._sessions, "last": self._last}
        return json.dumps(memory, separators=(",", ":")).encode()

    def _remember(self, checkpoint: bytes | None) -> None:
        memory = json.loads(checkpoint) if checkpoint else {}
        if memory.get("client_id") == self._config.client_id:
            self._sessions, self._last = memory["sessions"], memory["last"]

    def _new_session(self) -> Session:
        config = self._config
        version5 = config.version == "5"
        session = Session(
            client_id=config.client_id,
            version5=version5,
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


def _refusal(message: str, reason: ReasonCode) -> _Refused:
    if reason.value in _NOT_AUTHORISED:
        return _Refused(f"{message}; check user, password and the access list of the broker", "not_authorised")
    return _Refused(message, "refused")


def _plain(error: OSError, config: MqttConfig) -> str:
    """One clear line about a connection that could not be made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(". ")
        return f"its certificate is refused: {reason}; check ca_file {config.ca_file} and the host name"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection: {error.reason or error}; check the certificates and that this is the TLS port"
    return str(error)
