"""A line that takes orders from a topic and answers on another, each id once however often it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion


class TopicLine:
    """`taken` are the ids in order. `refuses`: says no to the next order; `silent`: answers nothing until `speak`."""

    def __init__(self, topic: str, answers: str) -> None:
        self.taken: list[str] = []
        self.orders: list[dict[str, str]] = []  # as they came, repetitions too
        self.refuses = ""
        self.silent = False
        self._unsaid: list[str] = []
        self._topic, self._answers = topic, answers
        self._loop = asyncio.get_running_loop()
        self._listening = asyncio.Event()
        self._client = self._made()

    def _made(self) -> paho.Client:
        name = f"line of {self._topic}"
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = lambda client, *_: client.subscribe(self._topic, 1)
        client.on_subscribe = self._subscribed
        client.on_message = self._message
        return client

    def _subscribed(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._listening.set)

    def _message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self._loop.call_soon_threadsafe(self._came, bytes(message.payload))

    def speak(self) -> None:
        """Give the answers that were kept back."""
        self.silent = False
        for one in self._unsaid:
            self._say(one)
        self._unsaid.clear()

    def _came(self, payload: bytes) -> None:
        order: dict[str, Any] = json.loads(payload)
        self.orders.append(order)
        if self.refuses:
            self._say(order["id"], self.refuses)
            self.refuses = ""
            return
        if order["id"] not in self.taken:
            self.taken.append(order["id"])
        if self.silent:
            self._unsaid.append(order["id"])
        else:
            self._say(order["id"])

    def _say(self, id: str, refusal: str = "") -> None:
        told = {"id": id, "accepted": not refusal, "reason": refusal}
        self._client.publish(self._answers, json.dumps(told).encode(), qos=1)

    @property
    def connected(self) -> bool:
        """Whether it listens."""
        return self._client.is_connected()

    async def start(self, port: int) -> None:
        """Connect and listen."""
        self._listening.clear()
        self._client = self._made()
        await asyncio.to_thread(self._client.connect, "127.0.0.1", port)
        self._client.loop_start()
        await self._listening.wait()

    async def stop(self) -> None:
        """Leave."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)


@asynccontextmanager
async def topic_line(port: int, topic: str, answers: str) -> AsyncIterator[TopicLine]:
    """A line that listens at the broker on this port."""
    line = TopicLine(topic, answers)
    await line.start(port)
    try:
        yield line
    finally:
        await line.stop()
