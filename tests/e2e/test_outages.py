"""Whatever is down, and for how long: everything that arrived is on disk, and comes out once, in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.ports import Posting
from agent.store import backup, outbox, pauses
from agent.store.postings import read
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from simulators.scenario import load
from tests.e2e.ordeal import out_of_order
from tests.e2e.reports import Report, reports
from tests.e2e.rig import Rig, rig, until

SETTLE: dict[str, Any] = {"settle_s": 1.0, "lookup_reliable": True, "connect_s": 0.4, "total_s": 1.0}
LATE_S = 0.3


def utc_now() -> datetime:
    return datetime.now(UTC)


def some(count: int, seed: int = 1, orders: int = 30) -> list[Report]:
    return reports(load(), seed, count, utc_now(), orders)


async def sent(plant: Rig, few: Sequence[Report], rate: float = 0) -> None:
    """Publish, and wait until the broker has them."""
    sender = plant.send((one.message for one in few), rate)
    await until(lambda: sender.done, "everything is published")


async def all_booked(plant: Rig, expected: Sequence[Report]) -> None:
    """Wait until nothing is open; then each report is one document, in order, and the agent knows it."""
    await until(lambda: plant.arrived() >= len(expected), "all has arrived")
    await until(plant.idle, "nothing is open")
    booked = plant.sap.booked()
    assert sorted(one.report for one in booked) == sorted(one.id for one in expected), plant.agent.tail()
    assert len({one.key for one in booked}) == len(booked)
    assert out_of_order(expected, booked) == []
    assert plant.states() == {"acknowledged": len(expected)}


async def everything_started(plant: Rig) -> None:
    await plant.broker.start()
    await plant.sap.start()
    await plant.agent.start()
    await plant.subscribed()


def by_hand(plant: Rig, act: Callable[[Transaction], None]) -> None:
    """What a person does to the store while no agent runs."""
    writer = Writer(plant.store, utc_now)
    writer.start()
    try:
        writer.call(act)
    finally:
        writer.stop()


def postings(plant: Rig, state: str) -> list[Posting]:
    return plant.read(
        lambda db: [read(db, id).posting for (id,) in db.execute("SELECT id FROM posting WHERE state = ?", (state,))]
    )


# ── cold starts ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("broker", "sap"), [(False, False), (False, True), (True, False)])
async def test_a_cold_start_with_half_the_plant_down(tmp_path: Path, broker: bool, sap: bool):
    """F3: a first start with broker or SAP or both down: what arrives is on disk, and posted when SAP is there."""
    few = some(20)
    async with rig(tmp_path, **SETTLE) as plant:
        if broker:
            await plant.broker.start()
        if sap:
            await plant.sap.start()
        await plant.agent.start()
        await until(lambda: plant.agent.said(" ready"), "the agent is ready")
        if not broker:
            await plant.broker.start()
        await until(lambda: plant.agent.said("source line connected"), "the agent is connected")
        await sent(plant, few)
        await until(lambda: plant.arrived() == len(few), "all that arrives is on disk")
        if not sap:
            assert plant.count("SELECT count(*) FROM event WHERE state = 'undecided'") == len(few)
            await plant.sap.start()
        await all_booked(plant, few)
        assert await plant.end_agent() == 0


# ── stops ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_clean_stop_loses_nothing(tmp_path: Path):
    """F29: SIGTERM in the middle of the stream ends with code 0; what comes meanwhile waits at the broker."""
    few = some(80)
    async with rig(tmp_path, **SETTLE) as plant:
        await everything_started(plant)
        sender = plant.send((one.message for one in few), rate=60, allowed=40)
        await until(lambda: len(plant.sap.booked()) >= 10, "some are booked")
        assert await plant.end_agent() == 0
        before = plant.arrived()
        sender.allowed = sender.total
        await until(lambda: sender.done, "the others are published")
        assert plant.arrived() == before < len(few)
        await plant.agent.start()
        await all_booked(plant, few)


@pytest.mark.parametrize("how", [None, signal.SIGTERM, signal.SIGKILL], ids=["stays", "upgrade", "crash"])
async def test_sap_down_for_a_while(tmp_path: Path, how: signal.Signals | None):
    """F18: the backlog waits without an attempt counted, over an upgrade or a crash too, and drains in order."""
    few = some(100)
    async with rig(tmp_path, **SETTLE) as plant:
        await everything_started(plant)
        await sent(plant, few[:20])
        await all_booked(plant, few[:20])
        await plant.sap.end()
        await sent(plant, few[20:])
        await until(lambda: plant.arrived() == len(few), "all is on disk")
        await until(lambda: sum(plant.states().values()) == len(few), "all is decided")
        if how is not None:
            await plant.agent.end(how)
            await plant.agent.start()
        waiting = [one for state in outbox_states(plant) for one in postings(plant, state)]
        assert len(waiting) == 80
        assert sum(one.attempts for one in waiting if one.state == "ready") == 0
        await plant.sap.start()
        await all_booked(plant, few)


def outbox_states(plant: Rig) -> list[str]:
    return [state for state in plant.states() if state != "acknowledged"]


# ── doubt and refusal ───────────────────────────────────────────────────────────────────────────────────────


async def test_an_answer_that_is_lost_after_the_commit(tmp_path: Path):
    """F20: booked and the answer lost in every way there is, or never booked: one document each, one request id."""
    lost = ("answer_lost", "commit_after_timeout", "late_commit", "error_after_commit", "bad_gateway", "truncated")
    never = ("reset", "html")
    rules = [{"fault": one, "count": 2, "method": "POST", "seconds": LATE_S} for one in (*lost, *never)]
    few = some(40)
    async with rig(tmp_path, faults=rules, **SETTLE) as plant:
        await everything_started(plant)
        await sent(plant, few)
        await all_booked(plant, few)
        assert all(rule["hits"] == 2 for rule in plant.sap.show("faults"))
        found = plant.count("SELECT count(*) FROM audit WHERE action = 'acknowledged' AND detail ->> 'found'")
        assert found == 2 * len(lost)
        assert plant.count("SELECT count(*) FROM audit WHERE action = 'sending'") == len(few) + 2 * len(never)
        assert {one.request_id for one in plant.sap.booked()} == {
            one.request_id for one in postings(plant, "acknowledged")
        }


async def test_a_lookup_that_is_no_proof_asks_a_person(tmp_path: Path):
    """F21: nothing found, and the lookup is not reliable: never sent again blindly; the other orders go on."""
    few = some(40, orders=4)
    reset = {"fault": "reset", "count": 1, "method": "POST"}
    async with rig(tmp_path, faults=[reset], **{**SETTLE, "settle_s": 0.2, "lookup_reliable": False}) as plant:
        await everything_started(plant)
        await sent(plant, few)
        await until(lambda: plant.states().get("doubtful") == 1, "one is doubtful")
        (doubtful,) = postings(plant, "doubtful")
        others = [one for one in few if f"order/{one.order}" != doubtful.ordering_key]
        await until(lambda: len(plant.sap.booked()) >= len(others), "the other orders are done")
        assert (
            plant.count("SELECT count(*) FROM audit WHERE action = 'sending' AND posting_id = ?", str(doubtful.id)) == 1
        )
        assert plant.count("SELECT count(*) FROM audit WHERE alarm") == 1
        await plant.agent.end()
        by_hand(plant, lambda tx: outbox.not_booked(tx, doubtful.id, by="Iris", reason="looked into MB51"))
        await plant.agent.start()
        await all_booked(plant, few)


async def test_a_poison_posting_blocks_only_its_order(tmp_path: Path):
    """F14: what SAP refuses is a dead letter at once and only its order waits; replayed, all is done."""
    few = some(40, orders=4)
    refusal = {"fault": "xml_error", "count": 1, "method": "POST"}
    async with rig(tmp_path, faults=[refusal], **SETTLE) as plant:
        await everything_started(plant)
        await sent(plant, few)
        await until(lambda: plant.states().get("dead") == 1, "one is dead")
        (dead,) = postings(plant, "dead")
        others = [one for one in few if f"order/{one.order}" != dead.ordering_key]
        await until(lambda: len(plant.sap.booked()) >= len(others), "the other orders are done")
        assert not {one.order for one in plant.sap.booked()} & {dead.ordering_key.removeprefix("order/")}
        assert (
            plant.count("SELECT count(*) FROM posting WHERE id = ? AND error LIKE 'M7/021%Deficit%'", str(dead.id)) == 1
        )
        await plant.agent.end()
        by_hand(plant, lambda tx: outbox.replay(tx, dead.id, by="Iris", reason="stock is there again"))
        await plant.agent.start()
        await all_booked(plant, few)


# ── time machines ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ahead_s", [0, 300], ids=["right clocks", "senders ahead"])
async def test_a_restored_backup_does_not_double(tmp_path: Path, ahead_s: int):
    """Row 29: the store forgets what was posted since; reported again, it is looked up before it is sent."""
    few = reports(load(), 1, 60, utc_now() + timedelta(seconds=ahead_s))
    async with rig(tmp_path, **SETTLE) as plant:
        await everything_started(plant)
        await sent(plant, few[:20])
        await all_booked(plant, few[:20])
        copy = tmp_path / "copy.db"
        backup.backup(plant.store, copy, utc_now())
        await sent(plant, few[20:40])
        await all_booked(plant, few[:40])
        await plant.agent.end()
        backup.restore(plant.store, copy, utc_now())
        await plant.agent.start()
        await sent(plant, few[20:])  # the senders repeat what was not receipted, and go on
        await until(lambda: plant.arrived() >= len(few), "all has arrived again")
        await until(lambda: sum(plant.states().values()) == len(few), "all is decided")
        assert plant.states() == {"acknowledged": 20, "ready": 40}, "posting is off until a person resumes it"
        await plant.agent.end()
        by_hand(plant, lambda tx: pauses.resume(tx, "target", "*", by="Iris", reason="the senders repeat all"))
        await plant.agent.start()
        await all_booked(plant, few)
        assert plant.count("SELECT count(*) FROM audit WHERE action = 'acknowledged' AND detail ->> 'found'") == 20
