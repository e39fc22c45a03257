"""The whole agent as an edge node at a real mosquitto, read by the bench's own reading of Sparkplug."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.app import Agent
from agent.commands.run import server
from simulators.broker import Broker, find_mosquitto
from simulators.sparkplug.schema import new_payload, read_payload
from tests.faults.test_mqtt_tls import Authority, broker_settings
from tests.plant import ROOT, SECRETS, Plant, plant, until

NODE = "spBv1.0/1710/{}/gatepost"
STATE = "spBv1.0/STATE/scada"


class Host:
    """A host application that believes what it hears: values by name, as births and data say."""

    def __init__(self, port: int, ca: Path | None = None) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.values: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="host")
        self._client.on_connect = lambda client, *_: client.subscribe(NODE.format("+"), qos=1)
        self._client.on_message = self._on_message
        if ca is not None:
            self._client.tls_set(str(ca))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        verb = message.topic.split("/")[2]
        if verb == "NCMD":  # our own
            return
        payload = read_payload(bytes(message.payload))
        if verb == "NBIRTH":
            self._names = {one.alias: one.name for one in payload.metrics if one.HasField("alias")}
            self.values = {}
        for one in payload.metrics:
            field = one.WhichOneof("value")
            self.values[one.name or self._names[one.alias]] = getattr(one, field) if field else None
        self.heard.append((verb, payload))

    def of(self, verb: str) -> list[Any]:
        return [payload for one, payload in list(self.heard) if one == verb]

    def numbers(self, verb: str) -> list[int]:
        """The bdSeq of each message of this type."""
        return [one.long_value for payload in self.of(verb) for one in payload.metrics if one.name == "bdSeq"]

    def command(self, name: str = "Node Control/Rebirth", *, retain: bool = False, to: str = "NCMD/gatepost") -> None:
        payload = new_payload()
        metric = payload.metrics.add()
        metric.name, metric.datatype, metric.boolean_value = name, 11, True
        self.say(f"spBv1.0/1710/{to}", payload.SerializeToString(), retain=retain)

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def state(self, *, online: bool, at: int) -> None:
        self.say(STATE, json.dumps({"online": online, "timestamp": at}).encode(), retain=True)

    def told(self, name: str, value: Any) -> Callable[[], bool]:
        return lambda: bool(self.values.get(name) == value)


@contextmanager
def listening(port: int, ca: Path | None = None) -> Iterator[Host]:
    host = Host(port, ca)
    try:
        yield host
    finally:
        host.close()


def publishing(broker: int | None = None, **more: Any) -> Callable[[dict[str, Any]], None]:
    """A configuration in which the agent is an edge node, by default at the broker of its source."""

    def change(content: dict[str, Any]) -> None:
        brokers = [f"mqtt://127.0.0.1:{broker}"] if broker else [*content["sources"][0]["brokers"]]
        content["sparkplug_node"] = {"brokers": brokers, "group": "1710", "every_s": 0.2, **more}

    return change


@asynccontextmanager
async def at_work(folder: Path, **more: Any) -> AsyncIterator[tuple[Plant, Host]]:
    """A plant whose agent has its faces, and a host that listened before it."""
    async with plant(folder, change=publishing(**more), running_agent=False) as made:
        with listening(made.broker.port) as host:
            await begin(made)
            yield made, host


async def begin(made: Plant) -> None:
    made.life = asyncio.create_task(made.agent.run(server(made.agent.config)), name="agent")
    await until(lambda: made.alive() and made.status()["line"]["connected"], "the agent listens")
    await until(lambda: made.orders() >= len(made.sap.erp.ledger.orders), "the agent knows the orders")


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_it_appears_by_itself_and_tells_what_changes(tmp_path: Path, version: str):
    """Born with its health; a report that is posted changes counters and the line's last decision, in order."""
    async with at_work(tmp_path, version=version) as (made, host):
        await until(host.told("Ready", True), "the node is born and ready")
        assert host.values["Sources/line/Connected"] is True
        assert host.values["Workflows/consumption/Posted"] == 0
        row = await made.post()
        await until(host.told("Workflows/consumption/Posted", 1), "the counter grows")
        line = made.rows("SELECT line FROM posting WHERE id = ?", row.id)[0][0]
        await until(host.told(f"Lines/{line}/LastDecision/State", "acknowledged"), "the line's last decision")
        assert host.values[f"Lines/{line}/LastDecision/Posting"] == row.id
        said = [payload for verb, payload in host.heard if verb != "NDEATH"]
        begun = max(number for number, one in enumerate(host.heard) if one[0] == "NBIRTH")
        assert [payload.seq for payload in said[begun:]] == [number % 256 for number in range(len(said) - begun)]


async def test_a_host_may_ask_for_its_birth_and_for_nothing_else(tmp_path: Path):
    """A rebirth is answered with the same bdSeq; foreign and unreadable commands change nothing but a count."""
    async with at_work(tmp_path) as (made, host):
        await until(host.told("Ready", True), "the node is born and ready")
        births = len(host.of("NBIRTH"))
        states = made.states()
        for name in ("Node Control/Reboot", "Ready", "Held"):
            host.command(name)
        host.say(NODE.format("NCMD"), b"\xff" * 40)
        host.command(to="DCMD/gatepost/line")  # a device that it does not have: not even heard
        await until(host.told("CommandsRefused", 4), "the commands are refused")
        assert len(host.of("NBIRTH")) == births
        host.command()
        await until(lambda: len(host.of("NBIRTH")) > births, "another birth")
        assert len(set(host.numbers("NBIRTH"))) == 1
        assert made.states() == states
        assert host.values["Ready"] is True


async def test_a_retained_rebirth_is_no_command(tmp_path: Path):
    """It would be repeated at every connection."""
    async with plant(tmp_path, change=publishing(), running_agent=False) as made:
        with listening(made.broker.port) as host:
            host.command(retain=True)
            await begin(made)
            await until(host.told("CommandsRefused", 1), "it is refused")


async def test_a_calm_stop_says_its_death(tmp_path: Path):
    """NDEATH with the number of the birth, once, and the next life has the next number."""
    async with at_work(tmp_path) as (made, host):
        await until(lambda: host.of("NBIRTH"), "the node is born")
        await made.stop()
        await until(lambda: host.of("NDEATH"), "the node has died")
        made.agent = Agent(made.agent.config, made.clock)
        await begin(made)
        first = host.numbers("NDEATH")[0]
        await until(lambda: first + 1 in host.numbers("NBIRTH"), "another life")
        assert host.numbers("NDEATH") == [first]
        assert set(host.numbers("NBIRTH")) == {first, first + 1}


async def test_a_killed_agent_dies_by_its_will(tmp_path: Path):
    """`kill -9` of a real process: the broker says NDEATH with the number of its birth; the next life has another."""
    async with plant(tmp_path, change=publishing(), running_agent=False) as made:
        with listening(made.broker.port) as host:
            first = await process(made)
            await until(lambda: host.of("NBIRTH"), "the node is born", 60)
            number = host.numbers("NBIRTH")[0]
            assert host.of("NDEATH") == []
            await end(first, signal.SIGKILL)
            await until(lambda: host.of("NDEATH"), "the broker says its death")
            assert host.numbers("NDEATH") == [number]
            second = await process(made)
            await until(lambda: number + 1 in host.numbers("NBIRTH"), "another life", 60)
            await end(second, signal.SIGTERM)
            await until(lambda: host.numbers("NDEATH") == [number, number + 1], "its own death")
            assert second.returncode == 0


async def process(made: Plant) -> asyncio.subprocess.Process:
    with (made.folder / "agent.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agent", "run", str(made.folder / "agent.yaml"),
            cwd=ROOT, env={**os.environ, **SECRETS}, stdout=log, stderr=log,
        )  # fmt: skip


async def end(one: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        one.send_signal(number)
    await one.wait()


async def test_it_comes_back_after_the_broker(tmp_path: Path):
    """A broker that was killed: another connection with another number, and postings meanwhile are told."""
    async with at_work(tmp_path) as (made, host):
        await until(host.told("Ready", True), "the node is born and ready")
        number = host.numbers("NBIRTH")[-1]
        await made.broker.restart(kill=True)
        await until(lambda: host.numbers("NBIRTH")[-1] != number, "another birth", 60)
        await until(host.told("Sources/line/Connected", True), "the source is back as well", 60)


async def test_a_broker_that_is_away_disturbs_nobody(tmp_path: Path):
    """Nothing listens where the node should speak: reports are posted, and the agent stops calmly."""
    async with plant(tmp_path, change=publishing(broker=1), running_agent=False) as made:
        await begin(made)
        assert (await made.post()).state == "acknowledged"
        await made.stop()


async def test_it_waits_for_its_primary_host(tmp_path: Path):
    """Silent until the host is online; dies when it goes offline, and is born with another number when it is back."""
    async with at_work(tmp_path, primary_host="scada") as (made, host):
        assert (await made.post()).state == "acknowledged"
        assert host.heard == []
        host.state(online=True, at=1000)
        await until(lambda: host.of("NBIRTH"), "the node is born")
        number = host.numbers("NBIRTH")[0]
        host.state(online=False, at=900)  # the late will of an older connection
        host.command()
        await until(lambda: len(host.of("NBIRTH")) > 1, "it still speaks")
        assert host.of("NDEATH") == []
        host.state(online=False, at=1000)
        await until(lambda: host.numbers("NDEATH") == [number], "it dies with its host")
        host.state(online=True, at=2000)
        await until(lambda: host.numbers("NBIRTH")[-1] == number + 1, "it is back with its host")


async def test_a_broker_without_its_primary_host_is_left_for_the_next(tmp_path: Path):
    """Where the host is not online within `primary_host_s` the node says nothing, and is born at the next broker."""
    async with Broker(tmp_path / "first", executable=find_mosquitto()) as first:

        def change(content: dict[str, Any]) -> None:
            publishing(primary_host="scada", primary_host_s=1)(content)
            content["sparkplug_node"]["brokers"].insert(0, f"mqtt://127.0.0.1:{first.port}")

        async with plant(tmp_path, change=change, running_agent=False) as made:
            with listening(first.port) as there, listening(made.broker.port) as host:
                host.state(online=True, at=1000)
                await begin(made)
                await until(host.told("Ready", True), "the node is born at the second broker")
                assert there.heard == []
                assert face(made)["broker"] == f"mqtt://127.0.0.1:{made.broker.port}"


def face(made: Plant) -> dict[str, Any]:
    """What the status says of the node."""
    told: dict[str, Any] = made.agent.status()["faces"]["sparkplug_node"]
    return told


async def test_the_status_says_where_it_speaks_and_why_it_does_not(tmp_path: Path):
    """Connected since when, to which broker, waiting for what, what was refused; down since when, and why."""
    async with at_work(tmp_path, primary_host="scada") as (made, host):
        await until(lambda: bool(face(made)["waiting"]), "it waits for its host")
        told = face(made)
        assert told["waiting"] == "for the primary host scada to be online"
        assert (told["connected"], told["error"], told["broker"]) == (
            True, None, f"mqtt://127.0.0.1:{made.broker.port}",
        )  # fmt: skip
        host.state(online=True, at=1000)
        host.command("Ready")
        await until(lambda: face(made)["refused"] == 1, "a command is refused")
        await until(lambda: not face(made)["waiting"], "it speaks")
        await made.broker.stop()
        await until(lambda: not face(made)["connected"], "it is down")
        down = face(made)
        assert down["since"] >= told["since"]
        assert f"mqtt://127.0.0.1:{made.broker.port}: " in down["error"]
        assert down["refused"] == 1


async def test_a_state_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever goes wrong in reading it: the node stays, not ready and with the reason, and the agent posts on."""
    async with at_work(tmp_path) as (made, host):
        await until(host.told("Ready", True), "the node is born and ready")
        with monkeypatch.context() as fault:
            fault.setattr("agent.opcua.figures.parts_of", lambda *_: 1 / 0)
            await until(host.told("WhyNotReady", "the state cannot be read: division by zero"), "it says why")
            assert host.values["Ready"] is False
            assert host.values["Held"] is None
            assert face(made)["error"] == "the state cannot be read: division by zero"
            assert (await made.post()).state == "acknowledged"
        await until(host.told("Ready", True), "it is ready again")
        assert face(made)["error"] is None
        assert len(set(host.numbers("NBIRTH"))) == 1


async def test_a_frozen_broker_does_not_hold_up_the_stop(tmp_path: Path):
    """A broker that takes nothing any more: the agent decides on, and stops without waiting for its keep-alive."""
    node = Broker(tmp_path / "frozen", executable=find_mosquitto())
    async with node:
        long = {"keep_alive_s": 3600}
        async with plant(tmp_path, change=publishing(broker=node.port, **long), running_agent=False) as made:
            with listening(node.port) as host:
                await begin(made)
                await until(host.told("Ready", True), "the node is born and ready")
            pid = int((node.folder / "pid").read_text(encoding="ascii"))
            os.kill(pid, signal.SIGSTOP)
            try:
                assert (await made.post()).state == "acknowledged"
                async with asyncio.timeout(60):
                    await made.stop()
            finally:
                os.kill(pid, signal.SIGCONT)


async def test_another_broker_where_the_first_is_away(tmp_path: Path):
    """Brokers in fail-over order: the node appears at the second."""

    def change(content: dict[str, Any]) -> None:
        publishing()(content)
        content["sparkplug_node"]["brokers"].insert(0, "mqtt://127.0.0.1:1")

    async with plant(tmp_path, change=change, running_agent=False) as made:
        with listening(made.broker.port) as host:
            await begin(made)
            await until(host.told("Ready", True), "the node is born at the second broker")


async def test_it_trusts_its_own_authority_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Over TLS it is born and dies as without; a broker of another authority is refused in one clear line."""
    plants, others = Authority(tmp_path / "pki", "plant"), Authority(tmp_path / "other", "other")
    settings = broker_settings(plants, plants.issue("broker"))
    ca = plants.folder / "ca.pem"
    for trusted in (plants, others):
        folder = tmp_path / trusted.folder.name / "plant"
        folder.mkdir()
        async with Broker(folder / "tls", executable=find_mosquitto(), settings=settings) as broker:
            at: dict[str, Any] = {
                "brokers": [f"mqtts://127.0.0.1:{broker.port}"],
                "ca_file": str(trusted.folder / "ca.pem"),
            }
            async with plant(folder, change=publishing(**at), running_agent=False) as made:
                with listening(broker.port, ca) as host:
                    await begin(made)
                    if trusted is plants:
                        await until(host.told("Ready", True), "the node is born and ready")
                        await made.stop()
                        await until(lambda: host.numbers("NDEATH") == host.numbers("NBIRTH")[-1:], "its death")
                    else:
                        await until(lambda: "its certificate is refused" in caplog.text, "the log says why")
                        assert host.heard == []
