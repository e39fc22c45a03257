"""Which G/L account and cost object a posting goes to: a table of rules decides, a model only says where it disagrees.

    rules:
      - {movement: "261", valuation_class: "3000", cost_object: order, account: "400000"}
      - {movement: "551", valuation_class: "*", cost_object: cost_center, account: "890000", cost_center: "4710"}

A rule for one valuation class goes before one for any (``*``). Where no rule fits nothing is guessed: a person decides.
The fields of a posting that it reads and gives are ``movement``, ``cost_center``, ``order`` and ``account``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import Field

from agent.errors import ConfigError, Finding
from agent.strict.schema import Settings, parse
from agent.strict.yamltree import read_yaml

ANY: Final = "*"
LEAST: Final = 0.05  # probability of the table's account, below which the model disagrees
CostObject = Literal["order", "cost_center", "none"]


class Rule(Settings):
    """One line of the table."""

    movement: str = Field(pattern=r"^[0-9A-Z]{3}$", description="SAP movement type")
    valuation_class: str = Field(pattern=r"^(\*|[0-9A-Z]{4})$", description="of the material; * for any")
    cost_object: CostObject = Field(description="what the posting is assigned to")
    account: str = Field(pattern=r"^[0-9]{1,10}$", description="G/L account, in quotes")
    cost_center: str = Field(default="", max_length=10, description="instead of the one that was reported")
    text: str = Field(default="", max_length=60, description="what people call the account")

    def given(self) -> dict[str, str]:
        """Field of a posting → what the rule says that it is."""
        return {"account": self.account, **({"cost_center": self.cost_center} if self.cost_center else {})}


class _File(Settings):
    rules: tuple[Rule, ...] = Field(min_length=1)


class Case(NamedTuple):
    """What the table is asked about one posting."""

    movement: str
    valuation_class: str  # of the material; empty: the master data name none
    cost_object: CostObject

    @classmethod
    def of(cls, payload: Mapping[str, Any], valuation_class: str) -> Case:
        """Of what a posting says: a cost centre bears it before an order does."""
        borne: CostObject = "cost_center" if payload.get("cost_center") else "order" if payload.get("order") else "none"
        return cls(str(payload.get("movement", "")), valuation_class, borne)

    def __str__(self) -> str:
        """For people."""
        valued = f"valuation class {self.valuation_class}" if self.valuation_class else "no known valuation class"
        return (
            f"movement {self.movement}, {valued}, cost object {self.cost_object.replace('cost_center', 'cost centre')}"
        )


class Accounts:
    """The table; asked by movement type, valuation class and kind of cost object. `name` is its file's, for people."""

    def __init__(self, rules: Sequence[Rule], name: str = "accounts.yaml") -> None:
        self.name = name
        self._rules: dict[tuple[str, str, str], Rule] = {
            (rule.movement, rule.valuation_class, rule.cost_object): rule for rule in rules
        }
        self._texts = {rule.account: rule.text for rule in reversed(rules) if rule.text}

    def find(self, movement: str, valuation_class: str, cost_object: str) -> Rule | None:
        """The rule that decides, or None where a person has to."""
        for wanted in (valuation_class, ANY):
            if rule := self._rules.get((movement, wanted, cost_object)):
                return rule
        return None

    def called(self, account: str) -> str:
        """The account with what people call it, where a rule says that."""
        text = self._texts.get(account)
        return f"{account} ({text})" if text else account


def read(path: str | Path) -> Accounts:
    """The file. Raises ConfigError with every finding, two rules for the same case among them."""
    tree = read_yaml(path)
    rules = parse(tree, _File).rules
    places: dict[tuple[str, str, str], int] = {}
    findings: list[Finding] = []
    for at, rule in enumerate(rules):
        case = (rule.movement, rule.valuation_class, rule.cost_object)
        if case in places and (node := tree.get("rules", at)):
            first = f"rules[{places[case]}]"
            findings.append(node.finding(f"is for the same case as {first}; keep one of the two", " ".join(case)))
        places.setdefault(case, at)
    if findings:
        raise ConfigError(findings)
    return Accounts(rules, Path(path).name)


def disagrees(account: str, probabilities: Mapping[str, float], least: float = LEAST) -> str | None:
    """The account that the model holds for right, where the table's has a probability below `least`.

    None where the model agrees, is unsure, or does not know the table's account: then it has no say.
    """
    if probabilities.get(account, 1.0) >= least:
        return None
    return max(probabilities, key=lambda one: probabilities[one])
