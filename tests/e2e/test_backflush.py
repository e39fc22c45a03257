"""Pieces and measurements under `kill -9` and SAP's faults: the books have what the scales saw, nothing twice."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulators.line.cycles import cycles_of
from simulators.line.plant import Report, lots
from simulators.line.wire import Message, encode
from simulators.scenario import load
from tests.e2e.groups_ordeal import FAULTS, SETTLE_S
from tests.e2e.ordeal import Terms, torment
from tests.e2e.rig import Rig, rig, until

Sums = dict[tuple[str, str], Decimal]  # by order and material


def told(count: int, seed: int) -> list[Report]:
    """The first lots of every work centre, piece by piece; each device says of its last report that nothing follows."""
    numbers, begun = Counter[str](), datetime.now(UTC) - timedelta(seconds=count)
    made = [
        one
        for number, lot in enumerate(islice(lots(load(), seed), count))
        for one in cycles_of(lot, "1710", begun + timedelta(seconds=number), numbers)
    ]
    reports = [one for one in made if one.truth["kind"] != "confirmation"]
    last = {(one.truth["order"], one.body.get("material", "pieces")): one for one in reports}
    for one in last.values():
        one.body["final"] = True
    return reports


def measured(reports: list[Report]) -> Sums:
    sums: Sums = defaultdict(Decimal)
    for one in reports:
        if one.truth["kind"] == "measured":
            sums[one.truth["order"], one.truth["material"]] += Decimal(one.truth["quantity"])
    return dict(sums)


def issued(plant: Rig) -> Sums:
    """What SAP's books have, less what waits for the signature that takes it back."""
    sums: Sums = defaultdict(Decimal)
    for line in (plant.folder / "books.jsonl").read_bytes().splitlines():
        for item in json.loads(line)["items"]:
            assert item["GoodsMovementType"] == "261"
            sums[item["ManufacturingOrder"], item["Material"]] += Decimal(item["QuantityInEntryUnit"])
    held = plant.read(lambda db: [json.loads(one) for (one,) in db.execute(
        "SELECT payload FROM posting WHERE state = 'held'")])  # fmt: skip
    for payload in held:
        assert payload["movement"] == "262"
        sums[payload["order"], payload["material"]] -= Decimal(payload["quantity"])
    return dict(sums)


@pytest.mark.e2e
@pytest.mark.soak
async def test_what_the_scales_saw_is_booked_once_with_kills_and_faults(tmp_path: Path):
    """Killed at any moment, with answers lost and late: every component is exact once its order is over."""
    seed = int(time.time())
    terms = Terms(seed, events=100, kills=4, broker_restarts=1, rate=8.0, faults=FAULTS, settle_s=SETTLE_S)
    reports = told(16, seed)
    settings: dict[str, Any] = {"settle_s": SETTLE_S, "lookup_reliable": True, "connect_s": 0.4, "total_s": 1.0}
    async with rig(tmp_path, seed=seed, faults=terms.faults, **settings) as plant:
        path = tmp_path / "agent.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        del content["authority"]["consumption"]
        content["authority"]["backflush"] = {"mode": "auto", "min_confidence": 0, "audit_sample": 0}
        content["workflows"]["backflush"]["options"] = {"every_pieces": 5}  # many issues, so that many are in the air
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        await plant.broker.start()
        await plant.sap.start()
        await plant.agent.start()
        await plant.subscribed()
        sender = plant.send([Message(one.topic, encode(one.body)) for one in reports], terms.rate, allowed=0)
        acts = await torment(plant, sender, terms)
        await until(lambda: sender.done and plant.arrived() >= len(reports), "all has arrived")
        await until(lambda: plant.idle() and not plant.sap.show("books")["pending_commits"], "all is quiet", 120)
        assert await plant.end_agent() == 0
        about = f"seed {seed}: {plant.states()}\n" + "\n".join(acts)
        print(about)
        assert issued(plant) == measured(reports), about
        assert plant.sap.show("books")["duplicates"] == {}, about
