"""The account table decides and guesses nothing; the model has a say only where it is sure of another account."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.features.posting_classification import CATEGORIES, NUMBERS, features
from agent.masterdata.accounts import LEAST, Accounts, Rule, disagrees, read
from models.posting_classification.simulate import ledger

TABLE = read(str(Path(__file__).parents[2] / "edge_config" / "accounts.yaml"))
RULE = Rule(movement="551", valuation_class="*", cost_object="cost_center", account="890010")


def test_the_table_decides():
    """The rule of the valuation class goes before the one for any; what has none is left to a person."""
    special = RULE.model_copy(update={"valuation_class": "3000", "account": "890000"})
    table = Accounts([RULE, special])
    assert table.find("551", "3000", "cost_center") == special
    assert table.find("551", "7900", "cost_center") == RULE
    assert table.find("551", "3000", "order") is None
    assert table.find("261", "3000", "cost_center") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: []", "rules"),
        ('rules: [{movement: "26", valuation_class: "3000", cost_object: order, account: "4"}]', "movement"),
        ('rules: [{movement: "261", valuation_class: "3000", cost_object: asset, account: "4"}]', "cost_object"),
        ('rules: [{movement: "261", valuation_class: "3000", cost_object: order, account: "4x"}]', "account"),
        (
            "rules:\n"
            '- {movement: "261", valuation_class: "3000", cost_object: order, account: "4"}\n'
            '- {movement: "261", valuation_class: "3000", cost_object: order, account: "5"}',
            "3: rules.1.*same case as rules.0",
        ),
    ],
)
def test_what_is_wrong_in_the_table(tmp_path, text, words):
    """Each mistake is told with its line; of two rules for one case neither wins silently."""
    (tmp_path / "accounts.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read(str(tmp_path / "accounts.yaml"))


@given(st.dictionaries(st.sampled_from("ABCD"), st.floats(0, 1), min_size=1), st.sampled_from("ABCDE"))
def test_the_model_only_doubts(probabilities, account):
    """It names another account only where the table's is one it knows and has less than one chance in twenty."""
    other = disagrees(account, probabilities)
    assert (other is not None) == (account in probabilities and probabilities[account] < LEAST)
    assert other is None or probabilities[other] == max(probabilities.values())


@given(st.decimals(0, 10**9, allow_nan=False), st.decimals(0, 10**9, allow_nan=False))
def test_features(price, quantity):
    """Every feature is there, and none of them is the valuation class by which the table decides."""
    told = features("261", "order", "ROH", "KG", "RAW1", price, quantity)
    assert tuple(told) == (*NUMBERS, *CATEGORIES)


@pytest.mark.parametrize(("price", "quantity"), [("-1", "1"), ("1", "-1"), ("NaN", "1"), ("1", "Infinity")])
def test_what_is_no_posting(price, quantity):
    """A price or quantity that is negative or no number is refused."""
    with pytest.raises(ValueError, match="must be a number of at least 0"):
        features("261", "order", "ROH", "KG", "RAW1", Decimal(price), Decimal(quantity))


def test_the_simulated_ledger():
    """The same seed gives the same ledger; the table is wrong or silent for some materials, people for few lines."""
    lines = list(ledger(1, TABLE, 800))
    assert lines == list(ledger(1, TABLE, 800)) != list(ledger(2, TABLE, 800))
    assert 0 < sum(line.table != line.right for line in lines) < 160
    assert 0 < sum(line.booked != line.right for line in lines) < 40
