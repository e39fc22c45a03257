"""Decisions on record, computed again: the same to the last bit, or the difference with both values and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.authority import Mode, Rule, decide
from agent.judging import record
from agent.oversight.explaining import explained
from agent.oversight.replay import Replayed, Versions, likely, replay
from agent.ports import Draft, Kind, Proposal
from agent.scores import Classified, Features, Score
from agent.scoring import registry
from agent.scoring.inference import Model
from agent.store import archive, decisions, inbox
from agent.store.decisions import Decided
from agent.store.encode import encode
from tests import stores
from tests.command_line import folder, gatepost_
from tests.trained import KEYS, ROOT, SHIPPED, copied, trust

USUAL = (0.001, 0.001, 2.5, 0.0, 0.005)
DOUBLE = (0.693, 0.693, 2.5, 0.0, 0.01)
RULE = Rule(mode=Mode.AUTO, min_confidence=0.9, model="consumption_anomaly", version="7")
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
DRAFT = Draft(Kind.GOODS_ISSUE, "order/1", {"posting_date": "2026-11-20"})


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    loaded = Model.load(SHIPPED, KEYS, explain_below=0.9)
    yield loaded
    loaded.close()


@pytest.fixture
def versions() -> Iterator[Versions]:
    found = Versions(ROOT / "models", KEYS)
    yield found
    found.close()


def decided(number: int, detail: Mapping[str, Any]) -> Decided:
    """A row of the trail as it is read back."""
    return Decided(number, AT, number, json.loads(encode(detail)))


def on_record(model: Model, *rows: Features) -> list[Decided]:
    """These rows scored together, decided and kept."""
    found = []
    for number, score in enumerate(model.score(rows), 1):
        assert isinstance(score, Score)
        proposal = Proposal((DRAFT,), score.confidence, reasons=score.reasons)
        decision = decide(proposal, RULE, AT.date(), score)
        detail = record.of(b"\1", "consumption", RULE, proposal, decision.route, decision.reasons, score=score)
        found.append(decided(number, detail))
    return found


def changed(one: Decided, **score: Any) -> Decided:
    return decided(one.seq, {**one.detail, "score": {**one.detail["score"], **score}})


def fields(replayed: Replayed) -> list[str]:
    return [one.field for one in replayed.differences]


def test_what_was_decided_is_decided_the_same_again(model, versions):
    """Posted and held ones, with their reasons, in one go and each alone."""
    found = on_record(model, USUAL, DOUBLE, USUAL)
    assert [one.detail["route"] for one in found] == ["posted", "held", "posted"]
    assert found[1].detail["score"]["reasons"]
    assert all(one.same and one.exact for one in replay(found, versions))
    assert all(replay([one], versions)[0].same for one in found)


@pytest.mark.parametrize("name", ["scrap_classification/1", "order_feasibility/3"])
def test_what_was_computed_among_others_is_computed_among_as_many(versions, name):
    """The last bit of these graphs depends on a row's place in its run: with it the answer is the same, always."""
    model = versions.find(name, registry.read(ROOT / "models" / name, KEYS).manifest.files["model.onnx"])
    parity = registry.read(ROOT / "models" / name, KEYS).parity
    rows = np.array([[np.nan if value is None else value for value in row] for row in parity.rows[:93]], np.float32)
    found: list[Decided] = []
    column = model.manifest.output.column
    for of in (1, 7, 85):
        table = rows[len(found) : len(found) + of]
        for at, (row, outputs) in enumerate(zip(table.tolist(), model.run(table).tolist(), strict=True)):
            score = Score(outputs[column], name, model.digest, tuple(row), (), tuple(outputs), (at, of))
            found.append(decided(len(found) + 1, {"score": record.scored(score, 0.0)}))
    found = [decided(one.seq, {**one.detail, "route": "ignored", "reasons": []}) for one in found]
    assert [fields(one) for one in replay(found, versions)] == [[]] * 93
    assert all(replay([one], versions)[0].same for one in found[::10])


def test_what_was_classified_is_classified_the_same_again(versions):
    """The likeliest class is what is compared, whichever column it stands in; and its reasons are told."""
    name = "scrap_classification/1"
    known = registry.read(ROOT / "models" / name, KEYS)
    model = versions.find(name, known.manifest.files["model.onnx"])
    rows = [record.values(row) for row in known.parity.rows[:12]]
    found = []
    for number, answer in enumerate(model.classify(rows), 1):
        assert isinstance(answer, Classified)
        proposal = Proposal((DRAFT,), answer.confidence)
        decision = decide(proposal, RULE, AT.date(), answer)
        detail = record.of(b"\1", "scrap", RULE, proposal, decision.route, decision.reasons, score=answer)
        found.append(decided(number, detail))
    assert len({one.detail["score"]["said"] for one in found}) > 2
    assert {one.detail["route"] for one in found} == {"posted", "held"}
    assert all(one.same and one.exact for one in replay(found, versions))
    (told,) = replay([changed(found[0], confidence=0.1)], versions)
    assert "confidence" in fields(told)
    why = explained(found[0].detail, ROOT / "models", ROOT / "edge_config" / "trust" / "models")
    assert why["said"] == found[0].detail["score"]["said"]
    assert why["reasons"]


def test_one_bit_is_a_difference_with_both_values_and_its_likely_cause(model, versions):
    """Other packages where the record knows of others, else the record itself."""
    (one,) = on_record(model, USUAL)
    outputs = one.detail["score"]["outputs"]
    other = float(np.nextafter(np.float32(outputs[1]), np.float32(0)))
    (told,) = replay([changed(one, outputs=[outputs[0], other])], versions)
    assert not told.same
    assert told.differences[0] == ("outputs[1]", other, outputs[1])
    then, now = {"numpy": "1", "onnxruntime": "3"}, {"numpy": "2", "onnxruntime": "3"}
    assert likely(told, then, now) == ["numpy 1 then, 2 now"]
    assert "audit verify" in likely(told, now, now)[0]
    assert "does not say" in likely(told, {}, now)[0]
    assert likely(replay([one], versions)[0], then, now) == []


def test_bar_and_route_must_follow_from_the_record(model, versions):
    """A row that says otherwise than its own figures was not written like that."""
    good, bad = on_record(model, USUAL, DOUBLE)
    posted = decided(2, {**bad.detail, "route": "posted"})
    silent = decided(2, {**bad.detail, "reasons": []})
    raised = changed(good, bar=0.99999)
    found = replay([posted, silent, raised], versions)
    assert [fields(one) for one in found] == [["route"], ["reasons"], ["reasons", "route"]]
    assert found[0].differences[0] == ("route", "posted", "held")
    assert "audit verify" in likely(found[0], {}, {})[0]


def test_reasons_that_read_otherwise_are_told_and_are_no_difference(model, versions):
    """Another release may have better words; what was decided is the same."""
    (bad,) = on_record(model, DOUBLE)
    same, reworded = replay([bad, changed(bad, reasons=["it is Friday"])], versions)
    assert same.reasons == ()
    assert reworded.same
    assert list(reworded.reasons) == bad.detail["score"]["reasons"]


@pytest.mark.parametrize("mode", [Mode.ASSIST, Mode.ADVISE])
def test_where_a_person_decides_anyway_the_route_fits_the_mode(model, versions, mode):
    """Whatever the score: held where each is approved, advised where nothing is written."""
    (one,) = on_record(model, USUAL)
    route = {"assist": "held", "advise": "advised"}[mode]
    right, wrong = ({**one.detail, "mode": mode, "route": told} for told in (route, "posted"))
    assert [fields(told) for told in replay([decided(1, right), decided(2, wrong)], versions)] == [[], ["route"]]


def test_a_record_of_an_older_release_is_compared_within_rounding(model, versions):
    """It kept the probability alone, and not which row of a run it was; and it is said that this is less."""
    (one,) = on_record(model, USUAL)
    score = {name: one.detail["score"][name] for name in ("model", "sha256", "confidence", "features", "reasons")}
    detail = {name: value for name, value in one.detail.items() if name not in ("route", "mode")}
    (told,) = replay([decided(1, {**detail, "score": score})], versions)
    assert told.same
    assert not told.exact
    (told,) = replay([decided(1, {**detail, "score": {**score, "confidence": score["confidence"] - 1e-3}})], versions)
    assert fields(told) == ["confidence"]


def test_the_very_file_is_found_wherever_it_lies_and_told_where_it_does_not(model, tmp_path):
    """By its hash: under its own number, under another one; gone, or with another file in its place."""
    (one,) = on_record(model, USUAL)

    def again(models: Path) -> Replayed:
        found = Versions(models, KEYS)
        try:
            return replay([one], found)[0]
        finally:
            found.close()

    assert "is not in" in again(tmp_path).problem
    assert "put the folder of that version back" in again(tmp_path).problem
    data = (SHIPPED / "model.onnx").read_bytes()
    copied(tmp_path, "1", data + b"\0")
    assert "is another file now than the one that decided" in again(tmp_path).problem
    copied(tmp_path, "2")
    assert again(tmp_path).same
    (tmp_path / "consumption_anomaly" / "2" / "manifest.sig").write_bytes(b"")
    assert "is not signed" in again(tmp_path).problem


def test_what_the_model_had_no_answer_to_has_none_again(model, versions):
    """Out of range then, out of range now; a run that was only late then is a difference."""
    late, beyond = USUAL, (float("inf"), 0.0, 2.5, 0.0, float("nan"))
    unfit = [record.unfit(model.name, model.digest, row) for row in (beyond, late)]
    found = [decided(at, {"unfit": detail}) for at, detail in enumerate(unfit)]
    still, now_answered = replay(found, versions)
    assert still.same
    assert still.model == model.name
    assert fields(now_answered) == ["score"]
    assert "cut off at its deadline" in likely(now_answered, {}, {})[0]


def test_what_no_model_decided_has_nothing_to_compute_and_damage_is_told(versions):
    """Rules alone, or no model that fitted; and a row whose text is no record any more."""
    absent = {"route": "held", "reasons": [], "unfit": record.unfit("consumption_anomaly", "", USUAL)}
    details: list[dict[str, Any]] = [{"route": "posted", "reasons": []}, absent, {}]
    rules, nothing, damaged = replay([decided(at, detail) for at, detail in enumerate(details)], versions)
    assert rules.same
    assert nothing.same
    assert not rules.model
    assert not nothing.model
    assert "is damaged" in damaged.problem


def test_whoever_opens_a_decision_reads_why_or_why_not(model, tmp_path):
    """From the record alone; a version that is gone is told, and asked again once it is back."""
    keys = trust(tmp_path / "keys")
    (one,) = on_record(model, DOUBLE)
    told = explained(one.detail, tmp_path, keys)
    assert told["reasons"] == []
    assert "is not in" in told["problem"]
    copied(tmp_path, "1")
    told = explained(one.detail, tmp_path, keys)
    assert told["problem"] is None
    assert told["reasons"][0].startswith("used over expected is 2, usually 0.98 to 1.02")
    assert told["inputs"][0]["beyond"]
    assert explained({"route": "held"}, tmp_path, keys)["problem"] == "no model has scored it"
    unfit = record.unfit(model.name, model.digest, USUAL)
    assert "no answer" in explained({"unfit": unfit}, tmp_path, keys)["problem"]


def test_a_decision_is_found_in_its_archive(model, tmp_path):
    """By its number and in a range of time, when it has left the store with its message and the start before it.

    An archive that is being begun, which has no tables yet, is no obstacle.
    """
    config = folder(tmp_path, f"models: {ROOT}/models\nmodel_keys: {ROOT}/edge_config/trust/models\n")
    path, clock = tmp_path / "data" / "gatepost.db", stores.Clock()
    (one,) = on_record(model, USUAL)
    detail = {**one.detail, "payload_sha256": sha256(b"{}").hexdigest()}
    with stores.opened(path, clock) as writer, stores.reading(path) as live:
        stores.arrive(writer, b"{}")
        writer.call(lambda tx: tx.audit("started", {"computes_with": {"numpy": "0.1"}}))
        writer.call(
            lambda tx: inbox.settle(tx, [inbox.Settlement(1, "posted", "consumption:A", sha256(b"{}").digest())])
        )
        writer.call(lambda tx: tx.audit("decided", detail, event_id=1))
        clock.forward(days=200)
        moved = archive.archive(writer, live, tmp_path / "data" / "archive", clock(), timedelta(days=90))
    assert (moved.events, moved.audit_rows) == (1, 2)
    moved.path.with_name("2999-01-01.db").touch()
    alone, named, every = (
        gatepost_(config, "replay", *words) for words in (["1"], ["consumption:A"], ["--all", "--from", "2026-11-20"])
    )
    assert alone.code == named.code == every.code == 0, alone.out + named.out + every.out
    assert "event 1, decided 2026-11-20 12:00:00Z: the same" in alone.out
    assert named.out == alone.out
    assert every.out == "1 decided, 1 same\n"
    assert gatepost_(config, "audit", "verify").code == 0
    with stores.reading(moved.path) as archived:
        assert decisions.ran_with(archived, 2) == {"numpy": "0.1"}
