"""The floor of the intake: a paho subscriber with automatic acknowledgement that only counts."""

from __future__ import annotations

import threading
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.bench.sides import Stopwatch, arguments, tell


def main(broker: int, client_id: str, messages: int, **_: Any) -> None:
    """Drain the session; QoS 1, persistent."""
    count, over = 0, threading.Event()

    def on_message(_client: paho.Client, _userdata: object, _message: paho.MQTTMessage) -> None:
        nonlocal count
        count += 1
        if count == messages:
            over.set()

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
    client.on_message = on_message
    watch = Stopwatch()
    client.connect("127.0.0.1", broker)
    client.loop_start()
    if not over.wait(300):
        raise TimeoutError(f"only {count} of {messages} messages came")
    figures = watch.read()
    client.disconnect()
    client.loop_stop()
    tell({"per_s": messages / figures["seconds"], **figures})


if __name__ == "__main__":
    main(**arguments())
