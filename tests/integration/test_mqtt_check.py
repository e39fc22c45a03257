"""What `check --connect` sees of a broker: the prescribed configuration lacks nothing, a default one is named."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from agent.access.secrets import Secret
from agent.errors import SourceLost
from agent.sources.mqtt import MqttConfig
from agent.sources.mqtt_check import BrokerFacts, _Probe, missing_broker_settings, observe_broker
from agent.sources.mqtt_config import Broker
from simulators.broker import Broker as Mosquitto
from simulators.broker import find_mosquitto
from tests.mqtt_bench import Script, mosquitto

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


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_the_prescribed_broker_lacks_nothing(tmp_path: Path, passwords: Path, version: str):
    """mosquitto takes the prescribed file, and a look at it from outside finds nothing missing."""
    program = find_mosquitto()
    assert program is not None
    settings = {**prescribed(), "password_file": str(passwords)}
    assert settings["max_queued_messages"] == "100000"
    async with Mosquitto(tmp_path / "m", executable=program, settings=settings) as broker:
        mqtt = config(broker.port, user="gatepost", password=Secret("mqtt", "s3cret"), version=version)
        facts = await asyncio.to_thread(observe_broker, mqtt, mqtt.endpoints[0])
        assert missing_broker_settings(mqtt, mqtt.endpoints[0], facts) == []
        assert facts == BrokerFacts(anonymous=False, session_kept=True, queued=1500, dropped=0)
        wrong = config(broker.port, user="gatepost", password=Secret("mqtt", "wrong"), version=version)
        with pytest.raises(SourceLost, match="Not authorized; check user, password and the access list"):
            await asyncio.to_thread(observe_broker, wrong, wrong.endpoints[0])


@pytest.mark.parametrize(("version", "told"), [("3.1.1", []), ("5", ["max_packet_size"])])
async def test_a_broker_with_its_defaults_is_named(tmp_path: Path, version: str, told: list[str]):
    """A queue of 1 000 messages and open doors are visible from outside, with MQTT 5 also the size of packets."""
    async with mosquitto(tmp_path, max_queued_messages="1000", max_packet_size="100000") as broker:
        mqtt = config(broker.port, version=version)
        facts = await asyncio.to_thread(observe_broker, mqtt, mqtt.endpoints[0])
        missing = missing_broker_settings(mqtt, mqtt.endpoints[0], facts)
    named = [sentence.split(":")[0] for sentence in missing]
    assert named == ["allow_anonymous false", *told, "max_queued_messages 100000"]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_broker_that_grants_qos_0_only_is_named(tmp_path: Path, version: str):
    """Whatever the version, the broker's answer to a subscription says it."""
    async with mosquitto(tmp_path, max_qos="0") as broker:
        mqtt = config(broker.port, version=version)
        facts = await asyncio.to_thread(observe_broker, mqtt, mqtt.endpoints[0])
        missing = missing_broker_settings(mqtt, mqtt.endpoints[0], facts)
    assert [sentence.split(":")[0] for sentence in missing] == ["allow_anonymous false", "max_qos 1"]


async def test_a_look_leaves_no_session_behind(tmp_path: Path):
    """With MQTT 3.1.1, too, the broker has forgotten the client of the check when it is done."""
    async with mosquitto(tmp_path) as broker:
        mqtt = config(broker.port, version="3.1.1")
        for _ in range(2):
            assert (await asyncio.to_thread(observe_broker, mqtt, mqtt.endpoints[0])).queued == 1500
        with _Probe(mqtt, mqtt.endpoints[0], "gatepost-1-check", 10.0, clean=False) as again:
            assert not again.session_present


def test_a_look_speaks_the_version_of_the_source():
    """A broker of MQTT 3.1.1 hears that version only, and `check` warns of what it cannot tell."""
    with Script({1: b"\x20\x02\x00\x05"}) as script:
        mqtt = config(script.port, version="3.1.1")
        with pytest.raises(SourceLost, match="Not authorized"):
            observe_broker(mqtt, mqtt.endpoints[0])
        assert script.received[0][2:9] == b"\x00\x04MQTT\x04"
    assert "max_packet_size" in mqtt.warnings[0]
    assert config(1883).warnings == ()


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
