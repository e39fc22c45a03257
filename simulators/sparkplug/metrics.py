"""Tags as Sparkplug metrics: births that say names, aliases and types, data by alias, and what a host writes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple

from simulators.line.tags import Kind, Tag, Value
from simulators.sparkplug.schema import DataType, new_payload

SCALE = "Scale/"  # a scale speaks single floats, as most do
_FIELDS = {
    DataType.BOOLEAN: "boolean_value",
    DataType.STRING: "string_value",
    DataType.FLOAT: "float_value",
    DataType.DOUBLE: "double_value",
    DataType.INT64: "long_value",
    DataType.UINT64: "long_value",
}


class Quality(IntEnum):
    """The values of the property `Quality`."""

    BAD = 0
    GOOD = 192
    STALE = 500


class Shown(NamedTuple):
    """A metric as it goes onto the wire. Without a name it is known by its alias alone."""

    value: Value
    datatype: DataType
    at: datetime
    name: str = ""
    alias: int | None = None
    quality: Quality = Quality.GOOD
    historical: bool = False


def datatype(tag: Tag) -> DataType:
    """The Sparkplug type of a tag: a totaliser of 16 bits is one, a scale is a single float."""
    match tag.kind:
        case Kind.TEXT:
            return DataType.STRING
        case Kind.FLAG:
            return DataType.BOOLEAN
        case Kind.COUNTER:
            return DataType.UINT16 if tag.modulus == 1 << 16 else DataType.UINT32
        case _:
            return DataType.FLOAT if tag.name.startswith(SCALE) else DataType.DOUBLE


def payload(shown: Iterable[Shown], at: datetime, seq: int | None) -> bytes:
    """The bytes of one message; `seq` is None for an NDEATH, which has none."""
    made = new_payload()
    made.timestamp = milliseconds(at)
    if seq is not None:
        made.seq = seq
    for one in shown:
        _write(made.metrics.add(), one)
    return bytes(made.SerializeToString())


def written(message: Any, names: Mapping[int, str]) -> dict[str, Any]:
    """What an NCMD or DCMD wants written, by metric name; `names` are those of the aliases."""
    wanted = {}
    for metric in message.metrics:
        name = metric.name or names.get(metric.alias, "")
        field = metric.WhichOneof("value")
        if name and field and not metric.is_null:
            wanted[name] = getattr(metric, field)
    return wanted


def milliseconds(at: datetime) -> int:
    """Sparkplug's time: milliseconds since 1970, UTC."""
    return round(at.timestamp() * 1000)


def _write(metric: Any, shown: Shown) -> None:
    if shown.name:
        metric.name = shown.name
        metric.datatype = shown.datatype
    if shown.alias is not None:
        metric.alias = shown.alias
    metric.timestamp = milliseconds(shown.at)
    if shown.historical:
        metric.is_historical = True
    if shown.quality is not Quality.GOOD:
        metric.properties.keys.append("Quality")
        metric.properties.values.add(type=DataType.INT32, int_value=shown.quality)
    value = float(shown.value) if isinstance(shown.value, Decimal) else shown.value
    setattr(metric, _FIELDS.get(shown.datatype, "int_value"), value)
