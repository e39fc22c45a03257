"""What a broker can take away while the agent runs or is away: its session, its password, its right to read."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.access.secrets import Secret
from agent.app import Agent
from agent.sources.mqtt import MqttConfig, MqttSource, Pace
from simulators.broker import Broker
from tests.mqtt_bench import QUICK, Shelf, mosquitto, publish, running, until
from tests.plant import plant

PASSWORD = "plant-only"


def configured(broker: Broker, **options: Any) -> MqttConfig:
    brokers = (f"mqtt://127.0.0.1:{broker.port}",)
    return MqttConfig(name="plant", client_id="gatepost-1", topics=("plant/#",), brokers=brokers, **options)


# ── the session ─────────────────────────────────────────────────────────────────────────────────────────────


async def _expired(folder: Path, seconds: int) -> None:
    """Away for longer than the session lives: what was sent meanwhile is gone, and that is an alarm at once."""
    async with mosquitto(folder, log_type="all") as broker:
        short = configured(broker).model_copy(update={"session_expiry_s": seconds})  # may be below what `check` allows
        first = Shelf()
        async with running(MqttSource(short, pace=QUICK), first):
            await publish(broker.port, [b"seen"], "plant/scale-4")
            await until(lambda: first.payloads == [b"seen"])
        await publish(broker.port, [b"lost"], "plant/scale-4")
        await until(lambda: "Expiring" in broker.log.read_text(), 2 * seconds + 30)
        back = time.monotonic()
        second = Shelf()
        second.kept = first.kept
        async with running(MqttSource(short, pace=QUICK), second):
            await until(lambda: second.notices("session_lost"))
            assert time.monotonic() - back < 60
            await publish(broker.port, [b"after"], "plant/scale-4")
            await until(lambda: second.payloads == [b"after"])
    (told,) = second.notices("session_lost")
    assert told.alarm
    assert told.detail["last"]["topic"] == "plant/scale-4"


async def test_an_expired_session_is_an_alarm_that_names_the_last_message(tmp_path: Path):
    """Row 41: the broker forgot the session while the agent was away; it says so, and takes what comes from now on."""
    await _expired(tmp_path, 1)


@pytest.mark.soak
async def test_a_session_expires_after_the_shortest_time_that_can_be_configured(tmp_path: Path):
    """Row 41 at full size: the same with the minute that the configuration allows at least."""
    await _expired(tmp_path, 60)


async def test_more_than_the_broker_keeps_is_a_gap_with_its_first_and_last_number(tmp_path: Path):
    """Row 35: away for longer than the queue of the broker is long, the agent names what the broker has dropped."""
    async with plant(tmp_path, broker_settings={"max_queued_messages": "10"}) as line:
        await line.post()
        await line.stop()
        away = [line.report() for _ in range(30)]
        for report in away:
            line.publish(report).wait_for_publish(10)
        line.agent = Agent(line.agent.config, line.clock)
        await line.start(knows_orders=False)
        await line.post()
        (gap,) = [row for row in line.audited("decided") if row.get("gap")]
        arrived = line.rows("SELECT count(*) FROM event WHERE source = 'line'")[0][0] - 2
        assert gap["alarm"]
        assert 10 <= arrived < len(away)
        assert gap["gap"] == {
            "sender": "MIX-01", "first_missing": away[arrived]["seq"], "last_missing": away[-1]["seq"],
        }  # fmt: skip


# ── password and access list ────────────────────────────────────────────────────────────────────────────────


def hashed(user: str, password: str) -> str:
    """A line of mosquitto's password file: PBKDF2 with SHA-512, as mosquitto_passwd writes it."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


async def read_again(broker: Broker) -> None:
    """SIGHUP: mosquitto reads its password and access files again; returns when it has."""
    before = broker.log.read_text().count("Reloading config")
    os.kill(int((broker.folder / "pid").read_text()), signal.SIGHUP)
    await until(lambda: broker.log.read_text().count("Reloading config") > before)


def guarded(folder: Path) -> Mapping[str, str]:
    """Settings of a broker that lets in whoever is in its password file."""
    (folder / "passwords").write_text(hashed("gatepost", PASSWORD) + hashed("sender", PASSWORD))
    return {"allow_anonymous": "false", "password_file": str(folder / "passwords")}


def tries(broker: Broker) -> int:
    """How often the broker has refused somebody."""
    return broker.log.read_text().count("not authorised")


async def _revoked(folder: Path, version: str, pace: Pace, watched_s: float) -> None:
    settings = guarded(folder)
    async with mosquitto(folder / "m", log_type="all", **settings) as broker:
        config = configured(broker, user="gatepost", version=version).model_copy(
            update={"password": Secret("mqtt_password", PASSWORD)}  # as the configuration reads it from its file
        )
        shelf, mqtt = Shelf(), MqttSource(config, pace=pace)
        async with running(mqtt, shelf):
            (folder / "passwords").write_text(hashed("sender", PASSWORD))
            await read_again(broker)
            await until(lambda: "check user, password" in (mqtt.status()["error"] or ""))
            asked, since = tries(broker), time.monotonic()
            assert mqtt._retry.wait() == pace.refused
            await until(lambda: time.monotonic() - since > watched_s, watched_s + 30)
            assert tries(broker) - asked <= (time.monotonic() - since) / pace.refused + 1
            (folder / "passwords").write_text(hashed("gatepost", PASSWORD) + hashed("sender", PASSWORD))
            await read_again(broker)
            await until(lambda: mqtt.status()["connected"], 2 * pace.refused + 30)
        assert [one.alarm for one in shelf.notices("not_authorised")] == [True]
        assert not shelf.notices("second_instance")
        assert not shelf.notices("session_lost")


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_password_that_is_revoked_while_it_runs_is_one_alarm(tmp_path: Path, version: str):
    """Row 43: put out in mid-run, the source says why once, does not hammer, and is back when it may log on again."""
    await _revoked(tmp_path, version, Pace(first=0.05, most=0.1, refused=1.5, idle=0.1), 3.2)


@pytest.mark.soak
async def test_a_revoked_password_is_tried_once_a_minute(tmp_path: Path):
    """Row 43 at full size: with the pace of the product there are two tries a minute at most, for two minutes."""
    assert Pace().refused == 60
    await _revoked(tmp_path, "5", Pace(), 125)


async def test_a_right_to_read_that_is_taken_away_is_seen_as_a_gap(tmp_path: Path):
    """Row 43: mosquitto refuses silently what may not be read; the numbers of the sender name what was withheld."""
    access = tmp_path / "access"
    access.write_text("topic readwrite #\n")
    async with plant(tmp_path, broker_settings={"acl_file": str(access), "log_type": "all"}) as line:
        await line.post()
        access.write_text("topic write #\n")
        await read_again(line.broker)
        withheld = [line.report() for _ in range(3)]
        for report in withheld:
            line.publish(report).wait_for_publish(10)
        access.write_text("topic readwrite #\n")
        await read_again(line.broker)
        await line.post()
        (gap,) = [row for row in line.audited("decided") if row.get("gap")]
        assert gap["alarm"]
        first, last = withheld[0]["seq"], withheld[-1]["seq"]
        assert gap["gap"] == {"sender": "MIX-01", "first_missing": first, "last_missing": last}
