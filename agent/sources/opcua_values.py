"""An OPC UA DataValue becomes a TagValue: exact, with its quality, or bad with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from asyncua import ua
from asyncua.ua.status_codes import code_to_name_doc

from agent.tags.values import Quality, Scalar, TagValue, exact

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)  # a clock that says less was never set
_OVERFLOW: Final = 0x480  # InfoType DataValue with the bit Overflow
_NOT_TOLD: Final = ""


class Limits(NamedTuple):
    """What is believed of a value."""

    skew: timedelta  # how far ahead of our own clock a time stamp may be
    text: int  # characters of a string


class Reading(NamedTuple):
    """A value and, where it is not good, why."""

    value: TagValue
    why: str = _NOT_TOLD


class _Unfit(Exception):  # noqa: N818  # named as in errors.py
    """The value is nothing that an event can carry."""


def read(told: ua.DataValue, arrived: datetime, limits: Limits) -> Reading:
    """What the server told about a node. Bad values are None; uncertain ones keep what was said."""
    status = told.StatusCode
    code = status.value if status is not None else 0
    at, odd = _time(told, arrived, limits.skew)
    if code >> 31:
        return Reading(TagValue(None, Quality.BAD, at), status_name(code))
    try:
        value = _scalar(told.Value, limits)
    except _Unfit as error:
        return Reading(TagValue(None, Quality.BAD, at), str(error))
    if code >> 30:
        return Reading(TagValue(value, Quality.UNCERTAIN, at), status_name(code))
    if odd:
        return Reading(TagValue(value, Quality.UNCERTAIN, at), odd)
    return Reading(TagValue(value, Quality.GOOD, at))


def values_dropped(told: ua.DataValue) -> bool:
    """Whether the server says that its queue for this node overflowed before this value."""
    return told.StatusCode is not None and told.StatusCode.value & _OVERFLOW == _OVERFLOW


def status_name(code: int) -> str:
    """A status code in the specification's words, or as a number where it has none."""
    known = code_to_name_doc.get(code & 0xFFFF0000)
    return known[0] if known else f"status 0x{code:08X}"


def variant(value: int, kind: ua.VariantType) -> ua.Variant:
    """A handshake's value as the node wants it. Raises ValueError: the node is neither a number nor a Boolean."""
    if kind == ua.VariantType.Boolean:
        return ua.Variant(bool(value), kind)
    if kind in (ua.VariantType.Float, ua.VariantType.Double):
        return ua.Variant(float(value), kind)
    bounds = _INTEGERS.get(kind)
    if bounds is None:
        raise ValueError(f"the node is a {kind.name}; a handshake needs a Boolean or a number")
    if not bounds[0] <= value <= bounds[1]:
        raise ValueError(f"{value} does not fit into {kind.name} ({bounds[0]} to {bounds[1]})")
    return ua.Variant(int(value), kind)


def _time(told: ua.DataValue, arrived: datetime, skew: timedelta) -> tuple[datetime, str]:
    """The source's own time, else the server's, else that of arrival; and what is odd about it."""
    at = told.SourceTimestamp or told.ServerTimestamp
    if at is None:
        return arrived, _NOT_TOLD
    if EARLIEST <= at <= arrived + skew:
        return at, _NOT_TOLD
    return arrived, f"the time stamp {at:%Y-%m-%dT%H:%M:%SZ} is impossible at {arrived:%Y-%m-%dT%H:%M:%SZ}"


def _scalar(told: ua.Variant | None, limits: Limits) -> Scalar:
    if told is None or told.Value is None:
        return None
    if told.is_array:
        raise _Unfit("an array; name a node with one value")
    reader = _READERS.get(told.VariantType)
    if reader is None:
        raise _Unfit(f"a {_kind(told)}, which no event can carry")
    return reader(told.Value, limits)


def _kind(told: ua.Variant) -> str:
    """What a value is, with the id of a structure that nobody described."""
    name = getattr(told.VariantType, "name", str(told.VariantType))
    type_id = getattr(told.Value, "TypeId", None)
    return f"{name} of type {type_id.to_string()}" if isinstance(type_id, ua.NodeId) else str(name)


def _as_is(value: Any, limits: Limits) -> Scalar:
    return value  # type: ignore[no-any-return]  # decoded as what its type says


def _float(value: float, limits: Limits) -> Scalar:
    return _number(value, single=True)


def _double(value: float, limits: Limits) -> Scalar:
    return _number(value, single=False)


def _number(value: float, *, single: bool) -> Scalar:
    try:
        return exact(value, single=single)
    except ValueError as error:
        raise _Unfit(str(error)) from None


def _text(value: Any, limits: Limits) -> Scalar:
    if not isinstance(value, str):
        raise _Unfit(f"a {type(value).__name__} where a text should be")
    if not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value):  # bytes that the library kept
        raise _Unfit("a text that is not UTF-8; let the server convert it")
    if len(value) > limits.text:
        raise _Unfit(f"a text of {len(value)} characters; the limit is {limits.text}")
    return value


def _localized(value: Any, limits: Limits) -> Scalar:
    return None if value.Text is None else _text(value.Text, limits)


def _date(value: datetime, limits: Limits) -> Scalar:
    return value.isoformat().replace("+00:00", "Z")


_INTEGERS: Final[Mapping[Any, tuple[int, int]]] = {
    kind: (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    for kind, bits, signed in (
        (ua.VariantType.SByte, 8, True),
        (ua.VariantType.Byte, 8, False),
        (ua.VariantType.Int16, 16, True),
        (ua.VariantType.UInt16, 16, False),
        (ua.VariantType.Int32, 32, True),
        (ua.VariantType.UInt32, 32, False),
        (ua.VariantType.Int64, 64, True),
        (ua.VariantType.UInt64, 64, False),
    )
}
_READERS: Final[Mapping[Any, Callable[[Any, Limits], Scalar]]] = {
    **dict.fromkeys(_INTEGERS, _as_is),
    ua.VariantType.Null: _as_is,
    ua.VariantType.Boolean: _as_is,
    ua.VariantType.Float: _float,
    ua.VariantType.Double: _double,
    ua.VariantType.String: _text,
    ua.VariantType.LocalizedText: _localized,
    ua.VariantType.DateTime: _date,
    ua.VariantType.Guid: lambda value, limits: str(value),
}
