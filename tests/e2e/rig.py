"""Real processes that put the promise to the test: mosquitto, the simulated SAP, the agent, and a patient sender."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import apsw
import httpx
import yaml

from agent.store import balance, file
from simulators.broker import Broker, find_mosquitto, free_port
from simulators.children import log_tail
from simulators.line.publisher import Address, Publisher
from simulators.line.wire import Message
from simulators.scenario import load

ROOT = Path(__file__).parents[2]
EDGE = ROOT / "edge_config"
USER, PASSWORD = "GATEPOST", "e2e-only"
DEADLINE = 60.0  # seconds for one step on a machine that is busy; nothing waits that long when all is well
SOURCE = "line"

T = TypeVar("T")


async def until(done: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Wait for a condition; the deadline fails the test and says what it waited for."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not done():
        if loop.time() > end:
            raise AssertionError(f"{what}: still not so after {seconds:.0f} s")
        await asyncio.sleep(0.05)


class Program:
    """A process of the rig that can be stopped, killed and started again; its log goes on in the same file."""

    def __init__(self, name: str, folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = command
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._process: asyncio.subprocess.Process | None = None
        self._began = 0  # where the log of its last start begins

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._began = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait; the exit code."""
        process = self._process
        assert process is not None
        if process.returncode is None:
            process.send_signal(number)
            async with asyncio.timeout(DEADLINE):
                await process.wait()
        assert process.returncode is not None
        return process.returncode

    async def close(self) -> None:
        """Leave nothing running."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def tail(self) -> str:
        """The end of its log."""
        return log_tail(self.log)

    def said(self, words: str) -> bool:
        """Whether these words are in its log; fails when it has ended by itself."""
        if self._process is None or self._process.returncode not in (None, -signal.SIGKILL, -signal.SIGTERM):
            raise AssertionError(f"the {self.name} has ended; {self.tail()}")
        return words in self.log.read_text(encoding="utf-8", errors="replace")

    def said_since_start(self, words: str) -> bool:
        """Whether these words are in its log since its last start."""
        return words.encode() in self.log.read_bytes()[self._began :]


class Sap(Program):
    """The simulated SAP as a process of its own, with its books in a file."""

    def __init__(self, folder: Path, seed: int, faults: Iterable[Mapping[str, Any]] = ()) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._books = folder / "books.jsonl"
        rules = folder / "faults.json"
        rules.write_text(json.dumps(list(faults)), encoding="utf-8")
        options = ["--http", str(self.port), "--user", USER, "--password", PASSWORD, "--seed", str(seed)]
        files = ["--books", str(self._books), "--faults", str(rules)]
        super().__init__("sap", folder, ["-m", "simulators.erp", *options, *files], {})

    async def start(self) -> None:
        await super().start()
        await until(self.answers, "the simulated SAP answers")

    def answers(self) -> bool:
        try:
            return self.show("settings") is not None
        except httpx.TransportError:
            return False

    def show(self, what: str) -> Any:
        """`books`, `faults` or `settings`."""
        return httpx.get(f"{self.url}/_sim/{what}", trust_env=False, timeout=60).raise_for_status().json()

    def change(self, what: str, content: Any) -> None:
        """See docs/erp/simulator.md, Control."""
        httpx.post(f"{self.url}/_sim/{what}", json=content, trust_env=False, timeout=60).raise_for_status()

    def booked(self) -> list[Booked]:
        """Every document in order of booking, from the file: it is there whether the process lives or not."""
        if not self._books.exists():
            return []
        whole, _, _ = self._books.read_bytes().rpartition(b"\n")
        return [Booked.of(json.loads(line)) for line in whole.splitlines()]


@dataclass(frozen=True, slots=True)
class Booked:
    """A document of the books: which report it came from, as its text says, and by what key and request."""

    report: str
    order: str
    key: str
    request_id: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Booked:
        header = record["header"]
        if record["kind"] == "confirmation":
            report, key = header["ConfirmationText"], header["ExternalSystemConfirmation"]
        else:
            first: Mapping[str, Any] = next(iter(record["items"]), {})
            report, key = first.get("MaterialDocumentItemText", ""), header.get("ReferenceDocument", "")
        return cls(report, record["order"], key, record["request_id"])


class Sender:
    """Publishes with QoS 1 what it is allowed to, and keeps each message until the broker has acknowledged it."""

    def __init__(self, port: int, messages: Iterable[Message], rate: float) -> None:
        self.sent = 0
        self.allowed = 0
        self._messages = list(messages)
        self._pause = 1 / rate if rate else 0.0
        self._over = threading.Event()
        self._publisher = Publisher(Address("127.0.0.1", port), client_id="e2e-sender", stop=self._over)
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        due = 0.0
        while not self._over.is_set():
            if self.sent < min(self.allowed, self.total) and time.monotonic() >= due:
                due = time.monotonic() + self._pause
                self._publisher.send(self._messages[self.sent])
                self.sent += 1
            elif self.sent < min(self.allowed, self.total):
                self._publisher.turn(max(0.0, due - time.monotonic()))
            else:
                self._publisher.turn(0.05)
        self._publisher.close()

    @property
    def done(self) -> bool:
        """All is sent, and the broker has all of it."""
        return self.sent == self.total and not self._publisher.unacknowledged

    @property
    def total(self) -> int:
        """How many messages there are."""
        return len(self._messages)

    def close(self) -> None:
        """Stop in the middle; what the broker has not acknowledged is forgotten."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(DEADLINE)


@dataclass
class Rig:
    """One plant in a folder: start and stop its parts in any order."""

    folder: Path
    broker: Broker
    sap: Sap
    agent: Program
    senders: list[Sender] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)  # more that a test has started

    @property
    def store(self) -> Path:
        """The agent's file."""
        return self.folder / "gatepost.db"

    def read(self, look: Callable[[apsw.Connection], T]) -> T:
        """Look at the agent's file, as any reader may while it works."""
        with closing(file.reader(self.store)) as connection:
            return look(connection)

    def count(self, sql: str, *values: str) -> int:
        """A number out of the agent's file; 0 while there is none."""
        try:
            return int(self.read(lambda connection: next(iter(connection.execute(sql, values)))[0]))
        except (apsw.CantOpenError, apsw.SQLError):  # not created yet
            return 0

    def states(self) -> dict[str, int]:
        """How many postings are in which state."""
        _, postings = self.read(balance.counted)
        return {state: number for state, number in postings.by_state.items() if number}

    def arrived(self) -> int:
        """How many reports the agent has on disk, repeated ones included."""
        return self.count("SELECT count(*) FROM event WHERE source = ?", SOURCE)

    def idle(self) -> bool:
        """Nothing is undecided, and no lane goes on by itself; behind a dead or doubtful head it waits for a person."""
        undecided = self.count("SELECT count(*) FROM event WHERE state = 'undecided'")
        return not undecided and not self.count("SELECT count(*) FROM lane WHERE state != 'blocked'")

    def send(self, messages: Iterable[Message], rate: float = 0, *, allowed: int | None = None) -> Sender:
        """A sender that starts at once and may send everything, or so many of them for now."""
        sender = Sender(self.broker.port, messages, rate)
        sender.allowed = sender.total if allowed is None else allowed
        self.senders.append(sender)
        sender.start()
        return sender

    async def subscribed(self) -> None:
        """From now on the broker keeps messages for the agent, and the agent knows the orders."""
        await until(lambda: self.agent.said(f"source {SOURCE} connected"), "the agent is connected to the broker")
        orders = len(load().orders())
        known = "SELECT count(DISTINCT key) FROM masterdata WHERE kind = 'order' AND origin = 'erp'"
        await until(lambda: self.count(known) == orders, "the agent knows the orders")

    async def end_agent(self) -> int:
        """SIGTERM to an agent that is ready, and its exit code: before it listens to signals, one ends it at once."""
        await until(lambda: self.agent.said_since_start("INFO    ready"), "the agent is ready since its last start")
        return await self.agent.end()


@asynccontextmanager
async def rig(
    folder: Path,
    *,
    seed: int = 1,
    faults: Iterable[Mapping[str, Any]] = (),
    program: Sequence[str] = ("-m", "agent", "run"),
    source: str = "mqtt",
    endpoint: str = "",
    access: Mapping[str, Any] = MappingProxyType({}),
    **target: Any,
) -> AsyncIterator[Rig]:
    """A plant whose parts are not started yet. `target` goes into the agent's configuration of SAP.

    `endpoint` is where the line listens that is a server itself, `access` how the agent comes in there.
    """
    executable = find_mosquitto()
    assert executable is not None, "mosquitto is missing: .ci/need mosquitto"
    broker = Broker(folder / "broker", executable=executable)
    sap = Sap(folder, seed, faults)
    where = {"endpoints": [endpoint], **access} if endpoint else {"brokers": [f"mqtt://127.0.0.1:{broker.port}"]}
    secrets = {"GATEPOST_DATA": str(folder), "GATEPOST_SECRET_ERP_PASSWORD": PASSWORD, "GATEPOST_SECRET_LINE": PASSWORD}
    agent = Program("agent", folder, [*program, str(configured(folder, where, sap.url, target, source))], secrets)
    made = Rig(folder, broker, sap, agent)
    try:
        yield made
    finally:
        for sender in made.senders:
            sender.close()
        for other in made.programs:
            await other.close()
        await agent.close()
        await sap.close()
        await broker.stop()


# By the kind of the source `line`.
CONFIGURED = {"mqtt": "agent.yaml", "sparkplug": "sparkplug.yaml", "opcua": "opcua.yaml"}
HASTY = {"sparkplug": {"reorder_s": 0.3, "rebirth_s": 1}}  # settings of a source that would only make tests longer


def configured(
    folder: Path, where: Mapping[str, Any], sap: str, target: Mapping[str, Any], source: str = "mqtt"
) -> Path:
    """The bench's configuration for this rig: every clean report is posted without a person."""
    content = yaml.safe_load((EDGE / CONFIGURED[source]).read_text(encoding="utf-8"))
    sources = {one["kind"]: one for one in content["sources"]}
    sources[source] |= {**where, **HASTY.get(source, {})}
    content["sources"] = [sources[source], sources["erp_orders"]]
    content["targets"][0] |= {"url": sap, **target}
    content["authority"] = {
        name: {"mode": "auto", "min_confidence": 0, "audit_sample": 0}
        for name in content["workflows"]
        if name != "backflush"  # it would issue what `consumption` issues
    }
    content |= {"mappings": str(EDGE / "mappings"), "units": str(EDGE / "units.yaml"), "models": str(ROOT / "models")}
    content["model_keys"] = str(EDGE / "trust/models")
    if "accounts" in content:
        content["accounts"]["table"] = str(EDGE / "accounts.yaml")
    content["masterdata"] = str(_tolerant(folder / "masterdata"))
    for unused in ("api", "management", "secrets_dir"):
        content.pop(unused, None)
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _tolerant(folder: Path) -> Path:
    """The bench's master data, with tolerances that hold nothing back."""
    folder.mkdir()
    for path in (EDGE / "masterdata").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "tolerances.yaml").write_text("tolerances:\n  - {under: 1, over: 10}\n", encoding="utf-8")
    return folder
