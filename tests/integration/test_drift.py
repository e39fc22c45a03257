"""Drift at work, with the shipped model on a real store: a scale that drifts raises the bar, and how it comes down."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from agent import drift
from agent.authority import Mode, Rule
from agent.desk import Act, Desk
from agent.doubt import Doubt
from agent.drift import Level
from agent.errors import Conflict
from agent.inference import Model
from agent.judge import Rules
from agent.pipeline import Intake, Process
from agent.ports import Batch
from agent.settings import Drift
from agent.store import audit, file
from agent.store.writer import Writer
from tests.command_line import Ran, folder, gatepost_
from tests.integration.test_process import report
from tests.integration.test_process import rules as without_a_model
from tests.stores import Clock, opened
from tests.trained import KEYS, SHIPPED
from tests.unit.test_workflow_consumption import AT, MIXING, component, load_facts

NAME = "consumption_anomaly"
USUAL, HEAVY, NOISE = 9.6, 9.9, 0.15  # what a lot weighs, what a scale shows of it that has drifted, and its noise
DOUBTFUL = 9.9  # the model is sure of it by 0.92
ROWS = 100
LARGE = {
    **MIXING,
    "quantity": "20000",
    "components": [component("RM-RESIN", "0001", "19215.000", "KGM", withdrawn="1")],
}
RULE = Rule(mode=Mode.AUTO, min_confidence=0.9, model=NAME, version="7")


@dataclass
class Line:
    """One agent's store, its process loop and its look at drift; a second one on the same file is a restart."""

    folder: Path
    writer: Writer
    reader: apsw.Connection
    process: Process
    doubt: Doubt
    rules: Rules
    random: Random = field(default_factory=lambda: Random(1))
    numbers: int = 0

    async def weigh(self, *weights: float) -> list[dict[str, Any]]:
        """Reports of these weights arrive, one a minute; returns the records of the decisions."""
        kept, loop = asyncio.Event(), asyncio.get_running_loop()
        head = audit.read_head(self.reader).seq
        deliveries = [report(self.numbers + at, quantity=weight) for at, weight in enumerate(weights, 1)]
        self.numbers += len(weights)
        arrived = AT + timedelta(minutes=self.numbers)

        def stored() -> None:
            loop.call_soon_threadsafe(kept.set)

        Intake(self.writer).put(Batch("line", deliveries, arrived, stored))
        await kept.wait()
        self.process.arrived.set()
        async with asyncio.timeout(60):
            while self.reader.execute("SELECT 1 FROM event WHERE state = 'undecided' LIMIT 1").get:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        rows = self.reader.execute(
            "SELECT CAST(detail AS BLOB) FROM audit WHERE action = 'decided' AND seq > ? ORDER BY seq", (head,)
        )
        return [json.loads(raw) for (raw,) in rows]

    async def around(self, weight: float, count: int = ROWS) -> None:
        """So many reports with the noise of a scale; then the agent looks."""
        await self.weigh(*(round(self.random.gauss(weight, NOISE), 3) for _ in range(count)))
        await self.doubt.look()

    def audited(self, action: str) -> list[tuple[dict[str, Any], str, int]]:
        rows = self.reader.execute("SELECT detail, actor, alarm FROM audit WHERE action = ? ORDER BY seq", (action,))
        return [(json.loads(detail), actor, alarm) for detail, actor, alarm in rows]

    def level(self) -> Level:
        return self.doubt.states[f"{NAME}/1"].level


@asynccontextmanager
async def line(folder: Path, *, numbers: int = 0, **settings: Any) -> AsyncIterator[Line]:
    """An agent's inner loops on the store of this folder."""
    clock, path = Clock(), folder / "data" / "gatepost.db"
    path.parent.mkdir(exist_ok=True)
    model = Model.load(SHIPPED, KEYS, explain_below=0.9)
    with opened(path, clock) as writer, closing(file.reader(path)) as reader:
        first = without_a_model()
        one = first.assignments["consumption"]
        facts = load_facts().with_documents([("order", LARGE)])
        rules = replace(first, facts=facts, assignments={"consumption": replace(one, rule=RULE, model=model)})
        desk = Desk(writer, clock)

        def swap(rules: Rules) -> None:
            process.rules = doubt.applied(rules)

        configured = Drift(rows=ROWS, **settings)
        doubt = Doubt(desk, clock, lambda: configured, lambda: process.rules, swap)
        doubt.load(reader)
        process = Process(writer, reader, doubt.applied(rules), clock, {})
        process.orders_read.set()
        running = asyncio.create_task(process.run())
        try:
            yield Line(folder, writer, reader, process, doubt, rules, numbers=numbers)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            model.close()


async def test_a_scale_that_drifts_raises_the_bar_until_it_is_as_before(tmp_path: Path):
    """What was posted is held, and says why; over a restart, too; and is posted again when the inputs are as before."""
    async with line(tmp_path) as one:
        await one.around(USUAL)
        assert one.level() is Level.GREEN
        (before,) = await one.weigh(DOUBTFUL)
        assert (before["route"], before["score"]["bar"]) == ("posted", 0.9)
        await one.around(HEAVY)
        ((told, actor, alarm),) = one.audited("drift_alarm")
        assert (told["level"], told["bar_raised"], actor, alarm) == ("alarm", True, "agent", 1)
        assert told["figures"]["psi"]["deviation"] > drift.ALARM
        (held,) = await one.weigh(DOUBTFUL)
        assert held["route"] == "held"
        assert (held["score"]["bar"], held["score"]["raised_from"]) == (0.99, 0.9)
        assert held["reasons"][0] == "confidence 0.92 is below 0.99"
        assert held["reasons"][1].startswith(
            f"the bar is raised from 0.90: of what {NAME}/1 is asked, inputs are spread"
        )
        assert held["score"]["reasons"]
        numbers = one.numbers
    async with line(tmp_path, numbers=numbers) as one:
        (held,) = await one.weigh(DOUBTFUL)
        assert held["route"] == "held"
        await one.around(USUAL, 2 * ROWS)
        assert one.level() is Level.GREEN
        (after,) = await one.weigh(DOUBTFUL)
        assert (after["route"], after["score"]["bar"], after["reasons"]) == ("posted", 0.9, [])
        assert "raised_from" not in after["score"]
        assert [told["bar_raised"] for told, _, _ in one.audited("drift_over")] == [False]


async def test_a_person_ends_it_and_what_comes_then_is_the_measure(tmp_path: Path):
    """By name, with a reason, on record; what is there now is no alarm any more, another drift is."""
    async with line(tmp_path) as one:
        await one.around(USUAL)
        with pytest.raises(Conflict, match="has not drifted"):
            await one.doubt.accept(NAME, Act("anna", "just so"))
        await one.around(HEAVY)
        assert [told["route"] for told in await one.weigh(DOUBTFUL)] == ["held"]
        done = await one.doubt.accept(NAME, Act("anna", "new scale, weighed and right", "key-1"))
        assert done == {"model": NAME, "versions": [f"{NAME}/1"], "by": "anna"}
        assert [told["route"] for told in await one.weigh(DOUBTFUL)] == ["posted"]
        ((told, actor, _),) = one.audited("drift_accepted")
        assert (actor, told["reason"]) == ("anna", "new scale, weighed and right")
        await one.around(HEAVY)
        await one.around(HEAVY)
        assert one.level() is Level.GREEN
        assert len(one.audited("drift_measure")) == 2
        await one.around(USUAL)
        assert one.level() is Level.ALARM


async def test_the_bar_of_who_asks_nothing_of_the_model_stays(tmp_path: Path):
    """`min_confidence: 0` in `drift`: the alarm rings, what is posted is the configuration's business."""
    async with line(tmp_path, min_confidence=0) as one:
        await one.around(USUAL)
        await one.around(HEAVY)
        assert one.level() is Level.ALARM
        (told,) = await one.weigh(DOUBTFUL)
        assert (told["route"], told["score"]["bar"]) == ("posted", 0.9)


async def test_a_drift_that_cannot_be_followed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever goes wrong in looking: the state is as it was, and events are decided."""

    def broken(*_: object) -> Mapping[str, Any]:
        raise ZeroDivisionError

    async with line(tmp_path) as one:
        await one.around(USUAL)
        monkeypatch.setattr(drift, "measured", broken)
        await one.around(HEAVY)
        assert one.level() is Level.GREEN
        assert [told["route"] for told in await one.weigh(DOUBTFUL)] == ["posted"]


async def test_people_see_it_and_end_it_also_while_no_agent_runs(tmp_path: Path):
    """`status` says what and what to do, `models list` the level; `accept-drift` is signed."""
    config = folder(tmp_path, f"models: {SHIPPED.parents[1]}\nmodel_keys: keys\n")
    async with line(tmp_path) as one:
        await one.around(USUAL)
        await one.around(HEAVY)

    async def said(*words: str) -> Ran:
        return await asyncio.to_thread(gatepost_, config, *words)

    (tmp_path / "keys").symlink_to(Path(__file__).parents[2] / "edge_config" / "trust" / "models")
    out = " ".join((await said("status")).out.split())
    assert f"drift {NAME}/1: inputs are spread otherwise (PSI: " in out
    assert f"`gatepost models accept-drift {NAME}`" in out
    assert "drift: alarm" in (await said("models", "list")).out
    ran = await said("models", "accept-drift", NAME, "--yes", "--by", "anna", "--reason", "new scale")
    signed = f"by anna via {getpass.getuser()}"
    assert (ran.code, ran.out) == (0, f"accepted: {NAME}/1 ({signed}: new scale)\n")
    assert "drift: learning" in (await said("models", "list")).out
    assert "drift " not in (await said("status")).out.split("last alarms")[0]
    ran = await said("models", "accept-drift", NAME, "--yes", "--by", "anna", "--reason", "again")
    assert ran.code == 1
    assert "has not drifted" in ran.out
