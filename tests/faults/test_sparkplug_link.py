"""What happens around a Sparkplug source: it recovers by itself, and status says what it was and how long it lasted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.sources.sparkplug import SparkplugSource
from tests.faults.test_mqtt_tls import DAY, Authority, broker_settings
from tests.mqtt_bench import Shelf, mosquitto, until
from tests.quiet_link import quiet_link
from tests.sparkplug_bench import (
    FLOAT,
    UINT32,
    Edge,
    birth_of_device,
    born,
    metric,
    own_metrics,
    payload,
    quantity,
    running,
    source,
)


def node(line: SparkplugSource) -> Mapping[str, Any]:
    shown: Mapping[str, Any] = line.status()["nodes"]["G/N"]
    return shown


def over(line: SparkplugSource, *what: str) -> bool:
    """The node is well again after this trouble, and status says how long it took."""
    trouble = node(line)["trouble"]
    return (
        node(line)["state"] == "online"
        and trouble is not None
        and any(one in trouble["what"] for one in what)
        and trouble["over"]
        and trouble["lasted_s"] >= 0
    )


async def counting(edge: Edge, line: SparkplugSource, shelf: Shelf) -> None:
    """The node is born with 100, and has counted to 107."""
    born(edge, 100)
    await until(lambda: node(line)["state"] == "online")
    edge.say("DDATA", metric(value=107, alias=1), device="D")
    await until(lambda: quantity(shelf) == 7)


@pytest.mark.parametrize(("how", "keep_alive_s"), [("silence", 3), ("cut", 60)])
async def test_a_link_to_the_broker_that_breaks_is_a_trouble_with_its_time(tmp_path: Path, how: str, keep_alive_s: int):
    """Half-open or reset: tags are stale meanwhile; connected again the births bring what was made."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, quiet_link(broker.port) as link:
        with Edge(broker.port) as edge:
            async with running(source(link.port, keep_alive_s=keep_alive_s), shelf) as line:
                await counting(edge, line, shelf)
                asked = edge.rebirths()
                link.silence()
                if how == "cut":
                    link.cut()
                await until(lambda: not line.status()["connected"])
                assert node(line)["state"] == "stale"
                assert node(line)["trouble"]["over"] is False
                edge.say("DDATA", metric(value=117, alias=1), device="D")
                link.speak()
                await until(lambda: edge.rebirths() > asked)
                born(edge, 120)
                await until(lambda: quantity(shelf) == 20)
                await until(lambda: over(line, "connection to the broker"))
                await until(lambda: shelf.notices("connection_back"))


@pytest.mark.parametrize("kill", [False, True])
async def test_a_broker_that_restarts_is_a_trouble_with_its_time(tmp_path: Path, *, kill: bool):
    """Stopped or killed: found again, every node is asked, totals are exact."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port), shelf) as line:
        with Edge(broker.port) as edge:
            await counting(edge, line, shelf)
        await broker.restart(kill=kill)
        with Edge(broker.port, bd=1) as edge:
            await until(edge.rebirths)
            born(edge, 130)
            await until(lambda: quantity(shelf) == 30)
            await until(lambda: over(line, "connection to the broker", "died"))


async def test_certificates_are_renewed_on_both_sides(tmp_path: Path):
    """The broker comes back with a new one of the same authority and wants our new one: nobody has to do anything."""
    shelf, authority = Shelf(), Authority(tmp_path / "pki", "plant")
    server, ours = authority.issue("broker"), authority.issue("agent")
    settings = {**broker_settings(authority, server), "require_certificate": "true"}
    options: dict[str, Any] = {
        "ca_file": authority.folder / "ca.pem",
        "cert_file": ours,
        "key_file": ours.with_suffix(".key"),
    }
    async with mosquitto(tmp_path / "m", **settings) as broker:
        line = source(broker.port, brokers=(f"mqtts://127.0.0.1:{broker.port}",), **options)
        async with running(line, shelf):
            first = line.status()["since"]
            await broker.stop()
            await until(lambda: not line.status()["connected"])
            for file in (server, ours):
                _replace(file, authority.issue(f"{file.stem}-renewed", ends=30 * DAY))
            await broker.start()
            await until(lambda: line.status()["connected"])
            assert line.status()["since"] > first
            assert line.status()["error"] is None
            (back,) = [one.detail for one in shelf.notices("connection_back")] or [{"lasted_s": -1}]
            assert back["lasted_s"] >= 0


def _replace(file: Path, renewed: Path) -> None:
    for suffix in (".key", ".pem"):
        shutil.copy(renewed.with_suffix(suffix), file.with_suffix(suffix))


async def test_an_alias_that_means_something_else_after_a_rebirth_misleads_nobody(tmp_path: Path):
    """Aliases change places: data follow the new birth; one that no birth has makes stale until the next, with time."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port, reorder_s=0), shelf) as line:
        with Edge(broker.port) as edge:
            await counting(edge, line, shelf)
            _born_with(edge, 107, total=5, other=1)
            edge.say("DDATA", metric(value=9000, alias=1), metric(value=110, alias=5), device="D")
            await until(lambda: quantity(shelf) == 10)
            edge.say("DDATA", metric(value=9100, alias=77), device="D")
            await until(lambda: node(line)["state"] == "stale")
            await until(edge.rebirths)
            _born_with(edge, 112, total=77, other=5)
            edge.say("DDATA", metric(value=9200, alias=5), metric(value=115, alias=77), device="D")
            await until(lambda: quantity(shelf) == 15)
            await until(lambda: over(line, "alias"))


def _born_with(edge: Edge, value: int, *, total: int, other: int) -> None:
    """The births again, with other aliases."""
    edge.say("NBIRTH", metric("Speed", 12.5, FLOAT, alias=9))
    edge.say(
        "DBIRTH",
        metric("Total", value, UINT32, alias=total),
        metric("Other", 1, UINT32, alias=other),
        metric("Order", "1000100", 12, alias=33),
        device="D",
    )


async def test_a_clock_that_is_an_hour_off_is_told_until_it_is_right_again(tmp_path: Path):
    """A node that is born an hour ahead counts all the same; born with the right time it is over, with its time."""
    shelf = Shelf()
    async with mosquitto(tmp_path) as broker, running(source(broker.port), shelf) as line:
        with Edge(broker.port) as edge:
            _born_ahead(edge, 100, hours=1)
            edge.say("DDATA", metric(value=107, alias=1), device="D")
            await until(lambda: quantity(shelf) == 7)
            (notice,) = shelf.notices("clock_skew")
            assert abs(notice.detail["seconds"] - 3600) < 300
            assert node(line)["clock"]["over"] is False
            _born_ahead(edge, 112, hours=0)
            await until(lambda: quantity(shelf) == 12)
            clock = node(line)["clock"]
            assert (clock["over"], clock["lasted_s"] >= 0) == (True, True)
            assert abs(node(line)["clock_skew_s"]) < 300
            assert len(shelf.notices("clock_skew")) == 1


def _born_ahead(edge: Edge, total: int, *, hours: int) -> None:
    """The births of a node whose clock is so far ahead."""
    at = int((time.time() + hours * 3600) * 1000)
    speed = metric("Speed", 12.5, FLOAT, alias=9, at=at)
    edge.seq = 1
    edge.raw(edge.topic("NBIRTH"), payload(*own_metrics(edge.bd), speed, seq=0, at=at))
    edge.raw(edge.topic("DBIRTH", "D"), payload(*birth_of_device(total), seq=1, at=at))
