"""Messages to a broker, each acknowledged by it: QoS 1, one connection that is made when it is needed.

paho's own thread does the network; its callbacks tell the event loop, where everything is decided. A connection is
never used again after it broke, so paho repeats nothing behind our back: what was under way is in doubt, and said so.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.configuration.brokers import Broker, BrokerConnection
from agent.errors import ErpInDoubt, ErpRejected, ErpUnavailable

CONNECT_S: Final = 5.0  # for TCP, and again for the TLS handshake
GOODBYE_S: Final = 2.0
MOST_HEARD: Final = 64 * 1024  # bytes of an answer
NOBODY_LISTENS: Final = 0x10
COME_BACK: Final = (0x83, 0x87, 0x97)  # implementation specific, not authorised, quota: mended at the broker

Heard = Callable[[str, bytes], None]  # topic, payload; on the event loop


class Client(paho.Client):
    """paho's client; where TLS cannot be agreed on it does not leave the socket open, as paho does."""

    tls: Callable[[], ssl.SSLContext | None]

    def _create_socket(self) -> socket.socket:
        context = self.tls()  # read anew at every connection: renewed certificates need no restart
        sock = socket.create_connection((self.host, self.port), CONNECT_S)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock if context is None else context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise


class Publisher:
    """Publishes at the first of the brokers that answers, and hears what comes on `topics`. Constructed cold."""

    def __init__(
        self,
        to: BrokerConnection,
        client_id: str,
        answer_s: float,
        topics: Sequence[str] = (),
        heard: Heard | None = None,
    ) -> None:
        self._to = to
        self._client_id = client_id
        self._answer_s = answer_s
        self._topics = tuple(topics)
        self._heard = heard
        self._one_connects = asyncio.Lock()
        self._connection: _Connection | None = None

    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish and wait for the broker's acknowledgement; False: it says that nobody listens (MQTT 5 alone).

        Raises ErpUnavailable (nothing has left, or the broker wants it later), ErpInDoubt, ErpRejected.
        """
        connection = await self._connected()
        reason = await connection.publish(topic, payload)
        if reason is None or not reason.is_failure:
            return reason is None or reason.value != NOBODY_LISTENS
        said, code = f"{connection.broker}: does not take a message on {topic}: {reason}", f"mqtt/{reason.value}"
        if reason.value in COME_BACK:
            raise ErpUnavailable(f"{said}; check the access list of the broker", scope="lane", code=code)
        raise ErpRejected(said, code=code)

    async def connect(self) -> None:
        """Connect, unless it is. Raises ErpUnavailable."""
        await self._connected()

    async def close(self) -> None:
        """End the connection; whoever waits for an acknowledgement hears ErpInDoubt."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> _Connection:
        async with self._one_connects:
            if self._connection is not None and self._connection.fit:
                return self._connection
            await self.close()
            failed = []
            for broker in self._to.endpoints:
                connection = _Connection(self._to, broker, self._client_id, self._answer_s, self._topics, self._heard)
                try:
                    await connection.open()
                except ErpUnavailable as error:
                    failed.append(str(error))
                    await connection.close()
                else:
                    self._connection = connection
                    return connection
            raise ErpUnavailable("; ".join(failed))


class _Connection:
    """One connection, used until it breaks."""

    def __init__(
        self,
        to: BrokerConnection,
        broker: Broker,
        client_id: str,
        answer_s: float,
        topics: tuple[str, ...],
        heard: Heard | None,
    ) -> None:
        self.broker = broker
        self._answer_s = answer_s
        self._topics = topics
        self._heard = heard
        self._keep_alive_s = to.keep_alive_s
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[Any]] = {}  # by packet id
        self._ended = ""
        self._over = threading.Event()
        self._version5 = to.version == "5"
        self._client = self._made(to, client_id)

    @property
    def fit(self) -> bool:
        """Whether a message may be sent."""
        return not self._ended

    async def open(self) -> None:
        """Connect and subscribe. Raises ErpUnavailable."""
        try:
            await asyncio.to_thread(self._connect)
            self._client.loop_start()
            async with asyncio.timeout(self._answer_s):
                await asyncio.shield(self._ready)
        except TimeoutError:
            raise ErpUnavailable(f"{self.broker}: does not answer within {self._answer_s:g} s") from None
        except (OSError, ValueError) as error:  # of TLS, too; a client of paho that cannot connect says ValueError
            raise ErpUnavailable(
                f"{self.broker}: not reachable ({error}); check address, network and certificates"
            ) from None

    async def publish(self, topic: str, payload: bytes) -> Any:
        """The reason code of the acknowledgement. Raises ErpUnavailable, ErpInDoubt."""
        info = self._client.publish(topic, payload, qos=1)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end(f"the message was not sent ({paho.error_string(info.rc)})")
            raise ErpUnavailable(f"{self.broker}: the connection was lost before the message was sent")
        answer = self._waiting[info.mid] = self._loop.create_future()
        try:
            async with asyncio.timeout(self._answer_s):
                return await answer
        except TimeoutError:
            self._end("no acknowledgement in time")
            raise ErpInDoubt(f"{self.broker}: sent, not acknowledged within {self._answer_s:g} s") from None
        finally:
            self._waiting.pop(info.mid, None)

    async def close(self) -> None:
        """End it; never raises."""
        self._end("the connection was closed")
        await asyncio.to_thread(self._close)
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()  # seen
        self._ready.cancel()

    def _end(self, why: str) -> None:
        """No more is sent here; what was under way is in doubt."""
        self._ended = self._ended or why
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ErpInDoubt(f"{self.broker}: sent, not acknowledged: {self._ended}"))
        if not self._ready.done():
            self._ready.set_exception(ErpUnavailable(f"{self.broker}: {self._ended}"))

    # on a thread of the pool

    def _connect(self) -> None:
        options: dict[str, Any] = {}
        if self._version5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
            properties.MaximumPacketSize = 2 * MOST_HEARD
            options = {"clean_start": True, "properties": properties}
        self._client.connect(self.broker.host, self.broker.port, self._keep_alive_s, **options)

    def _close(self) -> None:
        connected = self._client.is_connected()
        self._client.disconnect()
        if not (connected and self._over.wait(GOODBYE_S)):
            sock = self._client.socket()
            if isinstance(sock, socket.socket):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # a broker that takes nothing must not hold us up
        self._client.loop_stop()

    # on paho's thread

    def _made(self, to: BrokerConnection, client_id: str) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self._version5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if self._version5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.tls = to.tls_context
        if to.user is not None:
            client.username_pw_set(to.user, to.password.reveal() if to.password else None)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _tell(self, call: Callable[..., None], *told: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call, *told)

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._tell(self._end, f"refuses the connection: {reason}; check user, password and client id")
        elif self._topics:
            client.subscribe([(topic, 1) for topic in self._topics])
        else:
            self._tell(self._opened)

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
        for topic, reason in zip(self._topics, reasons, strict=False):
            if reason.is_failure:
                self._tell(self._end, f"refuses the subscription to {topic}: {reason}; check its access list")
                return
        self._tell(self._opened)

    def _opened(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        self._tell(self._acknowledged, mid, reason)

    def _acknowledged(self, mid: int, reason: Any) -> None:
        answer = self._waiting.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(reason if self._version5 else None)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if self._heard is not None and not message.retain and len(message.payload) <= MOST_HEARD:
            self._tell(self._heard, message.topic, bytes(message.payload))

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._over.set()
        self._tell(self._end, f"the connection was closed: {reason}")
