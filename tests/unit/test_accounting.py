"""The account of a posting: the table gives it, the model may only doubt it, a person has the last word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.authority import Mode, Rule, decide
from agent.configuration.settings import Drift
from agent.errors import BadPayload, ModelUnfit
from agent.facts import Facts
from agent.features.posting_classification import NAMES
from agent.figures import Decided as Counts
from agent.judging import record
from agent.judging.accounting import Accounted, accounted, corrected
from agent.judging.rules import DRIFTED, SecondLook
from agent.masterdata import accounts
from agent.masterdata.accounts import LEAST
from agent.oversight.doubt import Doubt
from agent.oversight.explaining import explained
from agent.oversight.replay import Versions, replay
from agent.ports import Proposal, Route
from agent.scores import Classified
from agent.scoring.drift import State
from agent.scoring.inference import Absent, Model
from agent.store import decisions
from agent.store.decisions import Decided
from agent.store.encode import encode
from tests.trained import KEYS, ROOT
from tests.unit.test_judge import rules_of
from tests.unit.test_replay import AT
from tests.unit.test_workflow_scrap import FACTS, proposed, report, sure

TABLE = accounts.read(ROOT / "edge_config" / "accounts.yaml")
KNOWN = replace(FACTS, accounts=TABLE)
NAME = "posting_classification"
RULE = Rule(mode=Mode.AUTO, min_confidence=0.5)


@pytest.fixture(scope="module")
def look() -> Iterator[SecondLook]:
    folder = ROOT / "models" / NAME / "1"
    model = Model.load(folder, KEYS, NAMES, kind="classes", explain_below=0.0)
    yield SecondLook(NAME, model)
    model.close()


def valued(valuation_class: str) -> Facts:
    """The plant, with the valve body given another valuation class."""
    return KNOWN.with_facts([replace(FACTS.materials["BODY-55"], valuation_class=valuation_class)])


def looked_at(
    facts: Facts = KNOWN, look: SecondLook | None = None, cause: str = "tool", **sensitive: Any
) -> tuple[Proposal, Accounted]:
    """Four scrapped valve bodies, and what is found of their account."""
    proposal, _ = proposed(report(), sure(cause))
    after, found = accounted(proposal, facts, look, **sensitive)
    assert found is not None
    return after, found


# ── the table decides ───────────────────────────────────────────────────────────────────────────────────────


def test_the_table_gives_scrap_its_account():
    """On the movement alone; the accountant reads it; nothing is held, and the rest of the group is as it was."""
    before, _ = proposed(report(), sure("tool"))
    proposal, found = looked_at()
    assert proposal.drafts[0].payload == {**before.drafts[0].payload, "account": "890010"}
    assert (proposal.drafts[1:], proposal.holds) == (before.drafts[1:], before.holds)
    assert proposal.said["accountant"].endswith("accounts.yaml books it on account 890010 (own products scrapped).")
    assert record.accounted(found) == {
        "movement": "551", "valuation_class": "7900", "cost_object": "cost_center", "account": "890010",
    }  # fmt: skip


def test_a_plant_without_a_table_sends_no_account():
    """The ERP finds it alone, as before; nor does what moves no stock carry one."""
    proposal, _ = proposed(report(), sure("tool"))
    assert accounted(proposal, FACTS, None) == (proposal, None)
    defect = proposal._replace(drafts=proposal.drafts[1:])
    assert accounted(defect, KNOWN, None) == (defect, None)


def test_a_rule_may_name_the_cost_centre():
    """Instead of the one that bears the cause."""
    rule = accounts.Rule(
        movement="551", valuation_class="*", cost_object="cost_center", account="1", cost_center="4710"
    )
    proposal, found = looked_at(replace(FACTS, accounts=accounts.Accounts([rule])))
    assert proposal.drafts[0].payload["cost_center"] == "4710"
    assert proposal.said["accountant"].endswith("on account 1 and cost centre 4710.")
    assert record.accounted(found)["cost_center"] == "4710"


def test_where_no_rule_fits_a_person_decides(look: SecondLook):
    """With what is likely, where a model is asked; the field is there to be filled."""
    rule = accounts.Rule(movement="261", valuation_class="*", cost_object="order", account="400000")
    nothing = replace(FACTS, accounts=accounts.Accounts([rule]))
    proposal, _ = looked_at(nothing)
    assert proposal.drafts[0].payload["account"] == ""
    (why,) = proposal.holds
    assert why.startswith("no rule of accounts.yaml fits movement 551, valuation class 7900, cost object cost centre; ")
    assert decide(proposal, RULE, AT.date()).route is Route.HOLD
    asked, _ = looked_at(nothing, look)
    assert "postings like this went to 890010: 100 %" in asked.holds[0]


# ── the model doubts ────────────────────────────────────────────────────────────────────────────────────────


def test_the_model_is_asked_and_agrees(look: SecondLook):
    """Nothing is held, and what it was asked and said is on record."""
    proposal, found = looked_at(look=look)
    assert proposal.holds == ()
    kept = record.accounted(found)["score"]
    assert (kept["model"], kept["said"], kept["bar"]) == (f"{NAME}/1", "890010", LEAST)
    assert kept["unknown"] == {"storage_location": "171A"}


def test_what_it_holds_for_unlikely_waits_for_a_person(look: SecondLook):
    """A body that was created as a copy of resin: the table's account stays, a sentence says where such ones went."""
    proposal, _ = looked_at(valued("3000"), look)
    assert proposal.drafts[0].payload["account"] == "890000"
    (why,) = proposal.holds
    assert why == (
        "accounts.yaml gives account 890000 (raw material scrapped); postings like this went to 890010 (own products "
        "scrapped): 100 % by posting_classification/1, which gives the table's 0.1 %"
    )
    assert any(one.startswith("speaks for 890010: ") for one in proposal.reasons)
    assert decide(proposal, RULE, AT.date()).route is Route.HOLD


def test_while_what_it_is_asked_has_drifted_it_doubts_sooner(look: SecondLook):
    """Scrapped compound is not clear to it: let pass as a rule, held while its inputs are unlike what it knows."""
    proposal, _ = proposed(report(), sure("tool"))
    draft = proposal.drafts[0]
    compound = draft._replace(payload={**draft.payload, "material": "CMP-BLUE", "quantity": "300"})
    asked = proposal._replace(drafts=(compound,))
    assert accounted(asked, KNOWN, look.asking(drifted=False))[0].holds == ()
    drifted = look.asking(drifted=True)
    held, found = accounted(asked, KNOWN, drifted)
    assert "50 % are asked for: what it is asked has drifted" in held.holds[0]
    assert found is not None
    kept = record.accounted(found)["score"]
    assert (kept["bar"], kept["raised_from"]) == (DRIFTED, LEAST)
    assert drifted.asking(drifted=False) == look


def test_an_alarm_of_its_drift_is_what_makes_it_doubt_sooner(look: SecondLook):
    """Until all is as before; another version begins anew."""
    assert isinstance(look.model, Model)
    rules = replace(rules_of(), second_look=look)
    doubt = Doubt(None, lambda: AT, Drift, lambda: rules, lambda _: None)  # type: ignore[arg-type]  # nothing is written
    for state, least in (
        (State(sha256=look.model.digest, raised=True), DRIFTED),
        (State(sha256="", raised=True), LEAST),
    ):
        doubt.states = {look.model.name: state}
        after = doubt.applied(rules).second_look
        assert after is not None
        assert after.least == least


def test_where_it_has_no_say_a_person_looks(look: SecondLook):
    """No version fits, a number is out of range, or the material's type is not told: never passed as if it agreed."""
    absent = SecondLook(NAME, Absent(NAME, ModelUnfit("no version fits")))
    untold = KNOWN.with_facts([replace(FACTS.materials["BODY-55"], material_type="", price=Decimal(0))])
    for facts, asked, why in (
        (KNOWN, absent, "no version fits"),
        (untold, look, "BODY-55 has no material_type and no price in the master data; add it to materials.csv"),
    ):
        proposal, found = looked_at(facts, asked)
        (held,) = proposal.holds
        assert f"which {NAME} has not looked over: " in held
        assert held.endswith(why)
        assert "score" not in record.accounted(found)
    _, found = looked_at(look=look, sensitive=("log_price",))  # what nobody may look at is as if nobody had told it
    assert isinstance(found.answer, ModelUnfit)
    assert record.accounted(found)["unfit"]["features"][0] is None


# ── on record ───────────────────────────────────────────────────────────────────────────────────────────────


def on_record(proposal: Proposal, found: Accounted, **changes: Any) -> Decided:
    decision = decide(proposal, RULE, AT.date(), sure("tool"))
    detail = record.of(b"\1", "scrap", RULE, proposal, decision.route, decision.reasons, score=None)
    detail |= {"account": record.accounted(found)} | changes
    return Decided(1, AT, 1, json.loads(encode(detail)))


def test_a_doubt_is_computed_again_bit_by_bit_and_explained(look: SecondLook):
    """As any other score; a row that says it was posted all the same, or another number, is told."""
    versions = Versions(ROOT / "models", KEYS)
    doubted = on_record(*looked_at(valued("3000"), look))
    account = dict(doubted.detail["account"])
    bent = {**account, "score": {**account["score"], "outputs": [0.5, *account["score"]["outputs"][1:]]}}
    cases: tuple[tuple[Decided, list[str]], ...] = (
        (doubted, []),
        (Decided(2, AT, 2, {**doubted.detail, "route": "posted"}), ["route"]),
        (Decided(3, AT, 3, {**doubted.detail, "account": bent}), ["outputs[0]"]),
    )
    for case, wanted in cases:
        (found,) = replay([case], versions)
        assert found.account is not None
        assert [one.field for one in found.account.differences] == wanted
        assert found.same == (not wanted)
    versions.close()
    told = explained(doubted.detail, ROOT / "models", ROOT / "edge_config/trust/models")
    assert told["problem"] == "no model has scored it"
    assert told["account"]["said"] == "890010"
    assert [one["text"] for one in told["account"]["inputs"]]


def test_both_answers_of_a_decision_are_found():
    """The one about the cause and the one about the account; a record of an older release has the first at most."""
    assert decisions.asked({"score": 1}) == ({"score": 1},)
    both = {"score": 1, "account": {"score": 2}}
    assert [one["score"] for one in decisions.asked(both)] == [1, 2]
    told = {"score": {"model": "a/1", "confidence": 0.9}, "account": {"score": {"model": "b/1", "confidence": 0.8}}}
    counted = Counts()
    counted.note("line", "posted", told)
    assert set(counted.scores) == {("a/1",), ("b/1",)}


# ── what a person corrects ──────────────────────────────────────────────────────────────────────────────────


def test_another_cause_has_another_account():
    """That of its movement and cost object; an account that a person names stays; other corrections leave it."""
    payload = {"movement": "551", "material": "RM-RESIN", "cost_center": "17101400", "account": "890010"}
    assert corrected(payload, {"cause": "handling"}, KNOWN) == {"account": "890000"}
    assert corrected(payload, {"cause": "handling", "account": "0815"}, KNOWN) == {"account": "0815"}
    assert corrected(payload, {"quantity": "3"}, KNOWN) == {}
    assert corrected({**payload, "cost_center": ""}, {"account": "7"}, FACTS) == {"account": "7"}
    assert corrected({"movement": "551"}, {"cause": "handling"}, KNOWN) == {}  # decided without a table


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"account": "89001O"}, "'89001O' is no G/L account"),
        ({"account": "12345678901"}, "is no G/L account"),
        ({"cause": "handling"}, "accounts.yaml has no rule for movement 551, valuation class 3000, cost object order"),
    ],
)
def test_what_is_no_account(changes: dict[str, str], why: str):
    """A slip is refused, and so is a cause that the table has no account for."""
    payload = {"movement": "551", "material": "RM-RESIN", "order": "1", "account": "890010", **changes}
    with pytest.raises(BadPayload, match=why):
        corrected(payload, changes, KNOWN)


def test_the_answer_is_of_classes(look: SecondLook):
    """And its reasons are those of the likeliest."""
    _, found = looked_at(look=look)
    assert isinstance(found.answer, Classified)
    assert all(one.startswith("speaks for 890010") for one in look.model.why(found.answer))


def test_the_table_of_the_bench_is_whole():
    """Every cause of the bench's scrap, from whichever stock, has an account for every material of the bench."""
    for material in FACTS.materials.values():
        for movement in ("551", "553", "555"):
            assert TABLE.find(movement, material.valuation_class, "cost_center")


def test_the_folder_of_the_table_is_the_configurations(tmp_path: Path):
    """Its findings name the file that people edit."""
    (tmp_path / "mine.yaml").write_text(
        'rules: [{movement: "551", valuation_class: "*", cost_object: none, account: "1"}]'
    )
    assert accounts.read(tmp_path / "mine.yaml").name == "mine.yaml"
