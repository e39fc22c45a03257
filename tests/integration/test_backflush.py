"""Pieces and measurements from MQTT to SAP's books: what the simulated line took is withdrawn, to the last digit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from agent.store.approvals import Signature
from simulators.line.cycles import cycles_of
from simulators.line.plant import Report, lots
from simulators.line.wire import encode
from simulators.scenario import load
from tests.plant import PERSON, START, Plant, plant, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def backflushing(content: dict[str, Any]) -> None:
    """The bench's configuration, in which backflush issues what consumption issues elsewhere."""
    del content["authority"]["consumption"]
    content["authority"]["backflush"] = {"mode": "auto", "min_confidence": 0, "audit_sample": 0}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with plant(tmp_path_factory.mktemp("line"), change=backflushing, plan=load()) as made:
        yield made


def shift(count: int) -> list[Report]:
    """What the mixer says of its first lots, stamped a moment ago; of the last one that nothing follows."""
    made = [lot for lot in islice(lots(load(), 3, START), 200) if lot.work_center.work_center == "MIX-01"][:count]
    numbers = Counter[str]()
    told = [
        one
        for number, lot in enumerate(made, 1)
        for one in cycles_of(lot, "1710", START + timedelta(seconds=number), numbers)
    ]
    reports = [one for one in told if one.truth["kind"] != "confirmation"]
    last = {one.body.get("material", "pieces"): one for one in reports}
    for one in last.values():
        one.body["final"] = True
    return reports


def measured(reports: list[Report]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for one in reports:
        if one.truth["kind"] == "measured":
            sums[one.truth["material"]] += Decimal(one.truth["quantity"])
    return sums


def withdrawn(line: Plant, order: str) -> dict[str, Decimal]:
    return {one.material: one.withdrawn for one in line.sap.erp.ledger.orders[order].components.values()}


async def all_decided(line: Plant, events: int) -> None:
    await until(lambda: line.last_event() >= events and line.quiet(), "every report is decided and posted")


async def approve_what_is_held(line: Plant) -> int:
    """A person signs what goes back, and whatever else is held."""
    held = line.rows("SELECT id, version FROM posting WHERE state = 'held'")
    assert line.agent.desk is not None
    for posting, version in held:
        await line.agent.desk.decide(posting, version, Signature(PERSON.by, "approve", PERSON.reason))
    await until(line.quiet, "what was approved is booked")
    return len(held)


async def test_what_was_measured_is_in_the_books(line: Plant):
    """Reports come twice and overtake each other, the agent is started anew meanwhile: SAP has what the scales saw."""
    reports, random = shift(8), Random(5)
    order = reports[0].truth["order"]
    again = random.sample(reports, 12)
    sent = sorted([*enumerate(reports), *enumerate(again)], key=lambda one: one[0] + random.uniform(0, 9))
    before = line.last_event()
    for number, (_, one) in enumerate(sent, 1):
        line.publisher.publish(one.topic, encode(one.body), qos=1)
        if number == len(sent) // 2:
            await line.restart()
    await all_decided(line, before + len(sent))
    while await approve_what_is_held(line):
        pass
    expected = measured(reports)
    assert {name: amount for name, amount in withdrawn(line, order).items() if amount} == expected
    documents = [one for one in line.sap.erp.books.documents if one.order == order]
    assert len(documents) < len(reports)
    assert not line.rows("SELECT 1 FROM event WHERE state = 'quarantined'")
    assert line.sound()
