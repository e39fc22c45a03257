"""`python -m simulators.bench`: starts everything, tells what happens, and leaves nothing running."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from simulators.bench import MARK
from simulators.broker import PORTS
from simulators.plan import parser

ROOT = Path(__file__).parents[2]


def seven_free_ports() -> int:
    """The first of seven neighbouring ports that are all free."""
    for first in range(19_000, PORTS[0], 7):  # beside those that `free_port` gives to others
        sockets = [socket.socket() for _ in range(7)]
        try:
            for offset, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + offset))
        except OSError:
            continue
        else:
            return first
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no seven neighbouring ports are free")


class Bench:
    """A running bench whose printed lines are read one by one."""

    def __init__(self, data: Path, *options: str, first_port: int | None = None) -> None:
        self.data = data
        self.first_port = first_port or seven_free_ports()
        self._options = ("--first-port", str(self.first_port), "--data", str(data), *options)
        self.lines: list[str] = []
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "simulators.bench", *self._options),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def until(self, text: str) -> str:
        async with asyncio.timeout(60):
            assert self.process.stdout is not None
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line.rstrip())
                if text in line:
                    return line
        raise AssertionError(f"the bench ended without saying {text!r}:\n" + "\n".join(self.lines))

    async def end(self) -> int:
        async with asyncio.timeout(60):
            output, _ = await self.process.communicate()
        self.lines += output.decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode

    def children(self) -> dict[str, int]:
        """Process ids by the module or program that runs."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0") for pid in pids}
        return {(words[2] if words[1] == "-m" else words[0]): int(pid) for pid, words in commands.items()}


@pytest.fixture
async def start():
    """Start a bench; it is ended after the test at the latest."""
    started: list[Bench] = []

    async def _start(*arguments, **options) -> Bench:
        bench = Bench(*arguments, **options)
        started.append(bench)
        await bench.start()
        return bench

    yield _start
    for bench in started:
        if bench.process.returncode is None:
            bench.process.terminate()
            await bench.end()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def nobody_listens(first_port: int) -> bool:
    for port in range(first_port, first_port + 7):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return False
    return True


async def test_the_bench_starts_tells_and_ends_by_itself(start, tmp_path):
    """With a duration it ends with code 0, has told each report, and nothing is left running."""
    bench = await start(tmp_path / "bench", "--without-agent", "--rate", "20", "--duration", "1", "--misbehave", "")
    told = await bench.until("reported")
    children = bench.children()
    assert set(children) >= {"simulators.erp", "simulators.line"}
    assert await bench.end() == 0
    first = json.loads((bench.data / "line-truth.jsonl").read_text().splitlines()[0])
    assert first["id"] in told
    assert "all stopped" in bench.lines[-1]
    assert nobody_listens(bench.first_port)
    assert not [pid for pid in children.values() if alive(pid)]


async def test_a_line_that_is_a_server_needs_no_broker(start, tmp_path):
    """Over OPC UA the line is there before anybody reads it, and no broker is started."""
    bench = await start(tmp_path / "bench", "--source", "opcua", "--without-agent", "--rate", "20", "--duration", "1")
    await bench.until("reported")
    assert set(bench.children()) == {"simulators.erp", "simulators.opcua"}
    assert await bench.end() == 0
    assert nobody_listens(bench.first_port)


@pytest.mark.parametrize("moment", ["", "broker is up", "simulated SAP is up"])
async def test_a_signal_stops_everything_even_while_it_starts(start, tmp_path, moment):
    """SIGTERM as soon as its folder is there, or its broker: code 0 and nothing is left."""
    bench = await start(tmp_path / "bench", "--without-agent")
    if moment:
        await bench.until(moment)
    else:
        async with asyncio.timeout(30):
            while not (bench.data / "broker" / "mosquitto.conf").exists():  # noqa: ASYNC110  another process's file
                await asyncio.sleep(0.001)
    bench.process.terminate()
    assert await bench.end() == 0
    assert "never awaited" not in "\n".join(bench.lines)
    assert nobody_listens(bench.first_port)


@pytest.mark.parametrize(("module", "name"), [("simulators.erp", "simulated SAP"), ("simulators.line", "line")])
async def test_a_program_that_dies_is_named_and_the_rest_is_stopped(start, tmp_path, module, name):
    """The bench says who died, shows the end of its log, stops the others and ends with code 1."""
    bench = await start(tmp_path / "bench", "--without-agent", "--rate", "5")
    await bench.until("reported")
    os.kill(bench.children()[module], signal.SIGKILL)
    assert await bench.end() == 1
    said = "\n".join(bench.lines)
    assert f"the {name} ended with code -9" in said
    assert "the end of" in said
    assert "Traceback" not in said
    assert nobody_listens(bench.first_port)


async def test_an_agent_that_does_not_start_is_told_with_its_log(start, tmp_path):
    """A configuration that does not exist stops the bench with the agent's own words."""
    bench = await start(tmp_path / "bench", "--agent-config", str(tmp_path / "missing.yaml"))
    assert await bench.end() == 1
    said = "\n".join(bench.lines)
    assert "the agent ended with code" in said
    assert "never awaited" not in said
    assert "Traceback" not in said
    assert nobody_listens(bench.first_port)


async def test_the_line_may_finish_and_the_rest_goes_on(start, tmp_path):
    """After --events reports the line is done, and the bench keeps running until it is stopped."""
    bench = await start(tmp_path / "bench", "--without-agent", "--rate", "0", "--events", "5")
    await bench.until("the line has made all")
    assert "simulators.erp" in bench.children()
    bench.process.terminate()
    assert await bench.end() == 0


def test_a_story_is_known_however_its_name_is_written():
    """Capitals and an underscore are no mistake."""
    assert parser("").parse_args(["--story", "Order_Release"]).story == "order-release"


async def test_a_story_is_told_from_its_beginning_to_its_end(start, tmp_path):
    """The scrap story: what it says happened is in SAP's books, once, in this order."""
    bench = await start(tmp_path / "bench", "--story", "scrap", "--pause", "0")
    await bench.until("THE END")
    books = [json.loads(line) for line in (bench.data / "sap-books.jsonl").read_text().splitlines()]
    moved = [
        item.get("GoodsMovementType") for one in books for item in one["items"] if one["kind"] == "material_document"
    ]
    assert moved == ["551", "551", "344"]
    accounts = [item["GLAccount"] for one in books for item in one["items"] if item.get("GLAccount")]
    assert accounts == ["890010", "890010"]
    assert [one["kind"] for one in books].count("defect") == 2
    assert books[-1]["kind"] == "order_change"
    bench.process.terminate()
    assert await bench.end() == 0


async def test_a_taken_port_is_told_before_anything_is_touched(start, tmp_path):
    """The earlier run's folder stays where it is when another bench is still running."""
    data = tmp_path / "bench"
    data.mkdir()
    (data / MARK).touch()
    (data / "gatepost.db").touch()
    first_port = seven_free_ports()
    with socket.create_server(("127.0.0.1", first_port)):
        bench = await start(data, "--without-agent", first_port=first_port)
        assert await bench.end() == 1
    assert f"port {first_port} of the broker is not free" in bench.lines[0]
    assert (data / "gatepost.db").exists()


async def test_the_last_run_is_kept_once_and_a_strange_folder_is_never_touched(start, tmp_path):
    """A new run moves the bench's own folder aside and refuses any other folder that is not empty."""
    data = tmp_path / "bench"
    data.mkdir()
    (data / "precious").touch()
    bench = await start(data, "--without-agent")
    assert await bench.end() == 1
    assert "is not empty and not from an earlier bench" in bench.lines[0]
    (data / MARK).touch()
    bench = await start(data, "--without-agent", "--duration", "0")
    assert await bench.end() == 0
    assert (tmp_path / "bench.previous" / "precious").exists()
    assert not (data / "precious").exists()


async def test_a_line_that_speaks_sparkplug_reaches_sap(start, tmp_path):
    """SOURCE=sparkplug with its shipped configuration: what the totalisers count is booked; people find the doors."""
    bench = await start(tmp_path / "bench", "--source", "sparkplug", "--rate", "10", "--events", "20")
    door = await bench.until("without Ignition")
    password = (await bench.until("log in as")).split()[-1]
    async with httpx.AsyncClient(base_url=re.findall(r"http:\S+", door)[0]) as client:
        for person, status in (("manager", 200), ("quality", 200), ("auditor", 200), ("nobody", 401)):
            login = await client.post("/login", json={"user": person, "password": password})
            assert login.status_code == status, person
    await bench.until("reported")
    missing = {"(261)", "confirmation"}
    while missing:
        line = await bench.until("  SAP  ")
        missing -= {one for one in missing if one in line}
    bench.process.terminate()
    assert await bench.end() == 0
    assert nobody_listens(bench.first_port)


async def test_a_line_that_speaks_sparkplug_needs_no_agent(start, tmp_path):
    """Without an agent the node waits for no primary host."""
    options = ("--without-agent", "--source", "sparkplug", "--rate", "20", "--duration", "2")
    bench = await start(tmp_path / "bench", *options)
    await bench.until("reported")
    assert await bench.end() == 0


async def test_the_story_of_backflush_ends_with_what_the_scales_saw(start, tmp_path):
    """Resin is issued lot by lot while consumption only advises, and what was too much goes back once."""
    bench = await start(tmp_path / "bench", "--story", "backflush", "--pause", "0")
    await bench.until("THE END")
    books = [json.loads(line) for line in (bench.data / "sap-books.jsonl").read_text().splitlines()]
    moved = [(item["Material"], item["GoodsMovementType"]) for one in books for item in one["items"]]
    assert moved.count(("RM-RESIN", "261")) == moved.count(("RM-PIGMENT", "261")) == 7
    assert moved[-1] == ("RM-RESIN", "262")
    bench.process.terminate()
    assert await bench.end() == 0


@pytest.mark.soak  # a minute; what it plays is tested part by part in test_reconciliation
async def test_the_story_of_reconciliation_ends_with_books_that_are_right(start, tmp_path):
    """The second document of a lot is taken back, what was missing is issued, and the stock is what was counted."""
    bench = await start(tmp_path / "bench", "--story", "reconcile", "--pause", "0")
    await bench.until("CONFLICT")
    await bench.until("THE END")
    books = [json.loads(line) for line in (bench.data / "sap-books.jsonl").read_text().splitlines()]
    assert [one["reverses"] for one in books if one.get("reverses")] == ["2026/4900000004"]
    issued = [item["Material"] for one in books for item in one["items"] if item.get("GoodsMovementType") == "261"]
    assert issued.count("RM-PIGMENT") == 3
    assert [one["kind"] for one in books[-3:]] == ["count_document", "count_entry", "count_difference"]
    bench.process.terminate()
    assert await bench.end() == 0
