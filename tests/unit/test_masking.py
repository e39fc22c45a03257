"""What is sensitive is masked by name, by value and by what is computed from it; models do not look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent.access.masking import HASHES, MASK, veiled
from agent.authority import Mode, Rule
from agent.judging.judge import judge
from agent.judging.rules import OWN, Assignment, Door
from agent.scores import Classified, Score
from agent.workflows.consumption import Config, Consumption
from tests.unit.test_judge import TODAY, Narrow, Nothing, event, rules_of

LINE = {
    "id": 17, "ordering_key": "order/1000100", "order": "1000100", "material": "RM-RESIN", "material_text": "Resin",
    "quantity": "26.000", "reason": "26 KG of RM-RESIN reported for 1000100, 13 KG expected", "record_hash": "ab" * 32,
    "payload": {"order": "1000100", "material": "RM-RESIN", "batch": ""},
}  # fmt: skip


def test_a_line_of_a_list_is_masked_on_top_and_in_its_words():
    """Material and order, however they are repeated beside their fields; what is not sensitive stays."""
    (seen,) = veiled([LINE], ["material", "order"])
    assert seen["material"] == seen["material_text"] == seen["payload"]["material"] == MASK
    assert seen["ordering_key"] == f"order/{MASK}"
    assert seen["reason"] == f"26 KG of {MASK} reported for {MASK}, 13 KG expected"
    assert (seen["id"], seen["quantity"], seen["payload"]["batch"]) == (17, "26.000", "")


def test_where_a_transfer_goes_is_masked_like_where_it_comes_from():
    """The receiving material and batch of a stock transfer, and what its reason says of them."""
    moved = {"material": "RM-RESIN", "batch": "", "to_material": "RM-PIGMENT", "to_batch": "B77", "movement": "309"}
    seen = veiled({"reason": "309 from RM-RESIN to RM-PIGMENT B77", "payload": moved}, ["material", "batch"])
    assert seen["reason"] == f"309 from {MASK} to {MASK} {MASK}"
    assert seen["payload"] == {**moved, "material": MASK, "to_material": MASK, "to_batch": MASK}


def test_the_lot_that_is_kept_from_use_is_masked_like_its_batch():
    """Also where the material is not kept by batch, so that its batch is empty."""
    assert veiled({"batch": "", "lot": "L-2", "severity": "major"}, ["batch"])["lot"] == MASK


@pytest.mark.parametrize("name", sorted(HASHES))
def test_a_hash_over_what_is_masked_is_masked(name):
    """Whoever knows all the rest of a payload would find the missing field by trying."""
    assert veiled({"detail": {name: "ab" * 32}}, ["batch"]) == {"detail": {name: MASK}}
    assert veiled({name: "ab" * 32}, []) == {name: "ab" * 32}


def test_a_short_value_is_not_looked_for_in_texts():
    """A batch called 7 is masked in its field, and nobody loses the figures of a reason."""
    seen = veiled({"batch": "7", "reason": "7 KG reported"}, ["batch"])
    assert seen == {"batch": MASK, "reason": "7 KG reported"}


class Asking(Consumption):
    """A workflow whose model tells classes out of these raw inputs."""

    def values(self, report: Any, facts: Any, states: Any) -> Mapping[str, float | str | None]:
        return {"personnel": "op-7", "machine": report.work_center, "share": 0.5}


class Seeing:
    """A model that keeps what it was asked."""

    name, digest, unfit = "seeing/1", "00", ""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.told: list[Mapping[str, Any]] = []

    def score(self, rows: Sequence[Any]) -> Sequence[Any]:
        self.asked += rows
        return [Score(1.0, "seeing/1", "00", row) for row in rows]

    def classify(self, rows: Sequence[Any]) -> Sequence[Any]:
        self.asked += rows
        return [Classified(("usual",), (1.0,), "seeing/1", "00", row) for row in rows]

    def row(self, values: Mapping[str, Any]) -> Any:
        self.told.append(values)
        return (0.5,)

    def unknown(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        return {name: value for name, value in values.items() if isinstance(value, str)}  # it knows none of them

    def why(self, answer: Classified) -> tuple[str, ...]:
        return ()


def test_a_model_is_never_asked_about_what_is_sensitive():
    """What the configuration calls sensitive reaches a model as if nobody had said it, and is not on record."""
    model = Seeing()
    rules = rules_of()
    workflow, rule = Asking(Config()), Rule(mode=Mode.AUTO, min_confidence=0)
    asking = Assignment(workflow, {OWN: Door(Narrow(), {"goods_issue": "live"})}, rule, model, workflow)
    for sensitive in ((), ("personnel",)):
        one = replace(asking, sensitive=frozenset(sensitive))
        kept = judge([event(1, "A")], replace(rules, assignments={"consumption": one}), Nothing(), TODAY)
    whole, masked = model.told
    assert whole == {"personnel": "op-7", "machine": "MIX-01", "share": 0.5}
    assert masked == {"personnel": None, "machine": "MIX-01", "share": 0.5}
    assert kept.verdicts[0].detail["score"]["unknown"] == {"machine": "MIX-01"}


def test_who_reports_and_of_which_batch_changes_nothing_for_a_model():
    """The shipped inputs of the consumption model are amounts alone."""
    model = Seeing()
    rules = rules_of()
    one = replace(rules.assignments["consumption"], model=model)
    for changes in ({}, {"batch": "0000000999", "operator": "op-9"}):
        judge([event(1, "A", **changes)], replace(rules, assignments={"consumption": one}), Nothing(), TODAY)
    assert model.asked[0] == model.asked[1]
    assert all(isinstance(one, float) for one in model.asked[0])
