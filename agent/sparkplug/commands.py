"""What we say to edge nodes: a request for births, and writes of metrics. QoS 0, not retained, as NCMD or DCMD."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from agent.sparkplug.metrics import Declared
from agent.sparkplug.names import REBIRTH, Topic, Verb
from agent.sparkplug.payload import WHOLE
from agent.sparkplug.schema import DataType, Payload, type_name

_FIELDS: Final[Mapping[int, str]] = {
    DataType.BOOLEAN: "boolean_value",
    DataType.FLOAT: "float_value",
    DataType.DOUBLE: "double_value",
    DataType.INT64: "long_value",
    DataType.UINT32: "long_value",
    DataType.UINT64: "long_value",
    DataType.STRING: "string_value",
    DataType.TEXT: "string_value",
    DataType.INT8: "int_value",
    DataType.INT16: "int_value",
    DataType.INT32: "int_value",
    DataType.UINT8: "int_value",
    DataType.UINT16: "int_value",
}


class Command(NamedTuple):
    """One message to a node or a device."""

    topic: str
    payload: bytes


def rebirth(node: str, at: datetime) -> Command:
    """Ask a node for its births and those of its devices; by name, because this metric has no alias."""
    payload, metric = _begun(at)
    metric.name, metric.datatype, metric.boolean_value = REBIRTH, DataType.BOOLEAN, True
    return Command(str(Topic(Verb.NCMD, node)), payload.SerializeToString())


def write(node: str, declared: Declared, value: int, at: datetime) -> Command:
    """Write a metric as its birth declares it: by alias where it has one. Raises ValueError for a type that cannot.

    The type goes along: the specification does not want it, but some nodes cannot read a value without.
    """
    field = _FIELDS.get(declared.datatype)
    if field is None:
        raise ValueError(f"{declared.name} is of {type_name(declared.datatype)}, which cannot be written")
    if field in WHOLE and declared.field in WHOLE:
        field = declared.field  # some nodes read a UInt32 out of 32 bits, some out of 64: as they sent it themselves
    payload, metric = _begun(at)
    if declared.alias is None:
        metric.name = declared.name
    else:
        metric.alias = declared.alias
    metric.datatype = declared.datatype
    setattr(metric, field, _as_field(field, value))
    verb = Verb.DCMD if declared.device else Verb.NCMD
    return Command(str(Topic(verb, node, declared.device)), payload.SerializeToString())


def _begun(at: datetime) -> tuple[Any, Any]:
    payload = Payload()
    payload.timestamp = milliseconds(at)
    metric = payload.metrics.add()
    metric.timestamp = payload.timestamp
    return payload, metric


def _as_field(field: str, value: int) -> Any:
    match field:
        case "boolean_value":
            return bool(value)
        case "string_value":
            return str(value).lower() if isinstance(value, bool) else str(value)
        case "float_value" | "double_value":
            return float(value)
        case _:
            return int(value) & (0xFFFFFFFF if field == "int_value" else 0xFFFFFFFFFFFFFFFF)


def milliseconds(at: datetime) -> int:
    """Sparkplug's time: milliseconds since 1970."""
    return round(at.timestamp() * 1000)
