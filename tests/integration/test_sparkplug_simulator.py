"""The simulated Sparkplug B edge node against a real mosquitto and a plain host that follows the specification."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from simulators.broker import Broker, find_mosquitto
from simulators.line.tags import Kind, tags, totals
from simulators.scenario import load
from simulators.sparkplug.faults import FAULTS
from simulators.sparkplug.schema import new_payload, read_payload

ROOT = Path(__file__).parents[2]
SCENARIO = load()
CENTERS = set(SCENARIO.work_centers)
COUNTED = {
    (center, tag.name): tag
    for center in CENTERS
    for tag in tags(SCENARIO, center)
    if tag.kind is Kind.COUNTER and tag.unit and tag.name != "Made/Total"
}


class Said(NamedTuple):
    """A message of the node, taken apart."""

    kind: str
    device: str
    payload: Any
    qos: int
    retain: bool


class Host:
    """Listens, keeps the values by alias, counts at each new `Lot/Number`, acknowledges where it shall."""

    def __init__(self, port: int, *, acknowledges: bool = False) -> None:
        self.said: list[Said] = []
        self.names: dict[int, tuple[str, str]] = {}
        self.values: dict[tuple[str, str], Any] = {}
        self.totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self.acknowledges = acknowledges
        self._counted: dict[tuple[str, str], int] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._heard
        self._client.on_connect = lambda client, *_: client.subscribe("spBv1.0/1710/#", qos=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def state(self, timestamp: int, *, online: bool) -> None:
        said = json.dumps({"online": online, "timestamp": timestamp})
        self._client.publish("spBv1.0/STATE/gatepost", said, qos=1, retain=True).wait_for_publish(10)

    def write(self, kind: str, metric: str, device: str = "", *, value: bool = True) -> None:
        payload = new_payload()
        payload.timestamp = 1
        payload.metrics.add(name=metric, timestamp=1, datatype=11, boolean_value=value)
        address = f"spBv1.0/1710/{kind}/line" + (f"/{device}" if device else "")
        self._client.publish(address, payload.SerializeToString(), qos=0)

    def of(self, kind: str) -> list[Said]:
        return [one for one in list(self.said) if one.kind == kind]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _heard(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        _, _, kind, _, *device = message.topic.split("/")
        if kind in ("NCMD", "DCMD"):
            return
        said = Said(kind, "".join(device), read_payload(bytes(message.payload)), message.qos, message.retain)
        if kind == "NBIRTH":
            self.names.clear()
        if kind != "NDEATH":
            self._follow(said)
        self.said.append(said)

    def _follow(self, said: Said) -> None:
        for metric in said.payload.metrics:
            if metric.name and metric.HasField("alias"):
                self.names[metric.alias] = (said.device, metric.name)
            key = self.names.get(metric.alias) if metric.HasField("alias") else (said.device, metric.name)
            if key is None:
                continue
            value = getattr(metric, metric.WhichOneof("value"))
            before, self.values[key] = self.values.get(key), value
            if key[1] == "Lot/Number" and value != before:
                self._count(said.device)
            if key[1] == "Lot/Done" and value != before and self.acknowledges:
                self.write("DCMD", "Lot/Ack", said.device, value=value)

    def _count(self, device: str) -> None:
        for key, tag in COUNTED.items():
            if key[0] == device:
                total = self.values[key]
                grown = (total - self._counted.get(key, total)) % (tag.modulus or 1 << 32)
                self._counted[key] = total
                what = {"Made/Good": "yield", "Made/Scrap": "scrap"}.get(tag.name) or tag.name.split("/")[1]
                if grown:
                    self.totals[self.values[device, "Order/Number"], what] += grown * tag.step


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with Broker(tmp_path / "broker", executable=find_mosquitto()) as running:
        yield running


@pytest.fixture
def host(broker: Broker):
    host = Host(broker.port)
    yield host
    host.close()


@asynccontextmanager
async def node(broker: Broker, truth: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    command = ["-m", "simulators.sparkplug", "--broker", f"127.0.0.1:{broker.port}", "--truth", str(truth)]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, *options, cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(done: Callable[[], object], what: str) -> None:
    """Wait for a condition that another thread or process makes true; the deadline says what it waited for."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 30
    while not done():
        assert loop.time() < end, f"{what}: still not so"
        await asyncio.sleep(0.01)


def meant(truth: Path) -> dict[tuple[str, str], Decimal]:
    text = truth.read_text(encoding="utf-8") if truth.exists() else ""
    return totals(json.loads(line) for line in text.splitlines())


def reported(truth: Path) -> int:
    return len(truth.read_text(encoding="utf-8").splitlines()) if truth.exists() else 0


async def test_births_name_what_data_mean(broker: Broker, host: Host, tmp_path: Path):
    """NBIRTH with bdSeq and rebirth control, a DBIRTH per device, then data by alias alone, numbered without a gap."""
    async with node(broker, tmp_path / "truth", "--host", "", "--rate", "0", "--events", "60"):
        await until(lambda: reported(tmp_path / "truth") >= 60 and len(host.of("DDATA")) > 40, "data flow")
    birth, *devices = host.said[: 1 + len(CENTERS)]
    assert birth.kind == "NBIRTH"
    names = {metric.name: metric for metric in birth.payload.metrics}
    assert (names["bdSeq"].datatype, names["bdSeq"].long_value) == (4, 0)
    assert (names["Node Control/Rebirth"].datatype, names["Node Control/Rebirth"].boolean_value) == (11, False)
    assert {one.device for one in devices} == CENTERS
    assert all(one.kind == "DBIRTH" for one in devices)
    metrics = [metric for one in devices for metric in one.payload.metrics]
    assert all(metric.name and metric.HasField("alias") and metric.datatype for metric in metrics)
    assert len({metric.alias for metric in metrics}) == len(metrics)
    for said in host.of("DDATA"):
        assert all(not metric.name and metric.HasField("alias") for metric in said.payload.metrics)
    numbered = [one.payload.seq for one in host.said if one.kind != "NDEATH"]
    assert numbered == [number % 256 for number in range(len(numbered))]
    assert not any(one.qos or one.retain for one in host.said if one.kind != "NDEATH")
    assert all(one.payload.timestamp for one in host.said)


async def test_a_plain_host_counts_what_was_meant(broker: Broker, host: Host, tmp_path: Path):
    """The growth of the totalisers, over rollovers and changes of the order, is the truth to the last gram."""
    options = ("--host", "", "--rate", "0", "--events", "300", "--lots-per-order", "4")
    async with node(broker, tmp_path / "truth", *options):
        await until(lambda: reported(tmp_path / "truth") >= 300, "the line is done")
        await until(lambda: host.totals == meant(tmp_path / "truth"), "the totals are equal")
    assert len({order for order, _ in host.totals}) > 9


async def test_it_waits_for_the_primary_host_and_stores_meanwhile(broker: Broker, host: Host, tmp_path: Path):
    """Nothing before the host is online; NDEATH when it goes; back online, new births and the history in order."""
    truth = tmp_path / "truth"
    host.state(1000, online=False)
    async with node(broker, truth, "--rate", "100"):
        host.state(2000, online=True)
        await until(lambda: len(host.of("DDATA")) > 10, "data flow")
        assert host.said[0].kind == "NBIRTH"
        assert host.said[0].payload.metrics[0].long_value == 0
        host.state(2000, online=False)
        await until(lambda: host.of("NDEATH"), "it says goodbye")
        assert host.of("NDEATH")[0].payload.metrics[0].long_value == 0
        heard, before = len(host.said), reported(truth)
        await until(lambda: reported(truth) > before + 20, "the line goes on")
        assert len(host.said) == heard, "it publishes while its host is offline"
        host.state(1500, online=True)  # an old word
        await until(lambda: reported(truth) > before + 30, "the line goes on")
        assert len(host.said) == heard, "it believes an old STATE"
        host.state(3000, online=True)
        await until(lambda: len(host.said) > heard + 40, "it is back")
    birth, *rest = host.said[heard:]
    assert birth.kind == "NBIRTH"
    assert birth.payload.metrics[0].long_value >= 1
    data = [one for one in rest if one.kind == "DDATA"]
    stored = [all(metric.is_historical for metric in one.payload.metrics) for one in data]
    assert stored[0]
    assert stored == sorted(stored, reverse=True), "history comes first, and all of it"
    times = [metric.timestamp for one, old in zip(data, stored, strict=True) if old for metric in one.payload.metrics]
    assert times == sorted(times)
    assert times[-1] < birth.payload.timestamp


async def test_a_rebirth_is_made_when_it_is_asked_for(broker: Broker, host: Host, tmp_path: Path):
    """NCMD `Node Control/Rebirth` brings all births again, with the same bdSeq and numbering from 0."""
    async with node(broker, tmp_path / "truth", "--host", "", "--heartbeat", "0.1", "--rate", "1"):
        await until(lambda: len(host.of("NDATA")) > 2, "the node lives")
        host.write("NCMD", "Node Control/Rebirth")
        await until(lambda: len(host.of("NBIRTH")) == 2 and len(host.of("DBIRTH")) == 2 * len(CENTERS), "births")
    first, second = (one.payload for one in host.of("NBIRTH"))
    assert (first.seq, second.seq) == (0, 0)
    assert first.metrics[0].long_value == second.metrics[0].long_value


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_its_death_is_known(broker: Broker, host: Host, tmp_path: Path, how: signal.Signals):
    """Ended or killed: one NDEATH with the bdSeq of its NBIRTH and without a seq."""
    async with node(broker, tmp_path / "truth", "--host", "") as process:
        await until(lambda: host.of("NBIRTH"), "it is born")
        process.send_signal(how)
        await until(lambda: host.of("NDEATH"), "its death is known")
        await process.wait()
    (death,) = host.of("NDEATH")
    assert death.payload.metrics[0].name == "bdSeq"
    assert death.payload.metrics[0].long_value == host.of("NBIRTH")[0].payload.metrics[0].long_value
    assert not death.payload.HasField("seq")


async def test_it_comes_back_after_the_broker(broker: Broker, host: Host, tmp_path: Path):
    """A broker that was restarted hears data again, under births with the next bdSeq."""
    async with node(broker, tmp_path / "truth", "--host", "", "--rate", "50"):
        await until(lambda: len(host.of("DDATA")) > 5, "data flow")
        await broker.restart()
        before = len(host.of("DDATA"))
        await until(lambda: len(host.of("DDATA")) > before + 5, "data flow again")
        host.write("NCMD", "Node Control/Rebirth")  # the host may have come back after the births
        await until(lambda: host.of("NBIRTH")[-1].payload.metrics[0].long_value >= 1, "it was born again")


def waiting(host: Host) -> set[str]:
    return {center for center in CENTERS if host.values.get((center, "Lot/Done"))}


async def test_with_a_handshake_no_lot_begins_before_the_last_was_taken(broker: Broker, host: Host, tmp_path: Path):
    """Without an acknowledgement each work centre shows one lot and waits; acknowledged, the line goes on, exactly."""
    truth = tmp_path / "truth"
    options = ("--host", "", "--rate", "0", "--handshake", "--events", "60", "--heartbeat", "0.05")
    async with node(broker, truth, *options):
        await until(lambda: waiting(host) == CENTERS, "each has a lot")
        beats = len(host.of("NDATA"))
        await until(lambda: len(host.of("NDATA")) > beats + 5, "some rounds")
        assert {host.values[center, "Lot/Number"] for center in CENTERS} == {1}
        host.acknowledges = True
        for center in CENTERS:
            host.write("DCMD", "Lot/Ack", center)
        await until(lambda: reported(truth) >= 60 and host.totals == meant(truth), "all is counted")
        await until(lambda: not waiting(host), "every lot was taken")


# ── faults ──────────────────────────────────────────────────────────────────────────────────────────────────


def gaps(host: Host) -> int:
    """How often a message does not have the number after the one before it."""
    numbered = [one for one in host.said if one.kind != "NDEATH"]
    return sum(b.payload.seq != (a.payload.seq + 1) % 256 for a, b in pairwise(numbered) if b.kind != "NBIRTH")


def qualities(host: Host) -> set[int]:
    return {
        value.int_value
        for one in host.of("DDATA")
        for metric in one.payload.metrics
        for value in metric.properties.values
    }


def aliases_of(birth: Said) -> dict[str, int]:
    return {metric.name: metric.alias for metric in birth.payload.metrics}


SEEN: dict[str, Callable[[Host], bool]] = {
    "lost": lambda host: gaps(host) == 1,
    "swapped": lambda host: gaps(host) == 3,
    "duplicated": lambda host: gaps(host) == 1,
    "aliases": lambda host: (
        len(births := [one for one in host.of("DBIRTH") if one.device == "MIX-01"]) == 2
        and not aliases_of(births[0]).items() & aliases_of(births[1]).items()
    ),
    "unknown_alias": lambda host: any(
        metric.alias not in host.names for one in host.of("DDATA") for metric in one.payload.metrics
    ),
    "wrong_bdseq": lambda host: (
        [one.payload.metrics[0].long_value for one in host.of("NDEATH")] == [7] and host.said[-1].kind != "NDEATH"
    ),
    "stale": lambda host: (
        qualities(host) == {500} and not host.of("DDATA")[-1].payload.metrics[0].HasField("properties")
    ),
    "bad": lambda host: qualities(host) == {0} and not host.of("DDATA")[-1].payload.metrics[0].HasField("properties"),
    "silent": lambda host: any(len(one.payload.metrics) > 20 for one in host.of("DDATA")) and not gaps(host),
    "reset": lambda host: any(
        host.names[metric.alias] == ("MIX-01", "Made/Good") and metric.int_value == 0
        for one in host.of("DDATA")
        for metric in one.payload.metrics
    ),
    "vanish": lambda host: (
        len(host.of("NBIRTH")) == 2 and [one.payload.metrics[0].long_value for one in host.of("NDEATH")] == [0]
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_on_demand(broker: Broker, host: Host, tmp_path: Path, fault: str):
    """Each fault strikes once when it is asked for while the node runs, and shows as what it says."""
    async with node(broker, tmp_path / "truth", "--host", "", "--rate", "60", "--heartbeat", "0.1"):
        await until(lambda: len(host.of("DDATA")) > 3, "data flow")
        rule = json.dumps({"fault": fault, "count": 1, "device": "MIX-01", "seconds": 0.3})
        async with node(broker, tmp_path / "unused", "--send", rule) as sending:
            assert await sending.wait() == 0
        await until(lambda: SEEN[fault](host), f"{fault} is seen")
        before = len(host.of("DDATA"))
        await until(lambda: len(host.of("DDATA")) > before + 5, "data flow on")


async def test_an_unknown_fault_is_refused_with_the_known_ones(broker: Broker, tmp_path: Path):
    """A fault that does not exist is refused before anything is sent."""
    async with node(broker, tmp_path / "unused", "--send", '{"fault": "explode"}') as sending:
        assert await sending.wait() == 2
    async with node(broker, tmp_path / "unused", "--faults", "lost=2") as refused:
        assert await refused.wait() == 2
