"""The simulated line as an OPC UA server, seen by a plain client: what it shows, and what its faults do."""

import asyncio
import json
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.uaerrors import BadNodeIdUnknown, UaError, UaStatusCodeError
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from simulators.broker import free_port
from simulators.line.tags import Kind, lots, tags, totals
from simulators.opcua.control import DONE, door, tell
from simulators.opcua.controller import Controller, at_work
from simulators.opcua.faults import Fault, FaultError, Faults
from simulators.opcua.progress import ProgressFile, TruthFile
from simulators.opcua.server import LineServer, Settings, listening
from simulators.opcua.space import NAMESPACE
from simulators.scenario import load

ROOT = Path(__file__).parents[2]
SCENARIO = load()
DEADLINE = 60.0
NO_LOTS: dict[str, Any] = {"lots_per_order": 0}


async def until(done: Callable[[], bool], what: str) -> None:
    """Wait for a condition; the deadline fails the test."""
    loop = asyncio.get_running_loop()
    end = loop.time() + DEADLINE
    while not done():
        assert loop.time() < end, f"{what}: still not so after {DEADLINE:.0f} s"
        await asyncio.sleep(0.02)


def somewhere(**more: Any) -> Settings:
    return Settings(endpoint=f"opc.tcp://127.0.0.1:{free_port()}/line", **more)


@asynccontextmanager
async def standing(settings: Settings, **more: Any) -> AsyncIterator[tuple[LineServer, Faults]]:
    """A server whose controllers make nothing unless `more` says so, and what can be done to it."""
    controllers = at_work(SCENARIO, **(more or NO_LOTS))
    async with listening(settings, controllers) as line:
        yield line, Faults(line, {one.center: one for one in controllers})


class Reader:
    """A client that remembers every value of the tags it has subscribed to."""

    def __init__(self, url: str) -> None:
        self.client = Client(url, timeout=DEADLINE)
        self.seen: dict[str, list[Any]] = defaultdict(list)
        self.index = 0

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        self.seen[node.nodeid.Identifier].append(data.monitored_item.Value)

    def status_change_notification(self, status: Any) -> None:
        """A server that goes away says so."""

    async def __aenter__(self) -> "Reader":
        await self.client.connect()
        self.index = await self.client.get_namespace_index(NAMESPACE)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.disconnect()

    def node(self, path: str) -> Any:
        return self.client.get_node(f"ns={self.index};s={path}")

    async def watch(self, paths: Sequence[str]) -> None:
        subscription = await self.client.create_subscription(50, self)
        await subscription.subscribe_data_change([self.node(path) for path in paths], queuesize=1000)

    async def write(self, path: str, value: object, kind: ua.VariantType) -> None:
        await self.node(path).write_value(ua.DataValue(ua.Variant(value, kind)))

    def values(self, path: str) -> list[Any]:
        return [one.Value.Value for one in self.seen[path] if one.Value is not None]


async def test_a_client_finds_every_tag_with_its_data_type():
    """A folder per work centre, data types as a controller has them, and a source time in every value."""
    settings = somewhere()
    async with standing(settings), Reader(settings.endpoint) as reader:
        for center in SCENARIO.work_centers:
            for tag in tags(SCENARIO, center):
                value = await reader.node(f"{center}/{tag.name}").read_data_value()
                if tag.kind is Kind.COUNTER:
                    wanted = ua.VariantType.UInt16 if tag.modulus else ua.VariantType.UInt32
                    assert value.Value.VariantType == wanted
                shown = tag.initial
                assert value.Value.Value == (float(shown) if isinstance(shown, Decimal) else shown)
                assert abs(datetime.now(UTC) - value.SourceTimestamp) < timedelta(seconds=DEADLINE)
        by_path = await reader.client.nodes.objects.get_child(
            [f"{reader.index}:{one}" for one in ("ASSY-05", "Made", "Good")]
        )
        assert by_path.nodeid == reader.node("ASSY-05/Made/Good").nodeid
        done_at = await reader.node("MIX-01/Lot/DoneAt").read_data_value()
        assert done_at.Value.VariantType == ua.VariantType.DateTime
        for path in ("ASSY-05/Made/Good", "ASSY-05/Lot/Ack"):
            if path.endswith("Ack"):
                await reader.write(path, False, ua.VariantType.Boolean)
            else:
                with pytest.raises(UaStatusCodeError):
                    await reader.write(path, 0, ua.VariantType.UInt16)


async def test_what_a_client_sees_adds_up_to_the_truth(tmp_path: Path):
    """The growth of the totalisers that a subscriber saw, over rollovers, is what the truth file says."""
    settings, truth = somewhere(), TruthFile(tmp_path / "truth.jsonl")
    plant = standing(settings, count=90, rate=300, handshake=True, truth=truth)
    async with plant as (line, _), Reader(settings.endpoint) as reader:
        counters = {
            f"{center}/{tag.name}": tag
            for center in SCENARIO.work_centers
            for tag in tags(SCENARIO, center)
            if tag.kind is Kind.COUNTER and tag.unit
        }
        asked = [f"{center}/Lot/Done" for center in SCENARIO.work_centers]
        await reader.watch([*counters, *asked])
        answering = asyncio.create_task(acknowledging(reader))
        await until(line.finished.is_set, "all lots are made")
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        await until(lambda: all(settled(reader, line, path) for path in counters), "the last values have come")
    grown: dict[str, Decimal] = defaultdict(Decimal)
    for path, tag in counters.items():
        shown = [int(tag.initial), *reader.values(path)]
        growth = sum((after - before) % (tag.modulus or 1 << 32) for before, after in pairwise(shown))
        name = tag.name.split("/")
        grown[{"Good": "yield", "Scrap": "scrap"}.get(name[1], name[1])] += growth * tag.step
    truth.close()
    meant = [json.loads(row) for row in (tmp_path / "truth.jsonl").read_text().splitlines()]
    expected: dict[str, Decimal] = defaultdict(Decimal)
    for (_, what), quantity in totals(meant).items():
        expected[what] += quantity
    grown.pop("Total")  # of good and scrap together
    assert {what: total for what, total in grown.items() if total} == expected


async def acknowledging(reader: Reader) -> None:
    """The reader's side of the handshake, at every work centre; it begins with all taken back."""
    for center in SCENARIO.work_centers:
        await reader.write(f"{center}/Lot/Ack", False, ua.VariantType.Boolean)
    while True:
        for center in SCENARIO.work_centers:
            asked = bool(await reader.node(f"{center}/Lot/Done").read_value())
            if asked != bool(await reader.node(f"{center}/Lot/Ack").read_value()):
                await reader.write(f"{center}/Lot/Ack", asked, ua.VariantType.Boolean)
        await asyncio.sleep(0.005)


def settled(reader: Reader, line: LineServer, path: str) -> bool:
    center, _, name = path.partition("/")
    controller = line._controllers[center]
    tag = next(one for one in controller.tags if one.name == name)
    return reader.values(path)[-1:] == [controller.shown(tag)]


async def test_the_next_lot_waits_for_the_whole_handshake():
    """Lot/Done stays up until Lot/Ack is raised, and no lot begins before it is lowered again."""
    settings = somewhere()
    async with standing(settings, count=200, handshake=True) as (line, _), Reader(settings.endpoint) as reader:
        lot, done = "ASSY-05/Lot/Number", "ASSY-05/Lot/Done"
        await reader.watch([lot, done])
        await until(lambda: reader.values(lot) == [0], "the first value")
        assert reader.values(done) == [False], "nobody has said that the totals are read"
        await reader.write("ASSY-05/Lot/Ack", False, ua.VariantType.Boolean)
        await until(lambda: reader.values(done)[-1:] == [True], "the first lot is done")
        await reader.write("ASSY-05/Lot/Ack", True, ua.VariantType.Boolean)
        await until(lambda: reader.values(done)[-1] is False, "the request falls")
        assert reader.values(lot)[-1] == 1, "no lot before the acknowledgement is lowered"
        assert line._controllers["MIX-01"].lots_done == 0, "nobody acknowledged there"
        await reader.write("ASSY-05/Lot/Ack", False, ua.VariantType.Boolean)
        await until(lambda: reader.values(lot)[-1] == 2, "the second lot is done")
        await reader.write("ASSY-05/Lot/Error", 3, ua.VariantType.UInt32)
        await until(lambda: reader.values(done)[-1] is False, "an error is an answer too")


class Process:
    """`python -m simulators.opcua` with its totals in a file."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.url = f"opc.tcp://127.0.0.1:{free_port()}/line"
        self.truth, self.state = folder / "truth.jsonl", folder / "state.json"
        self._command = ["-m", "simulators.opcua", "--endpoint", self.url, "--control", "0", *options]
        self._command += ["--truth", str(self.truth), "--state", str(self.state)]
        self._process: Any = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *self._command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(DEADLINE):
            assert b"simulated line at" in await self._process.stdout.readline()

    async def end(self, number: signal.Signals) -> Any:
        self._process.send_signal(number)
        async with asyncio.timeout(DEADLINE):
            await self._process.communicate()
        return self._process.returncode

    def lots(self) -> int:
        kept = json.loads(self.state.read_text()) if self.state.exists() else {}
        return sum(one["lots"] for one in kept.values())


async def test_totals_survive_the_end_of_the_process(tmp_path: Path):
    """Killed in the middle and started again, totals and truth go on where they were; nothing is made twice."""
    process = Process(tmp_path, "--events", "60", "--rate", "200")
    made = list(lots(SCENARIO, 1, 60))
    await process.start()
    await until(lambda: process.lots() > 3, "some lots are made")
    await process.end(signal.SIGKILL)
    between = process.lots()
    assert 3 < between < len(made)
    await process.start()
    await until(lambda: process.lots() == len(made), "all lots are made")
    last = {one.work_center: one.number for one in made}
    async with Reader(process.url) as reader:
        assert {center: await reader.node(f"{center}/Lot/Number").read_value() for center in last} == last
    assert await process.end(signal.SIGTERM) == 0
    rows = [json.loads(row)["id"] for row in process.truth.read_text().splitlines()]
    assert sorted(rows) == sorted(truth["id"] for lot in made for truth in lot.truths)


async def test_a_restart_gives_the_namespace_another_index(tmp_path: Path):
    """After `restart decoys=3` the same URI has another index and the totals are the same; the door says so."""
    settings = somewhere()
    async with standing(settings) as (_, faults), door(0, faults) as port:
        async with Reader(settings.endpoint) as reader:
            before, total = reader.index, await reader.node("ASSY-05/Made/Good").read_value()
        assert await tell(port, "restart seconds=0 decoys=3") == DONE
        async with Reader(settings.endpoint) as reader:
            assert reader.index == before + 2
            assert await reader.node("ASSY-05/Made/Good").read_value() == total
        assert "no fault 'burn'" in await tell(port, "burn")
        assert "no totaliser 'State'" in await tell(port, "reset tag=State")


async def test_values_go_bad_reset_and_late_on_demand():
    """Bad without a value, uncertain with one, an hour off, and a total that begins again at 0; then well again."""
    settings, path = somewhere(), "ASSY-05/Made/Good"
    async with standing(settings) as (_, faults), Reader(settings.endpoint) as reader:
        await reader.watch([path])
        await until(lambda: len(reader.seen[path]) == 1, "the first value")
        total = reader.values(path)[0]
        await faults.strike(Fault.read("bad seconds=0.3 center=ASSY-05"))
        await until(lambda: len(reader.seen[path]) == 3, "bad, and good again")
        assert [one.StatusCode.is_good() for one in reader.seen[path]] == [True, False, True]
        assert reader.values(path)[0] == reader.values(path)[-1] == total
        await faults.strike(Fault.read("uncertain seconds=0.3"))
        await until(lambda: len(reader.seen[path]) == 5, "uncertain, and good again")
        assert reader.seen[path][3].StatusCode.is_uncertain()
        assert reader.seen[path][3].Value.Value == total
        await faults.strike(Fault.read("skew seconds=3600"))
        await faults.strike(Fault.read("reset center=ASSY-05 tag=Made/Good"))
        await until(lambda: len(reader.seen[path]) == 6, "the reset")
        assert reader.values(path)[-1] == 0
        assert reader.seen[path][5].SourceTimestamp - datetime.now(UTC) > timedelta(minutes=50)
        await faults.strike(Fault.read("over"))
        assert (await reader.node(path).read_data_value()).SourceTimestamp <= datetime.now(UTC)


async def test_a_silent_server_publishes_nothing_and_goes_on():
    """During `silence` reads are answered and nothing is published; afterwards the subscription has all of it."""
    settings, path = somewhere(), "MIX-01/State"
    async with standing(settings) as (line, faults), Reader(settings.endpoint) as reader:
        await reader.watch([path])
        await until(lambda: len(reader.seen[path]) == 1, "the first value")
        silent = asyncio.create_task(faults.strike(Fault.read("silence seconds=30")))
        await until(lambda: line.halted == 1, "the subscription is halted")
        line._controllers["MIX-01"].values["State"] = "running"
        await line.say_all()
        assert await reader.node(path).read_value() == "running"
        assert len(reader.seen[path]) == 1
        await faults.strike(Fault.read("over"))
        await until(lambda: reader.values(path)[-1] == "running", "it is published after all")
        await silent


async def test_a_tag_can_be_missing():
    """After `missing` the server is back without the tag, and with it after `over`."""
    settings = somewhere()
    async with standing(settings) as (_, faults):
        await faults.strike(Fault.read("missing tag=ASSY-05/Made/Good"))
        async with Reader(settings.endpoint) as reader:
            with pytest.raises(BadNodeIdUnknown):
                await reader.node("ASSY-05/Made/Good").read_value()
            assert await reader.node("ASSY-05/Made/Scrap").read_value() == 0
        with pytest.raises(FaultError, match="no tag 'ASSY-05/Made/Bad'"):
            await faults.strike(Fault.read("missing tag=ASSY-05/Made/Bad"))


async def test_security_user_and_another_certificate(tmp_path: Path):
    """Only with the right password and over an encrypted channel; renewed and expired certificates are shown."""
    settings = somewhere(
        certificates=tmp_path / "pki", policies=("basic256sha256", "aes256"), user="gatepost", password="right"
    )
    own = tmp_path / "own.key.pem", tmp_path / "own.der"
    await setup_self_signed_certificate(
        *own, "urn:test", "localhost", [ExtendedKeyUsageOID.CLIENT_AUTH], {"organizationName": "Test"}
    )

    async def shown() -> x509.Certificate:
        return x509.load_der_x509_certificate((tmp_path / "pki" / "server.der").read_bytes())

    async def read(password: str) -> object:
        client = Client(settings.endpoint, timeout=DEADLINE)
        client.application_uri = "urn:test"
        client.set_user("gatepost")
        client.set_password(password)
        key, certificate = own
        await client.set_security(
            SecurityPolicyBasic256Sha256, certificate, key, server_certificate=str(tmp_path / "pki" / "server.der")
        )
        async with client:
            index = await client.get_namespace_index(NAMESPACE)
            return await client.get_node(f"ns={index};s=ASSY-05/Made/Scrap").read_value()

    async with standing(settings) as (_, faults):
        assert await read("right") == 0
        with pytest.raises(UaError):
            await read("wrong")
        first = await shown()
        await faults.strike(Fault.read("certificate kind=renewed"))
        renewed = await shown()
        assert renewed.fingerprint(SHA256()) != first.fingerprint(SHA256())
        assert await read("right") == 0
        await faults.strike(Fault.read("certificate kind=expired"))
        assert (await shown()).not_valid_after_utc < datetime.now(UTC)


@pytest.mark.parametrize(
    ("sentence", "refusal"),
    [
        ("", "no fault ''"),
        ("restart soon", "'soon' in 'restart soon' is not understood"),
        ("restart colour=red", "'colour=red'"),
        ("restart after=-1", "after=-1 is no number"),
    ],
)
def test_a_sentence_that_is_no_fault_is_refused(sentence: str, refusal: str):
    """It says what was not understood."""
    with pytest.raises(FaultError, match=refusal):
        Fault.read(sentence)


def test_progress_is_kept_as_a_whole(tmp_path: Path):
    """What was kept is there for the next start, also what a totaliser has forgotten."""
    first = at_work(SCENARIO, progress=ProgressFile(tmp_path / "state"), lots_per_order=0)
    assoc: dict[str, Controller] = {one.center: one for one in first}
    assert assoc["ASSY-05"].reset(["Made/Good"]) == ["Made/Good"]
    again = {one.center: one for one in at_work(SCENARIO, progress=ProgressFile(tmp_path / "state"), lots_per_order=0)}
    tag = next(one for one in again["ASSY-05"].tags if one.name == "Made/Good")
    assert again["ASSY-05"].shown(tag) == 0


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ({"lots": 2}, (False, False)),
        ({"lots": 2, "scans": 1}, (False, False)),
        ({"lots": 2, "scans": 3}, (True, False)),
        ({"lots": 2, "scans": 3, "acknowledged": True}, (False, True)),
    ],
)
def test_a_handshake_goes_on_where_it_was(tmp_path: Path, kept: dict[str, Any], shown: tuple[bool, bool]):
    """After a restart a lot that was taken is not asked about again, and one that was not is."""
    (tmp_path / "state").write_text(json.dumps({"ASSY-05": kept}))
    made = at_work(SCENARIO, progress=ProgressFile(tmp_path / "state"), handshake=True)
    (controller,) = (one for one in made if one.center == "ASSY-05")
    assert (controller.values["Lot/Done"], controller.values["Lot/Ack"]) == shown
    assert controller.values["Lot/Number"] == (3 if kept.get("scans") == 3 else 2)
