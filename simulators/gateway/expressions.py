"""The expression language of bindings: a small parser and the functions that the project's views use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

Resolve = Callable[[str], Any]  # what stands in braces → its value


class ExpressionError(ValueError):
    """An expression that cannot be read, or a function that this stand-in does not know."""


_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?)|(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<ref>\{[^{}]*\})
    |(?P<name>[A-Za-z_]\w*)|(?P<op>&&|\|\||==|!=|<=|>=|<>|[-+*/%^()\[\],<>=!?:]))""",
    re.VERBOSE,
)
_BINARY: Final = (
    ("||",),
    ("&&",),
    ("=", "==", "!=", "<>"),
    ("<", "<=", ">", ">="),
    ("+", "-"),
    ("*", "/", "%"),
    ("^",),
)


def evaluate(text: str, resolve: Resolve) -> Any:
    """The value of an expression. Raises ExpressionError."""
    tokens = list(_tokens(text))
    parser = _Parser(tokens, resolve, text)
    value = parser.level(0)
    if parser.at < len(tokens):
        raise ExpressionError(f"{tokens[parser.at][1]!r} is too much in {text!r}")
    return value


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, text = 0, re.sub(r"//[^\n]*", "", text).strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found or found.end() == at:
            raise ExpressionError(f"cannot read {text[at : at + 20]!r} in {text!r}")
        at = found.end()
        kind = found.lastgroup or ""
        yield kind, found[kind]


@dataclass(slots=True)
class _Parser:
    tokens: list[tuple[str, str]]
    resolve: Resolve
    text: str
    at: int = 0

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> tuple[str, str]:
        if self.at >= len(self.tokens) or (wanted and self.tokens[self.at][1] != wanted):
            raise ExpressionError(f"{wanted or 'more'} is missing in {self.text!r}")
        self.at += 1
        return self.tokens[self.at - 1]

    def level(self, depth: int) -> Any:
        if depth == len(_BINARY):
            return self.unary()
        value = self.level(depth + 1)
        while self.peek() in _BINARY[depth] and self.tokens[self.at][0] == "op":
            operator = self.take()[1]
            value = _operate(operator, value, self.level(depth + 1))
        return value

    def unary(self) -> Any:
        if self.peek() == "!":
            self.take()
            return not _true(self.unary())
        if self.peek() == "-":
            self.take()
            return -_number(self.unary())
        value = self.primary()
        while self.peek() == "[":
            self.take()
            key = self.level(0)
            self.take("]")
            value = _item(value, key)
        return value

    def primary(self) -> Any:
        kind, said = self.take()
        if kind == "number":
            return float(said) if re.search(r"[.eE]", said) else int(said)
        if kind == "text":
            return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), said[1:-1])
        if kind == "ref":
            return self.resolve(said[1:-1].strip())
        if said == "(":
            value = self.level(0)
            self.take(")")
            return value
        if kind == "name":
            return self.named(said)
        raise ExpressionError(f"{said!r} is out of place in {self.text!r}")

    def named(self, name: str) -> Any:
        if self.peek() != "(":
            known = {"true": True, "false": False, "null": None, "none": None}
            if name.lower() in known:
                return known[name.lower()]
            raise ExpressionError(f"{name!r} is no value in {self.text!r}")
        self.take("(")
        given = []
        while self.peek() != ")":
            given.append(self.level(0))
            if self.peek() == ",":
                self.take()
        self.take(")")
        if name == "tag":
            return self.resolve(str(given[0]))
        function = FUNCTIONS.get(name)
        if function is None:
            raise ExpressionError(f"the stand-in does not know the function {name} in {self.text!r}")
        return function(*given)


def _item(value: Any, key: Any) -> Any:
    plain = value.plain() if hasattr(value, "plain") else value
    try:
        return plain[key]
    except (KeyError, IndexError, TypeError):
        return None


def _true(value: Any) -> bool:
    return bool(value) and value not in ("false", "False")


def _number(value: Any) -> Any:
    if value is None or value == "":
        return 0
    if isinstance(value, int | float):
        return value
    text = str(value)
    return float(text) if re.search(r"[.eE]", text) else int(text)


def _operate(operator: str, left: Any, right: Any) -> Any:
    if operator == "||":
        return _true(left) or _true(right)
    if operator == "&&":
        return _true(left) and _true(right)
    if operator in ("=", "=="):
        return left == right
    if operator in ("!=", "<>"):
        return left != right
    if operator == "+" and (isinstance(left, str) or isinstance(right, str)):
        return text_of(left) + text_of(right)
    a, b = _number(left), _number(right)
    if operator in ("/", "%") and not b:
        return None
    table: dict[str, Callable[[], Any]] = {
        "<": lambda: a < b,
        "<=": lambda: a <= b,
        ">": lambda: a > b,
        ">=": lambda: a >= b,
        "+": lambda: a + b,
        "-": lambda: a - b,
        "*": lambda: a * b,
        "/": lambda: a / b,
        "%": lambda: a % b,
        "^": lambda: a**b,
    }
    return table[operator]()


def text_of(value: Any) -> str:
    """A value as text, the way the expression language writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return f"{value:.1f}"
    return str(value)


def date_format(value: Any, pattern: str, zone: str = "UTC") -> str:
    """A moment by a Java pattern."""
    at = as_moment(value)
    if at is None:
        return ""
    at = at.astimezone(ZoneInfo(zone))
    parts = {
        "yyyy": "%Y",
        "MM": "%m",
        "dd": "%d",
        "HH": "%H",
        "mm": "%M",
        "ss": "%S",
        "MMM": "%b",
        "EEE": "%a",
        "hh": "%I",
        "a": "%p",
    }
    return at.strftime(re.sub("|".join(sorted(parts, key=len, reverse=True)), lambda found: parts[found[0]], pattern))


def number_format(value: Any, pattern: str) -> str:
    """A number by a Java pattern: grouping and decimals."""
    if value is None:
        return ""
    most = len(pattern.partition(".")[2].rstrip("%"))
    least = pattern.partition(".")[2].count("0")
    number = float(_number(value)) * (100 if pattern.endswith("%") else 1)
    text = f"{number:{',' if ',' in pattern else ''}.{most}f}"
    if most > least:
        whole, _, decimals = text.partition(".")
        kept = decimals.rstrip("0").ljust(least, "0")
        text = f"{whole}.{kept}" if kept else whole
    return text + ("%" if pattern.endswith("%") else "")


def as_moment(value: Any) -> datetime | None:
    """A moment out of what scripts and tags keep: a datetime, milliseconds, ISO text."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value / 1000, UTC)
    if isinstance(value, str) and value:
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    return None


def _between(unit: float) -> Callable[[Any, Any], Any]:
    def seconds(early: Any, late: Any) -> Any:
        a, b = as_moment(early), as_moment(late)
        return int((b - a).total_seconds() / unit) if a and b else None

    return seconds


def _switch(value: Any, *rest: Any) -> Any:
    half = len(rest) // 2
    cases, results = rest[:half], rest[half:-1]
    return next((result for case, result in zip(cases, results, strict=True) if case == value), rest[-1])


def _case(value: Any, *rest: Any) -> Any:
    pairs = zip(rest[0:-1:2], rest[1::2], strict=False)
    return next((result for case, result in pairs if case == value), rest[-1] if len(rest) % 2 else None)


def _length(value: Any) -> int:
    return value.getRowCount() if hasattr(value, "getRowCount") else len(value) if value is not None else 0


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "if": lambda condition, yes, no=None: yes if _true(condition) else no,
    "isNull": lambda value: value is None,
    "coalesce": lambda *values: next((one for one in values if one is not None), None),
    "try": lambda value, other=None: other if value is None else value,
    "concat": lambda *values: "".join(map(text_of, values)),
    "toStr": text_of,
    "toString": text_of,
    "toInt": lambda value, other=0: int(_number(value)) if value not in (None, "") else other,
    "toFloat": lambda value, other=0.0: float(_number(value)) if value not in (None, "") else other,
    "toInteger": lambda value: int(_number(value)),
    "toBoolean": _true,
    "toBool": _true,
    "toDate": as_moment,
    "len": _length,
    "upper": lambda text: str(text).upper(),
    "lower": lambda text: str(text).lower(),
    "trim": lambda text: str(text).strip(),
    "replace": lambda text, old, new: str(text).replace(str(old), str(new)),
    "substring": lambda text, start, end=None: str(text)[start:end],
    "indexOf": lambda text, part: str(text).find(str(part)),
    "split": lambda text, by: str(text).split(by),
    "left": lambda text, n: str(text)[:n],
    "right": lambda text, n: str(text)[-n:],
    "round": lambda value, digits=0: round(float(_number(value)), digits) if digits else round(float(_number(value))),
    "floor": lambda value: int(_number(value) // 1),
    "abs": lambda value: abs(_number(value)),
    "min": lambda *values: min(map(_number, values)),
    "max": lambda *values: max(map(_number, values)),
    "now": lambda _rate=1000: datetime.now(UTC),
    "dateFormat": date_format,
    "numberFormat": number_format,
    "secondsBetween": _between(1),
    "minutesBetween": _between(60),
    "hoursBetween": _between(3600),
    "dateDiff": lambda a, b, unit: _between(
        {"sec": 1, "second": 1, "min": 60, "minute": 60, "hour": 3600, "hr": 3600, "day": 86400}[unit]
    )(a, b),
    "switch": _switch,
    "case": _case,
    "isGood": lambda value: value is not None,
    "hasRows": lambda data: _length(data) > 0,
    "jsonGet": lambda value, path: _item(value, path),
    "property": lambda value, path: _item(value, path),
    "stringFormat": lambda form, *values: form % values,
}
