"""From a correction to a better model: people decide, their labels train a version, and it shows itself in shadow."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from onnx import helper

from agent import checkpoints
from agent.oversight.shadow import Shadow
from agent.scoring import registry
from agent.scoring.modelfiles import Aliases
from agent.store import scored
from agent.workflows.consumption import FEATURES
from tests.api_bench import Bench, bench, until
from tests.command_line import Ran, gatepost_
from tests.trained import copied, graph, put, trust

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME = "consumption_anomaly"
FLOWS = {"consumption": {"target": "s4", "model": NAME}, "confirmation": {"target": "s4"}}
DECIDED = "SELECT count(*) FROM event WHERE source = 'reports' AND state <> 'undecided'"
GATE = {"min_labels": 40, "min_wrong": 15, "max_p99_ms": 1000}


def prepared(folder: Path) -> dict[str, Any]:
    """Models of this plant's own, a key to train with, and what the configuration says about both."""
    copied(folder / "models", "1")
    registry.name_aliases(folder / "models" / NAME, Aliases(champion="1"))
    trust(folder / "keys")
    (folder / "private").mkdir()
    checkpoints.load_key(folder / "private" / "models.pem")
    shutil.copy(folder / "private" / "models.pub", folder / "keys" / "mine.pub")
    return {"model_keys": str(folder / "keys"), "workflows": FLOWS, "promotion": GATE}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("plant")
    async with bench(folder, **prepared(folder)) as made:
        made.agent.shadow._tick_s = 0.1
        yield made


async def gatepost(one: Bench, *words: str) -> Ran:
    """A command beside the running agent."""
    return await asyncio.to_thread(gatepost_, one.agent.config.file, "models", *words)


async def reported(one: Bench, *quantities: float) -> None:
    """Weighings of lots that should take 12 kg, each decided before this returns."""
    ((before,),) = rows(one, DECIDED)
    for number, quantity in enumerate(quantities, before + 1):
        await one.report(f"MIX-01-{number:06d}", quantity=quantity, lot_quantity=12.5)
    await until(lambda: _decided(one, before + len(quantities)))


async def _decided(one: Bench, count: int) -> bool:
    return rows(one, DECIDED) == [(count,)]


def rows(one: Bench, sql: str) -> list[tuple[Any, ...]]:
    return one.agent.desk.look(lambda connection: list(connection.execute(sql)))


def mixed(chance: Random) -> list[float]:
    """Weighings that are right at this plant, and as many that are not."""
    good = [chance.gauss(10.6, 0.05) for _ in range(20)]
    bad = [chance.choice((12.0, 13.0)) + chance.gauss(0, 0.05) for _ in range(20)]
    return [round(value, 3) for value in chance.sample(good + bad, 40)]


async def judged(one: Bench) -> None:
    """People approve what took about 10.6 kg and refuse all else."""
    for posting in await one.held():
        meaning = "approve" if float(posting["payload"]["quantity"]) < 11.3 else "refuse"
        body = {"expected_version": posting["version"], "reason": "weighed again"}
        answer = await one.ask("POST", f"/v1/approvals/{posting['id']}/{meaning}", json=body)
        assert answer.status_code == 200, answer.text


async def test_from_corrections_to_a_better_model_and_back(one: Bench):
    """Decided, judged by people, exported, trained, in shadow, compared, promoted, rolled back: all beside the agent.

    At this plant a lot takes an eighth less than the bill of material says: the champion doubts what is right here.
    """
    folder, chance = one.agent.config.file.parent, Random(5)
    await reported(one, *mixed(chance))
    await judged(one)

    sheet = folder / "labels.csv"
    ran = await gatepost(one, "export-labels", NAME, "--out", str(sheet))
    assert ran.code == 0, ran.out
    assert "40 reports" in ran.out
    assert "20 normal, 20 wrong; 40 of them were shown" in ran.out
    with sheet.open() as stream:
        told = list(csv.DictReader(stream))
    assert {one["how"] for one in told} == {"approved", "refused"}
    assert "by" not in told[0]
    columns = folder / "labels.yaml"
    columns.write_text(columns.read_text() + "learner: linear\n")
    key = str(folder / "private" / "models.pem")
    words = ["--data", str(sheet), "--columns", str(columns), "--key", key, "--out", str(folder / "models")]
    ran = await gatepost(one, "train", NAME, *words)
    assert ran.code == 0, ran.out

    ran = await gatepost(one, "compare", NAME)
    assert "has no challenger; name two versions" in ran.out
    ran = await gatepost(one, "challenge", NAME, "2", "--reason", "trained on what we refused")
    assert ran.code == 0, ran.out
    assert registry.aliases(folder / "models" / NAME) == Aliases(champion="1", challenger="2")
    ran = await gatepost(one, "promote", NAME, "2", "--reason", "it has learnt all of it")
    assert "people have decided about 0 reports that neither has learnt from" in ran.out
    await reported(one, *mixed(chance))
    await judged(one)
    await until(lambda: _shadowed(one, 40))
    assert rows(one, "SELECT count(*) FROM shadow WHERE version = '2' AND said IS NOT NULL") == [(40,)]
    assert rows(one, "SELECT DISTINCT json_extract(detail, '$.score.model') FROM audit WHERE action = 'decided' "
                "AND json_extract(detail, '$.score.model') IS NOT NULL") == [(f"{NAME}/1",)]  # fmt: skip

    ran = await gatepost(one, "compare", NAME, "--json")
    found = json.loads(ran.out)
    assert found["passes"], found["against"]
    assert (found["normal"], found["wrong"], found["seen"], found["judged"]["unbiased"]) == (20, 20, 40, 40)
    assert found["judged"]["brier"]["high"] < -0.1
    assert found["judged"]["cost"]["high"] < -1
    assert len(found["would_post"]) == 40  # what is right here the champion doubts
    assert found["would_hold"]  # and what is wrong here it takes for right
    assert found["shadow"]["asked"] == 40
    shown = await gatepost(one, "compare", NAME)
    assert f"2 passes the gate: gatepost models promote {NAME} 2" in shown.out
    ran = await gatepost(one, "promote", NAME, "2", "--reason", "right about our pipes")
    assert ran.code == 0, ran.out
    assert registry.aliases(folder / "models" / NAME).parts == {"champion": "2", "previous": "1"}
    await reported(one, 12.02)
    (last,) = rows(one, "SELECT detail FROM audit WHERE action = 'decided' ORDER BY seq DESC LIMIT 1")
    assert json.loads(last[0])["score"]["model"] == f"{NAME}/2"
    ran = await gatepost(one, "rollback", NAME, "--reason", "one step back")
    assert ran.code == 0, ran.out
    assert registry.aliases(folder / "models" / NAME).parts == {"champion": "1"}


async def _shadowed(one: Bench, count: int) -> bool:
    return rows(one, "SELECT count(*) FROM shadow") == [(count,)]


# ── a challenger that is no good ────────────────────────────────────────────────────────────────────────────


def named_by_hand(one: Bench, version: str) -> None:
    """As somebody does who edits aliases.json: nothing has looked at the version."""
    registry.name_challenger(one.agent.config.models / NAME, version)


async def silent(one: Bench, version: str) -> list[dict[str, Any]]:
    """What the trail says about a challenger that gives no answers."""
    found = rows(one, "SELECT detail, alarm FROM audit WHERE action = 'challenger_silent'")
    told = [json.loads(detail) | {"alarm": alarm} for detail, alarm in found]
    return [each for each in told if each["version"] == version]


async def begun(one: Bench, version: str) -> bool:
    return rows(one, "SELECT version FROM shadow_mark") == [(version,)]


def slow() -> bytes:
    """Some seconds of allowed operators: within the patience of a load, far beyond the deadline of a run."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"]),
        helper.make_node("Add", ["sum", "row"], ["wide"]),
        helper.make_node("MatMul", ["column", "wide"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{at}", f"m{at}"], [f"m{at + 1}"]) for at in range(60)),
        helper.make_node("Gather", ["m60", "first"], ["two"], axis=1),
        helper.make_node("Gather", ["two", "one"], ["y"], axis=0),
    ]
    constants = {"row": np.zeros((1, 700), np.float32), "column": np.zeros((700, 1), np.float32)}
    return graph(nodes, {**constants, "first": np.array([0, 1]), "one": np.array([0])}, width=5)


async def test_a_challenger_that_is_late_is_cut_off_told_once_and_holds_up_nothing(one: Bench):
    """What it was asked is on record as unanswered; the champion decides what comes, and the alarm rings once."""
    put(
        one.agent.config.models, slow(), name=NAME, version="slow", features=FEATURES,
        parity=([[0.0] * 5], [[0.0, 0.0]]),
    )  # fmt: skip
    named_by_hand(one, "slow")
    await until(lambda: begun(one, "slow"))
    await reported(one, 12.0)
    (why,) = await until(lambda: _unanswered(one, "slow"))
    assert "was cut off at its deadline" in why[0]
    await until(lambda: silent(one, "slow"))
    await reported(one, 12.03)
    (told,) = await silent(one, "slow")
    assert (told["alarm"], told["model"]) == (1, NAME)
    scored = rows(one, "SELECT json_extract(detail, '$.score.model') FROM audit WHERE action = 'decided' "
                  "ORDER BY seq DESC LIMIT 2")  # fmt: skip
    assert scored == [(f"{NAME}/1",)] * 2


async def _unanswered(one: Bench, version: str) -> list[tuple[Any, ...]]:
    return rows(one, f"SELECT why FROM shadow WHERE version = '{version}' AND said IS NULL")


async def test_a_challenger_that_cannot_be_loaded_is_told_once_also_over_a_restart(one: Bench):
    """Its file was changed behind it: the alarm says so; whoever starts again knows that it was told."""
    with (copied(one.agent.config.models, "spoilt") / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    named_by_hand(one, "spoilt")
    await until(lambda: begun(one, "spoilt"))
    await reported(one, 12.0)
    (told,) = await until(lambda: silent(one, "spoilt"))
    assert "has SHA-256" in told["why"]
    again = Shadow(one.agent.desk, one.agent.shadow._shelf)
    await again._follow(NAME)
    assert again._paused
    assert len(await silent(one, "spoilt")) == 1
    named_by_hand(one, "2")
    await until(lambda: begun(one, "2"))
    await reported(one, 11.98)
    await until(lambda: _shadowed_by(one, "2", 41))
    assert await silent(one, "2") == []


async def test_whatever_goes_wrong_in_shadow_ends_nothing(
    one: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """Aliases that nobody can read, and a mistake of our own: told in the log, once each; the agent decides."""
    aliases = one.agent.config.models / NAME / registry.ALIASES
    whole = aliases.read_bytes()
    aliases.write_bytes(b"{")
    await until(lambda: _logged(caplog, "aliases.json: "))
    aliases.write_bytes(whole)
    with monkeypatch.context() as broken:
        broken.delattr(scored, "after")
        await until(lambda: _logged(caplog, "could not be asked: AttributeError"))
        await reported(one, 12.0)
    assert sum("could not be asked" in record.message for record in caplog.records) == 2


async def _logged(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return any(words in record.message for record in caplog.records)


async def _shadowed_by(one: Bench, version: str, count: int) -> bool:
    return rows(one, f"SELECT count(said) FROM shadow WHERE version = '{version}'") == [(count,)]
