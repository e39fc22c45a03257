"""Publishes the line's messages with QoS 1 and keeps each one until the broker has acknowledged it (PUBACK).

One thread does everything: `turn` lets the network work, so there is nothing to lock. When the connection is lost,
what was not acknowledged goes back to the front of the outbox in its order and is published again.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from simulators.line.misbehaviour import Sent
from simulators.line.wire import Message

WINDOW = 100  # unacknowledged messages on the wire
OUTBOX_AT_FULL_SPEED = 1000
FIRST_RETRY, LAST_RETRY = 0.1, 5.0  # seconds between connection attempts
KEEP_ALIVE = 15


class LogonError(Exception):
    """The broker answered the CONNECT with a refusal: trying again does not help."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker listens and how to log on; `ca` is a PEM file and turns TLS on."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    ca: str = ""


class Publisher:
    """An outbox in memory in front of one MQTT connection. Connects, and connects again, by itself in `turn`."""

    def __init__(self, address: Address, *, client_id: str | None = None, stop: Event | None = None) -> None:
        self._address = address
        self._client_id = client_id or f"line-{os.getpid()}"
        self._stop = stop or Event()
        self._outbox: deque[Message] = deque()
        self._on_the_wire: dict[int, Message] = {}  # by packet id, in order of publishing
        self._client: mqtt.Client | None = None
        self._connected = False
        self._refusal = ""
        self._retry_at, self._retry_after = 0.0, FIRST_RETRY

    @property
    def unacknowledged(self) -> int:
        """Messages that the broker has not acknowledged yet."""
        return len(self._outbox) + len(self._on_the_wire)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the connection."""
        return self._connected

    def send(self, message: Message) -> None:
        """Put a message into the outbox; `turn` publishes it."""
        self._outbox.append(message)

    def turn(self, seconds: float) -> None:
        """Let the network work for at most `seconds`; raises LogonError."""
        client = self._client or self._connect()
        if client is None:
            self._stop.wait(min(seconds, max(0.0, self._retry_at - time.monotonic())))
            return
        self._publish(client)
        if client.loop(seconds) != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lost()
        if self._refusal:
            raise LogonError(
                f"broker {self._address.host}:{self._address.port} refused the connection: {self._refusal}; "
                "check --user, --password and the broker's access list"
            )

    def drain(self, seconds: float = 0.0) -> bool:
        """Turn until all is acknowledged (True) or `seconds` have passed (False; 0: until the stop event)."""
        deadline = time.monotonic() + seconds if seconds else float("inf")
        while self.unacknowledged:
            hopeless = self._stop.is_set() and not (seconds and self._connected)
            if hopeless or time.monotonic() > deadline:
                return False
            self.turn(0.2)
        return True

    def close(self) -> None:
        """Say goodbye to the broker."""
        if self._client:
            self._client.disconnect()
        self._lost()

    def _connect(self) -> mqtt.Client | None:
        if time.monotonic() < self._retry_at:
            return None
        # A new client each time: paho's own outbox would publish again too, and not always in order.
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self._client_id)
        client.max_inflight_messages_set(2 * WINDOW)
        client.on_connect, client.on_publish = self._on_connect, self._on_publish
        if self._address.user:
            client.username_pw_set(self._address.user, self._address.password)
        if self._address.ca:
            client.tls_set(ca_certs=self._address.ca)
        try:
            client.connect(self._address.host, self._address.port, KEEP_ALIVE)
        except OSError:
            self._back_off()
            return None
        self._client = client
        return client

    def _publish(self, client: mqtt.Client) -> None:
        while self._connected and self._outbox and len(self._on_the_wire) < WINDOW:
            message = self._outbox.popleft()
            info = client.publish(message.topic, message.payload, qos=1, retain=message.retain)
            self._on_the_wire[info.mid] = message

    def _lost(self) -> None:
        self._client, self._connected = None, False
        self._outbox.extendleft(reversed(self._on_the_wire.values()))
        self._on_the_wire.clear()
        self._back_off()

    def _back_off(self) -> None:
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, LAST_RETRY)

    def _on_connect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            self._connected, self._retry_after = True, FIRST_RETRY

    def _on_publish(self, _client: Any, _userdata: Any, mid: int, _reason: Any, _properties: Any) -> None:
        self._on_the_wire.pop(mid, None)


def publish(
    sent: Iterator[Sent], publisher: Publisher, *, rate: float, stop: Event, note: Callable[[Sent], None]
) -> int:
    """Send everything at `rate` reports per second (0: as fast as the broker takes it); return how many reports.

    `note` is told of each report before its messages go into the outbox. Ends when `sent` does, or with `stop`.
    """
    begun, count = time.monotonic(), 0
    held: list[Message] = []
    while not stop.is_set():
        _wait(publisher, begun + count / rate if rate else None, stop)
        item = None if stop.is_set() else next(sent, None)
        if item is None:
            break
        note(item)
        count += 1
        held.extend(item.messages)
        if not item.held:
            _release(held, publisher)
    _release(held, publisher)
    return count


def _wait(publisher: Publisher, due: float | None, stop: Event) -> None:
    """Turn until the next report is due; at full speed until the outbox has room."""
    if due is None:
        while publisher.unacknowledged >= OUTBOX_AT_FULL_SPEED and not stop.is_set():
            publisher.turn(0.2)
        return
    publisher.turn(0)
    while not stop.is_set() and (left := due - time.monotonic()) > 0:
        publisher.turn(min(left, 0.2))


def _release(held: list[Message], publisher: Publisher) -> None:
    for message in held:
        publisher.send(message)
    held.clear()
