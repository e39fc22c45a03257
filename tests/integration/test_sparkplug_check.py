"""What `check --connect` sees of the brokers of Sparkplug sources and of the node: do they get in, may they read."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.access.secrets import Secret
from agent.commands.check import _node_brokers, _sparkplug_brokers
from agent.configuration.face_settings import SparkplugNode
from agent.sources.sparkplug import SparkplugConfig
from tests.faults.test_mqtt_tls import Authority, broker_settings
from tests.mqtt_bench import Script, mosquitto
from tests.opcua_bench import free_port
from tests.sparkplug_bench import COUNTING, TAGS


def config(*brokers: str, **options: Any) -> SparkplugConfig:
    given = {"name": "line", "client_id": "gatepost-1", "brokers": brokers, "tags": TAGS, "events": (COUNTING,)}
    return SparkplugConfig.model_validate({**given, **options})


async def seen(settings: SparkplugConfig) -> Sequence[str]:
    return await asyncio.to_thread(lambda: list(_sparkplug_brokers("line", settings)))


async def test_a_broker_that_lets_us_in_and_nobody_else_lacks_nothing(tmp_path: Path):
    """With TLS, user and password; a wrong password is told."""
    authority, passwords = Authority(tmp_path / "pki", "plant"), tmp_path / "passwords"
    subprocess.run(  # noqa: ASYNC221  # nothing else runs yet
        ["mosquitto_passwd", "-b", "-c", str(passwords), "gatepost", "s3cret"], check=True
    )
    settings = {
        **broker_settings(authority, authority.issue("broker")),
        "allow_anonymous": "false",
        "password_file": str(passwords),
    }
    async with mosquitto(tmp_path / "m", **settings) as broker:
        ours = config(
            f"mqtts://127.0.0.1:{broker.port}", ca_file=authority.folder / "ca.pem", user="gatepost",
            password=Secret("mqtt", "s3cret"), host_id="gatepost",
        )  # fmt: skip
        assert await seen(ours) == []
        (said,) = await seen(ours.model_copy(update={"password": Secret("mqtt", "wrong")}))
        assert "Not authorized" in said
        other = Authority(tmp_path / "other", "other").folder / "ca.pem"
        (said,) = await seen(ours.model_copy(update={"ca_file": other}))
        assert "its certificate is refused" in said
        (said,) = await seen(ours.model_copy(update={"ca_file": tmp_path / "ca.pem"}))
        assert f"{tmp_path / 'ca.pem'} cannot be read: No such file or directory; check ca_file" in said


async def test_each_broker_that_is_open_or_away_is_named(tmp_path: Path):
    """One line for each, with its place; nothing is sent to them."""
    away = free_port()
    async with mosquitto(tmp_path) as broker:
        said = await seen(config(f"mqtt://127.0.0.1:{broker.port}", f"mqtt://127.0.0.1:{away}"))
    assert [line.split(":")[2].split()[0] for line in said] == [str(broker.port), str(away)]
    assert "allow_anonymous false" in said[0]
    assert "refused" in said[1]


def test_a_topic_that_may_not_be_read_is_named():
    """The answer to the subscription says it."""
    with Script({1: b"\x20\x02\x00\x00", 8: b"\x90\x03ID\x80"}) as script:
        said = list(_sparkplug_brokers("line", config(f"mqtt://127.0.0.1:{script.port}", version="3.1.1")))
        assert {packet[0] >> 4 for packet in script.received} <= {1, 8, 14}
    assert any("acl_file topic read spBv1.0/G/+/N/#" in line for line in said)


async def test_the_brokers_of_the_node_are_looked_at(tmp_path: Path):
    """Each of them that is open or away is named; nothing is sent."""
    away = free_port()
    async with mosquitto(tmp_path) as broker:
        brokers = (f"mqtt://127.0.0.1:{broker.port}", f"mqtt://127.0.0.1:{away}")
        node = SparkplugNode(brokers=brokers, group="1710", primary_host="scada")
        said = await asyncio.to_thread(lambda: list(_node_brokers(node)))
    assert said[0].startswith(f"sparkplug_node: broker 127.0.0.1:{broker.port}: allow_anonymous false")
    assert said[1].startswith(f"sparkplug_node: broker 127.0.0.1:{away}: ")
    assert "refused" in said[1]


def test_commands_that_the_node_may_not_hear_are_named():
    """The answer to the subscription says it, of its commands and of its primary host."""
    with Script({1: b"\x20\x02\x00\x00", 8: b"\x90\x04ID\x80\x80"}) as script:
        brokers = (f"mqtt://127.0.0.1:{script.port}",)
        node = SparkplugNode(brokers=brokers, group="1710", primary_host="scada", version="3.1.1")
        said = list(_node_brokers(node))
        assert {packet[0] >> 4 for packet in script.received} <= {1, 8, 14}
    for topic in ("spBv1.0/1710/NCMD/gatepost", "spBv1.0/STATE/scada"):
        assert any(f"acl_file topic read {topic}" in line for line in said), said
