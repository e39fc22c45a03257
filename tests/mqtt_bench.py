"""What the tests of the MQTT source share: an intake that shows what it got, publishers, and scripted peers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.ports import Batch, Delivery, Notice
from agent.sources.mqtt import MqttConfig, MqttSource, Pace
from simulators.broker import Broker, find_mosquitto

DEADLINE = 60.0
QUICK = Pace(first=0.05, most=0.2, slice=0.02, idle=0.1)


class Shelf:
    """An intake in memory: `storing` commits at once, else batches wait for `store`; `full` takes nothing."""

    def __init__(self, *, storing: bool = True) -> None:
        self.storing = storing
        self.full = False
        self.batches: list[Batch] = []
        self.kept: dict[str, bytes] = {}
        self._waiting: list[Batch] = []
        self._changed = threading.Condition()

    def put(self, batch: Batch, timeout: float | None = None) -> bool:
        with self._changed:
            if not self._changed.wait_for(lambda: not self.full, timeout):
                return False
            self.batches.append(batch)
            self._waiting.append(batch)
            self._changed.notify_all()
        if self.storing:
            self.store()
        return True

    def checkpoint(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def store(self, count: int | None = None) -> None:
        with self._changed:
            ready, self._waiting = self._waiting[:count], self._waiting[count:] if count is not None else []
        for batch in ready:
            self.kept.update(batch.checkpoints)
            batch.stored()

    def open(self) -> None:
        with self._changed:
            self.full = False
            self._changed.notify_all()

    @property
    def deliveries(self) -> list[Delivery]:
        return [delivery for batch in list(self.batches) for delivery in batch.deliveries]

    @property
    def payloads(self) -> list[bytes]:
        return [delivery.payload for delivery in self.deliveries]

    def notices(self, action: str) -> list[Notice]:
        return [notice for batch in list(self.batches) for notice in batch.notices if notice.action == action]


async def until(true: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait for a condition; fails with it when the deadline passes."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {true}"
        await asyncio.sleep(0.005)


def source(*ports: int, pace: Pace = QUICK, **options: Any) -> MqttSource:
    settings = {"name": "plant", "client_id": "gatepost-1", "topics": ("plant/#",), **options}
    if ports:
        settings["brokers"] = tuple(f"mqtt://127.0.0.1:{port}" for port in ports)
    return MqttSource(MqttConfig(**settings), pace=pace)


@contextlib.asynccontextmanager
async def running(mqtt: MqttSource, shelf: Shelf, *, connected: bool = True) -> AsyncIterator[MqttSource]:
    task = asyncio.create_task(mqtt.run(shelf))
    try:
        if connected:
            await until(lambda: mqtt.status()["connected"])
        yield mqtt
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def mosquitto(folder: Path, **settings: str) -> AsyncIterator[Broker]:
    executable = find_mosquitto()
    assert executable is not None, "mosquitto is missing; install it (Debian: apt-get install mosquitto)"
    async with Broker(folder, executable=executable, settings=settings) as broker:
        yield broker


async def publish(port: int, payloads: Sequence[bytes], topic: str = "plant/a", **options: Any) -> None:
    """Send and wait until the broker has them."""
    await asyncio.to_thread(_publish, port, payloads, topic, {"qos": 1, **options})


def _publish(port: int, payloads: Sequence[bytes], topic: str, options: dict[str, Any]) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for info in [client.publish(topic, payload, **options) for payload in payloads]:
        info.wait_for_publish(DEADLINE)
    client.disconnect()
    client.loop_stop()


class Script:
    """A broker that says exactly what a test wants: one answer per packet type it receives, on a real socket.

    `answers` maps the type of a packet (1 CONNECT, 8 SUBSCRIBE) to bytes; ``b""`` closes the connection. The packet
    id of a SUBSCRIBE replaces ``ID`` in its answer.
    """

    def __init__(self, answers: dict[int, bytes]) -> None:
        self.answers = answers
        self.received: list[bytes] = []
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Script:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def types(self) -> list[int]:
        return [packet[0] >> 4 for packet in list(self.received)]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            with sock:
                self._talk(sock)

    def _talk(self, sock: socket.socket) -> None:
        for packet in _packets(sock):
            self.received.append(packet)
            answer = self.answers.get(packet[0] >> 4)
            if answer == b"":
                return
            if answer is not None:
                sock.sendall(answer.replace(b"ID", packet[2:4]))


def _packets(sock: socket.socket) -> Iterator[bytes]:
    sock.settimeout(DEADLINE)
    data = b""
    while True:
        try:
            chunk = sock.recv(65536)
        except OSError:
            return
        if not chunk:
            return
        data += chunk
        while len(data) >= 2 and len(data) >= 2 + data[1]:  # the packets of a subscriber are short
            yield data[: 2 + data[1]]
            data = data[2 + data[1] :]
