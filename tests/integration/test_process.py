"""Batches in a row: each is judged while the one before is on its way to disk, as if that were there already."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from agent import mapping, pipeline
from agent.authority import Mode, Rule
from agent.judging import waiting
from agent.judging.rules import OWN, Assignment, Door, Rules
from agent.pipeline import Intake, Process
from agent.ports import Batch, Delivery
from agent.store import file
from agent.workflows.consumption import Config, Consumption
from tests.stores import Clock, opened
from tests.unit.test_judge import Narrow
from tests.unit.test_workflow_consumption import AT, EDGE_CONFIG, MIXING, component, load_facts

BATCH = 4
RESIN = component("RM-RESIN", "0001", "1921.500", "KGM", withdrawn="1")  # set up already: every lot takes the same
ORDER = {**MIXING, "components": [RESIN]}
FACTS = load_facts().with_documents([("order", ORDER)])
TOPIC = "plant/1710/MIX/MIX-01/consumption"


def report(number: int, **changes: Any) -> Delivery:
    """The lots of a minute each: 9.6 kg, and a gram more from lot to lot."""
    body = {
        "id": f"M-{number}", "seq": number, "ts": (AT + timedelta(minutes=number)).isoformat(), "order": "1000100",
        "operation": "0010", "material": "RM-RESIN", "quantity": round(9.6 + number / 1000, 3), "unit": "KGM",
        "lot_quantity": 10, "batch": "0000000301",
    }  # fmt: skip
    return Delivery(TOPIC, json.dumps(body | changes).encode())


def rules(*refused: str) -> Rules:
    """Consumption, posted without a model; the ERP would refuse these fields."""
    rule = Rule(mode=Mode.AUTO, min_confidence=0)
    assignment = Assignment(Consumption(Config()), {OWN: Door(Narrow(*refused), {"goods_issue": "live"})}, rule)
    mappings = mapping.load(EDGE_CONFIG / "mappings", FACTS.units)
    return Rules("1", mappings, FACTS, {"consumption": assignment}, timedelta(hours=1))


@asynccontextmanager
async def decided(folder: Path, deliveries: Iterable[Delivery], *refused: str) -> AsyncIterator[apsw.Connection]:
    """A store in which all of this had arrived before the first decision, and is decided now."""
    clock = Clock()
    with opened(folder / "gp.db", clock) as writer, closing(file.reader(folder / "gp.db")) as reader:
        kept = asyncio.Event()
        loop = asyncio.get_running_loop()

        def arrived() -> None:
            loop.call_soon_threadsafe(kept.set)

        Intake(writer).put(Batch("line", list(deliveries), datetime(2026, 11, 20, 13, tzinfo=UTC), arrived))
        await kept.wait()
        process = Process(writer, reader, rules(*refused), clock, {})
        process.orders_read.set()
        running = asyncio.create_task(process.run())
        async with asyncio.timeout(60):
            while reader.execute("SELECT 1 FROM event WHERE state = 'undecided' LIMIT 1").get:
                await asyncio.sleep(0.01)
                if running.done():
                    running.result()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        yield reader


@pytest.fixture(autouse=True, params=["nobody asks", "somebody asks"])
def small_batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of `run`, one judged while the one before is written, or slices that are decided in their commits."""
    monkeypatch.setattr(pipeline, "BATCH", BATCH)
    monkeypatch.setattr(pipeline, "SLICE", BATCH)
    monkeypatch.setattr(waiting, "ASKED_S", 0 if request.param == "nobody asks" else 1e9)


async def test_totals_and_numbering_go_on_from_batch_to_batch(tmp_path: Path):
    """Twenty reports in five batches: every gram is in the total, and no gap is seen where there is none."""
    async with decided(tmp_path, [report(number) for number in range(1, 21)]) as reader:
        state = json.loads(reader.execute("SELECT value FROM state WHERE key LIKE 'consumption/%'").get)
        assert float(state["total"]) == pytest.approx(20 * 9.6 + sum(range(1, 21)) / 1000)
        assert state["count"] == 20
        assert reader.execute("SELECT count(*) FROM audit WHERE alarm = 1").get == 0
        assert reader.execute("SELECT count(*) FROM posting WHERE state = 'ready'").get == 20


async def test_a_repeated_message_is_found_in_the_batch_that_is_still_being_written(tmp_path: Path):
    """The same again is a duplicate, the same id with another weight a conflict, wherever the batches end."""
    fresh = [report(number) for number in range(1, BATCH + 1)]
    other = report(2, quantity=5)
    async with decided(tmp_path, [*fresh, report(1), other, *fresh, report(9)]) as reader:
        ends = [state for (state,) in reader.execute("SELECT state FROM event ORDER BY id")]
    assert ends == ["posted"] * 4 + ["duplicate", "quarantined"] + ["duplicate"] * 4 + ["posted"]


async def test_a_double_weighing_is_held_in_whichever_batch_it_comes(tmp_path: Path):
    """The same weight a second later under another id, first of the next batch."""
    again = report(5, quantity=9.604, ts=(AT + timedelta(minutes=4, seconds=1)).isoformat())
    async with decided(tmp_path, [*(report(number) for number in range(1, 5)), again, report(6)]) as reader:
        assert reader.execute("SELECT state FROM event WHERE id = 5").get == "held"
        assert reader.execute("SELECT state FROM event WHERE id = 6").get == "posted"


async def test_a_batch_that_the_store_refuses_does_not_spoil_the_next(tmp_path: Path):
    """An event that no column can keep is quarantined alone; what was judged on top of its batch is judged anew."""
    poison = report(3, batch="\ud800")  # reaches the store through a workflow's words
    deliveries = [report(1), report(2), poison, *(report(number) for number in range(4, 13))]
    async with decided(tmp_path, deliveries) as reader:
        ends = [state for (state,) in reader.execute("SELECT state FROM event ORDER BY id")]
        assert ends == ["posted", "posted", "quarantined", *["posted"] * 9]
        state = json.loads(reader.execute("SELECT value FROM state WHERE key LIKE 'consumption/%'").get)
        assert state["count"] == 11


async def test_an_order_becomes_known_while_the_report_that_waits_for_it_is_being_written(tmp_path: Path):
    """The report in quarantine comes before those of its order that arrived after the order did."""
    order = json.dumps({**ORDER, "order": "1000555"})
    news = Delivery("orders", order.encode(), {"masterdata": "order"})
    reports = [report(number, order="1000555") for number in range(1, 5)]
    behind = [report(number, order="1000555") for number in range(5, 8)]
    async with decided(tmp_path, [*reports, news, *behind]) as reader:
        ends = [state for (state,) in reader.execute("SELECT state FROM event ORDER BY id")]
        assert ends == ["posted"] * 4 + ["ignored"] + ["posted"] * 3
        in_order = [event for (event,) in reader.execute("SELECT event_id FROM posting ORDER BY id")]
        assert in_order == sorted(in_order)


class Unprepared(Consumption):
    """Fails at what the master data hold, as an entry of the year 9999 in the local time of Houston makes it."""

    def prepare(self, facts: Any) -> None:
        raise OverflowError("date value out of range")


async def test_master_data_that_cannot_be_prepared_for_questions_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """It is logged with the name of the workflow, and what arrives is decided."""
    monkeypatch.setitem(globals(), "Consumption", Unprepared)
    async with decided(tmp_path, [report(1)]) as reader:
        assert reader.execute("SELECT state FROM event").get == "posted"
    assert "workflow consumption could not work out" in caplog.text
