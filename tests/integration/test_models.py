"""Models at work: another version is taken between two batches, and one that is unfit changes nothing."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import helper

from agent import assembly
from agent.errors import Conflict, ModelUnfit, NotFound
from agent.people.desk import Act
from agent.scoring import registry
from agent.scoring.modelfiles import Aliases
from tests.api_bench import bench
from tests.command_line import Ran, gatepost_
from tests.plant import PERSON, SECRETS, Plant, plant, until
from tests.trained import KEYS, SHIPPED, copied, graph, trust

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME = "consumption_anomaly"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    """A plant whose models and keys are its own."""
    folder = tmp_path_factory.mktemp("line")
    copied(folder / "models", "1")
    registry.name_aliases(folder / "models" / NAME, Aliases(champion="1"))
    trust(folder / "keys")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        async with plant(folder, change=own(folder)) as made:
            yield made


def own(folder: Path) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content |= {"models": str(folder / "models"), "model_keys": str(folder / "keys")}
        for name in ("order_release", "scrap"):  # they ask other models than the one that is here
            content["workflows"][name].pop("model")
        content["accounts"].pop("model")
        del content["workflows"]["order_release"], content["authority"]["order_release"]

    return change


async def scored_by(line: Plant) -> str:
    """Which version scores a report that comes now."""
    body = line.report()
    line.publish(body)
    await until(lambda: line.alive() and line.event(body["id"]), "it is decided")
    event = line.event(body["id"])
    assert event is not None
    (detail,) = line.rows("SELECT detail FROM audit WHERE action = 'decided' AND event_id = ?", event.id)[0]
    return str(json.loads(detail)["score"]["model"])


async def test_a_promoted_version_decides_from_the_next_batch_on(line: Plant):
    """And back again, one step; each is signed and on record, and the agent never stops."""
    copied(line.folder / "models", "2")
    assert await scored_by(line) == f"{NAME}/1"
    act = Act("anna", "held fewer good lots", "key-1")
    with pytest.raises(Conflict, match="has not shown here that it is better: people have decided about 0 reports"):
        await line.agent.promote(NAME, "2", act)
    done = await line.agent.promote(NAME, "2", act, anyway=True)
    assert done == {"model": NAME, "version": "2", "before": "1", "signed_by": "test", "by": "anna"}
    assert await scored_by(line) == f"{NAME}/2"
    with pytest.raises(Conflict, match="is the champion already"):
        await line.agent.promote(NAME, "2", PERSON)
    await line.agent.promote(NAME, None, PERSON)
    assert await scored_by(line) == f"{NAME}/1"
    with pytest.raises(NotFound, match="names no previous version"):
        await line.agent.promote(NAME, None, PERSON)
    (promoted,), (back,) = line.audited("model_promoted"), line.audited("model_rolled_back")
    assert promoted["before"] == "1"
    assert promoted["reason"] == "held fewer good lots"
    assert promoted["anyway"]
    assert "people have decided about 0 reports" in promoted["against"][0]
    assert promoted["sha256"] == back["sha256"]
    assert line.rows("SELECT actor FROM audit WHERE action = 'model_promoted'") == [("anna",)]


async def test_a_score_is_explained_by_the_version_that_gave_it(line: Plant):
    """Asked again it answers the same, bit by bit; another file under its name is told."""
    assert await scored_by(line) == f"{NAME}/1"
    (event,) = line.rows("SELECT max(event_id) FROM audit WHERE action = 'decided'")[0]
    words = ["models", "explain", "--event", str(event)]
    ran = await asyncio.to_thread(gatepost_, line.folder / "agent.yaml", *words)
    assert ran.code == 0, ran.out
    assert f"by {NAME}/1, asked again: the same" in ran.out
    assert "because: " in ran.out
    told = await asyncio.to_thread(gatepost_, line.folder / "agent.yaml", *words, "--json")
    assert json.loads(told.out)["same"]
    ran = await asyncio.to_thread(gatepost_, line.folder / "agent.yaml", "models", "explain", "--event", "999999")
    assert ran.code == 1


async def test_a_decision_is_computed_again_from_its_record(line: Plant):
    """The same in one line, whatever it is named by; and what would be decided today stands beside it."""
    assert await scored_by(line) == f"{NAME}/1"
    ((event, key),) = line.rows("SELECT id, message_key FROM event WHERE state = 'posted' ORDER BY id DESC LIMIT 1")
    same = rf"event {event}, decided .*: the same: {NAME}/1 answers 0\.\d+ again, bit by bit; the bar was 0\.00; posted"
    for name in (str(event), key):
        ran = await replayed(line, name)
        assert ran.code == 0, ran.out
        assert re.match(same, " ".join(ran.out.split()))  # it is folded where the screen is narrow
        assert "today, as if it came alone: " in ran.out
    told = json.loads((await replayed(line, str(event), "--json")).out)
    assert told["same"]
    assert told["exact"]
    assert told["today"]["state"] in ("posted", "held")  # its date may be long ago
    every = await replayed(line, "--all", "--from", "2026-11-20", "--to", "2026-11-21")
    assert every.code == 0, every.out
    decisions = line.rows("SELECT count(*) FROM audit WHERE action = 'decided'")[0][0]
    assert every.out == f"{decisions} decided, {decisions} same\n"
    ran = await replayed(line, "--all", "--to", "2026-11-01")
    assert (ran.code, ran.out) == (1, "no decision is on record for that time")
    assert (await replayed(line, "999999")).code == 1


async def test_a_record_that_was_not_written_by_the_agent_is_told(line: Plant):
    """Exit code 1, the field, what is on record and what it is, and what may be the cause; today is another matter."""
    assert await scored_by(line) == f"{NAME}/1"
    event, text = line.rows("SELECT event_id, detail FROM audit WHERE action = 'decided' ORDER BY seq DESC LIMIT 1")[0]
    forged = json.loads(text)
    forged["score"]["outputs"] = [0.25, 0.75]
    await line.agent.writer.run(lambda tx: tx.audit("decided", forged, event_id=event))
    ran = await replayed(line, str(event))
    assert ran.code == 1
    assert "NOT the same" in ran.out
    assert "outputs[1]: 0.75 (3f400000) is on record" in ran.out
    assert "likely: packages and processor are the same" in ran.out
    assert "today, as if it came alone: " in ran.out
    every, _ = json.JSONDecoder().raw_decode((await replayed(line, "--all", "--json")).out)
    assert every["different"] == 1
    assert [one["event"] for one in every["wrong"]] == [event]


async def replayed(line: Plant, *words: str) -> Ran:
    return await asyncio.to_thread(gatepost_, line.folder / "agent.yaml", "replay", *words)


async def test_what_is_not_there_or_changed_beside_is_refused(line: Plant):
    """A version that nobody trained, and a configuration that was edited but not read."""
    with pytest.raises(NotFound, match="has no version '9'"):
        await line.agent.promote(NAME, "9", PERSON)
    table = line.folder / "masterdata" / "tolerances.yaml"
    before = table.read_text()
    table.write_text(before + "# edited\n")
    with pytest.raises(Conflict, match="reload them first"):
        await line.agent.promote(NAME, "9", PERSON)
    table.write_text(before)


async def test_a_folder_that_cannot_be_written_to_changes_nothing(line: Plant):
    """The trail says that the promotion did not come about."""
    copied(line.folder / "models", "2")
    blocked = line.folder / "models" / NAME / "aliases.json.new"
    blocked.mkdir()
    with pytest.raises(Exception, match=r"aliases\.json cannot be written: .* nothing was changed"):
        await line.agent.promote(NAME, "2", PERSON, anyway=True)
    blocked.rmdir()
    assert [one["alarm"] for one in line.audited("model_not_named")] == [True]
    assert await scored_by(line) == f"{NAME}/1"


def tampered(models: Path) -> None:
    file = copied(models, "bad") / "model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncated(models: Path) -> None:
    copied(models, "bad", (SHIPPED / "model.onnx").read_bytes()[:10_000])


def foreign(models: Path) -> None:
    folder = copied(models, "bad")
    raw = (folder / "manifest.json").read_bytes()
    (folder / "manifest.sig").write_bytes(registry.sign(raw, Ed25519PrivateKey.generate()))


def too_large(models: Path) -> None:
    copied(models, "bad", b"\0" * (3 * 1024 * 1024 + 1))


def looping(models: Path) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["going"], ["still"])], "forever", [], [])
    copied(models, "bad", graph([helper.make_node("Loop", ["", "going"], ["y"], body=body)], width=5))


def memory_hungry(models: Path) -> None:
    nodes = [helper.make_node("Concat", [f"c{at}"] * 2, [f"c{at + 1}"], axis=1) for at in range(26)]
    nodes = [helper.make_node("Identity", ["x"], ["c0"]), *nodes]
    nodes.append(helper.make_node("Gather", ["c26", "first"], ["y"], axis=1))
    copied(models, "bad", graph(nodes, {"first": np.array([0, 1])}, width=5))


def of_another_shape(models: Path) -> None:
    copied(models, "bad", graph([helper.make_node("Identity", ["x"], ["y"])], width=3, columns=3))


def answering_nan(models: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["two"], axis=1),
        helper.make_node("Add", ["two", "nan"], ["y"]),
    ]
    constants = {"first": np.array([0, 1]), "nan": np.array(np.nan, np.float32)}
    copied(models, "bad", graph(nodes, constants, width=5))


def of_other_features(models: Path) -> None:
    first = registry.read(SHIPPED, KEYS).manifest
    copied(models, "bad", features=[one.model_dump() | {"name": f"my_{one.name}"} for one in first.features])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (tampered, "has SHA-256"),
        (truncated, "is no complete ONNX file"),
        (foreign, "is not signed by a key that is trusted here"),
        (too_large, "larger than 3 MiB"),
        (looping, "has graphs inside of nodes"),
        (memory_hungry, "wants more memory|was cut off at its deadline"),
        (of_another_shape, "takes .* the manifest says"),
        (answering_nan, "computes something else here"),
        (of_other_features, "this agent computes deviation"),
    ],
)
async def test_an_unfit_version_is_refused_and_the_champion_goes_on(
    line: Plant, spoil: Callable[[Path], None], told: str
):
    """At a promotion and at a reload: an alarm, a line in the trail, and the next report is scored as before."""
    models = line.folder / "models"
    shutil.rmtree(models / NAME / "bad", ignore_errors=True)
    spoil(models)
    before = len(line.audited("model_refused"))
    with pytest.raises(ModelUnfit, match=told):
        await line.agent.promote(NAME, "bad", PERSON)
    kept = registry.aliases(models / NAME)
    assert kept.champion == "1"
    registry.name_aliases(models / NAME, kept.model_copy(update={"champion": "bad"}))
    with pytest.raises(ModelUnfit, match=told):
        await line.agent.reload(await line.agent.fresh())
    registry.name_aliases(models / NAME, kept)
    refused = line.audited("model_refused")[before:]
    assert [one["alarm"] for one in refused] == [True, True]
    assert await scored_by(line) == f"{NAME}/1"


async def test_without_a_model_that_fits_the_agent_starts_and_holds_what_asks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """An alarm with the reason, which status and held postings tell; once the files are restored a reload takes it."""
    for name, value in SECRETS.items():  # a reload reads them again
        monkeypatch.setenv(name, value)
    signature = copied(tmp_path / "models", "1") / "manifest.sig"
    signed = signature.read_bytes()
    signature.write_bytes(b"")
    registry.name_aliases(tmp_path / "models" / NAME, Aliases(champion="1"))
    trust(tmp_path / "keys")
    async with plant(tmp_path, change=own(tmp_path)) as line:
        (refused,) = line.audited("model_refused")
        assert refused["alarm"]
        assert "is not signed" in line.agent.status()["models"][NAME]["error"]
        body = line.report()
        line.publish(body)
        await until(lambda: line.alive() and line.event(body["id"]), "it is decided")
        ((reasons,),) = line.rows("SELECT reasons FROM posting WHERE state = 'held'")
        assert f"not scored by {NAME}: {tmp_path}" in reasons
        assert "is not signed" in reasons
        await line.agent.reload(await line.agent.fresh())  # whatever else has changed: it may
        signature.write_bytes(signed)
        await line.agent.reload(await line.agent.fresh())
        assert line.agent.status()["models"] == {NAME: {"scores": f"{NAME}/1", "error": None, "meanwhile": None}}
        assert await scored_by(line) == f"{NAME}/1"


async def test_what_a_configuration_asks_of_its_models_is_known(line: Plant):
    """The features of the workflow that uses a model; of others nothing is asked."""
    shelf = assembly.shelf(line.agent.config)
    assert list(shelf.features) == [NAME]


async def test_a_model_is_promoted_through_the_api_and_from_the_command_line(tmp_path: Path):
    """By a token with `admin` alone; what does not fit says why, and `gatepost models` speaks to the running agent."""
    models = tmp_path / "models"
    copied(models, "1")
    registry.name_aliases(models / NAME, Aliases(champion="1"))
    copied(models, "2")
    (copied(models, "bad") / "manifest.sig").write_bytes(b"")
    flows = {"consumption": {"target": "s4", "model": NAME}, "confirmation": {"target": "s4"}}
    where = f"/v1/models/{NAME}"
    async with bench(tmp_path, model_keys=str(trust(tmp_path / "keys")), workflows=flows) as one:
        operator = {"Authorization": f"Bearer {(tmp_path / 'data' / 'operator.token').read_text().strip()}"}
        for token, version, anyway, status in (
            ("anna", "2", True, 403),
            ("", "9", True, 404),
            ("", "bad", True, 422),
            ("", "2", False, 409),
            ("", "2", True, 200),
            ("", "2", True, 409),
        ):
            body = {"version": version, "reason": "held fewer good lots", "anyway": anyway}
            answer = await one.client.post(f"{where}/promote", json=body, headers=one.of(token) if token else operator)
            assert answer.status_code == status, answer.text
            assert status != 422 or answer.json()["error"] == "model_unfit"
        answer = await one.client.post(f"{where}/rollback", json={"reason": "held more"}, headers=operator)
        assert answer.json()["version"] == "1", answer.text
        words = ["models", "promote", NAME, "2", "--anyway", "--reason", "better after all"]
        ran = await asyncio.to_thread(gatepost_, tmp_path / "agent.yaml", *words)
        assert ran.code == 0, ran.out
        assert f"{NAME}/2 (signed by test) is the champion instead of 1" in ran.out
        model = one.agent.rules.assignments["consumption"].model
        assert model is not None
        assert model.name == f"{NAME}/2"
        (told,) = (await one.get("/v1/models"))["items"]
        assert (told["champion"], told["previous"], told["scores"]) == ("2", "1", f"{NAME}/2")
        assert (told["approved"]["reason"], told["approved"]["meaning"]) == (
            "better after all",
            "lets this version decide",
        )
        await one.report("scale-1")
        (held,) = await one.held()
        await one.agent.doubt.look()
        (told,) = (await one.get("/v1/models"))["items"]
        assert (told["drift"]["level"], told["drift"]["bar_raised"]) == ("learning", False)
        again = await one.get(f"/v1/decisions/{held['event_id']}/replay")
        assert (again["same"], again["exact"], again["model"]) == (True, True, f"{NAME}/2")
        told = await one.get(f"/v1/decisions/{held['event_id']}/reasons")
        assert (told["model"], told["problem"]) == (f"{NAME}/2", None)
        assert told["reasons"]
        assert {each["text"] for each in told["inputs"]} == {"used over expected", "share of the order's requirement"}
        ran = await asyncio.to_thread(gatepost_, tmp_path / "agent.yaml", "approvals", "show", str(held["id"]))
        assert f"{NAME}/2 is" in ran.out
        assert told["reasons"][0] in ran.out
