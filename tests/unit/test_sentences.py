"""The sentences about a posting say its own figures in each reader's words, and nothing that was not reported."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.access.masking import MASK
from agent.people.shown import mask, said
from agent.ports import Kind, Route
from agent.workflows.consumption import Config, Consumption
from agent.workflows.sentences import READERS, Words, told
from tests.unit.test_judge import judged
from tests.unit.test_workflow_confirmation import FLOW as CONFIRMING
from tests.unit.test_workflow_confirmation import report as confirmed
from tests.unit.test_workflow_consumption import FACTS, STARTED, report

WORDS = Words(FACTS.units, "EUR")


def of_consumption(**changes: Any) -> dict[str, str]:
    proposal, _ = Consumption(Config()).propose(report(**changes), FACTS, None, [STARTED, {}])
    (draft,) = proposal.drafts
    expected = proposal.expected.written() if proposal.expected else None
    return told(draft.kind, draft.payload, draft.value, WORDS, expected)


def test_a_goods_issue_is_told_to_operator_planner_and_accountant():
    """What was used where, what is left less, and what it costs whom."""
    assert of_consumption(quantity="26", lot="10.0") == {
        "operator": "26 KG of RM-RESIN was used for order 1000100, operation 0010, where 9.6 KG was expected.",
        "planner": "Order 1000100 takes 26 KG of RM-RESIN; storage location 171A then has so much less.",
        "accountant": "A goods issue of 26 KG of RM-RESIN, worth 83.20 EUR, is charged to order 1000100, "
        "posting date 2026-11-20.",
    }


def test_the_operator_reads_the_unit_that_was_reported():
    """Grams on the floor, kilograms in the ERP: both are told."""
    assert of_consumption(quantity="9600", unit="GRM")["operator"].startswith("9600 G (9.6 KG) of RM-RESIN")


def test_a_confirmation_tells_yield_scrap_times_and_whether_it_is_the_last():
    """Each reader has a sentence, and a final confirmation is told as one."""
    (draft,) = CONFIRMING.propose(confirmed(final=True), FACTS, None, [{}])[0].drafts
    sentences = told(draft.kind, draft.payload, draft.value, WORDS)
    assert tuple(sentences) == READERS
    assert "it is finished with this report" in sentences["planner"]
    assert draft.payload["order"] in sentences["operator"]


def test_what_is_held_records_its_sentences_and_what_is_posted_has_the_same_when_asked():
    """A person finds in the trail what was shown; of a posting that went by itself the same template is asked later."""
    posted, held = judged("one", "two").verdicts
    assert (posted.state, held.state) == (Route.POST, Route.HOLD)
    assert "said" not in posted.detail
    assert tuple(held.detail["said"]) == READERS
    (new,) = posted.postings
    again = said({}, {"kind": new.kind, "payload": new.payload, "value": str(new.value), "supersedes": None}, WORDS)
    assert again["accountant"] == held.detail["said"]["accountant"]


def test_a_correction_is_told_by_its_own_figures():
    """What the decision said was about what it replaced."""
    payload = {"material": "RM-RESIN", "quantity": "13.000", "unit": "KGM", "order": "1000100"}
    one = {"kind": "goods_issue", "payload": payload, "value": "41.60", "supersedes": 7}
    assert "13 KG of RM-RESIN" in said({"said": {"operator": "26 KG was used"}}, one, WORDS)["operator"]


def test_a_sentence_that_would_name_what_is_masked_is_masked():
    """Also where a quantity stands in it without its zeros; a sentence without it stays."""
    payload = {"quantity": "26.000", "text": ""}
    content = {
        "payload": payload,
        "will_post": [],
        "said": {"operator": "26 KG was used", "planner": "126 KG are left"},
    }
    assert mask(content, [payload], ["quantity"])["said"] == {"operator": MASK, "planner": "126 KG are left"}


@given(
    quantity=st.decimals(min_value=0, max_value=10**9, places=3),
    value=st.decimals(min_value=0, max_value=10**9, places=2),
    kind=st.sampled_from(list(Kind)),
)
def test_whatever_the_figures_sentences_are_short_whole_and_never_raise(quantity: Decimal, value: Decimal, kind: Kind):
    """Any payload of any kind, however bare: a sentence ends with a point, holds no placeholder and no exponent."""
    for payload in ({}, {"quantity": f"{quantity:f}", "yield": f"{quantity:f}", "unit": "KGM", "order": "1"}):
        for sentence in told(kind, payload, value, WORDS).values():
            assert sentence.endswith(".")
            assert len(sentence) < 300
            assert not re.search(r"[{}]|None|\d[Ee][+-]?\d", sentence)


def test_an_amount_is_told_twice_only_where_the_second_says_more():
    """Two codes of one unit are one word for people."""
    payload = {"order": "1", "operation": "10", "material": "PT-X", "quantity": "20", "unit": "C62"}
    for floor, told_ in (("H87", "20 PC of"), ("GRM", "20 G (20 PC) of")):
        words = told(Kind.GOODS_ISSUE, {**payload, "floor_quantity": "20", "floor_unit": floor}, Decimal(1), WORDS)
        assert words["operator"].startswith(told_)
