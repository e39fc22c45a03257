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
    """The bench's configuration: backflush issues all but pigment, which consumption issues as it is weighed."""
    for name, issues in {"backflush": [{"material": "RM-RESIN"}], "consumption": [{"material": "RM-PIGMENT"}]}.items():
        content["authority"][name] = {"mode": "auto", "min_confidence": 0, "audit_sample": 0}
        content["workflows"][name]["options"] = {"issues": issues}


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
    flows = dict(line.rows("SELECT payload ->> 'material', group_concat(DISTINCT workflow) FROM posting GROUP BY 1"))
    assert flows == {"RM-RESIN": "backflush", "RM-PIGMENT": "consumption"}
    documents = [one for one in line.sap.erp.books.documents if one.order == order]
    assert len(documents) < len(reports)
    assert not line.rows("SELECT 1 FROM event WHERE state = 'quarantined'")
    assert line.sound()


async def test_an_issue_that_is_taken_back_no_longer_counts_as_booked(line: Plant):
    """The account hears of the reversal once, also over a restart; the scale's word then brings the books to it."""
    order, at = "1000101", START + timedelta(minutes=5)

    async def say(kind: str, number: int, **body: Any) -> None:
        told = {"id": f"{kind}-{order}-{number}", "seq": number, "order": order, "operation": "0010"} | body
        told["ts"] = (at + timedelta(seconds=number)).isoformat()
        before = line.last_event()
        line.publisher.publish(f"plant/1710/mixing/MIX-01/{kind}", encode(told), qos=1)
        await until(lambda: line.last_event() > before and line.quiet(), f"{kind} {number} is decided and posted")

    resin = {"material": "RM-RESIN", "unit": "kg", "batch": "", "location": "171A"}
    await say("production", 1, good=60)
    issued = withdrawn(line, order)["RM-RESIN"]
    (document,) = [one.number for one in line.sap.erp.books.documents
                   if one.order == order and one.items[0]["Material"] == "RM-RESIN"]  # fmt: skip
    assert line.agent.desk is not None
    await line.agent.desk.reverse(document, PERSON)
    await until(lambda: withdrawn(line, order)["RM-RESIN"] == 0, "it is taken back")
    heard = "SELECT count(*) FROM event WHERE topic = 'gatepost/unbooked' AND state = 'ignored'"
    await until(lambda: line.rows(heard) == [(1,)], "the account has heard of it")
    await line.restart()
    await line.agent.unbooked.look()
    await say("production", 2, good=60)  # what a person took back is not issued again because it is expected
    assert 0 < withdrawn(line, order)["RM-RESIN"] < issued
    await say("measured", 3, **resin, quantity=59.1, lot_quantity=60)
    await say("measured", 4, **resin, quantity=58.2, lot_quantity=60, final=True)
    while await approve_what_is_held(line):
        pass
    assert withdrawn(line, order)["RM-RESIN"] == Decimal("117.300")
    assert line.rows(heard) == [(1,)]
    assert line.sound()
