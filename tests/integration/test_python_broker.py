"""The Python broker of a bench without mosquitto: enough for the line and the agent, and honest about the rest."""

import asyncio

import pytest

from simulators.broker import WEAK_BROKER, Broker
from simulators.python_broker import WINDOW, matches
from tests.mqtt_bench import Shelf, publish, running, source, until

VERSIONS = pytest.mark.parametrize("version", ["3.1.1", "5"])


@VERSIONS
async def test_the_agent_gets_what_a_sender_says(tmp_path, version):
    """Both versions, far more messages than may be under way at once, in order, each once."""
    sent = [f"n{number}".encode() for number in range(WINDOW * 10)]
    async with Broker(tmp_path, executable=None) as broker:
        shelf = Shelf()
        async with running(source(broker.port, version=version), shelf):
            await publish(broker.port, sent)
            await until(lambda: len(shelf.payloads) >= len(sent))
            await publish(broker.port, [b"weak"], qos=0)
            await until(lambda: shelf.payloads[-1] == b"weak")
        assert shelf.payloads == [*sent, b"weak"]
        assert (shelf.deliveries[-1].properties or {}).get("qos") == "0"


async def test_no_more_than_a_window_is_under_way(tmp_path):
    """What is not acknowledged holds back what comes after it, as a receive maximum asks."""
    async with Broker(tmp_path, executable=None) as broker:
        slow = Shelf(storing=False)
        async with running(source(broker.port), slow) as mqtt:
            await publish(broker.port, [b"x"] * (WINDOW + 5))
            await until(lambda: mqtt.status()["in_flight"] == WINDOW)
            slow.storing = True
            slow.store()
            await until(lambda: len(slow.payloads) == WINDOW + 5)


@VERSIONS
async def test_an_agent_that_was_away_is_not_redelivered_to_and_says_so(tmp_path, version):
    """What the warning says is true, and the agent raises it as the loss of its session."""
    assert "not redelivered to" in WEAK_BROKER
    async with Broker(tmp_path, executable=None) as broker:
        before, after = Shelf(), Shelf()
        async with running(source(broker.port, version=version), before):
            await publish(broker.port, [b"first"])
            await until(lambda: before.payloads)
        await publish(broker.port, [b"meanwhile"])
        after.kept = before.kept
        async with running(source(broker.port, version=version), after) as mqtt:
            assert mqtt.status()["session_present"] is False
            await publish(broker.port, [b"last"])
            await until(lambda: after.payloads)
        assert after.payloads == [b"last"]
        assert after.notices("session_lost")


async def test_the_second_of_one_client_id_takes_over(tmp_path):
    """As at every broker, the older connection ends."""
    async with (
        Broker(tmp_path, executable=None) as broker,
        running(source(broker.port), Shelf()) as older,
        running(source(broker.port), Shelf()),
    ):
        await until(lambda: older.status()["failures"] or older.status()["reconnects"])


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\x02\x00",
        b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00",
        b"\x10\xff\xff\xff\x7f",
    ],
    ids=["http", "cut", "unknown-level", "too-large"],
)
async def test_what_is_not_mqtt_ends_that_connection_alone(tmp_path, said):
    """The stranger is disconnected, the agent goes on."""
    async with Broker(tmp_path, executable=None) as broker:
        shelf = Shelf()
        async with running(source(broker.port), shelf):
            reader, writer = await asyncio.open_connection(broker.host, broker.port)
            writer.write(said)
            writer.write_eof()
            async with asyncio.timeout(30):
                assert await reader.read() == b""
            writer.close()
            await publish(broker.port, [b"still here"])
            await until(lambda: shelf.payloads)


@pytest.mark.parametrize(
    ("wanted", "topic", "fits"),
    [
        ("a/b", "a/b", True), ("a/b", "a/c", False), ("a/+/c", "a/b/c", True), ("a/+", "a/b/c", False),
        ("a/#", "a/b/c", True), ("a/#", "a", True), ("a/b/#", "a", False), ("#", "a/b", True), ("+", "", True),
    ],
)  # fmt: skip
def test_filters_fit_topics_as_mqtt_says(wanted, topic, fits):
    """`+` is one level, `#` any number at the end, none included."""
    assert matches(wanted, topic) is fits
