"""Bytes to a JSON object, strictly: what two readers could understand differently is refused.

The standard decoder accepts NaN, duplicate keys (the last one wins), numbers beyond any float, lone surrogates,
UTF-16 and a byte order mark. Each of these would post something else than the sender meant, or break later.
A message that is plainly in order is read by the decoder's C scanner alone. Any other is read a second time, member
by member, which finds what is wrong and says so, or finds that nothing is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import (
    Clamped,
    Context,
    Decimal,
    DecimalException,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
    Subnormal,
    Underflow,
)
from typing import Any, Final

from agent.errors import BadPayload

SIZE_LIMIT: Final = 256 * 1024  # bytes
DEPTH_LIMIT: Final = 32  # levels of objects and lists, the outermost counted
DIGIT_LIMIT: Final = 40  # significant digits of a number with a point or an exponent
EXPONENT_LIMIT: Final = 30  # decimal exponent, both ways

_BLANKS = " \t\n\r"  # JSON's own, RFC 8259 section 2
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_INT64_MAX = 2**63 - 1

# One context for all: every signal that would change a number is an error instead.
_exact_decimal = Context(
    prec=DIGIT_LIMIT,
    Emin=-EXPONENT_LIMIT,
    Emax=EXPONENT_LIMIT,
    traps=[Clamped, Inexact, InvalidOperation, Overflow, Rounded, Subnormal, Underflow],
).create_decimal


def read(payload: bytes, size_limit: int = SIZE_LIMIT) -> dict[str, Any]:
    """The object in `payload`: numbers with a point or exponent as Decimal, others as int within 64 bit.

    Raises BadPayload with one of the reasons ``empty``, ``too_large``, ``not_utf8``, ``not_json``,
    ``not_an_object``, ``duplicate_key``, ``number_range``, ``too_deep``, ``bad_text``.
    """
    value = _flat(payload) if len(payload) <= size_limit else None
    return value if value is not None else _examined(payload, size_limit)


def _flat(payload: bytes) -> dict[str, Any] | None:
    """An object with nothing but plain values in it, as most messages are; None: it must be looked at.

    An object of n members is written with n - 1 commas: where there are no more in the text, no key stood twice.
    """
    try:
        text = payload.decode()
        if text.rfind("{") or "[" in text or "\\" in text:
            return None
        value, end = _quick_scan(text, 0)
    except (ValueError, StopIteration, ArithmeticError, BadPayload):
        return None
    return value if len(value) == text.count(",") + 1 and end == len(text) else None


def _examined(payload: bytes, size_limit: int) -> dict[str, Any]:
    """The same for any bytes, with the reason where they are refused."""
    if len(payload) > size_limit:
        raise BadPayload(
            f"message of {len(payload)} bytes is larger than the limit of {size_limit}", reason="too_large"
        )
    try:
        text = payload.decode()
        if text[:1] != "{":
            text = _to_the_object(payload, text)
        value, end = _scan(text, 0)
    except UnicodeDecodeError as error:
        raise _not_utf8(payload, error) from None
    except StopIteration as error:  # how the scanner says so
        raise BadPayload(f"not JSON: Expecting value at character {error.value}", reason="not_json") from None
    except json.JSONDecodeError as error:
        raise BadPayload(f"not JSON: {error.msg} at character {error.pos}", reason="not_json") from None
    except RecursionError:
        raise _too_deep() from None
    if end != len(text) and (rest := text[end:].strip(_BLANKS)):
        raise BadPayload(f"not JSON: {rest[:20]!r} after the end of the object", reason="not_json")
    # Both tests are cheap and never wrong on the safe side: most messages have neither escapes nor many brackets.
    if b"\\u" in payload or payload.count(b"{") + payload.count(b"[") > DEPTH_LIMIT:
        _refuse_deep_or_broken(value, DEPTH_LIMIT, "$")
    return value  # type: ignore[no-any-return]  # the text starts with a brace, so this is a dict


def _to_the_object(payload: bytes, text: str) -> str:
    """The text from its opening brace on, or the reason why there is none."""
    if payload.startswith(_BYTE_ORDER_MARKS):
        raise BadPayload("starts with a byte order mark; send plain UTF-8", reason="not_utf8")
    start = text.lstrip(_BLANKS)
    if not start:
        raise BadPayload("the message is empty", reason="empty")
    if start[0] != "{":
        raise BadPayload(f"starts with {start[:20]!r}, not with an object", reason="not_an_object")
    return start


def _not_utf8(payload: bytes, error: UnicodeDecodeError) -> BadPayload:
    if payload.startswith(_BYTE_ORDER_MARKS):
        return BadPayload("starts with a byte order mark of UTF-16; send plain UTF-8", reason="not_utf8")
    return BadPayload(f"not UTF-8: byte 0x{payload[error.start]:02x} at {error.start}", reason="not_utf8")


def _too_deep() -> BadPayload:
    return BadPayload(f"nested deeper than {DEPTH_LIMIT} levels", reason="too_deep")


def _refuse_deep_or_broken(value: Any, levels: int, path: str) -> None:
    """Walk the value: a string that no database could keep, or a level too many, is refused."""
    if type(value) is str:
        _refuse_broken_text(value, path)
        return
    members: Iterable[tuple[object, Any]]
    if type(value) is dict:
        members = value.items()
    elif type(value) is list:
        members = enumerate(value)
    else:
        return
    if levels == 0:
        raise _too_deep()
    for key, member in members:
        if type(key) is str:
            _refuse_broken_text(key, path)
            _refuse_deep_or_broken(member, levels - 1, f"{path}.{_shown(key)}")
        else:
            _refuse_deep_or_broken(member, levels - 1, f"{path}[{key}]")


def _shown(key: str) -> str:
    """A key as it may stand in a message for people and databases."""
    return key[:40] if key.isprintable() else ascii(key[:40])


def _refuse_broken_text(text: str, path: str) -> None:
    if "\0" in text:
        raise BadPayload(f"NUL character in {text[:40]!r}", field=path, reason="bad_text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadPayload(f"half of a surrogate pair in {text[:40]!a}", field=path, reason="bad_text") from None


# ── hooks of the scanner ────────────────────────────────────────────────────────────────────────────────────


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _duplicate_key(pairs)
    return members


def _duplicate_key(pairs: list[tuple[str, Any]]) -> BadPayload:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            break
        seen.add(key)
    return BadPayload("the key stands twice in one object", field=_shown(key), reason="duplicate_key")


def _decimal(text: str) -> Decimal:
    try:
        return _exact_decimal(text)
    except DecimalException:
        raise BadPayload(
            f"number {text[:60]} has more than {DIGIT_LIMIT} digits or an exponent beyond ±{EXPONENT_LIMIT}",
            reason="number_range",
        ) from None


def _integer(text: str) -> int:
    # 18 digits and a sign always fit; longer ones are converted only when they are short enough to be cheap.
    if len(text) > 18 and (len(text) > 20 or not -_INT64_MAX - 1 <= int(text) <= _INT64_MAX):
        raise BadPayload(f"whole number {text[:60]} is beyond 64 bit", reason="number_range")
    return int(text)


def _constant(text: str) -> Any:
    raise BadPayload(f"{text} is not a number", reason="number_range")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_int=_integer, parse_constant=_constant
)
_scan = _decoder.scan_once  # type: ignore[attr-defined]  # known as the attribute that a scanner of one's own replaces
_quick_scan = json.JSONDecoder(  # keeps the last of equal keys, and does not say which number is wrong
    parse_float=_exact_decimal, parse_int=_integer, parse_constant=_constant
).scan_once  # type: ignore[attr-defined]
