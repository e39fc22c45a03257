"""Reports about orders and materials that nobody knew yet: booked by themselves, once and in order, when they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.ports import Batch, Delivery, Draft, Proposal
from agent.store.approvals import Signature
from agent.workflows.consumption import Consumption
from tests.plant import PERSON, TOPIC, Plant, Row, plant, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with plant(tmp_path_factory.mktemp("line")) as made:
        yield made


async def quarantined(line: Plant, body: dict[str, Any]) -> Row:
    """Publish a report and see it in quarantine."""
    before = line.last_event()
    line.publish(body)
    await until(lambda: line.alive() and any(one.state == "quarantined" for one in line.since(before)), "quarantined")
    return line.since(before)[-1]


def in_lane(line: Plant, order: str) -> list[int]:
    """The events of an order in the order in which their postings joined the lane."""
    return [row[0] for row in line.rows("SELECT event_id FROM posting WHERE ordering_key = ? ORDER BY lane_seq", order)]


def replays(line: Plant) -> list[tuple[Any, ...]]:
    rows = line.rows("SELECT event_id, actor, detail FROM audit WHERE action = 'replayed' ORDER BY seq")
    return [(event, actor, json.loads(detail)["reason"]) for event, actor, detail in rows]


def order_document(line: Plant, number: str) -> Delivery:
    """What SAP would tell about a new order, as the source delivers it: that of an order it has told before."""
    ((payload,),) = line.rows("SELECT payload FROM event WHERE topic = 'erp/order/1000100' ORDER BY id LIMIT 1")
    body = json.loads(payload) | {"order": number}
    return Delivery(f"erp/order/{number}", json.dumps(body).encode(), {"masterdata": "order"})


def one_batch(line: Plant, *deliveries: Delivery) -> None:
    """Let these arrive together, so that they are decided together."""
    assert line.agent.intake is not None
    assert line.agent.intake.put(Batch("line", list(deliveries), line.clock(), lambda: None))


def delivery(body: dict[str, Any], kind: str = "consumption") -> Delivery:
    return Delivery(TOPIC + kind, json.dumps(body).encode())


async def test_a_report_is_booked_by_itself_once_sap_tells_its_order(line: Plant):
    """Quarantined while the order is unknown; booked once when the next poll brings it, audited with the reason."""
    body = line.report("2000101")
    event = await quarantined(line, body)
    assert "read again by itself" in event.reason
    line.new_order("2000101")
    await line.settled(body["id"], "acknowledged")
    assert len(line.booked("2000101")) == 1
    assert replays(line)[-1] == (event.id, "agent", "order 2000101 became known")


async def test_what_comes_after_the_order_never_overtakes_what_waited_for_it(line: Plant):
    """Reports before, while and after their order becomes known reach SAP in the order of their arrival, each once."""
    bodies = [line.report("2000102") for _ in range(60)]
    for body in bodies[:10]:
        line.publish(body)
    await until(lambda: line.rows("SELECT 1 FROM awaited WHERE key = '2000102'"), "the first waits")
    line.new_order("2000102")
    for body in bodies[10:]:
        line.publish(body)
        await asyncio.sleep(0)
    for body in bodies:
        await line.settled(body["id"], "acknowledged")
    arrived = in_lane(line, "order/2000102")
    assert len(arrived) == 60
    assert arrived == sorted(arrived)
    assert len(line.booked("2000102")) == 60


async def test_master_data_in_the_midst_of_a_batch_lets_in_what_waits_before_the_rest(line: Plant):
    """In one batch: a report, its order, another report, while an older one waits: all in the order of arrival."""
    bodies = [line.report("2000103") for _ in range(3)]
    await quarantined(line, bodies[0])
    one_batch(line, delivery(bodies[1]), order_document(line, "2000103"), delivery(bodies[2]))
    await until(lambda: len(in_lane(line, "order/2000103")) == 3, "all three are decided")
    arrived = in_lane(line, "order/2000103")
    assert arrived == sorted(arrived)


async def test_the_order_holds_also_where_a_batch_is_decided_one_by_one(line: Plant, monkeypatch: pytest.MonkeyPatch):
    """A batch that the store refuses as a whole is decided event by event; nobody is overtaken there either."""
    bodies, whole = [line.report("2000104") for _ in range(3)], Consumption.propose

    def odd(self: Consumption, report: Any, *rest: Any) -> Any:
        proposal, state = whole(self, report, *rest)
        if report.id == bodies[2]["id"]:
            (one,) = proposal.drafts
            draft = Draft(one.kind, one.ordering_key, {**one.payload, "odd": float("nan")}, one.value)
            proposal = Proposal((draft,), proposal.confidence, proposal.holds, proposal.reasons, proposal.subject)
        return proposal, state

    monkeypatch.setattr(Consumption, "propose", odd)
    before = line.last_event()
    one_batch(line, delivery(bodies[0]), order_document(line, "2000104"), *map(delivery, bodies[1:]))
    await until(lambda: len(in_lane(line, "order/2000104")) == 2, "two are decided")
    arrived = in_lane(line, "order/2000104")
    assert arrived == sorted(arrived)
    await until(lambda: line.since(before)[-1].state == "quarantined", "the odd one is alone")


async def test_a_material_that_a_reload_brings_lets_in_its_report(line: Plant):
    """Master data of the files that a reload takes are looked at like those from SAP."""
    body = line.report("1000110", material="RM-NEW")
    event = await quarantined(line, body)
    path = Path(line.agent.config.masterdata) / "materials.csv"
    path.write_text(path.read_text(encoding="utf-8") + "RM-NEW,KG,New resin,1.00,,,,,,\n", encoding="utf-8")
    await line.reload(lambda content: None)
    await line.settled(body["id"], "held")
    assert replays(line)[-1] == (event.id, "agent", "material RM-NEW became known")


async def test_a_person_who_is_too_early_does_not_lose_the_wait(line: Plant):
    """Replayed by hand while the order is still unknown it is quarantined again, and booked once when SAP tells it."""
    body = line.report("2000105")
    event = await quarantined(line, body)
    await line.agent.desk.replay_event(event.id, PERSON)
    await until(lambda: line.since(event.id - 1)[0].state == "quarantined", "it is quarantined again")
    line.new_order("2000105")
    await line.settled(body["id"], "acknowledged")
    assert len(line.booked("2000105")) == 1
    assert [actor for number, actor, _ in replays(line) if number == event.id] == [PERSON.by, "agent"]


async def test_what_a_person_keeps_is_not_booked_by_itself(line: Plant):
    """Booked by hand and kept in quarantine: when SAP tells the order later, nothing is booked a second time."""
    body, other = line.report("2000109"), line.report("2000109")
    event = await quarantined(line, body)
    await quarantined(line, other)
    await line.agent.desk.keep_event(event.id, PERSON)
    line.new_order("2000109")
    await line.settled(other["id"], "acknowledged")
    kept = line.since(event.id - 1)[0]
    assert (kept.state, PERSON.by in kept.reason) == ("quarantined", True)
    assert len(line.booked("2000109")) == 1
    assert [row["reason"] for row in line.audited("kept")] == [PERSON.reason]


async def test_a_repeat_of_what_a_person_keeps_is_a_duplicate_until_that_is_replayed(line: Plant):
    """Delivered again before and after SAP tells the order, a kept report is not booked; replayed it is, once."""
    body, other = line.report("2000112"), line.report("2000112")
    event = await quarantined(line, body)
    await quarantined(line, body)
    await quarantined(line, other)
    await line.agent.desk.keep_event(event.id, PERSON)
    line.new_order("2000112")
    await line.settled(other["id"], "acknowledged")
    line.publish(body)
    await line.post("2000112")
    states = [one.state for one in line.since(event.id - 1) if one.reason.startswith("the same message")]
    assert states == ["duplicate", "duplicate"]
    assert len(line.booked("2000112")) == 2
    await line.agent.desk.replay_event(event.id, PERSON)
    await line.settled(body["id"], "acknowledged")
    line.publish(body)
    await line.post("2000112")
    assert len(line.booked("2000112")) == 4


@pytest.mark.parametrize(("order", "together"), [("1000112", False), ("1000113", True)])
async def test_a_final_confirmation_shows_what_is_in_quarantine_of_its_order(line: Plant, order: str, together: bool):
    """Behind a report of an unknown material, in its batch or later, it is held, and booked once a person approves."""
    odd, final = line.report(order, material="RM-NOBODY-KNOWS"), line.confirmation(order, final=True)
    before = line.last_event()
    if together:
        one_batch(line, delivery(odd), delivery(final, "confirmation"))
    else:
        await quarantined(line, odd)
        line.publish(final, "confirmation")
    held = await line.settled(final["id"], "held", kind="confirmation")
    event = line.since(before)[0]
    assert event.state == "quarantined"
    assert f"order {order} has reports in quarantine: event {event.id}" in held.reason
    await line.agent.desk.decide(held.id, 1, Signature(PERSON.by, "approve", PERSON.reason))
    await line.settled(final["id"], "acknowledged", kind="confirmation")


async def test_a_final_confirmation_overtakes_what_a_person_keeps_and_reports_of_other_orders(line: Plant):
    """What was booked by hand, or belongs to another order, holds no final confirmation."""
    await quarantined(line, line.report("1000115", material="RM-NOBODY-KNOWS"))
    event = await quarantined(line, line.report("1000114", material="RM-NOBODY-KNOWS"))
    await line.agent.desk.keep_event(event.id, PERSON)
    final = line.confirmation("1000114", final=True)
    line.publish(final, "confirmation")
    await line.settled(final["id"], "acknowledged", kind="confirmation")


async def test_a_number_that_is_read_again_is_no_gap(line: Plant):
    """A sender that began anew at 1 with an unknown order: reading that report again later makes no gap of it."""
    gaps = len([one for one in line.audited("decided") if one.get("gap")])
    topic = "plant/1710/mixing/MIX-02/consumption"
    bodies = [line.report("2000106" if seq == 1 else "1000111", seq=seq) for seq in (7, 1, 2, 3)]
    for body in bodies:
        line.publish(body, topic=topic)
    await line.settled(bodies[-1]["id"], "held")
    line.new_order("2000106")
    await line.settled(bodies[1]["id"], "held")
    last = line.report("1000111", seq=4)
    line.publish(last, topic=topic)
    await line.settled(last["id"], "held")
    assert len([one for one in line.audited("decided") if one.get("gap")]) == gaps


async def test_a_report_waits_across_a_restart_of_the_agent(tmp_path: Path):
    """Stopped while a report waits, the next life books it when it reads the order at its start."""
    async with plant(tmp_path) as line:
        body = line.report("2000107")
        await quarantined(line, body)
        await line.stop()
        line.new_order("2000107")
        await line.restart()
        await line.settled(body["id"], "acknowledged")
        assert len(line.booked("2000107")) == 1
        assert line.sound()


async def test_zero_hours_leave_everything_to_a_person(tmp_path: Path):
    """With unknown_hours 0 a report stays in quarantine when its order becomes known."""
    async with plant(tmp_path, change=lambda content: content.update(quarantine={"unknown_hours": 0})) as line:
        event = await quarantined(line, line.report("2000108"))
        line.new_order("2000108")
        await until(lambda: "2000108" in line.agent.rules.facts.orders, "the order is known")
        await line.post("1000101")
        assert line.since(event.id - 1)[0].state == "quarantined"


async def test_however_long_a_report_is_in_quarantine_its_order_is_not_closed_unseen(tmp_path: Path):
    """With unknown_hours 0, and after housekeeping, the final confirmation is held behind a report in quarantine."""
    async with plant(tmp_path, change=lambda content: content.update(quarantine={"unknown_hours": 0})) as line:
        event = await quarantined(line, line.report("1000112", material="RM-NOBODY-KNOWS"))
        await line.agent.housekeeping._end_waits()
        final = line.confirmation("1000112", final=True)
        line.publish(final, "confirmation")
        held = await line.settled(final["id"], "held", kind="confirmation")
        assert f"order 1000112 has reports in quarantine: event {event.id}" in held.reason


async def test_everything_is_accounted_for(line: Plant):
    """After all of this no order is waited for any more, both balances are even and the chain is whole."""
    await until(lambda: line.alive() and not line.rows("SELECT 1 FROM event WHERE state = 'undecided'"), "all decided")
    assert line.rows("SELECT * FROM awaited WHERE kind = 'order'") == []
    assert line.sound()
