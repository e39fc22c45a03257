"""A bare client of the same libraries: paho subscribes, protobuf decodes, and the changes are only counted."""

from __future__ import annotations

import threading
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.sparkplug.schema import Payload
from tests.bench.sides import Stopwatch, arguments, tell, until
from tests.bench.sides.sparkplug_edge import GO, GROUP


def main(broker: int, tags: int, rounds: int, **_: Any) -> None:
    """Ask for the flood and count it; the clock runs from its first message."""
    counted, watch, subscribed = 0, Stopwatch(), threading.Event()

    def heard(_client: Any, _data: Any, told: paho.MQTTMessage) -> None:
        nonlocal counted, watch
        if "/NDATA/" in told.topic:
            if not counted:
                watch = Stopwatch()
            counted += len(Payload.FromString(told.payload).metrics)

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-bare-host")
    client.on_message, client.on_subscribe = heard, lambda *_: subscribed.set()
    client.connect("127.0.0.1", broker)
    client.subscribe(f"spBv1.0/{GROUP}/#", qos=1)
    client.loop_start()
    subscribed.wait(30)
    client.publish(GO, b"", qos=1)
    until(lambda: counted >= tags * rounds, 120, "all changes have come")
    figures = watch.read()
    client.disconnect()
    client.loop_stop()
    tell({"per_s": tags * rounds / figures["seconds"], "changes": tags * rounds, **figures})


if __name__ == "__main__":
    main(**arguments())
