"""Publishes the reports of the large plant at a rate, and tells when each left."""

from __future__ import annotations

import json
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.bench import plant
from tests.bench.sides import arguments, tell


def main(broker: int, rate: float, count: int, under_way: int) -> None:
    """In open loop, QoS 1; the time is taken just before the message leaves."""
    messages = plant.of_large_plant(count, under_way=under_way)
    keys = [str(json.loads(one.payload)["id"]) for one in messages]
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-line")
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", broker)
    client.loop_start()
    published: dict[str, float] = {}
    began = time.perf_counter() + 0.1
    for number, (key, one) in enumerate(zip(keys, messages, strict=True)):
        time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        published[key] = time.time()
        info = client.publish(one.topic, one.payload, qos=1)
    info.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
    tell(published)


if __name__ == "__main__":
    main(**arguments())
