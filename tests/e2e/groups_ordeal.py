"""Groups of effects flow while the agent is killed and SAP misbehaves; a person ends those that broke."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml

from agent.people.desk import Act, reverse
from agent.store import audit, outbox
from agent.store.writer import Writer
from simulators.line.wire import Message, encode
from simulators.scenario import Scenario, load
from tests.e2e.ordeal import Terms, torment
from tests.e2e.rig import ROOT, Rig, rig, until

Effect = tuple[str, ...]  # what was done, and for which report

MAPPING: Final = """
kind: effects
topic: plant/{site}/{line}/{work_center}/effects
message_id: $.id
time: {path: $.ts}
order: $.order
operation: $.operation
work_center: "{work_center}"
data:
  plan: $.plan
  material: $.material
  place: $.place
  unit: $.unit
"""
LATE_S: Final = 0.3
SETTLE_S: Final = 1.2


def _fault(name: str, probability: float, **more: Any) -> Iterator[Mapping[str, Any]]:
    for method in ("POST", "PATCH"):
        yield {"fault": name, "probability": probability, "method": method, **more}


FAULTS: Final = (
    *_fault("answer_lost", 0.06),
    *_fault("late_commit", 0.06, seconds=LATE_S),
    *_fault("commit_after_timeout", 0.03, seconds=LATE_S),
    *_fault("error_after_commit", 0.04),
    *_fault("truncated", 0.04),
    *_fault("false_yes", 0.03),
    *_fault("reset", 0.04),
    *_fault("slow", 0.04, seconds=0.2),
    *_fault("html", 0.02),
    *_fault("locked", 0.04),
    *_fault("expired_token", 0.02),
)
_REC20: Final = {"KG": "KGM", "PC": "H87"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One report and the effects that it asks for, in their order."""

    id: str
    plan: str
    order: str
    message: Message
    effects: tuple[Effect, ...]


@dataclass(slots=True)
class Outcome:
    """What the books of SAP and the file of the agent say afterwards."""

    asked: Sequence[Asked]
    done: list[Effect]  # in order of booking
    doubled_keys: Mapping[str, Sequence[str]]
    blocked: Mapping[str, str]  # stock by material and place
    states: Mapping[str, int]
    seen: list[dict[str, Any]]  # dead members as `gatepost deadletter list` showed them before anybody acted
    chain_broken_at: int | None
    alarms: list[str]
    faults: Counter[str]
    acts: list[str] = field(default_factory=list)

    def told(self) -> str:
        """For a person who reads why a test failed."""
        return f"{dict(self.states)}, faults {dict(self.faults)}, alarms {self.alarms}\n" + "\n".join(self.acts)


def asked_for(scenario: Scenario, seed: int, groups: int, broken: int) -> list[Asked]:
    """`groups` of them in turn, and `broken` more that SAP will refuse in the middle; each on an order of its own."""
    random = Random(f"{seed}/groups")
    places = [(one, place) for place in ("171A", "171B") for one in scenario.materials.values()]
    random.shuffle(places)
    plans = [("scrap", "count", "release")[number % 3] for number in range(groups)] + ["broken scrap"] * broken
    random.shuffle(plans)
    assert len(plans) <= len(scenario.orders()), "each group has an order of its own"
    made = []
    for number, (plan, order) in enumerate(zip(plans, scenario.orders(), strict=False)):
        if plan == "count":
            material, place = places.pop()  # a place is counted once at a time
        else:
            material, place = scenario.materials["RM-RESIN"], "171A"
        at = datetime.now(UTC) + timedelta(milliseconds=number)
        name = f"FX-{number:06d}"
        body = {
            "id": name, "ts": at.isoformat(), "order": order.number, "operation": order.operation, "plan": plan,
            "material": material.material, "place": place, "unit": _REC20[material.unit],
        }  # fmt: skip
        topic = f"plant/{scenario.plant}/mixing/{order.work_center}/effects"
        made.append(Asked(name, plan, order.number, Message(topic, encode(body)), _effects(plan, name, order.number)))
    return made


def _effects(plan: str, name: str, order: str) -> tuple[Effect, ...]:
    if plan == "count":
        return tuple((kind, name) for kind in ("count_document", "count_entry", "count_difference"))
    if plan == "release":
        return ("order_release", order), ("order_note", name)
    scrapped = ("551", name)
    return (scrapped,) if plan.startswith("broken") else (scrapped, ("defect", name), ("344", name))


def done(books: Path) -> Iterator[Effect]:
    """Every effect in the books, in order of booking."""
    counts: dict[str, str] = {}
    whole, _, _ = books.read_bytes().rpartition(b"\n")  # what is being written is not there yet
    for line in whole.splitlines():
        record = json.loads(line)
        kind, header = record["kind"], record["header"]
        match kind:
            case "material_document":
                yield record["items"][0]["GoodsMovementType"], record["items"][0]["MaterialDocumentItemText"]
            case "defect":
                yield kind, header["DefectText"].split()[1]
            case "order_release":
                yield kind, record["order"]
            case "order_change":
                yield "order_note", header["OrderLongText"].splitlines()[-1].split()[0]
            case "count_document":
                counts[header["PhysicalInventoryDocument"]] = header["PhysicalInventoryDocumentDesc"]
                yield kind, counts[header["PhysicalInventoryDocument"]]
            case _:
                yield kind, counts[header["PhysicalInventoryDocument"]]


async def ordeal(folder: Path, terms: Terms, *, broken: int) -> Outcome:
    """Run it to the end: every group is booked or ended by a person, what a broken one had booked is taken back."""
    asked = asked_for(load(), terms.seed, terms.events, broken)
    settings: dict[str, Any] = {"settle_s": terms.settle_s, "lookup_reliable": True, "connect_s": 0.4, "total_s": 1.0}
    program = ("-m", "tests.e2e.effects", "run")
    async with rig(folder, seed=terms.seed, faults=terms.faults, program=program, **settings) as plant:
        _configure(folder)
        await plant.broker.start()
        await plant.sap.start()
        for one in asked:
            if one.plan == "release":
                plant.sap.change("order", {"order": one.order, "released": False})
        await plant.agent.start()
        await plant.subscribed()
        sender = plant.send([one.message for one in asked], terms.rate, allowed=0)
        acts = await torment(plant, sender, terms)
        await until(lambda: sender.done and plant.arrived() >= len(asked), "all has arrived")
        await _quiet(plant, terms)
        assert await plant.end_agent() == 0
        seen = json.loads(await command(folder, "deadletter", "list", "--json"))
        await _end_what_broke(plant, seen, terms)
        await _quiet(plant, terms)
        assert await plant.end_agent() == 0
        return _judged(plant, folder, asked, seen, acts)


async def _quiet(plant: Rig, terms: Terms) -> None:
    await until(lambda: plant.idle() and not plant.sap.show("books")["pending_commits"], "all is quiet", terms.seconds)


async def _end_what_broke(plant: Rig, seen: Sequence[Mapping[str, Any]], terms: Terms) -> None:
    """A person refuses what is dead and takes back by name what was booked before it; the agent is killed again."""
    writer = Writer(plant.store, lambda: datetime.now(UTC))
    writer.start()
    try:
        for dead in seen:
            why = "the defect was none"
            writer.call(partial(outbox.refuse, posting_id=dead["id"], by="maria", reason=why))
            for document in [one["document"] for one in dead["group"]["postings"] if one["document"]]:
                writer.call(partial(reverse, document=document, act=Act(by="maria", reason=why)))
    finally:
        writer.stop()
    random, before = Random(terms.seed), len(plant.sap.booked())
    await plant.agent.start()
    if random.random() < 0.5:
        await asyncio.sleep(random.uniform(0.5, 2.0))
    else:
        await until(lambda: len(plant.sap.booked()) > before, "the first reversal is booked")
    await plant.agent.end(signal.SIGKILL)
    await plant.agent.start()
    await until(lambda: plant.agent.said_since_start("INFO    ready"), "the agent is ready since its last start")


async def command(folder: Path, *words: str) -> str:
    """What a person types at the box while no agent runs; its output."""
    command = [sys.executable, "-m", "tests.e2e.effects", *words, "-c", str(folder / "agent.yaml")]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={"GATEPOST_DATA": str(folder), "GATEPOST_SECRET_ERP_PASSWORD": "e2e-only"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, f"{' '.join(words)}: {err.decode()} {out.decode()}"
    return out.decode()


def _configure(folder: Path) -> None:
    """The rig's configuration with the workflow of the ordeal, its mapping, and a second target at the same SAP."""
    path = folder / "agent.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    mappings = folder / "mappings"
    mappings.mkdir()
    (mappings / "effects.yaml").write_text(MAPPING, encoding="utf-8")
    first = content["targets"][0]
    content["targets"].append({**deepcopy(first), "name": "quality"})
    content["mappings"] = str(mappings)
    content["sources"][0]["topics"] = ["plant/1710/+/+/effects"]
    content["workflows"] = {"effects": {"target": first["name"], "targets": {"quality": "quality"}}}
    content["authority"] = {"effects": {"mode": "auto", "audit_sample": 0}}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def _judged(plant: Rig, folder: Path, asked: Sequence[Asked], seen: list[dict[str, Any]], acts: list[str]) -> Outcome:
    books = plant.sap.show("books")
    faults = Counter[str]()
    for rule in plant.sap.show("faults"):
        faults[rule["fault"]] += rule["hits"]
    return Outcome(
        asked=asked,
        done=list(done(folder / "books.jsonl")),
        doubled_keys=books["duplicates"],
        blocked=books["withheld"]["blocked"],
        states=plant.states(),
        seen=seen,
        chain_broken_at=plant.read(audit.verify_file).broken_at,
        alarms=plant.read(lambda db: [action for (action,) in db.execute("SELECT action FROM audit WHERE alarm")]),
        faults=+faults,
        acts=acts,
    )
