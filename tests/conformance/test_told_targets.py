"""What every target promises that tells people or a line: at least once, under one id, against real receivers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent import assembly
from agent.access.secrets import SecretPlaces
from agent.erp import TARGETS
from agent.errors import ErpError, ErpInDoubt, ErpRejected, ErpUnavailable
from agent.ports import ErpTarget, Kind, Posting, SaysInErpWords, Surroundings
from agent.store.keys import idempotency_key, request_id
from simulators.broker import Broker, find_mosquitto, free_port
from simulators.receivers.hook import hook
from simulators.receivers.mailbox import mailbox
from simulators.receivers.node_line import URI, node_line
from simulators.receivers.topic_line import topic_line
from tests.mqtt_bench import DEADLINE, until
from tests.quiet_link import quiet_link

NOW = datetime(2026, 11, 20, 14, 0, 5, tzinfo=UTC)
NOTIFICATION = {
    "to": ["planner"], "severity": "warning", "subject": "Order 1000100 cannot start", "cause": "blocked/1000100",
    "text": "RM-RESIN: 500 KG needed, 120 KG at the line.", "link": "#/held/7", "order": "1000100", "line": "mixing",
}  # fmt: skip
DISPATCH = {
    "order": "1000100", "operation": "0010", "work_center": "MIX-01", "material": "CMP-BLUE", "quantity": "500",
    "unit": "KGM", "due": "2026-11-21T14:00:00+00:00", "sequence": "3", "text": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """A target, who receives from it, and how each fault is brought about and mended."""

    target: ErpTarget
    kind: Kind
    payload: Mapping[str, Any]
    received: Callable[[], list[str]]  # ids, each once, in the order in which they came first
    faults: Mapping[str, Callable[[], Awaitable[None] | None]]  # "lost" (has it, no answer) · "down" · "refused"
    mend: Callable[[], Awaitable[None]]
    finds: bool = False  # `find` hears of what was received although its answer was late


def made(kind: str, settings: Mapping[str, Any], folder: str = "") -> Any:
    kept: dict[str, bytes] = {}
    zone = ZoneInfo("Europe/Berlin")
    around = Surroundings(lambda: NOW, "1710", zone, kept.__setitem__, kept.get, data=Path(folder))
    places = SecretPlaces.of({"GATEPOST_SECRET_HOOK": "s3cret-hook"})
    model = assembly.resolver()("targets", kind)
    return assembly._plug_in("targets", kind).of(
        model.model_validate({"name": kind, **settings}, context={"secrets": places}), around
    )


def each_once(ids: list[str]) -> list[str]:
    return list(dict.fromkeys(ids))


async def nothing() -> None:
    """What failed once works again by itself."""


@asynccontextmanager
async def notify_webhook() -> AsyncIterator[Bench]:
    async with hook() as web:
        channel = {"kind": "webhook", "url": web.url, "secret": {"secret": "hook"}, "total_s": 5}
        target = made("notify", {"channels": {"web": channel}, "people": {"planner": ["web"]}, "otherwise": "planner"})
        faults = {
            how: lambda fault=fault: setattr(web, "fault", fault)
            for how, fault in {"lost": "lost", "down": "503", "refused": "422"}.items()
        }
        yield Bench(
            target,
            Kind.NOTIFICATION,
            NOTIFICATION,
            lambda: each_once([one.headers["idempotency-key"] for one in web.posted]),
            faults,
            nothing,
        )


@asynccontextmanager
async def notify_mail() -> AsyncIterator[Bench]:
    async with mailbox() as box:
        channel = {"kind": "mail", "host": "127.0.0.1", "port": box.port, "security": "none", "sender": "gp@plant.test"}
        people = {"planner": ["post:planning@plant.test"]}
        target = made("notify", {"channels": {"post": channel}, "people": people, "otherwise": "planner"})
        faults = {how: lambda how=how: setattr(box, "fault", how) for how in ("lost", "down", "refused")}
        yield Bench(
            target,
            Kind.NOTIFICATION,
            NOTIFICATION,
            lambda: each_once([str(one["Message-ID"])[1:].partition("@")[0] for one in box.mails]),
            faults,
            nothing,
        )


@asynccontextmanager
async def broker() -> AsyncIterator[Broker]:
    with TemporaryDirectory() as folder:
        program = find_mosquitto()
        if program is None:
            pytest.skip("mosquitto is not installed here")
        async with Broker(Path(folder), executable=program) as one:
            yield one


@asynccontextmanager
async def notify_mqtt() -> AsyncIterator[Bench]:
    """A listener at the broker; the agent's way there can fall silent."""
    async with (
        broker() as there,
        quiet_link(there.port) as link,
        topic_line(there.port, "plant/notify/planner", "plant/said") as listener,
    ):
        channel = {"kind": "mqtt", "brokers": [f"mqtt://127.0.0.1:{link.port}"], "answer_s": 1}
        people = {"planner": ["panel:plant/notify/planner"]}
        target = made("notify", {"channels": {"panel": channel}, "people": people, "otherwise": "planner"})
        await target._channels["panel"]._publisher.connect()

        async def mend() -> None:
            link.speak()

        async def down() -> None:
            publisher = target._channels["panel"]._publisher
            link.silence()
            link.cut()
            await until(lambda: publisher._connection is None or not publisher._connection.fit)

        yield Bench(
            target,
            Kind.NOTIFICATION,
            NOTIFICATION,
            lambda: listener.taken,
            {"down": down},
            mend,
        )
        await target.close()


@asynccontextmanager
async def line_mqtt() -> AsyncIterator[Bench]:
    async with broker() as there, topic_line(there.port, "plant/MIX-01/dispatch", "plant/MIX-01/taken") as line:
        mqtt = {
            "brokers": [f"mqtt://127.0.0.1:{there.port}"],
            "topic": "plant/{work_center}/dispatch",
            "answers": "plant/{work_center}/taken",
        }
        target = made("line", {"mqtt": mqtt, "answer_s": 1})

        async def mend() -> None:
            await line.start(there.port) if not line.connected else line.speak()

        yield Bench(
            target,
            Kind.DISPATCH,
            DISPATCH,
            lambda: line.taken,
            {
                "lost": lambda: setattr(line, "silent", True),
                "down": line.stop,
                "refused": lambda: setattr(line, "refuses", "a tool is missing"),
            },
            mend,
            finds=True,
        )
        await target.close()


def opcua(port: int, **ways: Any) -> dict[str, Any]:
    return {
        "endpoints": [f"opc.tcp://127.0.0.1:{port}/"], "policy": "none", "namespaces": {"line": URI},
        "active": "ns=line;s=MIX-01.active", "publishing_ms": 20, **ways,
    }  # fmt: skip


@asynccontextmanager
async def line_opcua() -> AsyncIterator[Bench]:
    """Nodes with a handshake."""
    port = free_port()
    node = "ns=line;s={work_center}."
    handshake = {one: f"{node}{one}" for one in ("request", "answer", "refused")}
    written = {one: f"{node}{one}" for one in ("order", "material", "quantity", "sequence")}
    with TemporaryDirectory() as folder:
        async with node_line(port, "MIX-01") as line:
            settings = {"opcua": opcua(port, nodes=written, **handshake), "answer_s": 1}
            target = made("line", settings, folder)

            async def mend() -> None:
                await line.nodes["active"].write_value(True)
                await line.speak()

            yield Bench(
                target,
                Kind.DISPATCH,
                DISPATCH,
                lambda: line.taken,
                {
                    "lost": lambda: setattr(line, "silent", True),
                    "down": lambda: line.nodes["active"].write_value(False),
                    "refused": lambda: setattr(line, "refuses", "a tool is missing"),
                },
                mend,
                finds=True,
            )
            await target.close()


@asynccontextmanager
async def line_method() -> AsyncIterator[Bench]:
    """A method, whose answer is the acknowledgement."""
    port = free_port()
    method = {
        "object": "ns=line;s={work_center}", "method": "ns=line;s={work_center}.take",
        "arguments": ["id", "order", "quantity"],
    }  # fmt: skip
    with TemporaryDirectory() as folder:
        async with node_line(port, "MIX-01") as line:
            target = made("line", {"opcua": opcua(port, method=method), "answer_s": 1}, folder)

            async def mend() -> None:
                await line.nodes["active"].write_value(True)

            yield Bench(
                target,
                Kind.DISPATCH,
                DISPATCH,
                lambda: line.taken,
                {
                    "down": lambda: line.nodes["active"].write_value(False),
                    "refused": lambda: setattr(line, "refuses", "a tool is missing"),
                },
                mend,
            )
            await target.close()


BENCHES: Mapping[str, Callable[[], AbstractAsyncContextManager[Bench]]] = {
    "notify by webhook": notify_webhook,
    "notify by mail": notify_mail,
    "notify by mqtt": notify_mqtt,
    "line by mqtt": line_mqtt,
    "line by opcua": line_opcua,
    "line by method": line_method,
}
TOLD = {name.partition(" ")[0] for name in BENCHES}
ERRORS: Mapping[str, type[ErpError]] = {"lost": ErpInDoubt, "down": ErpUnavailable, "refused": ErpRejected}
COLD: Mapping[str, tuple[Kind, Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    "notify": (
        Kind.NOTIFICATION,
        NOTIFICATION,
        {"to": [], "severity": "loud", "subject": "", "text": "", "cause": 7},
        {
            "channels": {"web": {"kind": "webhook", "url": "https://chat.test/", "secret": {"secret": "hook"}}},
            "people": {"planner": ["web"]},
            "otherwise": "planner",
        },
    ),
    "line": (
        Kind.DISPATCH,
        DISPATCH,
        {"work_center": "MIX/+", "quantity": "-1", "unit": "BUCKET", "due": "tomorrow", "text": "x" * 201},
        {"mqtt": {"brokers": ["mqtt://broker.test"], "topic": "a/{work_center}", "acknowledged_by": "broker"}},
    ),
}
each = pytest.mark.parametrize("way", BENCHES)
each_cold = pytest.mark.parametrize("name", COLD)


def posting(bench: Bench, number: int = 1) -> Posting:
    """A posting at its first claim, its bytes frozen."""
    return frozen(bench.target, bench.kind, bench.payload, number)


def frozen(target: ErpTarget, kind: Kind, payload: Mapping[str, Any], number: int = 1) -> Posting:
    key = idempotency_key(f"{kind}:{number}", "conformance", target.name)
    one = Posting(
        number, number, kind, target.name, "lane", key, payload, "sending", 1, NOW,
        first_sent_at=NOW, request_id=request_id(key),
    )  # fmt: skip
    return one._replace(wire=target.freeze(one))


async def fail(bench: Bench, how: str) -> None:
    brought_about = bench.faults[how]()
    if brought_about is not None:
        await brought_about


def test_every_kind_of_target_that_tells_has_its_bench():
    """Each is in the table of targets."""
    assert set(TARGETS) >= TOLD


@each
async def test_what_is_told_is_received_once_under_its_id(way: str):
    """Told again it is the same message, and another posting is another one."""
    async with BENCHES[way]() as bench:
        assert bench.target.check(bench.kind, bench.payload) == []
        one, two = posting(bench), posting(bench, 2)
        answer = await bench.target.post(one)
        assert answer.document.endswith(one.idempotency_key)
        assert not answer.found
        again = await bench.target.post(one)
        assert again.document == answer.document
        await until(lambda: bench.received() == [one.idempotency_key])
        assert await bench.target.find(two) is None
        await bench.target.post(two)
        await until(lambda: bench.received() == [one.idempotency_key, two.idempotency_key])


@each_cold
def test_frozen_bytes_are_the_same_at_every_retry(name: str):
    """Whatever is known later of a posting (tries, state, time), its bytes stay; another posting has others."""
    kind, payload, _, settings = COLD[name]
    target = made(name, settings)
    one = frozen(target, kind, payload)
    later = one._replace(attempts=3, lookups=2, state="ready", version=9, last_sent_at=NOW.replace(year=2027))
    assert target.freeze(later) == one.wire
    assert frozen(target, kind, payload, 2).wire != one.wire
    assert b"s3cret" not in (one.wire or b"")


@each
async def test_a_no_reaches_nobody_a_lost_answer_is_a_doubt_and_in_the_end_each_message_is_there_once(way: str):
    """Every fault of a way, one after the other: what it is called, what status says, and what comes of it."""
    async with BENCHES[way]() as bench:
        received = []
        for number, how in enumerate(bench.faults, start=1):
            one = posting(bench, number)
            await fail(bench, how)
            with pytest.raises(ERRORS[how]) as told:
                await bench.target.post(one)
            assert told.type is ERRORS[how]
            assert str(told.value).isprintable()
            assert "s3cret" not in str(told.value)
            assert bench.target.status()["connected"] == (how == "refused")
            if how == "lost":
                received.append(one.idempotency_key)
                await until(lambda: bench.received() == received)  # noqa: B023  # in this turn
            await bench.mend()
            if how == "lost":
                await looked_for(bench, one)
            assert bench.received() == received
            if how == "refused":  # what it was refused for is mended by another posting
                one = posting(bench, 10 + number)
            await bench.target.post(one)
            received += [] if how == "lost" else [one.idempotency_key]
            await until(lambda: bench.received() == received)  # noqa: B023
            assert bench.target.status()["connected"]


async def looked_for(bench: Bench, one: Posting) -> None:
    """`find` hears of what was received, where that can be asked; elsewhere it is told again under the same id."""
    assert bench.target.lookup_reliable
    found = await bench.target.find(one)
    async with asyncio.timeout(DEADLINE):
        while bench.finds and found is None:  # the answer is on its way
            await asyncio.sleep(0.01)
            found = await bench.target.find(one)
    assert (found is not None) == bench.finds
    assert found is None or (found.found and found.document.endswith(one.idempotency_key))


@each_cold
def test_what_nobody_could_be_told_is_said_before_it_is_sent(name: str):
    """`check` is pure, names the field and the value, and takes no other kind of posting."""
    kind, payload, wrong, settings = COLD[name]
    target = made(name, settings)
    for field_name, value in wrong.items():
        (words,) = target.check(kind, {**payload, field_name: value})
        assert field_name in words
        assert words.isprintable()
    assert target.check(kind, payload) == []
    assert target.check(Kind.GOODS_ISSUE, payload)


@each_cold
def test_what_will_be_told_can_be_shown(name: str):
    """Field and value, for people."""
    kind, payload, _, settings = COLD[name]
    target = made(name, settings)
    assert isinstance(target, SaysInErpWords)
    shown = dict(target.in_its_words(kind, payload))
    assert {"order", "material"} <= set(shown) or {"subject", "text"} <= set(shown)
    assert target.in_its_words(Kind.GOODS_ISSUE, payload) == ()
