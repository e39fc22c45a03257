"""What every source promises: one table, one row per kind of source, against what it listens to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent import assembly
from agent.access.secrets import SecretPlaces
from agent.ports import Delivery, ErpTarget, Source, Surroundings
from agent.sources import SOURCES
from simulators.erp.server import running as sap_running
from tests import opcua_bench
from tests.mqtt_bench import Shelf, mosquitto, publish, until
from tests.sparkplug_bench import LOTS, TAGS, Edge, born, metric, stored_up_to_a_delivery

NOW = datetime(2026, 11, 20, 14, 0, 5, tzinfo=UTC)
SECRETS = SecretPlaces.of({"GATEPOST_SECRET_ERP": "s3cret"})


@dataclass(frozen=True, slots=True)
class Bench:
    """A cold source, and how to make something arrive by it; `told` says whether its sender knows that it is safe."""

    source: Source
    send: Callable[[Shelf], Awaitable[None]]
    told: Callable[[], Awaitable[bool]]


def made(part: str, kind: str, settings: Mapping[str, Any], targets: Mapping[str, ErpTarget] | None = None) -> Any:
    """A plug-in as the app makes it: from its own settings and what the app lends it."""
    kept: dict[str, bytes] = {}
    around = Surroundings(
        lambda: NOW, "1710", ZoneInfo("Europe/Berlin"), kept.__setitem__, kept.get, dict(targets or {})
    )
    config = assembly.resolver()(part, kind).model_validate(dict(settings), context={"secrets": SECRETS})
    return assembly._plug_in(part, kind).of(config, around)


@asynccontextmanager
async def mqtt(folder: Path) -> AsyncIterator[Bench]:
    """A mosquitto; what is acknowledged is not delivered again to the next session."""
    async with mosquitto(folder) as broker:
        settings = {
            "name": "line",
            "brokers": [f"mqtt://127.0.0.1:{broker.port}"],
            "client_id": "conformance",
            "topics": ["plant/#"],
        }
        source = made("sources", "mqtt", settings)

        async def told() -> bool:
            return bool(source.status()["in_flight"] == 0)

        yield Bench(source, lambda shelf: publish(broker.port, [b"{}"], topic="plant/a"), told)


@asynccontextmanager
async def http(folder: Path) -> AsyncIterator[Bench]:
    """Whoever posts waits for his answer."""
    source = made("sources", "http", {"name": "line"})
    answers: list[asyncio.Task[None]] = []

    async def send(shelf: Shelf) -> None:
        answers.append(asyncio.create_task(source.submit(shelf, [Delivery("plant/a", b"{}")])))

    async def told() -> bool:
        return bool(answers) and answers[-1].done()

    yield Bench(source, send, told)
    for one in answers:
        one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await one


@asynccontextmanager
async def erp_orders(folder: Path) -> AsyncIterator[Bench]:
    """The simulated SAP: the watermark moves when the orders are on disk."""
    async with sap_running(user="GATEPOST", password="s3cret") as sap:
        auth = {"kind": "basic", "user": "GATEPOST", "password": {"secret": "erp"}}
        settings = {"name": "erp", "url": sap.base_url, "time_zone": "Europe/Berlin", "auth": auth}
        target = made("targets", "sap_s4", settings)
        own = {"name": "line", "target": "erp", "plant": "1710", "poll_s": 0.05, "stock": False}
        source = made("sources", "erp_orders", own, {"erp": target})

        async def send(shelf: Shelf) -> None:
            sap.erp.ledger.orders["1000100"].touch(datetime.now(UTC))

        async def told() -> bool:
            return bool(source.status()["watermark"])

        try:
            yield Bench(source, send, told)
        finally:
            await target.close()


@asynccontextmanager
async def sparkplug(folder: Path) -> AsyncIterator[Bench]:
    """A node on a mosquitto: QoS 0 tells a sender nothing, the handshake of an event does, after the commit."""
    async with mosquitto(folder) as broker:
        settings = {
            "name": "line",
            "brokers": [f"mqtt://127.0.0.1:{broker.port}"],
            "client_id": "conformance",
            "tags": TAGS,
            "events": [LOTS],
        }
        source = made("sources", "sparkplug", settings)
        with Edge(broker.port) as edge:

            async def send(shelf: Shelf) -> None:
                born(edge, 100)
                edge.say("DDATA", metric(value=1, alias=2, field=14), device="D")
                await until(lambda: stored_up_to_a_delivery(shelf))

            async def told() -> bool:
                return any("DCMD" in command["topic"] and command[4] for command in edge.commands)

            yield Bench(source, send, told)


@asynccontextmanager
async def opcua(folder: Path) -> AsyncIterator[Bench]:
    """A server; it knows no acknowledgement, the handshake of an event is written after the commit."""
    port = opcua_bench.free_port()
    settings = opcua_bench.config(port, name="line", events=[opcua_bench.REQUEST]).model_dump(exclude_unset=True)
    async with opcua_bench.serving(port) as plc:
        for name, (value, type_) in opcua_bench.NODES.items():
            await opcua_bench.put(plc[name], value, type_, at=NOW)  # by the clock of these tests
        source = made("sources", "opcua", settings)

        async def send(shelf: Shelf) -> None:
            await until(lambda: source.status()["connected"])
            await opcua_bench.put(plc["done"], False, "Boolean", at=NOW)
            await until(lambda: source._tags.current().get("done", (None,))[0] is False)
            await opcua_bench.put(plc["done"], True, "Boolean", at=NOW)
            await until(lambda: stored_up_to_a_delivery(shelf))

        async def told() -> bool:
            return bool(await plc["ack"].read_value())

        yield Bench(source, send, told)


BENCHES: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Bench]]] = {
    "mqtt": mqtt,
    "http": http,
    "erp_orders": erp_orders,
    "sparkplug": sparkplug,
    "opcua": opcua,
}
each = pytest.mark.parametrize("kind", BENCHES)


@asynccontextmanager
async def at_work(bench: Bench, shelf: Shelf) -> AsyncIterator[asyncio.Task[None]]:
    """The source runs, and something has arrived by it."""
    task = asyncio.create_task(bench.source.run(shelf))
    try:
        if bench.source.status()["connected"] is False and "broker" in bench.source.status():
            await until(lambda: bench.source.status()["connected"])
        await bench.send(shelf)
        await until(lambda: shelf.deliveries)
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_every_kind_of_source_has_its_bench():
    """A new source in the table needs a row here, and gets every test below."""
    assert set(BENCHES) == set(SOURCES)


@each
async def test_the_sender_knows_only_after_the_commit(kind: str, tmp_path: Path):
    """Until `stored` is called the sender keeps it; after that he is told."""
    shelf = Shelf(storing=False)
    async with BENCHES[kind](tmp_path) as bench, at_work(bench, shelf):
        assert not await bench.told()
        shelf.store()
        shelf.storing = True
        end = asyncio.get_running_loop().time() + 30
        while not await bench.told():
            assert asyncio.get_running_loop().time() < end, "the sender was never told"
            await asyncio.sleep(0.01)


@each
async def test_what_it_delivers_is_raw_and_named(kind: str, tmp_path: Path):
    """Batches carry the source's name, an aware time, bytes, and properties that can be stored as texts."""
    shelf = Shelf()
    async with BENCHES[kind](tmp_path) as bench, at_work(bench, shelf):
        for batch in shelf.batches:
            assert batch.source == bench.source.name == "line"
            assert batch.received_at.tzinfo is not None
            for one in batch.deliveries:
                assert isinstance(one.payload, bytes)
                assert one.topic
                assert all(isinstance(value, str) for value in (one.properties or {}).values())
            assert all(isinstance(value, bytes) for _, value in batch.checkpoints)


@each
async def test_its_status_has_the_keys_that_everybody_reads(kind: str, tmp_path: Path):
    """Cold and at work: ``connected``, ``since``, ``last_delivery_at``, ``error``; at work it is connected."""
    shelf = Shelf()
    async with BENCHES[kind](tmp_path) as bench:
        assert {"connected", "since", "last_delivery_at", "error"} <= set(bench.source.status())
        async with at_work(bench, shelf):
            await until(lambda: bench.source.status()["connected"] and bench.source.status()["last_delivery_at"])
            assert not bench.source.status()["error"]
            assert json.dumps(bench.source.status(), default=str)


@each
async def test_it_ends_promptly_when_it_is_cancelled_and_can_run_again(kind: str, tmp_path: Path):
    """Cancelled it ends as cancelled; the same object works again."""
    shelf = Shelf()
    async with BENCHES[kind](tmp_path) as bench:
        for _ in range(2):
            async with at_work(bench, shelf) as task:
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=60)
                assert done
                assert task.cancelled()
