"""Text of an order as the OPC UA value that a node, or an argument of a method, wants."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from asyncua import ua

_INTEGERS: Final[Mapping[ua.VariantType, tuple[int, int]]] = {
    getattr(ua.VariantType, f"{sign}Int{bits}"): (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not sign
    else (0, 2**bits - 1)
    for sign in ("", "U")
    for bits in (16, 32, 64)
} | {ua.VariantType.SByte: (-128, 127), ua.VariantType.Byte: (0, 255)}


def variant(text: str, kind: ua.VariantType) -> ua.Variant:
    """The value, exact. Raises ValueError: the node is of another kind, or the value does not fit into it."""
    return ua.Variant(_value(text, kind), kind)


def _value(text: str, kind: ua.VariantType) -> Any:
    if kind is ua.VariantType.String:
        return text
    if kind is ua.VariantType.DateTime:
        return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None) if text else datetime(1601, 1, 1)  # noqa: DTZ001  # as asyncua wants them
    if kind in (ua.VariantType.Float, ua.VariantType.Double):
        return float(_number(text, kind))
    bounds = _INTEGERS.get(kind)
    if bounds is None:
        raise ValueError(f"is a {kind.name}; text, a number or a time can be written")
    number = _number(text, kind)
    if number != int(number) or not bounds[0] <= number <= bounds[1]:
        raise ValueError(f"{text} does not fit into {kind.name} ({bounds[0]} to {bounds[1]})")
    return int(number)


def _number(text: str, kind: ua.VariantType) -> Decimal:
    try:
        return Decimal(text or "0")
    except ArithmeticError:
        raise ValueError(f"is a {kind.name}, and {text!r} is no number") from None
