"""What does not fit what a route takes, told in plain words: which field, what it has, what is expected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel

from agent.strict.schema import did_you_mean, models_in

MOST: Final = 20  # fields that are named
SAID: Final = 5  # of them in the message for people
LONGEST: Final = 40  # characters of a value
SECRET: Final = frozenset({"password", "nonce", "signature"})  # what is never repeated
A_TIME: Final = "must be a time with its zone, such as 2026-11-20T14:05:00Z"
A_NUMBER: Final = "must be a number, with a decimal point"

_WORDS: Final = MappingProxyType({
    "string_type": "must be text", "int_type": "must be a whole number", "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of 64 bit", "int_from_float": "must be a whole number",
    "bool_type": "must be true or false", "bool_parsing": "must be true or false", "float_type": A_NUMBER,
    "float_parsing": A_NUMBER, "decimal_type": A_NUMBER, "decimal_parsing": A_NUMBER, "finite_number": A_NUMBER,
    "decimal_max_digits": "must have at most {max_digits} digits",
    "decimal_max_places": "must have at most {decimal_places} decimals",
    "decimal_whole_digits": "must have at most {whole_digits} digits before the point",
    "datetime_type": A_TIME, "datetime_parsing": A_TIME, "datetime_from_date_parsing": A_TIME,
    "datetime_object_invalid": A_TIME, "timezone_aware": A_TIME,
    "dict_type": "must be an object", "model_type": "must be an object", "model_attributes_type": "must be an object",
    "list_type": "must be a list", "tuple_type": "must be a list",
    "literal_error": "must be {expected}", "enum": "must be {expected}",
    "greater_than": "must be more than {gt}", "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}", "less_than_equal": "must be {le} or less",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have {min_length} entries or more", "too_long": "must have at most {max_length} entries",
    "string_pattern_mismatch": "is not written as it must be",
})  # fmt: skip
_PATTERNS: Final = MappingProxyType({
    r"^[0-9a-f]{64}$": "must be 64 hexadecimal digits in small letters",
    r"^[A-Za-z0-9_-]{43}$": "must be the 43 characters that were given",
    r"^[!-~]*$": "must be printable ASCII without blanks",
    r"^[0-9a-f]{6,20}$": "must be 6 to 20 hexadecimal digits in small letters",
    r"^(\d{4}-\d{2}-\d{2})?$": "must be a day, such as 2026-11-20",
    r"^[0-9]{1,10}(\.[0-9]{1,6})?$": 'must be a quantity as text with a decimal point, such as "12.5"',
})  # fmt: skip


def fields(errors: Sequence[Mapping[str, Any]], body: type[BaseModel] | None) -> list[dict[str, str]]:
    """Each `field`, where it stands first (`body.reason`, `query.limit`), and the `message` about it."""
    return [{"field": ".".join(map(str, one["loc"])), "message": _about(one, body)} for one in errors[:MOST]]


def sentence(found: Sequence[Mapping[str, str]]) -> str:
    """The same for people; fields of the body by their name alone."""
    told = [f"{one['field'].removeprefix('body.')}: {one['message']}" for one in found[:SAID]]
    more = [f"and {len(found) - SAID} more"] if len(found) > SAID else []
    return "; ".join([*told, *more])


def _about(error: Mapping[str, Any], body: type[BaseModel] | None) -> str:
    kind, place = error["type"], error["loc"]
    name = str(place[-1])
    around = list(_models(body, place[1:-1])) if place[0] == "body" and body is not None else []
    if kind == "extra_forbidden":
        known = [one for model in around for one in model.model_fields]
        return f"is not taken here; {did_you_mean(name[:LONGEST], known)}"
    if kind == "missing":
        about = next((model.model_fields[name].description for model in around if name in model.model_fields), None)
        return f"is missing{f': {about}' if about else ''}"
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    return f"{_words(error)}{_but(error['input'], place)}"


def _words(error: Mapping[str, Any]) -> str:
    context = error.get("ctx", {})
    if (pattern := context.get("pattern")) in _PATTERNS:
        return _PATTERNS[pattern]
    if context.get("min_length") == 1:
        return "must not be empty"
    if error["type"] in _WORDS:
        return _WORDS[error["type"]].format_map(context)
    return str(error["msg"]).replace("Input should", "must").replace("String should", "must")


def _but(value: Any, place: Sequence[Any]) -> str:
    """What it has instead, short and on one line; a secret is not repeated."""
    if not SECRET.isdisjoint(place) or value == "":
        return ""
    if isinstance(value, dict | list):
        return ", not an object" if isinstance(value, dict) else ", not a list"
    if isinstance(value, Decimal):
        return f", not {value}"
    text = json.dumps(value[: LONGEST + 1] if isinstance(value, str) else value, ensure_ascii=False, default=str)
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return f", not {shown if len(shown) <= LONGEST + 2 else f'{shown[:LONGEST]}…'}"


def _models(body: type[BaseModel], below: Sequence[Any]) -> Iterator[type[BaseModel]]:
    """The models whose fields stand at this place of the body."""
    here = [body]
    for part in below:
        found = [model.model_fields[part] for model in here if part in model.model_fields]
        here = [one for field in found for one in models_in(field.annotation)] if found else here
    yield from here
