"""Scrap and order release as they are shipped, under `kill -9` and faults of SAP, line and web: each effect once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import yaml

from agent.store import audit
from simulators.line.wire import Message, encode
from simulators.receivers.hook import Hook, hook
from simulators.receivers.topic_line import TopicLine
from simulators.scenario import load
from tests.e2e.groups_ordeal import FAULTS, SETTLE_S, command, done
from tests.e2e.ordeal import Terms, torment
from tests.e2e.rig import Rig, Sender, rig, until

PATIENCE: Final = 300.0  # seconds for what waits until the kills are over
BUSY: Final = ({"fault": "unavailable", "probability": 0.03, "method": "POST", "value": "1"},)
WORN: Final = {"tool_used": 0.97, "cycle_off": 0.4, "since_set_up": 4000, "since_stop": 200, "temperature_off": 0.1,
               "pressure_off": 0.1}  # fmt: skip
BAD, LOT, ABSURD = 4, 40, 5_000_000  # pieces scrapped, of a lot of so many; more of a lot than SAP has of all


class Line(TopicLine):
    """Looks into SAP's books whenever an order comes; refuses what it cannot make, forgets every other first answer."""

    def __init__(self, books: Path, cannot: Sequence[str]) -> None:
        super().__init__("plant/1710/+/dispatch", "plant/1710/dispatch/answer")
        self.cannot = list(cannot)
        self.early: list[str] = []  # orders that came before SAP had released them
        self._books = books
        self._answered: list[str] = []

    def _came(self, payload: bytes) -> None:
        order = json.loads(payload)["order"]
        if ("order_release", order) not in done(self._books):
            self.early.append(order)
        self.refuses = "the tool is broken" if order in self.cannot else ""
        super()._came(payload)

    def _say(self, id: str, refusal: str = "") -> None:
        new = id not in self._answered
        self._answered += [id] * new
        if refusal or not new or len(self._answered) % 2:
            super()._say(id, refusal)


@dataclass(slots=True)
class Asked:
    """What is reported, and what is ordered; of both some that SAP or the line will refuse."""

    scrap: list[str]
    absurd: list[str]
    blocked: list[str]  # orders that lack springs for a while
    free: list[str]
    cannot: list[str]  # orders that the line refuses at first
    messages: list[Message] = field(default_factory=list)

    @property
    def orders(self) -> list[str]:
        return [*self.blocked, *self.free]


def asked_for(seed: int, events: int) -> Asked:
    """`events` reports of scrap (10 at least), a sixth as many orders of two products, and two of each are refused."""
    random, by_product = Random(f"{seed}/workflows"), dict[str, list[str]]()
    for order in load().orders():
        by_product.setdefault(order.product, []).append(order.number)
    ids = [f"SC-{number:05d}" for number in range(events)]
    few = max(2, events // 6)
    blocked, free = by_product["VALVE-55"][:few], by_product["CMP-BLUE"][:few]
    bodies = by_product["BODY-55"]  # in turn; what is refused is of two of them, since it stops what follows there
    absurd = [ids[place + 10 * random.randrange(events // 10)] for place in random.sample(range(len(bodies)), 2)]
    asked = Asked(ids, absurd, blocked, free, [random.choice(blocked), random.choice(free)])
    for number, id in enumerate(ids):
        body = {
            "id": id, "ts": (datetime.now(UTC) + timedelta(milliseconds=number)).isoformat(timespec="milliseconds"),
            "order": bodies[number % len(bodies)], "operation": "0010", "material": "BODY-55", "quantity": BAD,
            "unit": "pcs", "lot": id, "location": "171A", "operator": "4711", "origin": "vision", "cause": "tool",
            "defect": "0002", "lot_quantity": LOT, "lot_stock": ABSURD if id in asked.absurd else LOT,
            "made_before": 1000, **WORN,
        }  # fmt: skip
        asked.messages.append(Message("plant/1710/molding/MOLD-02/scrap", encode(body)))
    return asked


@asynccontextmanager
async def plant_of(folder: Path, terms: Terms, asked: Asked) -> AsyncIterator[tuple[Rig, Line, Hook]]:
    """Everything runs, every order is released, and there are hardly any springs."""
    settings: dict[str, Any] = {"settle_s": SETTLE_S, "lookup_reliable": True, "connect_s": 0.4, "total_s": 1.0}
    line = Line(folder / "books.jsonl", asked.cannot)
    async with rig(folder, seed=terms.seed, faults=terms.faults, **settings) as plant, hook() as web:
        _configure(folder / "agent.yaml", plant.broker.port, web.url)
        await plant.broker.start()
        await plant.sap.start()
        plant.sap.change("stock", {"material": "BODY-55", "quantity": "900000"})
        plant.sap.change("stock", {"material": "PT-SPRING", "quantity": "100"})
        await line.start(plant.broker.port)
        try:
            await plant.agent.start()
            await plant.subscribed()
            yield plant, line, web
        finally:
            await line.stop()


def _configure(path: Path, broker: int, web: str) -> None:
    """The rig's configuration with a line and people: the workflows are those of the bench."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["targets"] += [
        {"name": "line", "kind": "line", "postings": {"dispatch": "live"}, "answer_s": 0.5, "settle_s": 0.3,
         "mqtt": {"brokers": [f"mqtt://127.0.0.1:{broker}"], "topic": "plant/1710/{work_center}/dispatch",
                  "answers": "plant/1710/dispatch/answer"}},
        {"name": "people", "kind": "notify", "postings": {"notification": "live"}, "otherwise": "planner",
         "settle_s": 0.3, "channels": {"web": {"kind": "webhook", "url": web}},
         "people": {"planner": ["web"], "quality": ["web"]}},
    ]  # fmt: skip
    content["workflows"]["scrap"] |= {"targets": {"notify": "people"}, "options": {"notify": ["quality"]}}
    told = {"line": "line", "notify": "people"}
    content["workflows"]["order_release"] |= {"targets": told, "options": {"at_risk_below": 0.0}}
    next(one for one in content["sources"] if one["kind"] == "erp_orders")["poll_s"] = 1
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


# ── what happens meanwhile ──────────────────────────────────────────────────────────────────────────────────


async def planned(plant: Rig, web: Hook, sender: Sender, asked: Asked) -> None:
    """Orders are created in SAP as reports flow: first those without springs, of which somebody hears."""
    for order in asked.blocked:
        _created(plant, order)
    for number, order in enumerate(asked.free, start=1):
        share = sender.total * number // (len(asked.free) + 1)
        await until(lambda share=share: sender.sent >= share, "reports flow", PATIENCE)  # type: ignore[misc]
        _created(plant, order)
    await until(lambda: set(asked.blocked) <= {one["order"] for one in told(web)}, "planners know", PATIENCE)


async def released(plant: Rig, line: Line, asked: Asked) -> None:
    """Springs come; twice the agent is killed at the moment at which an order reaches the line."""

    def all_there() -> bool:
        return {one["order"] for one in line.orders} >= set(asked.orders)

    plant.sap.change("stock", {"material": "PT-SPRING", "quantity": "900000"})
    for _ in range(2):
        more = len(line.orders) + 1
        await until(lambda more=more: len(line.orders) >= more or all_there(), "an order is there", PATIENCE)  # type: ignore[misc]
        await plant.agent.end(signal.SIGKILL)
        await plant.agent.start()


def _created(plant: Rig, order: str) -> None:
    plant.sap.change("order", {"order": order, "released": False, "due": "2030-01-01T12:00:00"})


async def pestered(line: Line, web: Hook, random: Random) -> None:
    """The line keeps answers back, the web loses them or is busy; until cancelled."""
    try:
        while True:
            web.fault, line.silent = random.choice(("", "lost", "503")), random.random() < 0.3
            await asyncio.sleep(random.uniform(0.2, 1.0))
            line.speak()
    finally:
        web.fault = ""
        line.speak()


def told(web: Hook) -> list[dict[str, Any]]:
    """Every message as it came, repetitions too."""
    return [json.loads(one.body) for one in web.posted]


async def mended(plant: Rig, line: Line, seen: Sequence[dict[str, Any]]) -> None:
    """A person refuses what SAP refused, mends the line and sends its orders again; the agent is killed once more."""
    line.cannot.clear()
    for dead in seen:
        act = "replay" if dead["kind"] == "dispatch" else "refuse"
        await command(plant.folder, "deadletter", act, str(dead["id"]), "--by", "maria", "--reason", "looked into it")
    before = len(line.orders)
    await plant.agent.start()
    await until(lambda: len(line.orders) > before, "the order reaches the line again", PATIENCE)
    await plant.agent.end(signal.SIGKILL)
    await plant.agent.start()


async def quiet(plant: Rig, asked: Asked, states: str) -> None:
    """Every order has reached its line or a person, and nothing goes on by itself."""
    sql = f"SELECT count(*) FROM posting WHERE kind = 'dispatch' AND state IN ({states})"  # two literals
    await until(lambda: plant.count(sql) >= len(asked.orders), f"every dispatch is {states}", PATIENCE)
    await until(lambda: plant.idle() and not plant.sap.show("books")["pending_commits"], "all is quiet", PATIENCE)
    assert await plant.end_agent() == 0


# ── what must be so ─────────────────────────────────────────────────────────────────────────────────────────


def assert_once(plant: Rig, line: Line, web: Hook, asked: Asked, about: str) -> None:
    """SAP's books, the line and the web have every effect, once and in order; the agent knows of every report."""
    whole = {id: ("551", "defect") if id in asked.absurd else ("551", "defect", "344") for id in asked.scrap}
    expected = [(kind, id) for id, kinds in whole.items() for kind in kinds]
    booked, books = list(done(plant.folder / "books.jsonl")), plant.sap.show("books")
    assert books["latest_commit_after_disconnect_seconds"] < SETTLE_S, about
    assert Counter(booked) == Counter([*expected, *(("order_release", order) for order in asked.orders)]), about
    for id, kinds in whole.items():
        assert [kind for kind, of in booked if of == id] == list(kinds), f"{id}; {about}"
    assert books["duplicates"] == {}, about
    blocked = (LOT - BAD) * (len(asked.scrap) - len(asked.absurd))
    assert books["withheld"]["blocked"] == {"BODY-55/171A": f"{blocked}.000"}, about
    ids = {(one["order"], one["id"]) for one in line.orders}
    assert sorted(order for order, _ in ids) == sorted(asked.orders), about
    assert sorted(line.taken) == sorted(id for _, id in ids), about
    assert line.early == [], about
    assert_told(plant, web, asked, about)
    assert set(plant.states()) == {"acknowledged", "refused"}, about
    assert plant.states()["refused"] == len(asked.absurd), about
    arrived = Counter(plant.read(lambda db: [one for (one,) in db.execute(
        "SELECT state FROM event WHERE source = 'line'")]))  # fmt: skip
    assert (arrived["posted"], set(arrived) - {"posted", "duplicate"}) == (len(asked.scrap), set()), about
    assert plant.read(audit.verify_file).broken_at is None, about
    alarms = plant.read(lambda db: [one for (one,) in db.execute("SELECT action FROM audit WHERE alarm")])
    assert alarms == ["dead"] * (len(asked.absurd) + len(asked.cannot)), f"{alarms}; {about}"


def assert_told(plant: Rig, web: Hook, asked: Asked, about: str) -> None:
    """Each notification came at least once under its one id, one per cause: of every bad lot and blocked order."""
    came = {(one["cause"], one["id"]) for one in told(web)}
    kept = plant.read(lambda db: list(db.execute(
        "SELECT payload ->> 'cause', idempotency_key FROM posting WHERE kind = 'notification'")))  # fmt: skip
    assert sorted(kept) == sorted(came), about
    assert max(Counter(cause for cause, _ in kept).values()) == 1, about
    lots = Counter(cause.split("/")[2] for cause, _ in kept if cause.startswith("scrap/"))
    assert lots == Counter(asked.scrap), about
    orders = {cause.split("/")[1] for cause, _ in kept if cause.startswith("order/")}
    assert orders == set(asked.blocked), about


def assert_seen(seen: Sequence[dict[str, Any]], asked: Asked) -> None:
    """A group that stands still shows how far it came, before anybody acts."""
    found = sorted(tuple((one["kind"], one["state"]) for one in dead["group"]["postings"]) for dead in seen)
    half = (("scrap", "acknowledged"), ("defect", "acknowledged"), ("stock_transfer", "dead"))
    released = (("order_release", "acknowledged"), ("dispatch", "dead"))
    assert found == [*[released] * len(asked.cannot), *[half] * len(asked.absurd)]


@pytest.mark.e2e
@pytest.mark.soak
async def test_shipped_workflows_book_each_effect_once_with_kills_and_faults(tmp_path: Path):
    """SEED, EVENTS and KILLS from the environment: scrap is reported and orders are released, all of it once."""
    events, kills = int(os.environ.get("EVENTS") or 60), int(os.environ.get("KILLS") or 12)
    seed = int(os.environ.get("SEED") or time.time())
    terms = Terms(seed, events, kills, broker_restarts=1, rate=6.0, settle_s=SETTLE_S, faults=(*FAULTS, *BUSY))
    asked = asked_for(seed, events)
    async with plant_of(tmp_path, terms, asked) as (plant, line, web):
        sender = plant.send(asked.messages, terms.rate, allowed=0)
        pest = asyncio.create_task(pestered(line, web, Random(f"{seed}/pest")))
        try:
            acts, _ = await asyncio.gather(torment(plant, sender, terms), planned(plant, web, sender, asked))
            await until(lambda: sender.done and plant.arrived() >= events, "all has arrived")
            await released(plant, line, asked)
        finally:
            pest.cancel()
        await quiet(plant, asked, "'acknowledged', 'dead'")
        seen = json.loads(await command(tmp_path, "deadletter", "list", "--json"))
        assert_seen(seen, asked)
        await mended(plant, line, seen)
        await quiet(plant, asked, "'acknowledged'")
        struck = {rule["fault"]: rule["hits"] for rule in plant.sap.show("faults") if rule["hits"]}
        repeats = len(line.orders) - len(line.taken), len(web.posted) - len({one["id"] for one in told(web)})
        about = f"seed {seed}, {events} reports, {len(asked.orders)} orders, {kills} kills: {plant.states()}\n"
        about += f"faults {struck}, repeated at the line and on the web {repeats}\n" + "\n".join(acts)
        print(f"\n{about}")
        assert_once(plant, line, web, asked, about)
