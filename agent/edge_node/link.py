"""One MQTT connection of the edge node: its will, its subscriptions, what it says and what it is told.

paho's own thread does the network; its callbacks note what they heard and wake the event loop, where all is decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.configuration.brokers import Broker
from agent.configuration.face_settings import SparkplugNode
from agent.errors import SourceLost
from agent.publisher import Client
from agent.sources.mqtt_retry import refusal
from agent.sparkplug.birth import asked
from agent.sparkplug.commands import Command
from agent.sparkplug.names import Topic, Verb, state_topic
from agent.sparkplug.primary import PrimaryHost

log = logging.getLogger("gatepost.sparkplug_node")

ANSWER_S: Final = 10.0  # for CONNACK and SUBACK
GOODBYE_S: Final = 2.0  # for the death and the end of a connection, each
MOST: Final = 64 * 1024  # bytes of a command
_TAKEN_OVER: Final = 0x8E


def client_id(settings: SparkplugNode) -> str:
    """Its name at the broker."""
    return settings.client_id or f"gatepost-{settings.group}-{settings.node}"


def topics(settings: SparkplugNode) -> tuple[str, ...]:
    """What it listens to: commands, and whether its primary host is online."""
    commands = str(Topic(Verb.NCMD, f"{settings.group}/{settings.node}"))
    return (commands,) if settings.primary_host is None else (commands, state_topic(settings.primary_host))


class Link:
    """Used once: open, publish, close. `rebirth`, `refused` and the host are written by paho's thread as well."""

    def __init__(self, settings: SparkplugNode, broker: Broker, will: Command, host: PrimaryHost | None) -> None:
        self.client_id = client_id(settings)
        self.rebirth = False
        self.refused = 0  # commands that nobody may give
        self.ended: SourceLost | None = None
        self.explained = False  # the broker said why, and it was no second instance
        self._settings = settings
        self._broker = broker
        self._host = host
        self._topics = topics(settings)
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._subscribed = False
        self._over = threading.Event()
        self._one_at_a_time = threading.Lock()  # who stops while a connection is made closes it when it is
        self._client = self._made(will)

    async def open(self) -> None:
        """Connect and subscribe. Raises SourceLost, OSError."""
        await asyncio.to_thread(self._connect)
        self._client.loop_start()
        try:
            async with asyncio.timeout(ANSWER_S):
                while not self._subscribed:
                    self.check()
                    await self.news(None)
        except TimeoutError:
            raise SourceLost(f"the broker did not answer within {ANSWER_S:.0f} s") from None

    def check(self) -> None:
        """Raises SourceLost where the connection has ended."""
        if self.ended is not None:
            raise self.ended

    async def news(self, seconds: float | None) -> None:
        """Wait until something was heard, so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    def publish(self, message: Command) -> None:
        """Births and data: QoS 0, not retained."""
        self._client.publish(message.topic, message.payload, qos=0, retain=False)

    async def close(self, death: Command | None) -> None:
        """End it on purpose: a broker that hears our goodbye does not publish the will, so the death is said first."""
        await asyncio.to_thread(self._close, death)

    # on a thread of the pool

    def _connect(self) -> None:
        with self._one_at_a_time:
            self._connect_now()

    def _connect_now(self) -> None:
        options: dict[str, Any] = {}
        if self._settings.version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
            properties.MaximumPacketSize = 2 * MOST
            options = {"clean_start": True, "properties": properties}
        self._client.connect(self._broker.host, self._broker.port, self._settings.keep_alive_s, **options)

    def _close(self, death: Command | None) -> None:
        with self._one_at_a_time:
            self._close_now(death)

    def _close_now(self, death: Command | None) -> None:
        client = self._client
        if death is not None and not self._over.is_set():
            with contextlib.suppress(RuntimeError, ValueError):  # the connection ended meanwhile: the will is out
                client.publish(death.topic, death.payload, qos=1).wait_for_publish(GOODBYE_S)
        client.disconnect()
        if client.is_connected() and not self._over.wait(GOODBYE_S):
            sock = client.socket()
            if isinstance(sock, socket.socket):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # a broker that takes nothing must not hold us up
        client.loop_stop()

    # on paho's thread

    def _made(self, will: Command) -> paho.Client:
        settings = self._settings
        version5 = settings.version == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            clean_session=None if version5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if version5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.tls = settings.tls_context
        client.will_set(will.topic, will.payload, qos=1, retain=False)
        if settings.user is not None:
            client.username_pw_set(settings.user, settings.password.reveal() if settings.password else None)
        client.on_connect = self._noted(self._on_connect)
        client.on_subscribe = self._noted(self._on_subscribe)
        client.on_message = self._noted(self._on_message)
        client.on_disconnect = self._noted(self._on_disconnect)
        return client

    def _noted(self, callback: Callable[..., None]) -> Callable[..., None]:
        """An exception ends the connection, never paho's thread; whatever happened, the loop looks at it."""

        def noted(*told: Any) -> None:
            try:
                callback(*told)
            except SourceLost as error:
                self.ended = self.ended or error
            except Exception as error:  # what a stranger sent must not end the thread that hears the others
                log.exception("sparkplug_node: unexpected error")
                self.ended = self.ended or SourceLost(f"unexpected error: {error!r}")
            self._loop.call_soon_threadsafe(self._news.set)

        return noted

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            raise refusal(f"the broker refuses the connection: {reason}", reason)
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
        for topic, reason in zip(self._topics, reasons, strict=False):
            if reason.is_failure:
                raise refusal(f"the broker refuses the subscription to {topic}: {reason}", reason)
        self._subscribed = True

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if self._host is not None and message.topic == self._host.topic:
            self._host.heard(bytes(message.payload))
            return
        if message.retain or len(message.payload) > MOST:  # a retained command would be repeated at every connection
            refused = 1
        else:
            rebirth, refused = asked(bytes(message.payload))
            self.rebirth = rebirth or self.rebirth
        if refused and not self.refused:
            log.warning("sparkplug_node: a command was refused; hosts may ask for nothing but a rebirth")
        self.refused += refused

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self.explained = reason.value != _TAKEN_OVER
        self._over.set()
        self.ended = self.ended or SourceLost(f"the connection was closed: {reason}")
