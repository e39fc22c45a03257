"""A Sparkplug edge node that is born when it is asked to and then tells changes as fast as the broker takes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.sparkplug.schema import Payload
from tests.bench.sides import arguments

GO = "bench/go"  # somebody publishes here: be born, and then the flood
GROUP, NODE = "bench", "edge"
PAUSE_S = 0.5  # between the birth and the flood
INT64, UINT32, BOOLEAN = 4, 7, 11


def main(broker: int, tags: int, rounds: int, per_message: int) -> None:
    """Until it is ended: a birth and a flood for each time it is asked; every metric has every value once."""
    asked = threading.Semaphore(0)
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-edge")
    client.on_message = lambda _client, _data, told: asked.release() if told.topic == GO else None
    client.connect("127.0.0.1", broker)
    client.subscribe(GO, qos=1)
    client.loop_start()
    changes = [(alias, value) for value in range(1, rounds + 1) for alias in range(tags)]
    parts = [changes[first : first + per_message] for first in range(0, len(changes), per_message)]
    flood = [_data(seq, part) for seq, part in enumerate(parts, start=1)]
    print("ready", flush=True)
    while True:
        asked.acquire()
        client.publish(_topic("NBIRTH"), _birth(tags)).wait_for_publish(30)
        time.sleep(PAUSE_S)
        for message in flood:
            client.publish(_topic("NDATA"), message)


def _topic(verb: str) -> str:
    return f"spBv1.0/{GROUP}/{verb}/{NODE}"


def _birth(tags: int) -> bytes:
    payload: Any = Payload(timestamp=_now_ms(), seq=0)
    payload.metrics.add(name="bdSeq", datatype=INT64, long_value=0)
    payload.metrics.add(name="Node Control/Rebirth", datatype=BOOLEAN, boolean_value=False)
    for number in range(tags):
        payload.metrics.add(name=f"t{number}", alias=number, timestamp=_now_ms(), datatype=UINT32, int_value=0)
    encoded: bytes = payload.SerializeToString()
    return encoded


def _data(number: int, changes: Sequence[tuple[int, int]]) -> bytes:
    """Message `number` of the flood, 1 …: these aliases have these values."""
    payload: Any = Payload(timestamp=_now_ms(), seq=number % 256)
    for alias, value in changes:
        payload.metrics.add(alias=alias, timestamp=_now_ms(), datatype=UINT32, int_value=value)
    encoded: bytes = payload.SerializeToString()
    return encoded


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main(**arguments())
