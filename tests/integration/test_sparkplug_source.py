"""The Sparkplug source against a real mosquitto: births, aliases, gaps, deaths, host state, cuts and restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.sources import sparkplug
from agent.sources.sparkplug import SparkplugSource
from tests.mqtt_bench import Shelf, mosquitto, until
from tests.sparkplug_bench import (
    BYTES,
    COUNTING,
    LOTS,
    STRING,
    TAGS,
    UINT32,
    Edge,
    birth_of_device,
    born,
    metric,
    payload,
    quantity,
    running,
    source,
    stored_up_to_a_delivery,
)
from tests.stores import Clock


def state(line: SparkplugSource) -> str:
    return str(line.status()["nodes"]["G/N"]["state"])


def counted(edge: Edge, total: int) -> None:
    edge.say("DDATA", metric(value=total, alias=1), device="D")


async def online(line: SparkplugSource) -> None:
    await until(lambda: state(line) == "online")


async def test_data_by_alias_become_events(tmp_path: Path):
    """What a totaliser grows by between birth and data is reported, with the order that the birth named."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port), shelf) as line:
        with Edge(broker.port) as edge:
            born(edge, 100)
            await online(line)
            counted(edge, 107)
            await until(lambda: shelf.deliveries)
    event = json.loads(shelf.deliveries[0].payload)
    assert (event["quantity"], event["order"], event["id"]) == (7, "1000100", "line/made/1")
    assert shelf.deliveries[0].topic == "plant/made"


async def test_a_node_that_lived_before_us_is_asked_for_its_births(tmp_path: Path):
    """A late join: data without a birth are nothing, the node is asked by NCMD with QoS 0, its births count."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker:
        with Edge(broker.port) as edge:
            edge.seq = 40
            async with running(source(broker.port), shelf) as line:
                counted(edge, 50)
                await until(edge.rebirths)
                assert (edge.commands[0]["topic"], edge.commands[0]["qos"]) == ("spBv1.0/G/NCMD/N", 0)
                assert edge.commands[0]["Node Control/Rebirth"] is True
                born(edge, 60)
                await online(line)
                counted(edge, 65)
                await until(lambda: quantity(shelf) == 5)


async def test_after_a_gap_the_totals_are_exact(tmp_path: Path):
    """Lost messages are noticed, the node is asked for its births, and their total brings what was lost."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port, reorder_s=0.1), shelf) as line:
        with Edge(broker.port) as edge:
            born(edge, 100)
            await online(line)
            counted(edge, 107)
            edge.lose(2)
            counted(edge, 120)
            await until(edge.rebirths)
            await until(lambda: state(line) == "stale")
            counted(edge, 121)
            born(edge, 121)
            counted(edge, 130)
            await until(lambda: quantity(shelf) == 30)
            (gap,) = shelf.notices("sequence_gap")
            assert (gap.detail["missing"], gap.alarm) == (2, True)
            told = line.status()["nodes"]["G/N"]
            assert (told["gaps"], told["state"], told["trouble"]["over"]) == (1, "online", True)
            assert told["trouble"]["lasted_s"] >= 0
    assert len({json.loads(one.payload)["id"] for one in shelf.deliveries}) == len(shelf.deliveries)


async def test_a_message_that_was_late_is_put_in_its_place(tmp_path: Path):
    """Within the reorder timeout nobody is asked, and the numbers of the node are followed."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port, reorder_s=60), shelf) as line:
        with Edge(broker.port) as edge:
            born(edge, 100)
            edge.raw(edge.topic("DDATA", "D"), payload(metric(value=109, alias=1), seq=3))
            edge.raw(edge.topic("DDATA", "D"), payload(metric(value=104, alias=1), seq=2))
            await until(lambda: quantity(shelf) == 9)
            assert line.status()["nodes"]["G/N"]["gaps"] == 0
            assert not edge.rebirths()


async def test_a_dead_node_has_stale_tags_and_counts_on_when_it_is_back(tmp_path: Path):
    """The broker publishes its will: the node is stale; after its next birth what it made meanwhile is reported."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port), shelf) as line:
        with Edge(broker.port) as first:
            born(first, 100)
            await online(line)
            first.die()
            await until(lambda: state(line) == "stale")
            await until(lambda: shelf.notices("node_dead"))
        with Edge(broker.port, bd=1) as second:
            born(second, 140)
            await until(lambda: quantity(shelf) == 40)
            assert state(line) == "online"
            await until(lambda: shelf.notices("node_online"))


async def test_the_will_of_an_earlier_session_is_ignored(tmp_path: Path):
    """The broker notices the end of the old connection when the new one has been born already."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port), shelf) as line:
        with Edge(broker.port) as first:
            born(first, 100)
            with Edge(broker.port, bd=1) as second:
                born(second, 100)
                await until(lambda: line.status()["nodes"]["G/N"]["bd_seq"] == 1)
                first.die()
                await asyncio.to_thread(first.__exit__)
                counted(second, 103)
                await until(lambda: quantity(shelf) == 3)
                assert not shelf.notices("node_dead")
                assert state(line) == "online"


def lot(edge: Edge, total: int, *, done: bool) -> None:
    edge.say("DDATA", metric(value=total, alias=1), metric(value=int(done), alias=2, field=14), device="D")


async def test_the_handshake_is_written_when_the_event_is_on_disk(tmp_path: Path):
    """Not before the commit; then by DCMD with the alias of the birth."""
    shelf = Shelf(storing=False)
    async with mosquitto(tmp_path) as broker, running(source(broker.port, events=(LOTS,), reorder_s=0), shelf) as line:
        with Edge(broker.port) as edge:
            born(edge, 100)
            await online(line)
            lot(edge, 112, done=True)

            def to_the_device() -> list[dict[Any, Any]]:
                return [told for told in edge.commands if "DCMD" in told["topic"] and told[4]]

            await until(lambda: stored_up_to_a_delivery(shelf))
            edge.lose()
            counted(edge, 113)  # the source has gone round since: what it had to write would have been written
            await until(lambda: state(line) == "stale")
            born(edge, 113, done=True)
            await online(line)
            assert not to_the_device()
            shelf.storing = True
            shelf.store()
            await until(to_the_device)
            assert to_the_device()[0]["topic"] == "spBv1.0/G/DCMD/N/D"
    assert json.loads(shelf.deliveries[0].payload)["quantity"] == 12


BEAT = {"name": "beat", "topic": "plant/beat", "when": {"every_s": 5}}


async def test_a_handshake_that_cannot_be_written_is_told_once(tmp_path: Path):
    """However often the answer is tried; when the node declares the tag as a flag it is written, and that is told."""
    shelf, clock = Shelf(), Clock(datetime.now(UTC))

    def beats() -> int:
        return sum(one.topic == "plant/beat" for one in shelf.deliveries)

    async with mosquitto(tmp_path) as broker:
        line = source(broker.port, clock=clock, events=(LOTS, BEAT), reorder_s=0)
        async with running(line, shelf):
            with Edge(broker.port) as edge:
                edge.say("NBIRTH")
                births = birth_of_device(100, done=True)
                edge.say("DBIRTH", *births[:3], metric("Ack", b"x", BYTES, alias=4), device="D")
                await until(lambda: shelf.notices("write_refused"))
                for _ in range(4):  # each time the answer is said again, too
                    before = beats()
                    clock.forward(seconds=6)
                    await until(lambda: beats() > before)  # noqa: B023  # awaited in this round
                assert len(shelf.notices("write_refused")) == 1
                assert "BYTES" in line.status()["writes_refused"]["ack"]
                born(edge, 100, done=True)
                await until(lambda: any("DCMD" in told["topic"] and told[4] for told in edge.commands))
                clock.forward(seconds=6)
                await until(lambda: shelf.notices("write_works"))
                assert line.status()["writes_refused"] == {}
    (works,) = shelf.notices("write_works")
    assert (works.alarm, works.detail) == (False, {"tag": "ack"})


@pytest.mark.parametrize("link", ["stays", "breaks"])
async def test_while_the_store_takes_nothing_timers_are_skipped_and_totals_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
):
    """What waits stays within bounds however long it takes; how many beats were missed is told, and all is counted."""
    monkeypatch.setattr(sparkplug, "ROOM", 10)
    shelf, clock = Shelf(storing=False), Clock(datetime.now(UTC))
    async with contextlib.AsyncExitStack() as broken:
        broker = await broken.enter_async_context(mosquitto(tmp_path))
        line = source(broker.port, clock=clock, events=(COUNTING, BEAT), reorder_s=0, keep_alive_s=60)
        async with running(line, shelf):
            with Edge(broker.port) as edge:
                born(edge, 100)
                await online(line)
                if link == "breaks":
                    await broken.aclose()
                    await until(lambda: not line.status()["connected"])
                for _ in range(30):
                    clock.forward(seconds=5)
                    await rounds(line, 2)
                clock.forward(seconds=3600)
                await rounds(line, 2)
                assert line.status()["waiting"] <= 10 + 2
                shelf.storing = True
                shelf.store()
                await until(lambda: shelf.notices("beats_missed"))
                if link == "stays":
                    counted(edge, 150)
                    await until(lambda: quantity(shelf) == 50)
    missed = sum(one.detail["count"] for one in shelf.notices("beats_missed"))
    made = sum(one.topic == "plant/beat" for one in shelf.deliveries)
    assert 745 < missed + made <= 751


async def test_a_broker_that_was_left_for_want_of_room_is_come_back_to_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not again and again before that: each time all nodes would be asked for their births, for nothing."""
    monkeypatch.setattr(sparkplug, "ROOM", 5)
    shelf = Shelf(storing=False)
    async with mosquitto(tmp_path) as broker, running(source(broker.port, keep_alive_s=1), shelf) as line:
        with Edge(broker.port) as edge:
            born(edge, 100)
            await online(line)
            for total in range(101, 121):
                counted(edge, total)
            await until(lambda: not line.status()["connected"])
            await rounds(line, 20)
            assert line.status()["reconnects"] == 0
            shelf.storing = True
            shelf.store()
            await until(lambda: line.status()["connected"])
            born(edge, 150)
            await until(lambda: quantity(shelf) == 50)
    assert len(shelf.notices("back_pressure")) == 1


async def rounds(line: SparkplugSource, count: int) -> None:
    """The source has gone round so often."""
    for _ in range(count):
        before = line._stepped
        await until(lambda: line._stepped != before)  # noqa: B023  # awaited in this round


async def test_a_restart_goes_on_from_the_checkpoint(tmp_path: Path):
    """A new process with what the last one committed: what was made meanwhile is reported once, numbers go on."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker:
        with Edge(broker.port) as edge:
            async with running(source(broker.port), shelf) as line:
                born(edge, 100)
                await online(line)
                counted(edge, 107)
                await until(lambda: quantity(shelf) == 7)
            async with running(source(broker.port), shelf) as line:
                assert line.status()["nodes"]["G/N"]["bd_seq"] == 0
                await until(edge.rebirths)
                born(edge, 133)
                await until(lambda: quantity(shelf) == 33)
    assert [json.loads(one.payload)["id"] for one in shelf.deliveries] == ["line/made/1", "line/made/2"]


async def test_a_totaliser_at_another_metric_begins_anew(tmp_path: Path):
    """The configuration points its tag elsewhere: no difference between two metrics is a quantity, and it is told."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker:
        with Edge(broker.port) as edge:
            async with running(source(broker.port), shelf) as line:
                born(edge, 100)
                await online(line)
                counted(edge, 107)
                await until(lambda: quantity(shelf) == 7)
            async with running(source(broker.port, tags={**TAGS, "total": "G/N/D:Other"}), shelf) as line:
                await until(lambda: shelf.notices("counter_changed"))
                edge.say("NBIRTH")
                both = metric("Total", 107, UINT32), metric("Other", 900, UINT32, alias=5), metric("Order", "1", STRING)
                edge.say("DBIRTH", *both, device="D")
                await online(line)
                edge.say("DDATA", metric(value=903, alias=5), device="D")
                await until(lambda: quantity(shelf) > 7)
    assert quantity(shelf) == 10
    (notice,) = shelf.notices("counter_changed")
    assert (notice.alarm, notice.detail["last"], notice.detail["now"]) == (
        True,
        "107",
        "total at G/N/D:Other, factor 1",
    )


async def test_a_birth_repeats_nothing(tmp_path: Path):
    """Births with the same values make no event."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port, events=(COUNTING, LOTS)), shelf) as line:
        with Edge(broker.port) as edge:
            born(edge, 100, done=True)
            for _ in range(5):
                born(edge, 100, done=True)
            counted(edge, 101)
            await until(lambda: shelf.deliveries)
            assert state(line) == "online"
    assert quantity(shelf) == 1


async def test_few_commits_for_many_messages(tmp_path: Path):
    """Data that make no event are no commit."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port, events=(LOTS,)), shelf) as line:
        with Edge(broker.port) as edge:
            born(edge, 100)
            for total in range(101, 301):
                counted(edge, total)
            lot(edge, 301, done=True)
            await until(lambda: quantity(shelf) == 201)
            assert state(line) == "online"
    assert len(shelf.batches) < 10


# ── who we are ──────────────────────────────────────────────────────────────────────────────────────────────


def heard(edge: Edge, **wanted: Any) -> Callable[[], bool]:
    """Whether the node was last told this of the host."""
    return lambda: bool(edge.states) and all(edge.states[-1][key] == value for key, value in wanted.items())


async def test_a_primary_host_is_online_while_it_runs_and_offline_after(tmp_path: Path):
    """Nodes see online with the time of the connection, and at a clean stop offline; both are retained."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker:
        with Edge(broker.port) as edge:
            async with running(source(broker.port, host_id="gatepost"), shelf) as line:
                await until(heard(edge, online=True, topic="spBv1.0/STATE/gatepost"))
                assert line.status()["host"] == {"host_id": "gatepost", "online": True}
                began = edge.states[-1]["timestamp"]
            await until(heard(edge, online=False))
            assert edge.states[-1]["timestamp"] >= began
        with Edge(broker.port) as later:
            await until(heard(later, online=False, retain=True))


async def test_a_host_that_dies_is_offline_by_its_will(tmp_path: Path):
    """Nodes learn it from the broker, with the time stamp of the connection that died."""
    async with mosquitto(tmp_path) as broker:
        with Edge(broker.port) as edge:
            async with running(source(broker.port, host_id="gatepost"), Shelf()) as line:
                await until(heard(edge, online=True))
                began = edge.states[-1]["timestamp"]
                assert line._link is not None
                line._link._sock.shutdown(2)
                await until(lambda: {"online": False, "timestamp": began} in [_said(one) for one in edge.states])
                await until(lambda: edge.states[-1]["online"] and edge.states[-1]["timestamp"] > began)


def _said(told: dict[str, Any]) -> dict[str, Any]:
    return {key: told[key] for key in ("online", "timestamp")}


@pytest.mark.parametrize("lie", [b'{"online": false, "timestamp": 1}', b"OFFLINE", b""])
async def test_who_says_that_we_are_offline_is_contradicted(tmp_path: Path, lie: bytes):
    """At once, with the time stamp of our connection."""
    async with mosquitto(tmp_path) as broker:
        with Edge(broker.port) as edge:
            async with running(source(broker.port, host_id="gatepost"), Shelf()):
                await until(heard(edge, online=True))
                told = len(edge.states)
                began = edge.states[-1]["timestamp"]
                edge.raw("spBv1.0/STATE/gatepost", lie, qos=1, retain=True)
                await until(lambda: len(edge.states) > told and heard(edge, online=True, timestamp=began)())


async def test_a_store_that_takes_nothing_makes_the_host_offline(tmp_path: Path):
    """Nodes keep their data meanwhile; when the store takes them again we are online, with the same time stamp."""
    shelf, line = Shelf(), None
    async with mosquitto(tmp_path) as broker:
        line = source(broker.port, host_id="gatepost")
        line.offline_after_s = 0.05
        with Edge(broker.port) as edge:
            async with running(line, shelf):
                await until(heard(edge, online=True))
                began = edge.states[-1]["timestamp"]
                shelf.full = True
                born(edge, 100)
                await until(heard(edge, online=False, timestamp=began))
                shelf.open()
                await until(heard(edge, online=True, timestamp=began))


async def test_before_the_first_commit_the_host_is_not_online(tmp_path: Path):
    """A store that has taken nothing yet may be one that cannot."""
    shelf = Shelf(storing=False)
    async with mosquitto(tmp_path) as broker:
        with Edge(broker.port) as edge:
            async with running(source(broker.port, host_id="gatepost"), shelf) as line:
                await until(lambda: shelf.batches)
                assert not edge.states
                assert line.status()["host"]["online"] is False
                assert line.status()["unstored_s"] >= 0
                shelf.storing = True
                shelf.store()
                await until(heard(edge, online=True))


# ── the broker ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_broker_that_was_away_costs_no_quantity(tmp_path: Path):
    """Connection lost: every node is stale; back: births bring the totals, and the time it lasted is noted."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port), shelf) as line:
        with Edge(broker.port) as edge:
            born(edge, 100)
            await online(line)
            await broker.stop()
            await until(lambda: not line.status()["connected"])
            assert state(line) == "stale"
        await broker.start()
        await until(lambda: line.status()["connected"])
        with Edge(broker.port, bd=1) as edge:
            born(edge, 125)
            await until(lambda: quantity(shelf) == 25)
            await until(lambda: shelf.notices("connection_back"))
            assert shelf.notices("connection_back")[0].detail["lasted_s"] >= 0


async def test_the_next_broker_of_the_list_takes_over(tmp_path: Path):
    """Fail-over, as with any MQTT source."""
    shelf = Shelf()
    async with mosquitto(tmp_path / "a") as one, mosquitto(tmp_path / "b") as two:
        brokers = (f"mqtt://127.0.0.1:{one.port}", f"mqtt://127.0.0.1:{two.port}")
        async with running(source(one.port, brokers=brokers), shelf) as line:
            await one.stop()
            await until(lambda: line.status()["connected"] and str(two.port) in line.status()["broker"])
            with Edge(two.port) as edge:
                born(edge, 1)
                await online(line)
                counted(edge, 2)
                await until(lambda: quantity(shelf) == 1)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_the_session_ends_with_its_connection(tmp_path: Path, version: str):
    """Clean session, as the specification wants it of a host: nothing of what was sent meanwhile is delivered."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker:
        for _ in range(2):
            async with running(source(broker.port, version=version), shelf) as line:
                assert line.status()["session_present"] is False
            with Edge(broker.port) as edge:
                edge.raw(edge.topic("NDEATH"), payload(seq=None), qos=1)
    assert not shelf.deliveries


async def test_a_retained_birth_is_no_birth(tmp_path: Path):
    """It may be of last year: noted, and not believed."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker:
        with Edge(broker.port) as edge:
            edge.raw(edge.topic("NBIRTH"), payload(metric("Speed", 1.5, 9), seq=0), retain=True)
            async with running(source(broker.port), shelf) as line:
                await until(lambda: shelf.notices("retained_ignored"))
                assert state(line) == "unknown"


async def test_what_cannot_be_read_is_delivered_to_quarantine(tmp_path: Path):
    """The raw bytes under their topic, with the reason; the next message goes through."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port, max_payload_kb=1), shelf) as line:
        with Edge(broker.port) as edge:
            edge.raw(edge.topic("NDATA"), b"\xff\xff")
            edge.raw(edge.topic("NDATA"), bytes(5000))
            await until(lambda: len(shelf.deliveries) == 2)
            born(edge, 100)
            await online(line)
            counted(edge, 101)
            await until(lambda: quantity(shelf) == 1)
    rubbish, large = shelf.deliveries[:2]
    assert (rubbish.topic, rubbish.payload) == ("spBv1.0/G/NDATA/N", b"\xff\xff")
    assert rubbish.properties is not None
    assert rubbish.properties["refused"].startswith("not_sparkplug: ")
    assert large.properties is not None
    assert large.properties["oversize"].startswith("5000 bytes")
    assert len(large.payload) == 4096
    assert line.status()["refused"] == {"not_sparkplug": 1, "too_large": 1}
