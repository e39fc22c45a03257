"""The simulated line against a real mosquitto: everything arrives, in order, whatever happens to the broker."""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from simulators.broker import Broker, find_mosquitto

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def broker(tmp_path):
    async with Broker(tmp_path / "broker", executable=find_mosquitto()) as running:
        yield running


class Listener:
    """A subscriber with a persistent session that remembers what it was sent."""

    def __init__(self, broker: Broker) -> None:
        self.messages: list[mqtt.MQTTMessage] = []
        self.bodies: dict[str, dict[str, Any]] = {}  # the first delivery of each id, in order of arrival
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        self._client.on_subscribe = self._client.on_message = self._heard
        self._client.on_connect = lambda client, *_: client.subscribe("plant/#", qos=1)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def _heard(self, _client, _userdata, message, *_):
        if isinstance(message, mqtt.MQTTMessage):
            self.messages.append(message)
            body = json.loads(message.payload)
            self.bodies.setdefault(body["id"], body)
        self._loop.call_soon_threadsafe(self._changed.set)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def subscribed(self) -> None:
        async with asyncio.timeout(30):
            await self._changed.wait()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
async def listener(broker):
    listening = Listener(broker)
    await listening.subscribed()
    yield listening
    listening.close()


async def line(broker: Broker, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulators.line", "--broker", f"{broker.host}:{broker.port}", *options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def truths(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_every_report_of_the_truth_log_arrives_in_the_order_of_its_sender(broker, listener, tmp_path):
    """The line ends with code 0, and each work centre's numbers arrive counting up."""
    process = await line(broker, "--rate", "0", "--events", "500", "--truth", str(tmp_path / "truth"))
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert b"500 reports, every message acknowledged" in output
    await listener.until(lambda: len(listener.messages) >= 500)
    assert list(listener.bodies) == [truth["id"] for truth in truths(tmp_path / "truth")]


async def test_what_a_broker_did_not_acknowledge_is_published_again(broker, listener, tmp_path):
    """Two restarts of the broker in the middle lose nothing, and first deliveries stay in order per sender."""
    process = await line(broker, "--rate", "400", "--events", "2000", "--truth", str(tmp_path / "truth"))
    for count in (100, 500):  # long before its end, also where whoever listens lags by seconds
        await listener.until(lambda count=count: len(listener.messages) >= count)
        assert process.returncode is None
        await broker.restart()
    _, errors = await process.communicate()
    assert process.returncode == 0, errors
    await listener.until(lambda: len(listener.bodies) == 2000)
    assert set(listener.bodies) == {truth["id"] for truth in truths(tmp_path / "truth")}
    numbers = defaultdict(list)
    for body in listener.bodies.values():
        numbers[body["id"].rpartition("-")[0]].append(body["seq"])
    assert len(numbers) == 3
    assert all(seen == list(range(1, len(seen) + 1)) for seen in numbers.values())


async def test_the_line_waits_for_a_broker_that_is_not_there_yet(broker, listener):
    """Reports made while nobody listens go out when the broker is back."""
    await broker.stop()
    process = await line(broker, "--rate", "0", "--events", "20")
    await broker.start()
    await process.communicate()
    assert process.returncode == 0
    await listener.until(lambda: len(listener.bodies) == 20)


async def test_a_retained_report_is_kept_by_the_broker(broker, listener):
    """A subscriber that comes later gets it with the retain flag."""
    process = await line(broker, "--rate", "0", "--events", "1", "--misbehave", "retained=1")
    await process.communicate()
    await listener.until(lambda: len(listener.messages) == 1)
    assert not listener.messages[0].retain
    listener.close()
    late = Listener(broker)
    try:
        await late.until(lambda: late.messages)
        assert late.messages[0].retain
    finally:
        late.close()


async def test_a_refused_log_on_is_told_and_not_tried_for_ever(tmp_path):
    """A broker that wants a password ends the line with code 1 and a sentence."""
    settings = {"allow_anonymous": "false"}
    async with Broker(tmp_path / "broker", executable=find_mosquitto(), settings=settings) as broker:
        process = await line(broker, "--events", "1")
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"refused the connection" in errors
    assert b"check --user, --password" in errors


async def test_sigterm_ends_the_line_cleanly(broker, listener):
    """A line that has no end stops when asked, with everything acknowledged."""
    process = await line(broker, "--rate", "100")
    await listener.until(lambda: listener.messages)
    process.terminate()
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert b"every message acknowledged" in output
