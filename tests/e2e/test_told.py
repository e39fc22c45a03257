"""Orders to an OPC UA line, mail, notes and follow-ons under `kill -9`: each effect once, each mail at least once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import yaml

from agent.store import approvals, audit
from agent.store.approvals import Signature
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from simulators.broker import free_port
from simulators.line.wire import Message, encode
from simulators.receivers.mailbox import Mailbox, mailbox
from simulators.receivers.node_line import URI, NodeLine, node_line
from simulators.scenario import load
from tests.e2e.groups_ordeal import FAULTS, SETTLE_S, done
from tests.e2e.rig import Rig, rig, until
from tests.e2e.test_workflows import BAD, LOT, WORN

PATIENCE: Final = 120.0
PLACE: Final = "ASSY-05"
NODE: Final = "ns=line;s={work_center}."
CHOICES: Final = ("rework", "use_as_is", "scrap")
BOOKED: Final = {"rework": "order_change", "use_as_is": "343", "scrap": "555"}  # of each choice, in SAP's books
TROUBLE: Final = ("", "lost", "cut", "later", "down")  # of the mail server


class Bystander:
    """Sees what the line takes, and whether SAP had released it by then."""

    def __init__(self, line: NodeLine, books: Path) -> None:
        self.line, self._books = line, books
        self.orders: dict[str, str] = {}  # id → order
        self.early: list[str] = []

    async def watch(self) -> None:
        """Until cancelled. Orders go one after the other: what the node says is what was taken last."""
        while True:
            for id in self.line.taken:
                if id not in self.orders:
                    self.orders[id] = await self.line.nodes["order"].read_value()
                    if ("order_release", self.orders[id]) not in done(self._books):
                        self.early.append(self.orders[id])
            await asyncio.sleep(0.02)


def _configure(path: Path, line: int, box: int) -> None:
    """The rig's configuration with a line behind OPC UA and people at a mail server: the workflows of the bench."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    handshake = {one: f"{NODE}{one}" for one in ("request", "answer", "refused")}
    opcua = {
        "endpoints": [f"opc.tcp://127.0.0.1:{line}/"], "namespaces": {"line": URI}, "policy": "none",
        "active": f"ns=line;s={PLACE}.active", "publishing_ms": 20, **handshake,
        "nodes": {one: f"{NODE}{one}" for one in ("order", "material", "quantity")},
    }  # fmt: skip
    post = {"kind": "mail", "host": "127.0.0.1", "port": box, "security": "none", "sender": "gp@plant.test"}
    content["targets"] += [
        {"name": "line", "kind": "line", "postings": {"dispatch": "live"}, "answer_s": 2, "settle_s": 0.3,
         "opcua": opcua},
        {"name": "people", "kind": "notify", "postings": {"notification": "live"}, "otherwise": "planner",
         "settle_s": 0.3, "channels": {"post": post}, "people": {"planner": ["post:planning@plant.test"]}},
    ]  # fmt: skip
    content["workflows"]["order_release"] |= {
        "targets": {"line": "line", "notify": "people"}, "options": {"at_risk_below": 0.0}}  # fmt: skip
    next(one for one in content["sources"] if one["kind"] == "erp_orders")["poll_s"] = 1
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


@asynccontextmanager
async def stage(folder: Path, seed: int) -> AsyncIterator[tuple[Rig, Bystander, Mailbox]]:
    """Everything runs, and there are no springs."""
    port = free_port()
    settings: dict[str, Any] = {"settle_s": SETTLE_S, "lookup_reliable": True, "connect_s": 0.8, "total_s": 2.0}
    async with (
        rig(folder, seed=seed, faults=FAULTS, **settings) as plant, mailbox() as box, node_line(port, PLACE) as line
    ):  # fmt: skip
        _configure(folder / "agent.yaml", port, box.port)
        await plant.broker.start()
        await plant.sap.start()
        plant.sap.change("stock", {"material": "BODY-55", "quantity": "900000"})
        plant.sap.change("stock", {"material": "PT-SPRING", "quantity": "0"})
        await plant.agent.start()
        await plant.subscribed()
        seen = Bystander(line, folder / "books.jsonl")
        watching = asyncio.create_task(seen.watch())
        try:
            yield plant, seen, box
        finally:
            watching.cancel()


async def pestered(line: NodeLine, box: Mailbox, random: Random) -> None:
    """The line keeps answers back, the mail server fails in turn; until cancelled."""
    try:
        while True:
            box.fault, line.silent = random.choice(TROUBLE), random.random() < 0.4
            await asyncio.sleep(random.uniform(0.2, 0.8))
            await line.speak()
    finally:
        box.fault = ""


def _has(line: NodeLine, orders: int) -> bool:
    return len(line.taken) >= orders


async def killed(plant: Rig, when: Callable[[], bool], what: str, dead: Callable[[], None] = lambda: None) -> None:
    """`kill -9` at that moment, what is done while nothing runs, and a new start: that is what takes the time here."""
    await until(when, what, PATIENCE)
    await plant.agent.end(signal.SIGKILL)
    dead()
    await plant.agent.start()


def reports(lots: int, kind: str) -> list[Message]:
    """Scrap of so many lots, or what becomes of each."""
    bodies = [one.number for one in load().orders() if one.product == "BODY-55"]
    made = []
    for number in range(lots):
        body = {
            "id": f"{'SC' if kind == 'scrap' else 'FO'}-{number:05d}", "order": bodies[number % len(bodies)],
            "ts": (datetime.now(UTC) + timedelta(milliseconds=number)).isoformat(timespec="milliseconds"),
            "operation": "0010", "material": "BODY-55", "unit": "pcs", "lot": f"SC-{number:05d}", "location": "171A",
            "operator": "4711", "defect": "0002", "quantity": BAD if kind == "scrap" else LOT - BAD, "cause": "tool",
        }  # fmt: skip
        body |= {"origin": "vision", "lot_quantity": LOT, "lot_stock": LOT, "made_before": 1000, **WORN}
        body |= {"choice": CHOICES[number % len(CHOICES)]} if kind != "scrap" else {}
        made.append(Message(f"plant/1710/molding/MOLD-02/{kind}", encode(body)))
    return made


def _approved(tx: Transaction, posting_id: int, version: int) -> None:
    approvals.decide(tx, posting_id, version, Signature("maria", "approve", "looked at the lot"))


def approve_all(plant: Rig, lots: int) -> None:
    """A person signs what is held of so many lots, while no agent runs."""
    writer = Writer(plant.store, lambda: datetime.now(UTC))
    writer.start()
    try:
        held = plant.read(lambda db: list(db.execute("SELECT id, version FROM posting WHERE state = 'held' AND "
                                                     "id NOT IN (SELECT posting_id FROM member)")))  # fmt: skip
        assert len(held) == lots
        for posting, version in held:
            writer.call(partial(_approved, posting_id=posting, version=version))
    finally:
        writer.stop()


async def ordeal(folder: Path, *, seed: int, orders: int, lots: int) -> None:
    """Lots are scrapped and decided about, blocked orders told by mail, then released: killed in the midst of each."""
    random = Random(seed)
    numbers = [one.number for one in load().orders() if one.product == "VALVE-55"][:orders]
    async with stage(folder, seed) as (plant, seen, box):
        pest = asyncio.create_task(pestered(seen.line, box, random))
        try:
            plant.send([*reports(lots, "scrap"), *reports(lots, "follow_on")])
            asked = "SELECT count(*) FROM posting WHERE state = 'held' AND id NOT IN (SELECT posting_id FROM member)"
            await until(lambda: plant.count(asked) == lots, "people are asked", PATIENCE)
            await until(lambda: len(found(folder)) >= 3 * lots, "every lot is scrapped and blocked", PATIENCE)
            for order in numbers:
                plant.sap.change("order", {"order": order, "released": False, "due": "2030-01-01T12:00:00"})
            await killed(plant, lambda: bool(box.got), "somebody has mail", lambda: approve_all(plant, lots))
            await killed(plant, lambda: len(found(folder)) > 3 * lots, "what was signed is being booked")
            plant.sap.change("stock", {"material": "PT-SPRING", "quantity": "900000"})
            for number in range(1, orders + 1):
                await killed(plant, partial(_has, seen.line, number), "the line takes an order")
        finally:
            pest.cancel()
        sent = "SELECT count(*) FROM posting WHERE kind = 'dispatch' AND state = 'acknowledged'"
        while plant.count(sent) < orders or not plant.idle() or plant.sap.show("books")["pending_commits"]:
            await seen.line.speak()
            await asyncio.sleep(0.1)
        assert await plant.end_agent() == 0
        assert_once(plant, seen, box, numbers, lots, f"seed {seed}: {plant.states()}{stopped(plant)}")


def stopped(plant: Rig) -> str:
    """Why each of those does not go on that are given to a person; "" where none is."""
    sql = "SELECT kind, state, attempts, error FROM posting WHERE state IN ('dead', 'doubtful', 'held')"
    return "".join(f"; {row}" for row in plant.read(lambda db: list(db.execute(sql))))


def found(folder: Path) -> list[tuple[str, str]]:
    """What SAP has of lots, in order: what was done, and the report that it came of."""
    whole, _, _ = (folder / "books.jsonl").read_bytes().rpartition(b"\n")
    told = []
    for record in map(json.loads, whole.splitlines()):
        ids = re.findall(r"(?:SC|FO)-\d{5}", json.dumps([record["header"], record["items"]]))
        if ids:
            kind = record["items"][0]["GoodsMovementType"] if record["kind"] == "material_document" else record["kind"]
            told.append((kind, ids[-1]))
    return told


def assert_once(plant: Rig, seen: Bystander, box: Mailbox, orders: Sequence[str], lots: int, about: str) -> None:
    """SAP and the line have every effect once, released before it was sent; each cause has one id, and its mail."""
    expected = [(kind, f"SC-{number:05d}") for number in range(lots) for kind in ("551", "defect", "344")]
    expected += [(BOOKED[CHOICES[number % len(CHOICES)]], f"FO-{number:05d}") for number in range(lots)]
    assert Counter(found(plant.folder)) == Counter(expected), about
    assert plant.sap.show("books")["duplicates"] == {}, about
    assert sorted(seen.orders.values()) == sorted(orders), about
    assert len(seen.line.taken) == len(orders), about
    assert seen.early == [], about
    kept = plant.read(lambda db: list(db.execute(
        "SELECT payload ->> 'cause', idempotency_key FROM posting WHERE kind = 'notification'")))  # fmt: skip
    assert {cause.split("/")[1] for cause, _ in kept} == set(orders), about
    assert max(Counter(cause for cause, _ in kept).values()) == 1, about
    assert {f"<{key}@plant.test>" for _, key in kept} == {str(one["Message-ID"]) for one in box.mails}, about
    assert set(plant.states()) == {"acknowledged"}, about
    assert plant.read(audit.verify_file).broken_at is None, about
    print(f"\n{about}; {len(box.mails)} mails of {len(kept)} messages")


async def test_orders_mail_and_what_people_signed_with_kills_and_faults(tmp_path: Path):
    """A small ordeal with a new seed each time: one order, three lots, three kills, faults on."""
    await ordeal(tmp_path, seed=int(time.time()), orders=1, lots=3)


@pytest.mark.e2e
@pytest.mark.soak
async def test_orders_mail_and_what_people_signed_at_full_size(tmp_path: Path):
    """SEED from the environment: four orders, twelve lots."""
    await ordeal(tmp_path, seed=int(os.environ.get("SEED") or time.time()), orders=4, lots=12)
