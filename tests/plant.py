"""One plant in this process: a real mosquitto, the simulated SAP and the whole agent; time runs from a fixed day."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import paho.mqtt.client as paho
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from agent import assembly
from agent.app import Agent
from agent.configuration import config
from agent.people.desk import Act
from agent.store import audit, balance, file
from simulators.broker import Broker, find_mosquitto
from simulators.erp.faults import read_rules
from simulators.erp.server import Running, running
from simulators.erp.state import Settings
from simulators.line.wire import encode
from simulators.scenario import OrderPlan, Scenario
from simulators.scenario import load as scenario

ROOT = Path(__file__).parents[1]
EDGE = ROOT / "edge_config"
USER, PASSWORD = "GATEPOST", "plant-only"
SECRETS = {"GATEPOST_SECRET_ERP_PASSWORD": PASSWORD}
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DEADLINE = 60.0  # for one condition on a busy machine; nothing waits that long when all is well
TOPIC = "plant/1710/mixing/MIX-01/"
OPEN = ("ready", "sending", "in_doubt")
PERSON = Act("Erika Muster", "looked at it")

Change = Callable[[dict[str, Any]], None]  # what a test changes in the bench's configuration


class RunningClock:
    """Real seconds from a fixed instant on, so that no test depends on the day it runs."""

    def __init__(self, start: datetime = START) -> None:
        self.start = start
        self._zero = time.monotonic()

    def __call__(self) -> datetime:
        return self.start + timedelta(seconds=time.monotonic() - self._zero)


async def until(done: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Wait for a condition; the deadline fails the test and says what it waited for."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"{what}: still not so after {seconds:.0f} s"
        await asyncio.sleep(0.01)


@dataclass
class Plant:
    """The parts of one plant; the agent can be stopped and started again on the same store."""

    folder: Path
    broker: Broker
    sap: Running
    clock: RunningClock
    agent: Agent
    publisher: paho.Client
    numbers: int = 0
    life: asyncio.Task[None] | None = None
    readers: list[apsw.Connection] = field(default_factory=list)

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self, *, knows_orders: bool = True) -> None:
        """Start the agent and wait until it listens, and knows the orders."""
        self.life = asyncio.create_task(self.agent.run(), name="agent")
        await until(lambda: self.alive() and self.status()["line"]["connected"], "the agent listens")
        if knows_orders:
            await until(lambda: self.orders() >= len(self.sap.erp.ledger.orders), "the agent knows the orders")

    async def stop(self) -> None:
        """Stop the agent calmly and see how it ended."""
        self.agent.stop()
        if self.life is not None:
            await self.life

    async def restart(self) -> None:
        """Another life on the same store and configuration."""
        await self.stop()
        self.agent = Agent(self.agent.config, self.clock)
        await self.start(knows_orders=False)

    def alive(self) -> bool:
        """The agent runs; raises what ended it."""
        if self.life is not None and self.life.done():
            self.life.result()
            raise AssertionError("the agent has stopped")
        return self.agent.process is not None

    def status(self) -> dict[str, Mapping[str, Any]]:
        return {one.name: one.status() for one in self.agent.sources}

    def orders(self) -> int:
        return len(self.agent.rules.facts.orders) if self.agent.process is not None else 0

    async def reload(self, change: Change) -> None:
        """Change the configuration file and let the agent take it."""
        await self.agent.reload(configured(self.folder, self.broker.port, self.sap.base_url, change))

    # ── reports ─────────────────────────────────────────────────────────────────────────────────────────

    def report(self, order: str = "1000100", **changes: Any) -> dict[str, Any]:
        """A good consumption with an id and a lot of its own; None leaves a field out."""
        self.numbers += 1
        body = {
            "v": "1",
            "id": f"MIX-01-{self.numbers:06d}",
            "seq": self.numbers,
            "ts": self.clock().isoformat(timespec="milliseconds"),
            "order": order,
            "operation": "0010",
            "material": "RM-RESIN",
            "quantity": 9.6,
            "unit": "kg",
            "batch": f"B{self.numbers:06d}",
            "location": "171A",
            "lot_quantity": 10,
            "operator": "4711",
        }
        return {name: value for name, value in (body | changes).items() if value is not None}

    def confirmation(self, order: str = "1000100", **changes: Any) -> dict[str, Any]:
        """A good confirmation of ten kilograms."""
        self.numbers += 1
        at = self.clock()
        return {
            "id": f"MIX-01-{self.numbers:06d}",
            "seq": self.numbers,
            "ts": at.isoformat(timespec="milliseconds"),
            "order": order,
            "operation": "0010",
            "yield": 10,
            "scrap": 0,
            "unit": "kg",
            "scrap_reason": "",
            "final": False,
            "start": (at - timedelta(minutes=3)).isoformat(timespec="milliseconds"),
            "end": at.isoformat(timespec="milliseconds"),
            "machine_minutes": 3,
            "labor_minutes": 2,
            "operator": "4711",
            **changes,
        }

    def publish(
        self, body: Mapping[str, Any] | bytes, kind: str = "consumption", **options: Any
    ) -> paho.MQTTMessageInfo:
        """Hand a message to the broker."""
        payload = body if isinstance(body, bytes) else encode(body)
        topic = options.pop("topic", TOPIC + kind)
        return self.publisher.publish(topic, payload, **({"qos": 1} | options))

    async def post(self, order: str = "1000100", **changes: Any) -> Row:
        """Publish a good consumption and wait until SAP has it."""
        body = self.report(order, **changes)
        self.publish(body)
        return await self.settled(body["id"], "acknowledged")

    # ── the store ───────────────────────────────────────────────────────────────────────────────────────

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """A look at the agent's file."""
        if not self.readers:
            self.readers.append(file.reader(self.agent.config.store.path))
        return list(self.readers[0].execute(sql, values))

    def event(self, message_id: str, kind: str = "consumption") -> Row | None:
        """The first event of this message."""
        found = self.rows(EVENTS + "WHERE message_key = ? ORDER BY id LIMIT 1", f"{kind}:{message_id}")
        return Row(*found[0]) if found else None

    def posting(self, event: int) -> Row | None:
        """The posting that an event became."""
        found = self.rows("SELECT id, state, coalesce(error, reasons), document FROM posting WHERE event_id = ?", event)
        return Row(*found[0]) if found else None

    def posting_of(self, body: Mapping[str, Any], kind: str = "consumption") -> Row | None:
        event = self.event(str(body["id"]), kind)
        return self.posting(event.id) if event else None

    async def settled(self, message_id: str, *states: str, kind: str = "consumption") -> Row:
        """The posting of this message, once it is in one of these states."""
        found: list[Row] = []

        def there() -> bool:
            self.alive()
            event = self.event(message_id, kind)
            one = self.posting(event.id) if event else None
            found[:] = [one] if one and one.state in states else []
            return bool(found)

        try:
            await until(there, f"the posting of {message_id} is {' or '.join(states)}")
        except AssertionError as late:
            event = self.event(message_id, kind)
            posting = self.posting(event.id) if event else None
            raise AssertionError(f"{late}; {event}; {posting}; {self.agent.status()}") from None
        return found[0]

    def last_event(self) -> int:
        return int(self.rows("SELECT coalesce(max(id), 0) FROM event")[0][0])

    def since(self, event: int, source: str = "line") -> list[Row]:
        """What a source has brought since an event."""
        return [Row(*row) for row in self.rows(EVENTS + "WHERE id > ? AND source = ? ORDER BY id", event, source)]

    def audited(self, action: str, *, posting: int | None = None) -> list[dict[str, Any]]:
        """The details of the audit rows of one action."""
        where = "" if posting is None else f"AND posting_id = {posting}"
        found = self.rows(f"SELECT detail, alarm FROM audit WHERE action = ? {where} ORDER BY seq", action)
        return [json.loads(detail) | {"alarm": bool(alarm)} for detail, alarm in found]

    def quiet(self) -> bool:
        """Nothing is undecided, and nothing goes on by itself."""
        self.alive()
        undecided = self.rows("SELECT 1 FROM event WHERE state = 'undecided' LIMIT 1")
        return not undecided and not self.rows(f"SELECT 1 FROM posting WHERE state IN {OPEN} LIMIT 1")

    def states(self) -> dict[str, int]:
        """How many postings are in which state."""
        return dict(self.rows("SELECT state, count(*) FROM posting GROUP BY state"))

    def sound(self) -> bool:
        """Both balances by counting, and the audit chain."""
        with closing(file.reader(self.agent.config.store.path)) as connection:
            differences = [one.difference for one in (*balance.running(connection), *balance.counted(connection))]
            return differences == [0, 0, 0, 0] and audit.verify_file(connection).broken_at is None

    # ── SAP ─────────────────────────────────────────────────────────────────────────────────────────────

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """Put these faults in the place of all others."""
        self.sap.erp.faults.replace(read_rules([dict(rule) for rule in rules]))

    def booked(self, order: str = "") -> list[str]:
        """The documents in SAP's books."""
        return [one.number for one in self.sap.erp.books.documents if order in ("", one.order)]

    def new_order(self, number: str, **changes: Any) -> None:
        """SAP gets another order, like the first one."""
        orders = self.sap.erp.ledger.orders
        order = deepcopy(orders["1000100"])
        order.number, order.group = number, str(int(order.group) + int(number))
        for component in order.components.values():
            component.reservation, component.withdrawn = str(int(number) % 10**8), component.withdrawn * 0
        for name, value in changes.items():
            setattr(order, name, value)
        order.touch(self.clock())
        orders[number] = order


@dataclass(frozen=True, slots=True)
class Row:
    """One event or posting as the file has it."""

    id: int
    state: str
    reason: str
    document: str | None = None
    key: str | None = None


EVENTS = "SELECT id, state, coalesce(reason, ''), NULL, message_key FROM event "


def many_orders(count: int = 60) -> Scenario:
    """The bench's plant with nothing but orders of the compound, so that each case has its own."""
    return replace(scenario(), plans=(OrderPlan("CMP-BLUE", scenario().plans[0].quantity, "KG", count),))


def configured(folder: Path, broker: int, sap: str, change: Change = lambda content: None) -> config.Config:
    """The bench's configuration for this plant, in which a clean report is posted without a person."""
    content = yaml.safe_load((EDGE / "agent.yaml").read_text(encoding="utf-8"))
    sources = {one["kind"]: one for one in content["sources"]}
    sources["mqtt"] |= {"brokers": [f"mqtt://127.0.0.1:{broker}"]}
    sources["erp_orders"] |= {"poll_s": 0.5, "stock": False}
    content["targets"][0] |= {
        "url": sap, "settle_s": 0.3, "lookup_reliable": True, "connect_s": 1.0, "total_s": 2.5, "concurrency": 8,
    }  # fmt: skip
    content["authority"] = {
        name: {"mode": "auto", "min_confidence": 0, "audit_sample": 0}
        for name in content["workflows"]
        if name != "backflush"  # it would issue what `consumption` issues
    }
    content |= {"store": {"path": str(folder / "gatepost.db"), "reserve_mb": 1}, "models": str(ROOT / "models")}
    content["model_keys"] = str(EDGE / "trust/models")
    content["accounts"]["table"] = str(EDGE / "accounts.yaml")
    content |= {
        "units": str(EDGE / "units.yaml"),
        "mappings": str(_mappings(folder)),
        "masterdata": str(_tolerant(folder)),
    }
    for unused in ("api", "management", "secrets_dir"):
        content.pop(unused, None)
    change(content)
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return config.load(path, assembly.resolver(), SECRETS)


def _mappings(folder: Path) -> Path:
    """The bench's mappings; consumptions also say which version of the message they are."""
    place = folder / "mappings"
    place.mkdir(exist_ok=True)
    for path in (EDGE / "mappings").glob("*.yaml"):
        version = 'schema_version: {path: $.v, known: ["1"]}\n' if path.stem == "consumption" else ""
        (place / path.name).write_text(path.read_text(encoding="utf-8") + version, encoding="utf-8")
    return place


def _tolerant(folder: Path) -> Path:
    """The bench's master data, with tolerances that hold nothing back; a test may write its own there."""
    place = folder / "masterdata"
    if not place.exists():
        place.mkdir()
        for path in (EDGE / "masterdata").iterdir():
            (place / path.name).write_bytes(path.read_bytes())
        (place / "tolerances.yaml").write_text("tolerances:\n  - {under: 1, over: 10}\n", encoding="utf-8")
    return place


@asynccontextmanager
async def plant(
    folder: Path,
    *,
    change: Change = lambda content: None,
    start: datetime = START,
    plan: Scenario | None = None,
    settings: Settings | None = None,
    broker_settings: Mapping[str, str] | None = None,
    running_agent: bool = True,
) -> AsyncIterator[Plant]:
    """A plant at work; `change` edits the configuration before the agent reads it."""
    executable = find_mosquitto()
    assert executable is not None, "mosquitto is missing; install it (Debian: apt-get install mosquitto)"
    clock = RunningClock(start)
    sap = running(user=USER, password=PASSWORD, plan=plan or many_orders(), settings=settings, clock=clock)
    broker = Broker(folder / "broker", executable=executable, settings=broker_settings)
    async with broker, sap as server:
        agent = Agent(configured(folder, broker.port, server.base_url, change), clock)
        made = Plant(folder, broker, server, clock, agent, await asyncio.to_thread(_publisher, broker.port))
        try:
            if running_agent:
                await made.start()
            yield made
        finally:
            await asyncio.to_thread(_hang_up, made.publisher)
            for connection in made.readers:
                connection.close()
            if made.life is not None and not made.life.done():
                made.agent.stop()
                with contextlib.suppress(asyncio.CancelledError):
                    await made.life


def _publisher(port: int) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="sender")
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def _hang_up(client: paho.Client) -> None:
    client.disconnect()
    client.loop_stop()
