"""What the columns of a CSV are: the small YAML file that goes with the data.

    target: defect            # the column to be told
    time: reported_at         # trained on the earlier rows, judged on the later ones; without it: stratified
    numbers:
      melt_temperature: {unit: °C, text: temperature of the melt, least: 150, most: 320}
      cycle_time:
    categories:
      machine: {text: machine}
    ignore: [operator, remark]

Every column of the CSV is named exactly once, so that none slips in that tells the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from agent.errors import ConfigError, Finding
from agent.strict.schema import Settings, parse
from agent.strict.yamltree import read_yaml


def _empty(written: object) -> object:
    """``pressure:`` with nothing behind it is a column about which there is no more to say."""
    return {} if written is None else written


class Number(Settings):
    """A column of numbers."""

    unit: str = Field(default="", max_length=20, description="what people read behind the number")
    text: str = Field(default="", max_length=80, description="what people call it; empty: the column's name")
    scale: Literal["plain", "log"] = Field(default="plain", description="log: people read its exponential")
    least: Decimal | None = Field(default=None, description="below this the model is not asked; default: from the data")
    most: Decimal | None = Field(default=None, description="above this the model is not asked; default: from the data")

    more: Literal["", "raises", "lowers"] = Field(
        default="", description="raises: more of it never makes a lower class likelier; lowers: never a higher one"
    )

    @property
    def direction(self) -> int:
        """1, -1, or 0 where nothing is said."""
        return {"raises": 1, "lowers": -1}.get(self.more, 0)

    @model_validator(mode="after")
    def _in_order(self) -> Number:
        if self.least is not None and self.most is not None and self.least >= self.most:
            raise ValueError(f"least {self.least} must be below most {self.most}")
        return self


class Category(Settings):
    """A column of words or codes."""

    text: str = Field(default="", max_length=80, description="what people call it; empty: the column's name")
    at_most: int = Field(
        default=40, ge=1, le=200, description="so many of the most frequent values; others are unknown"
    )


class Columns(Settings):
    """The file. Names are those of the first line of the CSV."""

    target: str = Field(min_length=1, description="the column that the model shall tell")
    positive: str | None = Field(default=None, description="of two classes, the one whose probability is given")
    order: tuple[str, ...] = Field(default=(), description="the classes from lowest to highest, for `more` of numbers")
    time: str | None = Field(default=None, description="when the row happened, ISO 8601 with its zone")
    numbers: Mapping[str, Annotated[Number, BeforeValidator(_empty)]] = Field(default_factory=dict)
    categories: Mapping[str, Annotated[Category, BeforeValidator(_empty)]] = Field(default_factory=dict)
    ignore: tuple[str, ...] = Field(default=(), description="columns that are not looked at")
    separator: Literal[",", ";", "tab"] = Field(default=",", description="what stands between the cells")
    decimal: Literal[".", ","] = Field(default=".", description="the sign before the decimals")
    null: tuple[str, ...] = Field(default=(), description="words that mean: not known, besides the empty cell")
    test_share: Decimal = Field(default=Decimal("0.3"), ge=Decimal("0.1"), le=Decimal("0.5"))
    learner: Literal["auto", "linear", "boosting", "forest", "blend"] = Field(
        default="auto", description="auto: the best of linear, boosting and blend"
    )
    right: Decimal = Field(
        default=Decimal("0.95"),
        gt=Decimal("0.5"),
        lt=1,
        description="how often what is accepted without a person must be right",
    )

    @model_validator(mode="after")
    def _rises(self) -> Columns:
        bound = [name for name, number in self.numbers.items() if number.more]
        if bound and self.learner != "boosting":
            raise ValueError(f"{bound[0]} says `more`, which only boosting keeps to: say learner: boosting")
        if bound and not self.order and self.positive is None:
            raise ValueError(f"{bound[0]} says `more`: say `order`, the classes from lowest to highest")
        return self

    def named(self) -> Iterator[tuple[str, str]]:
        """Every column with the place where it is named."""
        yield self.target, "target"
        if self.time is not None:
            yield self.time, "time"
        yield from ((name, f"numbers.{name}") for name in self.numbers)
        yield from ((name, f"categories.{name}") for name in self.categories)
        yield from ((name, f"ignore[{at}]") for at, name in enumerate(self.ignore))


def read(path: str) -> Columns:
    """The file, checked. Raises ConfigError with every finding as ``file:line: path: message (value)``."""
    tree = read_yaml(path, "docs/training.md")
    columns = parse(tree, Columns)
    findings: list[Finding] = []
    places: dict[str, str] = {}
    for name, place in columns.named():
        if name in places:
            findings.append(_at(tree, place).finding(f"is named twice, also in {places[name]}; keep one", name))
        places[name] = place
    if not columns.numbers and not columns.categories:
        findings.append(tree.finding("names neither numbers nor categories; name the columns to learn from", ""))
    if columns.separator == columns.decimal:
        findings.append(_at(tree, "decimal").finding("separator and decimal sign cannot be the same", columns.decimal))
    if findings:
        raise ConfigError(findings)
    return columns


def _at(tree: Any, place: str) -> Any:
    """The node of a place like ``numbers.pressure`` or ``ignore[2]``; the nearest one above where it is not there."""
    section, _, rest = place.partition(".")
    section, _, index = section.partition("[")
    below = tree.get(section, *([int(index[:-1])] if index else [rest] if rest else []))
    return below or tree.get(section) or tree
