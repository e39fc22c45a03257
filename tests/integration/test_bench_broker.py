"""The broker of the bench: started with the settings the promise rests on, stopped, killed and started again."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import paho.mqtt.publish
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from simulators.broker import SETTINGS, Broker, BrokerError, find_mosquitto, mosquitto_conf

ROOT = Path(__file__).parents[2]


def turn_until(client: mqtt.Client, condition: Callable[[], bool]) -> None:
    """Let the network of a client work until the condition holds, half a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        assert client.loop(1.0) == 0


def with_session(broker: Broker) -> bool:
    """Connect as a subscriber with a persistent session; whether the broker still had it."""
    present: list[bool] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="keeper", clean_session=False)
    subscribed: list[int] = []
    client.on_subscribe = lambda *_: subscribed.append(1)

    def connected(client, _userdata, flags, *_):
        present.append(flags.session_present)
        client.subscribe("plant/#", qos=1)

    client.on_connect = connected
    client.connect(broker.host, broker.port)
    turn_until(client, lambda: bool(subscribed))
    client.disconnect()
    return present[0]


async def test_mosquitto_is_found_although_a_users_path_may_lack_it(monkeypatch):
    """Debian installs it into /usr/sbin, which is looked into as well."""
    monkeypatch.setenv("PATH", "/nonexistent")
    found = find_mosquitto()
    assert found is not None
    assert found.name == "mosquitto"


async def test_a_stopped_broker_keeps_its_sessions(tmp_path):
    """After SIGTERM and a new start on the same port the subscriber's session is still there."""
    async with Broker(tmp_path, executable=find_mosquitto()) as broker:
        port = broker.port
        assert await asyncio.to_thread(with_session, broker) is False
        await broker.restart()
        assert broker.port == port
        assert await asyncio.to_thread(with_session, broker) is True


async def test_a_killed_broker_forgets_what_it_had_not_saved(tmp_path):
    """A kill right after the subscription loses the session: the loss window of the autosave interval."""
    settings = {"autosave_interval": "3600"}
    async with Broker(tmp_path, executable=find_mosquitto(), settings=settings) as broker:
        assert await asyncio.to_thread(with_session, broker) is False
        await broker.restart(kill=True)
        assert await asyncio.to_thread(with_session, broker) is False


async def test_leaving_the_block_ends_the_process(tmp_path):
    """Nothing listens on the port afterwards."""
    async with Broker(tmp_path, executable=find_mosquitto()) as broker:
        pass
    with pytest.raises(OSError, match=str(broker.port)):
        await asyncio.open_connection(broker.host, broker.port)


async def test_a_frozen_broker_is_stopped_and_not_killed(tmp_path):
    """The bench may be ended in the middle of an outage: the broker still saves what it holds."""
    async with Broker(tmp_path, executable=find_mosquitto()) as broker:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGSTOP)
        await broker.stop()
        assert await broker.wait() == 0


async def test_a_broker_that_does_not_start_says_what_it_logged(tmp_path):
    """A setting that mosquitto does not know ends the start with its own words."""
    with pytest.raises(BrokerError, match="Unknown configuration variable"):
        await Broker(tmp_path, executable=find_mosquitto(), settings={"no_such_setting": "1"}).start()


async def test_a_large_backlog_waits_for_an_absent_subscriber(tmp_path):
    """More messages than mosquitto keeps by default (1000) are still there when the subscriber is back."""
    async with Broker(tmp_path, executable=find_mosquitto()) as broker:
        await asyncio.to_thread(with_session, broker)
        await asyncio.to_thread(
            paho.mqtt.publish.multiple,
            [{"topic": "plant/x", "payload": b"1", "qos": 1}] * 1500,
            hostname=broker.host,
            port=broker.port,
        )
        received: list[int] = []
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="keeper", clean_session=False)
        client.on_message = lambda *_: received.append(1)
        client.connect(broker.host, broker.port)
        await asyncio.to_thread(turn_until, client, lambda: len(received) == 1500)
        client.disconnect()


def test_the_bench_runs_with_the_settings_that_a_plant_is_told_to_use():
    """Every setting but the log-on is the one of the prescribed mosquitto.conf."""
    lines = (ROOT / "edge_config" / "deploy" / "mosquitto.conf").read_text().splitlines()
    prescribed = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    assert {name: prescribed[name] for name in SETTINGS} == {**SETTINGS, "allow_anonymous": "false"}


def test_the_configuration_keeps_everything_in_its_folder_and_listens_on_loopback(tmp_path):
    """The generated file names one listener, the folder, and every prescribed setting."""
    text = mosquitto_conf(tmp_path, 18830, SETTINGS)
    assert "listener 18830 127.0.0.1\n" in text
    assert f"persistence_location {tmp_path}/\n" in text
    for line in ("persistence true", "max_queued_messages 100000", "max_inflight_messages 100"):
        assert f"{line}\n" in text
