"""What the tests of Sparkplug share: an encoder of edge nodes' payloads, byte by byte, and a node on a real broker.

The bytes are written here by hand from the field numbers of the specification: the agent's own schema is under test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.ports import Clock, Delivery
from agent.sources.mqtt import Pace
from agent.sources.sparkplug import SparkplugConfig, SparkplugSource
from agent.sparkplug.schema import Payload
from tests.mqtt_bench import QUICK, Shelf, until

NOW = datetime(2026, 11, 20, 14, 0, 5, 123000, tzinfo=UTC)
MS = 1795183205123  # NOW
INT32, INT64, UINT16, UINT32, FLOAT, DOUBLE, BOOLEAN, STRING, BYTES = 3, 4, 6, 7, 9, 10, 11, 12, 17
FIELDS = {INT64: 11, 8: 11, 13: 11, FLOAT: 12, DOUBLE: 13, BOOLEAN: 14, STRING: 15, 14: 15, 15: 15, 16: 17, 19: 18}


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def chunk(number: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def valued(field: int, value: Any) -> bytes:
    """A value in one of a metric's value fields, 10 to 18."""
    if field == 12:
        return varint(field << 3 | 5) + struct.pack("<f", value)
    if field == 13:
        return varint(field << 3 | 1) + struct.pack("<d", value)
    return chunk(field, value) if isinstance(value, bytes | str) else whole(field, int(value))


def metric(
    name: str | bytes = "",
    value: Any = None,
    datatype: int | None = None,
    *,
    alias: int | None = None,
    at: int | None = MS,
    field: int | None = None,
    historical: bool = False,
    null: bool = False,
    quality: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """One metric; the field of its value follows from its type unless `field` says another one."""
    raw = chunk(1, name) if name else b""
    raw += whole(2, alias) if alias is not None else b""
    raw += whole(3, at) if at is not None else b""
    raw += whole(4, datatype) if datatype is not None else b""
    raw += whole(5, 1) if historical else b""
    raw += whole(7, 1) if null else b""
    if quality is not None:
        raw += chunk(9, chunk(1, "Quality") + chunk(2, whole(1, INT32) + whole(3, quality)))
    if value is not None:
        raw += valued(field or FIELDS.get(datatype or 0, 16 if (datatype or 0) >= 17 else 10), value)
    return raw + extra


def payload(*metrics: bytes, seq: int | None = 0, at: int | None = MS, extra: bytes = b"") -> bytes:
    raw = whole(1, at) if at is not None else b""
    raw += b"".join(chunk(2, one) for one in metrics)
    return raw + (whole(3, seq) if seq is not None else b"") + extra


def template(*members: bytes, definition: bool = False) -> bytes:
    return b"".join(chunk(2, one) for one in members) + whole(5, int(definition))


def own_metrics(bd: int = 0) -> tuple[bytes, bytes]:
    """What every NBIRTH has."""
    return metric("bdSeq", bd, INT64), metric("Node Control/Rebirth", 0, BOOLEAN)


def nbirth(*metrics: bytes, bd: int = 0, seq: int = 0, at: int = MS) -> bytes:
    return payload(*own_metrics(bd), *metrics, seq=seq, at=at)


def ndeath(bd: int = 0) -> bytes:
    return payload(metric("bdSeq", bd, INT64), seq=None)


def message(verb: str, raw: bytes, device: str = "", node: str = "G/N") -> Delivery:
    group, _, name = node.partition("/")
    return Delivery("/".join(("spBv1.0", group, verb, name, *((device,) if device else ()))), raw)


class Edge:
    """One edge node on a broker: as a test says, seq by seq; what it is told stands in `commands`."""

    def __init__(self, port: int, node: str = "G/N", bd: int = 0) -> None:
        self.seq = -1
        self.bd = bd
        self.commands: list[dict[Any, Any]] = []  # by name, or by alias
        self.states: list[dict[str, Any]] = []
        self._group, _, self._node = node.partition("/")
        self._subscribed = threading.Event()
        self._port = port
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._heard
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.will_set(self.topic("NDEATH"), ndeath(bd), qos=1)

    def __enter__(self) -> Edge:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._client.subscribe([(self.topic("NCMD"), 1), (f"{self.topic('DCMD')}/+", 1), ("spBv1.0/STATE/+", 1)])
        assert self._subscribed.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def topic(self, verb: str, device: str = "") -> str:
        return "/".join(("spBv1.0", self._group, verb, self._node, *((device,) if device else ())))

    def say(self, verb: str, *metrics: bytes, device: str = "") -> None:
        """The next message of its session."""
        self.seq = 0 if verb == "NBIRTH" else (self.seq + 1) % 256
        own = own_metrics(self.bd) if verb == "NBIRTH" else ()
        self.raw(self.topic(verb, device), payload(*own, *metrics, seq=self.seq))

    def lose(self, count: int = 1) -> None:
        """Messages that are numbered and never arrive."""
        self.seq = (self.seq + count) % 256

    def raw(self, topic: str, raw: bytes, **options: Any) -> None:
        self._client.publish(topic, raw, **options).wait_for_publish(10)

    def die(self) -> None:
        """The connection is cut without a goodbye: the broker publishes the will."""
        sock = self._client.socket()
        assert sock is not None
        self._client.loop_stop()
        sock.close()

    def rebirths(self) -> int:
        return sum("Node Control/Rebirth" in told for told in list(self.commands))

    def _heard(self, _client: Any, _data: Any, told: paho.MQTTMessage) -> None:
        if "/STATE/" in told.topic:
            with contextlib.suppress(ValueError):  # what a test has said itself, to be contradicted
                self.states.append({**json.loads(told.payload), "topic": told.topic, "retain": told.retain})
            return
        read = Payload.FromString(told.payload)
        values = {one.name or one.alias: getattr(one, one.WhichOneof("value")) for one in read.metrics}
        self.commands.append({**values, "topic": told.topic, "qos": told.qos})


TAGS = {"total": "G/N/D:Total", "done": "G/N/D:Done", "order": "G/N/D:Order", "ack": "G/N/D:Ack", "speed": "G/N:Speed"}
COUNTING = {
    "name": "made",
    "topic": "plant/made",
    "when": {"counts": {"least": "1"}},
    "counted": {"quantity": {"tag": "total", "max_step": "1000000"}},
    "fields": {"order": "order"},
    "wait_s": 0,
}
LOTS = {
    "name": "lot",
    "topic": "plant/lot",
    "when": {"rising": "done"},
    "counted": {"quantity": {"tag": "total", "max_step": "1000000"}},
    "fields": {"order": "order"},
    "handshake": {"ack": "ack"},
    "wait_s": 0,
}


def source(
    port: int,
    *,
    pace: Pace = QUICK,
    clock: Clock = lambda: datetime.now(UTC),
    events: Sequence[Any] = (COUNTING,),
    **options: Any,
) -> SparkplugSource:
    settings = {
        "name": "line",
        "client_id": "gatepost-1",
        "brokers": (f"mqtt://127.0.0.1:{port}",),
        "tags": TAGS,
        "events": events,
        **options,
    }
    return SparkplugSource(SparkplugConfig.model_validate(settings), clock=clock, pace=pace)


@contextlib.asynccontextmanager
async def running(sparkplug: SparkplugSource, shelf: Shelf) -> AsyncIterator[SparkplugSource]:
    task = asyncio.create_task(sparkplug.run(shelf))
    try:
        await until(lambda: sparkplug.status()["connected"] or task.done())
        yield sparkplug
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended


def born(edge: Edge, total: int, *, done: bool = False, order: str = "1000100") -> None:
    """The births of a node that has a speed, and of its device."""
    edge.say("NBIRTH", metric("Speed", 12.5, FLOAT, alias=9))
    edge.say("DBIRTH", *birth_of_device(total, done, order), device="D")


def birth_of_device(total: int, done: bool = False, order: str = "1000100") -> tuple[bytes, ...]:
    """The metrics of a DBIRTH: what the tags of `TAGS` read, by name and alias."""
    return (
        metric("Total", total, UINT32, alias=1),
        metric("Done", int(done), BOOLEAN, alias=2),
        metric("Order", order, STRING, alias=3),
        metric("Ack", 0, BOOLEAN, alias=4),
    )


def quantity(shelf: Shelf) -> int:
    """What the events report together."""
    return sum(json.loads(one.payload).get("quantity", 0) for one in shelf.deliveries if one.topic.startswith("plant/"))


def stored_up_to_a_delivery(shelf: Shelf) -> bool:
    """Let what comes before the first delivery reach the disk, and not the delivery; true when there is one."""
    with shelf._changed:
        waiting = shelf._waiting[:1]
    if waiting and not waiting[0].deliveries:
        shelf.store(1)
    return bool(shelf.deliveries)
