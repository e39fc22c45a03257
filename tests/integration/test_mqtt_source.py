"""The MQTT source against a real mosquitto, and against scripted peers where mosquitto would not misbehave."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from pathlib import Path

import pytest

from agent.ports import Batch
from agent.sources.mqtt import Pace
from simulators.broker import free_port
from tests.mqtt_bench import DEADLINE, QUICK, Script, Shelf, mosquitto, publish, running, source, until

V311_CONNACK, V311_SUBACK = b"\x20\x02\x01\x00", b"\x90\x03ID\x01"
VERSIONS = pytest.mark.parametrize("version", ["3.1.1", "5"])


def numbered(count: int, word: str = "n") -> list[bytes]:
    return [f"{word}{number}".encode() for number in range(count)]


@VERSIONS
async def test_nothing_is_acknowledged_before_it_is_stored(tmp_path: Path, version: str):
    """Messages that were handed over but not committed come again, flagged as duplicates; committed ones do not."""
    async with mosquitto(tmp_path) as broker:
        held = Shelf(storing=False)
        async with running(source(broker.port, version=version), held) as mqtt:
            await publish(broker.port, numbered(50))
            await until(lambda: held.payloads == numbered(50))
            assert mqtt.status()["in_flight"] == 50
        again = Shelf()
        async with running(source(broker.port, version=version), again) as mqtt:
            await until(lambda: again.payloads == numbered(50))
            assert {(delivery.properties or {}).get("dup") for delivery in again.deliveries} == {"1"}
            await until(lambda: mqtt.status()["in_flight"] == 0)
            await publish(broker.port, [b"last"])
            await until(lambda: again.payloads[-1] == b"last" and mqtt.status()["in_flight"] == 0)
        third = Shelf()
        async with running(source(broker.port, version=version), third):
            await publish(broker.port, [b"new"])
            await until(lambda: third.payloads)
        assert third.payloads == [b"new"]


class LastMinute(Shelf):
    """Commits only once the source has been told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def put(self, batch: Batch, timeout: float | None = None) -> bool:
        if batch.deliveries:
            self.told.wait(DEADLINE)
        return super().put(batch, timeout)


async def test_what_is_committed_while_it_stops_is_acknowledged(tmp_path: Path):
    """A calm stop acknowledges what was committed in its last moment: it does not come again."""
    async with mosquitto(tmp_path) as broker:
        shelf = LastMinute()
        async with running(source(broker.port), shelf):
            await publish(broker.port, [b"last"])
            asyncio.get_running_loop().call_later(0, shelf.told.set)  # runs after the cancellation below
        third = Shelf()
        async with running(source(broker.port), third):
            await publish(broker.port, [b"new"])
            await until(lambda: third.payloads)
        assert (shelf.payloads, third.payloads) == ([b"last"], [b"new"])


async def test_messages_sent_while_the_agent_is_away_arrive_in_order(tmp_path: Path):
    """A clean stop does not unsubscribe: 3 000 messages wait at the broker, and arrive in the order they were sent."""
    async with mosquitto(tmp_path) as broker:
        async with running(source(broker.port), Shelf()):
            pass
        await publish(broker.port, numbered(3000))
        shelf = Shelf()
        async with running(source(broker.port), shelf):
            await until(lambda: len(shelf.deliveries) >= 3000)
        assert shelf.payloads == numbered(3000)


@VERSIONS
async def test_retained_messages_are_never_delivered(tmp_path: Path, version: str):
    """What was retained before the subscription is noticed and acknowledged, not delivered; live ones are delivered."""
    async with mosquitto(tmp_path) as broker:
        await publish(broker.port, [b"old confirmation"], "plant/old", retain=True)
        shelf = Shelf()
        async with running(source(broker.port, version=version), shelf) as mqtt:
            await publish(broker.port, [b"live"], "plant/live", retain=True)
            await until(lambda: shelf.payloads and shelf.notices("retained_ignored"))
            await until(lambda: mqtt.status()["in_flight"] == 0)
        assert shelf.payloads == [b"live"]
        assert shelf.notices("retained_ignored")[0].detail == {"count": 1, "topics": ["plant/old"]}


@VERSIONS
@pytest.mark.parametrize("size", [64 * 1024 + 1, 300_000])
async def test_an_oversize_payload_is_named_and_the_next_message_goes_through(tmp_path: Path, version: str, size: int):
    """Over the limit only the head is kept, with length and SHA-256 of the whole."""
    large = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with mosquitto(tmp_path, message_size_limit="0") as broker:
        shelf = Shelf()
        async with running(source(broker.port, version=version, max_payload_kb=64), shelf) as mqtt:
            await publish(broker.port, [b"before", large, b"after", b"y" * 65536])
            await until(lambda: len(shelf.deliveries) == 4)
            await until(lambda: mqtt.status()["in_flight"] == 0)
    before, cut, after, limit = shelf.deliveries
    assert (before.payload, after.payload, limit.payload) == (b"before", b"after", b"y" * 65536)
    assert cut.payload == large[:4096]
    assert cut.properties == {"oversize": f"{size} bytes, sha256 {hashlib.sha256(large).hexdigest()}"}
    assert limit.properties is None


async def test_a_message_without_protection_is_flagged(tmp_path: Path):
    """A QoS 0 message is delivered and says that nothing protected it on its way."""
    async with mosquitto(tmp_path) as broker:
        shelf = Shelf()
        async with running(source(broker.port), shelf):
            await publish(broker.port, [b"weak", b""], qos=0)
            await until(lambda: len(shelf.deliveries) == 2)  # the two senders are not in order of each other
            await publish(broker.port, [b"strong"])
            await until(lambda: len(shelf.deliveries) == 3)
        assert [(d.payload, d.properties) for d in shelf.deliveries] == [
            (b"weak", {"qos": "0"}), (b"", {"qos": "0"}), (b"strong", None),
        ]  # fmt: skip


async def test_a_topic_that_is_not_utf8_is_delivered_readable():
    """An invalid topic neither ends the connection nor the thread; its bytes are kept as hexadecimal digits."""
    bad = b"\x32\x0a\x00\x05a/\xff\xfeb\x00\x07x"
    good = b"\x32\x08\x00\x03a/b\x00\x08y"
    with Script({1: V311_CONNACK, 8: V311_SUBACK + bad + good}) as script:
        shelf = Shelf()
        async with running(source(script.port, version="3.1.1", topics=("a/#",)), shelf):
            await until(lambda: len(shelf.deliveries) == 2)
            await until(lambda: b"\x40\x02\x00\x07" in script.received and b"\x40\x02\x00\x08" in script.received)
    first, second = shelf.deliveries
    assert (first.topic, first.properties) == (r"a/\xff\xfeb", {"invalid_topic": "612ffffe62"})
    assert (second.topic, second.payload) == ("a/b", b"y")


async def test_qos_2_of_a_foreign_subscription_is_settled_after_the_commit():
    """A QoS 2 message left in the session is stored once, answered by PUBREC after the commit, then by PUBCOMP."""
    message = b"\x34\x08\x00\x03a/b\x00\x09z"
    with Script({1: V311_CONNACK, 8: V311_SUBACK + message, 5: b"\x62\x02\x00\x09"}) as script:
        shelf = Shelf(storing=False)
        async with running(source(script.port, version="3.1.1", topics=("a/#",)), shelf):
            await until(lambda: shelf.payloads == [b"z"])
            assert 5 not in script.types()
            shelf.store()
            await until(lambda: script.types()[-2:] == [5, 7])


async def test_a_packet_cut_into_single_bytes_is_put_together():
    """However the network cuts the stream, packets arrive whole."""
    with Script({1: V311_CONNACK, 8: V311_SUBACK}) as script:
        shelf = Shelf()
        script.answers[8] += b"\x32\x08\x00\x03a/b\x00\x08y"[:5]
        script.answers[12] = b"\x32\x08\x00\x03a/b\x00\x08y"[5:] + b"\xd0\x00"  # the rest comes with the PINGRESP
        async with running(source(script.port, version="3.1.1", topics=("a/#",), keep_alive_s=1), shelf):
            await until(lambda: shelf.payloads == [b"y"])


async def test_a_refused_subscription_is_an_alarm_and_a_long_pause():
    """SUBACK 0x80 is no connection: the source says so, once, and does not try again at once."""
    with Script({1: V311_CONNACK, 8: b"\x90\x03ID\x80"}) as script:
        shelf = Shelf()
        mqtt = source(script.port, version="3.1.1", pace=Pace(first=0.05, refused=60, idle=0.1))
        async with running(mqtt, shelf, connected=False):
            await until(lambda: mqtt.status()["error"])
            assert "refuses the subscription to plant/#" in mqtt.status()["error"]
            assert not mqtt.status()["connected"]
            assert script.connections == 1
        assert script.connections == 1


async def test_a_broker_of_another_version_is_told_with_what_to_set():
    """A broker that knows MQTT 3.1.1 alone answers CONNECT with "unacceptable protocol version"."""
    with Script({1: b"\x20\x02\x00\x01"}) as script:
        mqtt = source(script.port, version="5", pace=Pace(first=0.05, refused=60, idle=0.1))
        async with running(mqtt, Shelf(), connected=False):
            await until(lambda: mqtt.status()["error"])
            assert 'Unsupported protocol version; try `version: "3.1.1"`' in mqtt.status()["error"]


async def test_a_wrong_port_is_told_with_what_to_check():
    """Nobody listens there: the words of the system, and what to look at."""
    port = free_port()
    mqtt = source(port)
    async with running(mqtt, Shelf(), connected=False):
        await until(lambda: mqtt.status()["error"])
        expected = f"mqtt://127.0.0.1:{port}: Connection refused; check host, port and network"
        assert mqtt.status()["error"] == expected


async def test_the_session_is_remembered_over_a_restart(tmp_path: Path):
    """The first connection starts a session; the next one finds it, and topics no longer configured are given up."""
    async with mosquitto(tmp_path) as broker:
        shelf = Shelf()
        async with running(source(broker.port, topics=("plant/#", "old/#")), shelf):
            await until(lambda: shelf.kept)
        assert len(shelf.notices("session_started")) == 1
        async with running(source(broker.port), shelf) as mqtt:
            assert mqtt.status()["session_present"] is True
            await publish(broker.port, [b"old"], "old/a")
            await publish(broker.port, [b"new"], "plant/a")
            await until(lambda: shelf.payloads)
        assert shelf.payloads == [b"new"]
        assert len(shelf.notices("session_started")) == 1
        assert not shelf.notices("session_lost")


async def test_receipts_are_published(tmp_path: Path):
    """A receipt given from another thread, even before the connection, arrives with QoS 1."""
    async with mosquitto(tmp_path) as broker:
        sender, shelf = Shelf(), Shelf()
        mqtt = source(broker.port)
        mqtt.receipts.put("ack/line-3", b"early")
        async with running(source(broker.port, client_id="line-3", topics=("ack/#",)), sender), running(mqtt, shelf):
            await asyncio.to_thread(mqtt.receipts.put, "ack/line-3", b"report 17")
            await until(lambda: len(sender.deliveries) == 2)
        assert sender.payloads == [b"early", b"report 17"]
        assert {delivery.properties for delivery in sender.deliveries} == {None}
        with pytest.raises(ValueError, match="without wildcards"):
            mqtt.receipts.put("ack/#", b"")


async def test_closing_is_prompt_without_a_broker():
    """A source that cannot connect still stops at once."""
    with Script({}) as script:
        mqtt = source(script.port, pace=Pace())
        async with running(mqtt, Shelf(), connected=False):
            await until(lambda: script.received)
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert mqtt.status()["connected"] is False


async def test_the_thread_shows_that_it_lives(tmp_path: Path):
    """`loop_silent_s` falls again and again while nothing else happens."""
    async with mosquitto(tmp_path) as broker:
        shelf = Shelf()
        async with running(source(broker.port, pace=QUICK), shelf) as mqtt:
            for _ in range(2):
                await until(lambda: mqtt.status()["loop_silent_s"] > 0.02)
                await until(lambda: mqtt.status()["loop_silent_s"] < 0.02)
