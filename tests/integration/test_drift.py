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

from agent.authority import Mode, Rule
from agent.configuration.settings import Drift
from agent.errors import Conflict
from agent.judging.rules import Rules
from agent.oversight.doubt import Doubt
from agent.oversight.replay import Replayed, Versions, replay
from agent.people.desk import Act, Desk
from agent.pipeline import Intake, Process
from agent.ports import Batch
from agent.scoring import drift
from agent.scoring.drift import Level
from agent.scoring.inference import Model
from agent.store import approvals, audit, decisions, file
from agent.store.approvals import Signature
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
async def line(folder: Path, *, numbers: int = 0, mode: Mode = Mode.AUTO, **settings: Any) -> AsyncIterator[Line]:
    """An agent's inner loops on the store of this folder."""
    clock, path = Clock(), folder / "data" / "gatepost.db"
    path.parent.mkdir(exist_ok=True)
    model = Model.load(SHIPPED, KEYS, explain_below=0.9)
    with opened(path, clock) as writer, closing(file.reader(path)) as reader:
        first = without_a_model()
        one = first.assignments["consumption"]
        facts = load_facts().with_documents([("order", LARGE)])
        rules = replace(
            first, facts=facts, assignments={"consumption": replace(one, rule=replace(RULE, mode=mode), model=model)}
        )
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


# ── what people found ───────────────────────────────────────────────────────────────────────────────────────


async def decided_by_people(one: Line, count: int, wrong: int) -> None:
    """So many ordinary reports come before a person, who refuses some of them; then the agent looks."""
    await one.weigh(*[USUAL] * count)
    held = one.reader.execute("SELECT id, version FROM posting WHERE state = 'held' ORDER BY id").fetchall()
    assert len(held) == count
    for number, (posting, version) in enumerate(held):
        signature = Signature("anna", "refuse" if number < wrong else "approve", "weighed again")
        one.writer.call(lambda tx, posting=posting, version=version, signature=signature: approvals.decide(  # type: ignore[misc]
            tx, posting, version, signature
        ))  # fmt: skip
    await one.doubt.look()


def same(one: Line, event: int) -> Replayed:
    """The decision about this event computed again."""
    versions = Versions(SHIPPED.parents[1], KEYS)
    try:
        found = decisions.of_event(one.reader, event)
        assert found is not None
        return replay([found], versions)[0]
    finally:
        versions.close()


async def test_what_people_find_otherwise_raises_the_bar_then_moves_the_odds(tmp_path: Path):
    """Step by step, each on record; a decision after it keeps by how much, and is computed again bit by bit."""
    told = {"labels": 30, "recalibrate": True}
    async with line(tmp_path, mode=Mode.ASSIST, **told) as one:
        await decided_by_people(one, 40, 16)
        ((alarm, _, rings),) = one.audited("drift_alarm")
        assert (alarm["bar_raised"], rings, alarm["outcomes"]["labels"]) == (True, 1, 40)
        assert alarm["outcomes"]["observed"] == 0.6
        assert "people decided 16 of 40 reports otherwise than proposed (40%)" in alarm["why"]
        assert one.audited("recalibrated") == []
        await one.doubt.look()
        ((moved, actor, _),) = one.audited("recalibrated")
        assert (moved["before"], actor) == (0, "agent")
        assert moved["shift"] < -2
        (after,) = await one.weigh(USUAL)
        assert after["score"]["shift"] == moved["shift"]
        assert after["score"]["confidence"] < after["score"]["outputs"][1]
        assert after["confidence"] == after["score"]["confidence"]
        assert same(one, one.numbers).same
        await one.doubt.look()
        assert len(one.audited("recalibrated")) == 1
        assert one.doubt.states[f"{NAME}/1"].raised
        numbers = one.numbers
    async with line(tmp_path, numbers=numbers, mode=Mode.ASSIST, **told) as one:
        (after,) = await one.weigh(USUAL)
        assert after["score"]["shift"] == moved["shift"]
        numbers = one.numbers
    async with line(tmp_path, numbers=numbers, mode=Mode.ASSIST, labels=30) as one:
        (after,) = await one.weigh(USUAL)
        assert "shift" not in after["score"]


async def test_what_people_find_as_often_as_the_model_says_is_no_alarm(tmp_path: Path):
    """Nor is it one where few have been decided."""
    async with line(tmp_path, mode=Mode.ASSIST, labels=30, recalibrate=True) as one:
        await decided_by_people(one, 20, 8)
        found = one.doubt.states[f"{NAME}/1"].outcomes
        assert found is not None
        assert (found.labels, found.level, one.level()) == (20, Level.LEARNING, Level.LEARNING)
        await decided_by_people(one, 100, 0)  # with these it can tell, and is not taken back by what else is found
        assert len(one.audited("drift_measure")) == len(one.audited("drift_alarm")) == 1
    (tmp_path / "other").mkdir()
    async with line(tmp_path / "other", mode=Mode.ASSIST, labels=30) as one:
        await decided_by_people(one, 60, 0)
        assert one.level() is Level.GREEN
        assert one.audited("drift_alarm") == []


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
    assert "drift: alarm" in " ".join((await said("models", "list")).out.split())
    ran = await said("models", "accept-drift", NAME, "--yes", "--by", "anna", "--reason", "new scale")
    signed = f"by anna via {getpass.getuser()}"
    assert (ran.code, ran.out) == (0, f"accepted: {NAME}/1 ({signed}: new scale)\n")
    assert "drift: learning" in " ".join((await said("models", "list")).out.split())
    assert "drift " not in (await said("status")).out.split("last alarms")[0]
    ran = await said("models", "accept-drift", NAME, "--yes", "--by", "anna", "--reason", "again")
    assert ran.code == 1
    assert "has not drifted" in ran.out
