"""Closures that take one value out of a message and check it: texts, numbers, quantities, flags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from agent.errors import BadPayload
from agent.isa95 import Quantity
from agent.mapping.document import Amount, Pick, path_keys
from agent.units import UnitTable

Body = dict[str, Any]
Levels = Mapping[str, str]  # wildcards of the topic
Text = Callable[[Body, Levels], str]

# Besides control characters: marks that turn the direction of writing, line separators, halves of surrogate pairs.
UNSAFE: Final = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\uffff\ud800-\udfff]"
)

_new: Final = tuple.__new__  # what the constructors of named tuples call
_POINT: Final = re.compile(r"[-+]?[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
_COMMA: Final = re.compile(r"[-+]?[0-9]{1,20}(,[0-9]{1,20})?", re.ASCII)


def lookup(path: str) -> Callable[[Body], Any]:
    """A function that finds the value at a JSON path; None where there is none."""
    keys = path_keys(path)
    if len(keys) == 1 and type(keys[0]) is str:
        key = keys[0]
        return lambda body: body.get(key)

    def walk(body: Any) -> Any:
        value = body
        for key in keys:
            if type(key) is str and type(value) is dict:
                value = value.get(key)
            elif type(key) is int and type(value) is list and key < len(value):
                value = value[key]
            else:
                return None
        return value

    return walk


def text_reader(pick: Pick | None, *, required: bool) -> Text:
    """A function that reads a text. Raises BadPayload: ``missing``, ``wrong_type``, ``bad_text``, ``unknown_code``."""
    if pick is None:
        return lambda body, levels: ""
    if pick.const is not None:
        const = pick.const
        return lambda body, levels: const
    get, limit, codes, where = _getter(pick), pick.max_length, pick.map, pick.where
    absent, number_as_text = _absent(pick, required), pick.number_as_text

    def read(body: Body, levels: Levels) -> str:
        value = get(body, levels)
        if number_as_text and type(value) is int:
            value = str(value)
        if value is None or value == "":
            return absent(value)
        if type(value) is not str:
            raise wrong_type(value, "a text", where)
        if len(value) > limit or not value.isprintable():
            _refuse_unsafe(value, limit, where)
        if codes is None:
            return value
        code = codes.get(value)
        if code is None:
            raise bad(f"{shown(value)} is unknown; the mapping knows {', '.join(codes)}", where, "unknown_code")
        return code

    return read


def one_key(path: str | None) -> str | None:
    """The key of a path that is just one, as nearly all are."""
    keys = path_keys(path) if path else ()
    return keys[0] if len(keys) == 1 and type(keys[0]) is str else None


def _getter(pick: Pick) -> Callable[[Body, Levels], Any]:
    if pick.wildcard is not None:
        name = pick.wildcard
        return lambda body, levels: levels[name]
    find = lookup(pick.path or "")
    return lambda body, levels: find(body)


def _absent(pick: Pick, required: bool) -> Callable[[Any], str]:  # noqa: FBT001  # private, one caller
    """What to do about a text that is missing, null or empty."""
    where, default, refused = pick.where, pick.default, is_required(pick, required=required)

    def absent(value: Any) -> str:
        if refused:
            raise missing(value, where)
        return default or ""

    return absent


def is_required(pick: Pick, *, required: bool) -> bool:
    """Whether a message without this text is refused: the pick says so, or the place where it stands."""
    return pick.required if pick.required is not None else required and pick.default is None


def _refuse_unsafe(value: str, limit: int, where: str) -> None:
    if len(value) > limit:
        raise bad(f"text of {len(value)} characters is longer than {limit}: {shown(value)}", where, "bad_text")
    if unsafe := UNSAFE.search(value):
        raise bad(
            f"{shown(value)} holds U+{ord(unsafe[0]):04X} at {unsafe.start()}, which could hide what it says",
            where,
            "bad_text",
        )


def flag_reader(path: str | None) -> Callable[[Body], bool]:
    """A function that reads true or false; false where the message has none."""
    if path is None:
        return lambda body: False
    get = lookup(path)

    def read(body: Body) -> bool:
        value = get(body)
        if value is True or value is False:
            return value is True
        if value is None:
            return False
        raise wrong_type(value, "true or false", path)

    return read


def count_reader(path: str) -> Callable[[Body], int]:
    """A function that reads a running number: whole and not negative."""
    get = lookup(path)

    def read(body: Body) -> int:
        value = get(body)
        if type(value) is not int:
            raise missing(value, path) if value is None else wrong_type(value, "a whole number", path)
        if value < 0:
            raise bad(f"{value} is negative", path, "out_of_range")
        return value

    return read


def plain_number_reader(path: str, *, required: bool) -> Callable[[Body, Levels], Decimal | None]:
    """A function that reads a number without a unit, exactly as it is written."""
    get = lookup(path)

    def read(body: Body, levels: Levels) -> Decimal | None:
        value = get(body)
        if type(value) is int:
            return Decimal(value)
        if type(value) is Decimal:
            return value
        if value is None and not required:
            return None
        raise wrong_type(value, "a number", path)

    return read


# ── quantities ──────────────────────────────────────────────────────────────────────────────────────────────


def amount_reader(amount: Amount, units: UnitTable) -> Callable[[Body, Levels], Quantity | None]:
    """A function that reads a quantity, None where an optional one is absent. It raises BadPayload."""
    key, unit_key, codes = one_key(amount.value), one_key(amount.unit.path), _known_units(amount, units)
    number, unit = _number_reader(amount), _unit_reader(amount, units)
    minimum, maximum = amount.minimum, _highest(amount)
    limited = amount.decimals is not None

    def read(body: Body, levels: Levels) -> Quantity | None:
        value = body.get(key)  # type: ignore[arg-type]  # None is no key of a message
        if type(value) is int:
            value = Decimal(value)
        if type(value) is not Decimal or not minimum <= value <= maximum or limited:
            value = number(body)  # finds what is unusual, and refuses what is wrong
            if value is None:
                return None
        try:
            code = codes[body.get(unit_key)]  # type: ignore[arg-type]
        except (KeyError, TypeError):
            code = unit(body, levels)
        return _new(Quantity, (value or abs(value), code))  # -0.0 is nothing to post

    return read


def _highest(amount: Amount) -> Decimal:
    return Decimal("Infinity") if amount.maximum is None else amount.maximum


def _known_units(amount: Amount, units: UnitTable) -> dict[str | None, str]:
    """What the message may say → code of the unit, for all that passes every check of `_unit_reader`."""
    pick, names = amount.unit, units.names(amount.dimension)
    if pick.const is not None:
        return {None: names[pick.const]}
    said = pick.map if pick.map is not None else {name: name for name in names}
    return {
        text: names[name]
        for text, name in said.items()
        if name in names and 0 < len(text) <= pick.max_length and text.isprintable()
    }


def _number_reader(amount: Amount) -> Callable[[Body], Decimal | None]:
    get, where = lookup(amount.value), amount.value
    from_text = None if amount.number == "json" else _text_number(amount.number)
    minimum, maximum, optional = amount.minimum, _highest(amount), amount.optional
    finest = None if amount.decimals is None else 10**amount.decimals

    def read(body: Body) -> Decimal | None:
        value = get(body)
        if value is None and optional:
            return None
        if type(value) is int:
            value = Decimal(value)
        elif type(value) is not Decimal:
            value = from_text(value, where) if from_text else None
            if value is None:
                raise wrong_type(get(body), "a number", where)
        if not minimum <= value <= maximum:
            raise _out_of_range(value, amount)
        if finest is not None and finest % value.as_integer_ratio()[1]:
            raise bad(f"{shown(value)} has more than {amount.decimals} decimals", where, "too_precise")
        return value

    return read


def _text_number(style: str) -> Callable[[Any, str], Decimal | None]:
    form = _POINT if style == "point" else _COMMA

    def from_text(value: Any, where: str) -> Decimal | None:
        if type(value) is not str:
            return None
        if not form.fullmatch(value):
            raise bad(f"{shown(value)} is no number with a decimal {style}", where, "wrong_type")
        return Decimal(value.replace(",", "."))

    return from_text


def _out_of_range(value: Decimal, amount: Amount) -> BadPayload:
    above = amount.maximum is not None and value > amount.maximum
    limit = f"above the maximum {amount.maximum}" if above else f"below the minimum {amount.minimum}"
    return bad(f"{shown(value)} is {limit} of the mapping", amount.value, "out_of_range")


def _unit_reader(amount: Amount, units: UnitTable) -> Text:
    pick, where = amount.unit, amount.unit.where
    names = units.names(amount.dimension)
    text = text_reader(pick, required=True)

    def read(body: Body, levels: Levels) -> str:
        name = text(body, levels)
        code = names.get(name)
        if code is None:
            code = units.code(name, where)  # raises where the unit is unknown; else it measures something else
            raise bad(
                f"{name} ({code}) measures {units.dimension(code)}, not {amount.dimension}", where, "other_dimension"
            )
        return code

    if pick.const is not None:
        const = read({}, {})
        return lambda body, levels: const
    return read


# ── identity ────────────────────────────────────────────────────────────────────────────────────────────────


def identity_reader(picks: tuple[Pick, ...]) -> Callable[[Body, Levels], str | None]:
    """A function that reads what identifies the message; several parts are joined so that they stay distinct."""
    if not picks:
        return lambda body, levels: None
    readers = [_part_reader(pick) for pick in picks]
    if len(readers) == 1:
        return readers[0]
    return lambda body, levels: "|".join([_escaped(read(body, levels)) for read in readers])


def _escaped(part: str) -> str:
    return part.replace("\\", "\\\\").replace("|", "\\|")


def _part_reader(pick: Pick) -> Text:
    """A text, or a number or truth value in a form that does not depend on how it was written."""
    text = text_reader(pick, required=True)
    if pick.const is not None:
        return text
    get, where = _getter(pick), pick.where

    def read(body: Body, levels: Levels) -> str:
        value = get(body, levels)
        if type(value) is str or value is None:
            return text(body, levels)
        if type(value) is bool:
            return "true" if value else "false"
        if type(value) is int:
            return str(value)
        if type(value) is Decimal:
            return str(Fraction(value)) if Fraction(value).denominator == 1 else f"{value:f}".rstrip("0")
        raise wrong_type(value, "a text or a number", where)

    return read


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────


def bad(message: str, where: str, reason: str) -> BadPayload:
    """A refusal that names the field."""
    return BadPayload(message, field=where, reason=reason)


def missing(value: Any, where: str) -> BadPayload:
    """The refusal of a field that is not there, null or empty."""
    return bad("is empty" if value == "" else "is missing or null", where, "missing")


def wrong_type(value: Any, wanted: str, where: str) -> BadPayload:
    """The refusal of a value of another type than the mapping says."""
    if value is None:
        return missing(value, where)
    return bad(f"must be {wanted}, not {shown(value)}", where, "wrong_type")


def shown(value: Any) -> str:
    """A value of the message as it may stand in a text for people: short, and nothing hidden."""
    if type(value) is bool:
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return str(value)
    kind = "the list " if type(value) is list else "the object " if type(value) is dict else ""
    words = ascii(value) if type(value) is str and not value[:60].isprintable() else repr(value)
    return kind + (words if len(words) <= 60 else words[:60] + "…")
