"""One MQTT connection of an edge node: a clean session, a will, QoS 0 for data. Turned by its owner, no threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from threading import Event
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from simulators.line.publisher import Address, LogonError
from simulators.sparkplug.node import Packet

KEEP_ALIVE = 5
FIRST_RETRY, LAST_RETRY = 0.1, 2.0  # seconds between connection attempts


class Heard(NamedTuple):
    """A message from the broker."""

    topic: str
    payload: bytes


class Link:
    """Connects when told to and says when the broker has accepted the subscriptions (`ready`)."""

    def __init__(self, address: Address, client_id: str, stop: Event) -> None:
        self.heard: deque[Heard] = deque()
        self.ready = False
        self._address, self._client_id, self._stop = address, client_id, stop
        self._client: mqtt.Client | None = None
        self._topics: list[str] = []
        self._refusal = ""
        self._retry_at, self._retry_after = 0.0, FIRST_RETRY

    @property
    def connecting_is_due(self) -> bool:
        """There is no connection, and the pause since the last attempt is over."""
        return self._client is None and time.monotonic() >= self._retry_at

    def connect(self, will: Packet, topics: Iterable[str]) -> None:
        """Try once; a refusal of the network is tried again after a pause."""
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self._client_id, clean_session=True)
        client.will_set(will.topic, will.payload, qos=will.qos)
        client.on_connect, client.on_subscribe, client.on_message = (
            self._on_connect,
            self._on_subscribe,
            self._on_message,
        )
        if self._address.user:
            client.username_pw_set(self._address.user, self._address.password)
        if self._address.ca:
            client.tls_set(ca_certs=self._address.ca)
        self._topics, self.ready = list(topics), False
        self.heard.clear()  # what an earlier connection heard is of no concern to this one
        try:
            client.connect(self._address.host, self._address.port, KEEP_ALIVE)
        except OSError:
            self._back_off()
        else:
            self._client = client

    def turn(self, seconds: float) -> bool:
        """Let the network work for at most `seconds`; False when the connection was lost. Raises LogonError."""
        if self._client is None:
            self._stop.wait(min(seconds, max(0.0, self._retry_at - time.monotonic())))
            return True
        alive = self._client.loop(seconds) == MQTTErrorCode.MQTT_ERR_SUCCESS
        if self._refusal:
            raise LogonError(
                f"broker {self._address.host}:{self._address.port} refused the connection: {self._refusal}; "
                "check --user, --password and the broker's access list"
            )
        if not alive:
            self.cut()
        return alive

    def publish(self, packets: Iterable[Packet]) -> None:
        """Write them; those of QoS 0 are gone with a connection that is lost, as they are in a plant."""
        for packet in packets:
            if self._client is not None:
                self._client.publish(packet.topic, packet.payload, qos=packet.qos)

    def hang_up(self) -> None:
        """A goodbye: the broker forgets the will."""
        if self._client is not None:
            self._client.loop(0)
            self._client.disconnect()
        self.cut()

    def cut(self) -> None:
        """No goodbye: the broker publishes the will."""
        client, self._client, self.ready = self._client, None, False
        if client is not None and (connection := client.socket()) is not None:
            connection.close()
        self._back_off()

    def _back_off(self) -> None:
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, LAST_RETRY)

    def _on_connect(self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(self, _client: Any, _userdata: Any, _mid: Any, _reasons: Any, _properties: Any) -> None:
        self.ready, self._retry_after = True, FIRST_RETRY

    def _on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self.heard.append(Heard(message.topic, bytes(message.payload)))
