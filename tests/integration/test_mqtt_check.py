"""What `check --connect` sees of a broker: the prescribed configuration lacks nothing, a default one is named."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from agent.errors import SourceLost
from agent.secrets import Secret
from agent.sources.mqtt import MqttConfig
from agent.sources.mqtt_check import BrokerFacts, missing_broker_settings, observe_broker
from agent.sources.mqtt_config import Broker
from simulators.broker import Broker as Mosquitto
from simulators.broker import find_mosquitto
from tests.mqtt_bench import mosquitto

PRESCRIBED = Path("edge_config/deploy/mosquitto.conf")
PATHS = (
    "persistence_location",
    "password_file",
    "acl_file",
    "listener",
    "cafile",
    "certfile",
    "keyfile",
    "tls_version",
)


def config(port: int, **options: object) -> MqttConfig:
    given = {"name": "plant", "client_id": "gatepost-1", "topics": ("plant/#",)}
    return MqttConfig.model_validate({**given, "brokers": (f"mqtt://127.0.0.1:{port}",), **options})


def prescribed() -> dict[str, str]:
    """The settings of the prescribed file, without the ones that name places of the real machine."""
    lines = [line.split(maxsplit=1) for line in PRESCRIBED.read_text().splitlines() if line and line[0] != "#"]
    return {line[0]: line[1] for line in lines if line[0] not in PATHS and not line[0].startswith("log_")}


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    path = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(path), "gatepost", "s3cret"], check=True)
    return path


async def test_the_prescribed_broker_lacks_nothing(tmp_path: Path, passwords: Path):
    """mosquitto takes the prescribed file, and a look at it from outside finds nothing missing."""
    program = find_mosquitto()
    assert program is not None
    settings = {**prescribed(), "password_file": str(passwords)}
    assert settings["max_queued_messages"] == "100000"
    async with Mosquitto(tmp_path / "m", executable=program, settings=settings) as broker:
        mqtt = config(broker.port, user="gatepost", password=Secret("mqtt", "s3cret"))
        facts = await asyncio.to_thread(observe_broker, mqtt, mqtt.endpoints[0])
        assert missing_broker_settings(mqtt, mqtt.endpoints[0], facts) == []
        assert facts == BrokerFacts(anonymous=False, session_kept=True, queued=1500, dropped=0)
        wrong = config(broker.port, user="gatepost", password=Secret("mqtt", "wrong"))
        with pytest.raises(SourceLost, match="Not authorized"):
            await asyncio.to_thread(observe_broker, wrong, wrong.endpoints[0])


async def test_a_broker_with_its_defaults_is_named(tmp_path: Path):
    """A queue of 1 000 messages and open doors are visible from outside, each with its consequence."""
    async with mosquitto(tmp_path, max_queued_messages="1000", max_packet_size="100000") as broker:
        mqtt = config(broker.port)
        facts = await asyncio.to_thread(observe_broker, mqtt, mqtt.endpoints[0])
        missing = missing_broker_settings(mqtt, mqtt.endpoints[0], facts)
    named = [sentence.split(":")[0] for sentence in missing]
    assert named == ["allow_anonymous false", "max_packet_size", "max_queued_messages 100000"]


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        (BrokerFacts(anonymous=False, session_kept=False), "persistent sessions"),
        (BrokerFacts(anonymous=False, session_kept=True, session_expiry=3600), "persistent_client_expiration"),
        (BrokerFacts(anonymous=False, session_kept=True, maximum_qos=0), "max_qos 1"),
        (BrokerFacts(anonymous=False, session_kept=True, maximum_packet=1024), "max_packet_size"),
        (BrokerFacts(anonymous=False, session_kept=True, queued=1000), "max_queued_messages 100000"),
        (BrokerFacts(anonymous=False, session_kept=True, dropped=17), "max_queued_messages"),
    ],
)
def test_each_missing_setting_is_named_once(facts: BrokerFacts, named: str):
    """One sentence for one setting, named as the broker's own manual names it."""
    mqtt = config(1883)
    (sentence,) = missing_broker_settings(mqtt, mqtt.endpoints[0], facts)
    assert sentence.startswith(f"{named}:")


def test_plain_text_over_a_network_is_named():
    """Without TLS only a broker on the same machine is quiet."""
    facts = BrokerFacts(anonymous=False, session_kept=True)
    (sentence,) = missing_broker_settings(config(1883), Broker("broker.plant", 1883, tls=False), facts)
    assert sentence.startswith("listener with TLS")
