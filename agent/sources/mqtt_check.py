"""What a client can see of the broker settings that the promise rests on; for ``gatepost check --connect``."""

from __future__ import annotations

import secrets
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.errors import SourceLost
from agent.sources.mqtt_config import Broker, MqttConfig
from agent.sources.mqtt_retry import refusal

_LOCAL = ("localhost", "127.0.0.1", "::1")
_DROPPED = "$SYS/broker/publish/messages/dropped"
_SENT = 1500  # to a client that is away; mosquitto keeps 1000 of them unless told otherwise


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What one broker showed; None: it did not say."""

    anonymous: bool  # lets a client in without user and certificate
    session_kept: bool  # a session outlives its connection
    session_expiry: int | None = None  # seconds the broker grants instead of what was asked
    maximum_qos: int | None = None
    maximum_packet: int | None = None  # bytes
    queued: int | None = None  # so many arrived of `_SENT` messages that were sent to a client that was away
    dropped: int | None = None  # messages the broker has thrown away since it started
    refused: tuple[str, ...] = ()  # topics that it does not let us read


def missing_broker_settings(config: MqttConfig, broker: Broker, facts: BrokerFacts) -> list[str]:
    """One sentence for each prescribed setting this broker visibly lacks, named as mosquitto names it. Pure.

    `persistence` and `autosave_interval` cannot be seen from a client: docs/sources/mqtt.md says how to look. What only
    MQTT 5 tells is warned of by `MqttConfig.warnings`.
    """
    missing = []
    if facts.anonymous:
        missing.append("allow_anonymous false: the broker lets anybody in, and anybody can report production")
    if not broker.tls and broker.host not in _LOCAL:
        missing.append("listener with TLS: user, password and reports cross the network in plain text")
    missing += [f"acl_file topic read {topic}: the broker refuses the subscription" for topic in facts.refused]
    if not facts.session_kept:
        missing.append("persistent sessions: what is sent while the agent is away is gone")
    if facts.session_expiry is not None and facts.session_expiry < config.session_expiry_s:
        missing.append(f"persistent_client_expiration: the broker forgets the session after {facts.session_expiry} s")
    if facts.maximum_qos == 0:
        missing.append("max_qos 1: the broker grants QoS 0 only, so nothing is delivered twice, and some of it never")
    if facts.maximum_packet is not None and facts.maximum_packet < config.max_payload_kb * 1024:
        missing.append(f"max_packet_size: the broker refuses packets over {facts.maximum_packet} bytes")
    if facts.queued is not None and facts.queued < _SENT:
        missing.append(f"max_queued_messages 100000: it kept {facts.queued} of {_SENT} messages")
    if facts.dropped:
        missing.append(f"max_queued_messages: the broker has dropped {facts.dropped} messages since its start")
    return missing


def observe_broker(config: MqttConfig, broker: Broker, seconds: float = 10.0) -> BrokerFacts:
    """Look at a broker with client ids of its own, never the agent's. Blocks. Raises SourceLost and OSError.

    Sends 1 500 messages of a few bytes to ``gatepost/check/…`` and takes them out again: the only way to see from
    outside whether the broker keeps more than its default for a client that is away.
    """
    client_id, topic = f"{config.client_id}-check", f"gatepost/check/{secrets.token_hex(4)}"
    with _Probe(config, broker, client_id, seconds, clean=True) as before:
        granted = before.subscribe(topic, _DROPPED)
        allowed = granted == 1
        before.wait(lambda: _DROPPED in before.last, 1.0)
    with _Probe(config, broker, f"{client_id}-fill", seconds, clean=True, forget=True) as sender:
        sender.publish(topic, _SENT if allowed else 0)
    with _Probe(config, broker, client_id, seconds, clean=False, forget=True) as after:
        after.wait(lambda: after.counted[topic] >= _SENT, 3.0 if allowed else 0.0)
    with _Probe(config, broker, client_id, seconds, clean=True, forget=True):
        pass  # MQTT 3.1.1 forgets a session no other way
    said = before.said
    return BrokerFacts(
        anonymous=_lets_anybody_in(config, broker, seconds),
        session_kept=after.session_present,
        session_expiry=said.get("SessionExpiryInterval"),
        maximum_qos=0 if granted == 0 else said.get("MaximumQoS"),  # the answer to SUBSCRIBE says it in any version
        maximum_packet=said.get("MaximumPacketSize"),
        queued=after.counted[topic] or None,
        dropped=int(before.last[_DROPPED]) if _DROPPED in before.last else None,
    )


def observe_door(config: MqttConfig, broker: Broker, seconds: float = 10.0) -> BrokerFacts:
    """What a source sees that wants no session: whether it gets in, and may read its topics. Sends nothing.

    Blocks. Raises SourceLost and OSError.
    """
    with _Probe(config, broker, f"{config.client_id}-check", seconds, clean=True, forget=True) as probe:
        refused = probe.refused(config.topics)
    return BrokerFacts(
        anonymous=_lets_anybody_in(config, broker, seconds),
        session_kept=True,
        maximum_packet=probe.said.get("MaximumPacketSize"),
        refused=refused,
    )


def _lets_anybody_in(config: MqttConfig, broker: Broker, seconds: float) -> bool:
    nobody = config.model_copy(update={"user": None, "password": None, "cert_file": None, "key_file": None})
    try:
        with _Probe(nobody, broker, f"{config.client_id}-nobody", seconds, clean=True, forget=True):
            return True
    except (SourceLost, OSError):
        return False


class _Client(paho.Client):
    """paho's client; where TLS cannot be agreed on it does not leave the socket open, as paho does."""

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        assert self._ssl_context is not None  # noqa: S101  # paho asks for this only where there is one
        wrapped = self._ssl_context.wrap_socket(tcp_sock, server_hostname=self.host, do_handshake_on_connect=False)
        try:
            wrapped.settimeout(self.connect_timeout)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped


class _Probe:
    """One short conversation in the version of the source, on paho's own thread."""

    def __init__(
        self, config: MqttConfig, broker: Broker, client_id: str, seconds: float, *, clean: bool, forget: bool = False
    ) -> None:
        self.said: dict[str, Any] = {}  # properties of the CONNACK
        self.session_present = False
        self.counted: Counter[str] = Counter()
        self.last: dict[str, bytes] = {}
        self._broker, self._seconds, self._forget = broker, seconds, forget
        self._expiry = config.session_expiry_s
        self._version5 = config.version == "5"
        self._clean = clean
        self._refused: ReasonCode | None = None
        self._connected, self._granted = False, list[int]()
        self._changed = threading.Condition()
        self._client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self._version5 else clean and forget,  # one flag for both ends of a session
            protocol=MQTTProtocolVersion.MQTTv5 if self._version5 else MQTTProtocolVersion.MQTTv311,
        )
        self._client.on_connect, self._client.on_subscribe = self._on_connect, self._on_subscribe
        self._client.on_message = self._on_message
        context = config.tls_context()
        if context is not None:
            self._client.tls_set_context(context)
        if config.user is not None:
            self._client.username_pw_set(config.user, config.password.reveal() if config.password else None)

    def __enter__(self) -> Self:
        options: dict[str, Any] = {}
        if self._version5:
            options = {"clean_start": self._clean, "properties": self._lives(PacketTypes.CONNECT, self._expiry)}
        self._client.connect(self._broker.host, self._broker.port, **options)
        self._client.loop_start()
        if (
            not self.wait(lambda: self._connected or self._refused is not None, self._seconds)
            or self._refused is not None
        ):
            self._client.loop_stop()
            if self._refused is not None:
                raise refusal(f"it refuses the connection: {self._refused}", self._refused)
            raise SourceLost(f"no answer within {self._seconds:.0f} s")
        return self

    def __exit__(self, *_: object) -> None:
        after = self._lives(PacketTypes.DISCONNECT, 0 if self._forget else 60)  # interrupted: nothing stays for long
        self._client.disconnect(properties=after if self._version5 else None)
        self._client.loop_stop()

    @staticmethod
    def _lives(packet: int, seconds: int) -> Properties:
        """How long the session outlives the connection, as MQTT 5 says it."""
        properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.SessionExpiryInterval = seconds
        return properties

    def wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait for the broker to answer."""
        with self._changed:
            return self._changed.wait_for(done, seconds)

    def subscribe(self, *topics: str) -> int:
        """The QoS that the broker grants for the first of them; from 128 on it refuses."""
        if self._version5:
            self._client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])
        else:
            self._client.subscribe([(topic, 1) for topic in topics])
        return self._granted[0] if self.wait(lambda: bool(self._granted), self._seconds) else 0x80

    def refused(self, topics: Sequence[str]) -> tuple[str, ...]:
        """Which of these the broker does not let us read."""
        self.subscribe(*topics)
        granted = [*self._granted, *[0x80] * len(topics)]  # no answer is no permission
        return tuple(topic for topic, grant in zip(topics, granted, strict=False) if grant >= 0x80)

    def publish(self, topic: str, count: int) -> None:
        """Send that many small messages, and wait until the broker has them."""
        sent = [self._client.publish(topic, b"%d" % number, qos=1) for number in range(count)]
        for info in sent:
            info.wait_for_publish(self._seconds)

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            self.said = vars(properties) if self._version5 else {}
            self.session_present = flags.session_present
            self._connected, self._refused = not reason.is_failure, reason if reason.is_failure else None
            self._changed.notify_all()

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
        with self._changed:
            self._granted = [reason.value for reason in reasons]
            self._changed.notify_all()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.counted[message.topic] += 1
            self.last[message.topic] = bytes(message.payload)
            self._changed.notify_all()
