"""The bytes of a Sparkplug message as a typed payload, and each of its metrics as the value of a tag.

What a payload claims is checked, never guessed: the data type must fit the field that carries the value, a number must
fit its type, a time must be one. A metric is read only when somebody wants it, so a message of a thousand costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from agent.errors import BadPayload
from agent.sparkplug.names import BD_SEQ, Verb
from agent.sparkplug.schema import DataType, Payload, type_name
from agent.tags.values import Quality, Scalar, TagValue, exact

COMPRESSED: Final = "SPBV1.0_COMPRESSED"  # by this Tahu marks a payload inside of a payload
QUALITY: Final = "Quality"  # the one property that the specification defines
_QUALITIES: Final = {192: Quality.GOOD, 500: Quality.STALE, 0: Quality.BAD}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = 253_402_300_799_999  # milliseconds; the last that a datetime can hold
_BITS: Final = {1: 8, 2: 16, 3: 32, 4: 64, 5: 8, 6: 16, 7: 32, 8: 64}
_SIGNED: Final = (DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64)


class Message(NamedTuple):
    """A payload whose envelope is right. `metrics` are as they came: `value_of` reads one."""

    at: datetime | None  # None only in an NDEATH, which a broker sends for its node
    seq: int | None  # None only in an NDEATH
    metrics: Sequence[Any]


def read(raw: bytes, verb: Verb) -> Message:
    """The payload of a message of this type. Raises BadPayload.

    One random byte string in a hundred parses as an empty payload, so time and `seq` are asked for.
    """
    try:
        payload = Payload.FromString(raw)
    except DecodeError:
        raise BadPayload(
            "is no Sparkplug B payload: it is no protobuf of this schema", reason="not_sparkplug"
        ) from None
    if payload.uuid == COMPRESSED:
        raise BadPayload(
            "is compressed, which the specification does not know; switch it off at the node", reason="not_sparkplug"
        )
    timed, numbered = payload.HasField("timestamp"), payload.HasField("seq")
    if verb is Verb.NDEATH:
        if not timed and not payload.metrics:
            raise BadPayload("is empty: an NDEATH has a bdSeq", reason="incomplete")
        return Message(time_of(payload.timestamp) if timed else None, None, payload.metrics)
    if not timed or not numbered:
        missing = " and ".join(name for name, there in (("timestamp", timed), ("seq", numbered)) if not there)
        raise BadPayload(f"has no {missing}; every {verb} carries them", reason="incomplete")
    if payload.seq > 255:
        raise BadPayload(f"seq {payload.seq} is above 255", reason="bad_seq")
    return Message(time_of(payload.timestamp), payload.seq, payload.metrics)


@lru_cache(maxsize=64)
def time_of(milliseconds: int) -> datetime:
    """Milliseconds since 1970, UTC. Raises BadPayload for what no calendar has."""
    if milliseconds > _LATEST:
        raise BadPayload(
            f"timestamp {milliseconds} is after the year 9999; it is milliseconds since 1970", reason="bad_time"
        )
    return _EPOCH + timedelta(milliseconds=milliseconds)


def name_of(metric: Any) -> str:
    """The metric's name, empty where it goes by its alias. Raises BadPayload for a name that is no text."""
    name = metric.name
    if isinstance(name, bytes):  # what protobuf makes of invalid UTF-8 in a proto2 string
        raise BadPayload(f"a metric's name is not UTF-8: {name!r}", reason="bad_name")
    return str(name)


def alias_of(metric: Any) -> int | None:
    """The metric's alias, which may be 0; None: it has none."""
    return int(metric.alias) if metric.HasField("alias") else None


def bd_seq(metrics: Sequence[Any]) -> int | None:
    """The number by which a death finds its birth; None: there is none."""
    for metric in metrics:
        if metric.name == BD_SEQ:
            field = metric.WhichOneof("value")
            return int(getattr(metric, field)) if field in ("long_value", "int_value") else None
    return None


def quality_of(metric: Any, otherwise: Quality = Quality.GOOD) -> Quality:
    """What the property `Quality` says; without one it is `otherwise`, and a code that is not known is no good."""
    if not metric.HasField("properties"):
        return otherwise
    keys, values = metric.properties.keys, metric.properties.values
    if len(keys) != len(values):
        raise BadPayload(f"has {len(keys)} property names for {len(values)} values", reason="bad_value")
    for key, value in zip(keys, values, strict=True):
        if key == QUALITY:
            code = getattr(value, value.WhichOneof("value") or "int_value")
            return _QUALITIES.get(code, Quality.UNCERTAIN) if isinstance(code, int) else Quality.UNCERTAIN
    return otherwise


def value_of(metric: Any, datatype: int, at: datetime, otherwise: Quality = Quality.GOOD) -> TagValue:
    """A metric of a simple type; `at` and `otherwise` hold where it has no time and no quality of its own.

    Raises BadPayload where value and type do not fit, and for types that no single value can show.
    """
    if metric.HasField("timestamp"):
        at = time_of(metric.timestamp)
    quality = quality_of(metric, otherwise)
    field = metric.WhichOneof("value")
    if metric.is_null:
        if field is not None:
            raise BadPayload(f"is null and has a {field} all the same", reason="bad_value")
        return TagValue(None, quality, at)
    return rated(metric, field, datatype, quality, at)


def rated(holder: Any, field: str | None, datatype: int, quality: Quality, at: datetime) -> TagValue:
    """The value that `holder` has in its oneof; a float that is no number is no value."""
    if field is None:
        raise BadPayload("has neither a value nor is_null", reason="bad_value")
    reader = _READERS.get(datatype)
    if reader is None:
        raise BadPayload(_UNREADABLE.get(datatype) or f"is of {type_name(datatype)}", reason="type_mismatch")
    fields, convert = reader
    if field not in fields:
        raise BadPayload(f"is declared {type_name(datatype)} and carries a {field}", reason="type_mismatch")
    value = getattr(holder, field)
    try:
        return TagValue(convert(value), quality, at)
    except ValueError:  # NaN and infinities: what a controller shows whose sensor is gone
        return TagValue(None, Quality.BAD, at)


def reader_of(datatype: int) -> tuple[tuple[str, ...], Callable[[Any], Scalar]] | None:
    """In which fields a value of this type may come, and what makes a tag's value of it; None: no single value."""
    return _READERS.get(datatype)


def _integer(datatype: DataType) -> Callable[[int], int]:
    """Signed numbers travel as their two's complement, in their own width or in that of the field."""
    bits, signed = _BITS[datatype], datatype in _SIGNED
    most = (1 << bits - signed) - 1
    # some senders extend the sign to the 32 or 64 bits of the field, others leave it in the number's own width
    wraps = [1 << width for width in sorted({bits, 32, 64}) if signed and width >= bits]

    def convert(value: int) -> int:
        if value <= most:
            return value
        for wrap in wraps:
            if wrap - most - 1 <= value < wrap:
                return value - wrap
        raise BadPayload(f"{value} does not fit into {datatype.name}", reason="bad_value")

    return convert


def _text(value: str | bytes) -> str:
    if isinstance(value, bytes):
        raise BadPayload(f"its text is not UTF-8: {value[:40]!r}", reason="bad_value")
    return value


def moment(milliseconds: int) -> str:
    """A DateTime as text: ISO 8601, UTC."""
    return time_of(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_Reader = tuple[tuple[str, ...], Callable[[Any], Scalar]]
WHOLE: Final = ("int_value", "long_value")  # Tahu, and with it Ignition, sends a UInt32 in the 64 bits of a long
_READERS: Final[Mapping[int, _Reader]] = {
    **{kind: (WHOLE, _integer(kind)) for kind in map(DataType, range(DataType.INT8, DataType.UINT64 + 1))},
    DataType.FLOAT: (("float_value",), lambda value: exact(value, single=True)),
    DataType.DOUBLE: (("double_value",), lambda value: exact(value, single=False)),
    DataType.BOOLEAN: (("boolean_value",), bool),
    DataType.STRING: (("string_value",), _text),
    DataType.TEXT: (("string_value",), _text),
    DataType.UUID: (("string_value",), _text),
    DataType.DATETIME: (WHOLE, moment),
}
_UNREADABLE: Final[Mapping[int, str]] = {
    DataType.BYTES: "is of type BYTES: bytes are no value that an event can carry",
    DataType.FILE: "is of type FILE: a file is no value that an event can carry",
    DataType.DATASET: "is a data set: name one of its cells, as in METRIC[0]/column",
    DataType.TEMPLATE: "is a template: name one of its members, as in METRIC/member",
    **dict.fromkeys(range(22, 35), "is an array: name one of its elements, as in METRIC[0]"),
}
