"""Master data as JSON documents, as the store keeps them and the SAP source delivers them, read strictly.

Quantities are decimal strings, conversions fractions (``"1000/1"``), times ISO 8601 with their offset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias, get_args, get_origin, get_type_hints

from agent.errors import BadPayload
from agent.masterdata.entities import STATUSES, Fact, Order

Document: TypeAlias = Mapping[str, Any]
_Read: TypeAlias = Callable[[Any, str], Any]  # a value and where it stands → what it is as a field

KINDS: Final[Mapping[str, type[Fact]]] = {one.kind: one for one in get_args(Fact)}
FARTHEST: Final = 30  # powers of ten: what lies beyond is no quantity of a plant


def from_document(kind: str, document: Document) -> Fact:
    """The fact of a JSON document. Raises BadPayload (reason ``masterdata``) naming the field and value."""
    made = KINDS.get(kind)
    if made is None:
        raise _bad("kind", f"unknown kind {kind!r}; known are {', '.join(KINDS)}")
    fact: Fact = _made(made, document, kind)
    if isinstance(fact, Order) and fact.status not in STATUSES:
        raise _bad(f"{kind}.status", f"must be one of {', '.join(STATUSES)}, not {fact.status!r}")
    return fact


def to_document(fact: Fact) -> dict[str, Any]:
    """The JSON document of a fact; `from_document` of it is the same fact."""
    return {name.name: _plain(getattr(fact, name.name)) for name in fields(fact)}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, date):  # a moment is one, too
        return value.isoformat()
    if isinstance(value, tuple):
        return [{name.name: _plain(getattr(item, name.name)) for name in fields(item)} for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _bad(where: str, message: str) -> BadPayload:
    return BadPayload(message, field=where, reason="masterdata")


def _made(kind: type, document: Any, path: str) -> Any:
    """An object of this class: refuses fields that are missing, of another type, or none of its own."""
    if not isinstance(document, Mapping):
        raise _bad(path, f"must be an object, not {document!r}")
    found, known = {}, _shape(kind)
    for name, (read, absent) in known.items():
        if name in document:
            found[name] = read(document[name], f"{path}.{name}")
        elif absent is MISSING:
            raise _bad(f"{path}.{name}", "is missing")
        else:
            found[name] = absent
    if len(document) > sum(name in document for name in known):
        raise _bad(f"{path}.{min(set(document) - set(known))}", "unknown field; remove it or mend its name")
    return kind(**found)


@cache
def _shape(kind: type) -> Mapping[str, tuple[_Read, Any]]:
    """Field → how it is read, and what it is where a document does not have it (MISSING: it must)."""
    types = get_type_hints(kind)
    return {one.name: (_reader(types[one.name], one), _absent(one)) for one in fields(kind)}


def _absent(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return one.metadata.get("absent", one.default)


def _reader(of: Any, one: Field[Any]) -> _Read:
    if get_origin(of) is tuple:
        item = get_args(of)[0]
        return lambda value, where: _each(item, value, where)
    if of is str and _absent(one) is MISSING:
        return _filled
    if of is Decimal and one.metadata.get("signed"):
        return _number
    return _READERS[of]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _bad(where, f"must be a text, not {value!r}")
    return value


def _filled(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _bad(where, f"must be a text that is not empty, not {value!r}")
    return value


def _number(value: Any, where: str) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or abs(number.adjusted()) > FARTHEST:
        raise _bad(where, f'must be a decimal number as text, such as "12.500", not {value!r}')
    return number


def _amount(value: Any, where: str) -> Decimal:
    number = _number(value, where)
    if number < 0:
        raise _bad(where, f"must not be below 0, but is {number}")
    return number


def _yes(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _bad(where, f"must be true or false, not {value!r}")
    return value


def _moment(value: Any, where: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _bad(where, f"must be a time like 2026-01-31T12:00:00+00:00, not {value!r}") from None
    if moment.tzinfo is None:
        raise _bad(where, f"must carry its offset from UTC, but is {value!r}")
    return moment


def _known_moment(value: Any, where: str) -> datetime:
    if (moment := _moment(value, where)) is None:
        raise _bad(where, "must be a time like 2026-01-31T12:00:00+00:00, not null")
    return moment


def _ratio(value: Any, where: str) -> Fraction:
    try:
        ratio = Fraction(value) if isinstance(value, str | int) else Fraction(0)
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(0)
    if ratio <= 0:
        raise _bad(where, f'must be a positive fraction such as "1000/1" or "0.25", not {value!r}')
    return ratio


def _each(item: type, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _bad(where, f"must be a list, not {value!r}")
    return tuple(_made(item, one, f"{where}[{at}]") for at, one in enumerate(value))


def _map(read: _Read) -> _Read:
    def each(value: Any, where: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise _bad(where, f"must be an object, not {value!r}")
        return MappingProxyType({name: read(one, f"{where}.{name}") for name, one in value.items()})

    return each


_READERS: Final[Mapping[Any, _Read]] = {
    str: _text,
    bool: _yes,
    Decimal: _amount,
    datetime: _known_moment,
    datetime | None: _moment,
    Mapping[str, str]: _map(_text),
    Mapping[str, Decimal]: _map(_amount),
    Mapping[str, Fraction]: _map(_ratio),
}
