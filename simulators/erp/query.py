"""System query options: $filter as a predicate, $orderby, $top, $skip, $select, $expand, $skiptoken."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from simulators.erp.model import EntityType
from simulators.erp.odata import ODataError, Row, comparable, read_literal

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r"\s*(\(|\)|,|(?:[a-zA-Z]+)?'(?:[^']|'')*'|[^\s(),]+)")
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_FUNCTIONS: Mapping[str, Callable[[str, str], bool]] = {
    "startswith": lambda field, text: field.startswith(text),
    "endswith": lambda field, text: field.endswith(text),
    "substringof": lambda field, text: text in field,
}


@dataclass(frozen=True, slots=True)
class Filter:
    """A read $filter: the predicate, and the equalities that every match must have, for an index."""

    matches: Predicate
    equal: Mapping[str, Any]


class _FilterReader:
    """Recursive descent over one $filter: or ← and ← comparison | function | ( … )."""

    def __init__(self, text: str, entity_type: EntityType) -> None:
        self.text = text
        self.tokens = _TOKEN.findall(text)
        self.entity_type = entity_type
        self.equal: dict[str, Any] = {}
        self.depth = 0  # inside parentheses or beside an `or`, an equality proves nothing for an index

    def read(self) -> Filter:
        predicate = self.either()
        if self.tokens:
            raise self.invalid(self.tokens[0])
        usable = {} if " or " in self.text else self.equal
        return Filter(predicate, usable)

    def either(self) -> Predicate:
        choices = [self.every()]
        while self.take("or"):
            choices.append(self.every())
        return choices[0] if len(choices) == 1 else lambda row: any(choice(row) for choice in choices)

    def every(self) -> Predicate:
        terms = [self.term()]
        while self.take("and"):
            terms.append(self.term())
        return terms[0] if len(terms) == 1 else lambda row: all(term(row) for term in terms)

    def term(self) -> Predicate:
        if self.take("("):
            inner = self.either()
            self.expect(")")
            return inner
        name = self.next()
        if name in _FUNCTIONS:
            return self.function(name)
        return self.comparison(name)

    def comparison(self, name: str) -> Predicate:
        one = self.field(name)
        symbol = self.next()
        compare = _OPERATORS.get(symbol)
        if compare is None:
            raise self.invalid(symbol)
        wanted = read_literal(one, self.next())
        if symbol == "eq":
            self.equal[name] = wanted
        initial = one.initial

        def matches(row: Mapping[str, Any]) -> bool:
            value = comparable(one, row.get(name, initial))
            if value is None or wanted is None:
                return value is wanted if symbol == "eq" else value is not wanted and symbol == "ne"
            return compare(value, wanted)

        return matches

    def function(self, name: str) -> Predicate:
        self.expect("(")
        first = self.next()
        self.expect(",")
        second = self.next()
        self.expect(")")
        if self.take("eq"):
            self.next()  # `eq true`, as Gateway clients write it
        field_name, literal = (second, first) if name == "substringof" else (first, second)
        one = self.field(field_name)
        wanted, test = read_literal(one, literal), _FUNCTIONS[name]
        return lambda row: test(str(row.get(field_name, "")), wanted)

    def field(self, name: str) -> Any:
        try:
            return self.entity_type.fields[name]
        except KeyError:
            raise ODataError(
                400, "/IWBEP/CM_MGW_RT/021", f"Property {name} not found in type {self.entity_type.type_name}"
            ) from None

    def take(self, word: str) -> bool:
        if self.tokens and self.tokens[0] == word:
            del self.tokens[0]
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.take(word):
            raise self.invalid(self.tokens[0] if self.tokens else "the end")

    def next(self) -> str:
        if not self.tokens:
            raise self.invalid("the end")
        return str(self.tokens.pop(0))

    def invalid(self, token: str) -> ODataError:
        return ODataError(400, "/IWBEP/CM_MGW_RT/025", f"Invalid $filter at {token}: {self.text[:200]}")


@dataclass(frozen=True, slots=True)
class Query:
    """The options of one read."""

    filter: Filter | None
    order: tuple[tuple[str, bool], ...]  # (field, descending)
    top: int | None
    skip: int
    select: tuple[str, ...]
    expand: tuple[str, ...]
    count: bool


def read_query(entity_type: EntityType, options: Mapping[str, str]) -> Query:
    """The query options of a request; raises ODataError for what the type does not have."""
    text = options.get("$filter", "").strip()
    query = Query(
        filter=_FilterReader(text, entity_type).read() if text else None,
        order=tuple(_order(part) for part in _list(options, "$orderby")),
        top=_number(options, "$top"),
        skip=(_number(options, "$skip") or 0) + (_number(options, "$skiptoken") or 0),
        select=_list(options, "$select"),
        expand=_list(options, "$expand"),
        count=options.get("$inlinecount") == "allpages",
    )
    known = {*entity_type.fields, *entity_type.navigations, "*"}
    named = [*(name for name, _ in query.order), *(name.split("/")[0] for name in (*query.select, *query.expand))]
    for name in named:
        if name not in known:
            raise ODataError(400, "/IWBEP/CM_MGW_RT/021", f"Property {name} not found in type {entity_type.type_name}")
    return query


def ordered(entity_type: EntityType, rows: Iterable[Row], order: tuple[tuple[str, bool], ...]) -> list[Row]:
    """Rows sorted by $orderby; stable, so that ties keep the order of booking."""
    found = list(rows)
    for name, descending in reversed(order):
        one = entity_type.fields[name]
        found.sort(key=lambda row: comparable(one, row.get(name, one.initial)) or 0, reverse=descending)
    return found


def _order(part: str) -> tuple[str, bool]:
    name, _, direction = part.partition(" ")
    return name, direction.strip() == "desc"


def _list(options: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in options.get(name, "").split(",") if part.strip())


def _number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise ODataError(400, "/IWBEP/CM_MGW_RT/024", f"Invalid value {text!r} for {name}")
    return int(text)
