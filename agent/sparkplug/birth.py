"""What we say as a Sparkplug edge node: birth, data and death, and what others may ask of us. Pure.

One `Birth` belongs to one connection: its number (bdSeq) is in the will that the broker publishes when the connection
is gone, and in every birth of it, so that hosts can tell the death of this connection from that of an older one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from google.protobuf.message import DecodeError

from agent.sparkplug.commands import Command, milliseconds
from agent.sparkplug.names import BD_SEQ, REBIRTH, Topic, Verb
from agent.sparkplug.schema import DataType, Payload

Value: TypeAlias = bool | int | float | str | datetime | None
_ROUND: Final = 256  # seq and bdSeq start again from 0 after 255
_FIELDS: Final[Mapping[DataType, str]] = {
    DataType.BOOLEAN: "boolean_value",
    DataType.INT64: "long_value",
    DataType.DOUBLE: "double_value",
    DataType.STRING: "string_value",
    DataType.DATETIME: "long_value",
}


class Metric(NamedTuple):
    """What a birth declares; its place in the birth is its alias."""

    name: str
    datatype: DataType


class Asked(NamedTuple):
    """What one command asks for: a new birth, and how many things that nobody may."""

    rebirth: bool
    refused: int


class Birth:
    """What one edge node, GROUP/NODE, says in one connection. Nothing but the death may be said before a birth."""

    def __init__(self, node: str, bd_seq: int) -> None:
        self._node = node
        self._bd_seq = bd_seq
        self._seq = 0
        self._metrics: tuple[Metric, ...] = ()
        self._said: dict[str, Value] = {}

    @property
    def born(self) -> bool:
        """Whether there was a birth."""
        return bool(self._metrics)

    def death(self, at: datetime) -> Command:
        """The will of this connection, and what is said before it is ended on purpose. It has no `seq`."""
        payload = Payload()
        payload.timestamp = milliseconds(at)
        self._add_number(payload)
        return Command(str(Topic(Verb.NDEATH, self._node)), payload.SerializeToString())

    def birth(self, metrics: Sequence[Metric], values: Mapping[str, Value], at: datetime) -> Command:
        """Everything with name, alias, type and value; what has no value yet is null. Numbers its messages anew."""
        self._metrics, self._seq = tuple(metrics), 0
        payload = self._begun(at)
        self._add_number(payload)
        asked = payload.metrics.add()
        asked.name, asked.timestamp, asked.datatype, asked.boolean_value = (
            REBIRTH, payload.timestamp, DataType.BOOLEAN, False,
        )  # fmt: skip
        self._said = {one.name: values.get(one.name) for one in metrics}
        for alias, one in enumerate(self._metrics, 1):
            metric = _add(payload, one, alias, self._said[one.name])
            metric.name, metric.datatype = one.name, one.datatype
        return Command(str(Topic(Verb.NBIRTH, self._node)), payload.SerializeToString())

    def fits(self, metrics: Sequence[Metric]) -> bool:
        """Whether the birth declared these; otherwise a new one has to."""
        return self._metrics == tuple(metrics)

    def data(self, values: Mapping[str, Value], at: datetime) -> Command | None:
        """What has changed since it was said last, by alias; None where nothing has."""
        changed = [
            (alias, one)
            for alias, one in enumerate(self._metrics, 1)
            if one.name in values and values[one.name] != self._said[one.name]
        ]
        if not changed:
            return None
        payload = self._begun(at)
        for alias, one in changed:
            self._said[one.name] = values[one.name]
            _add(payload, one, alias, values[one.name])
        return Command(str(Topic(Verb.NDATA, self._node)), payload.SerializeToString())

    def _begun(self, at: datetime) -> Any:
        payload = Payload()
        payload.timestamp, payload.seq = milliseconds(at), self._seq
        self._seq = (self._seq + 1) % _ROUND
        return payload

    def _add_number(self, payload: Any) -> None:
        metric = payload.metrics.add()
        metric.name, metric.timestamp, metric.datatype = BD_SEQ, payload.timestamp, DataType.INT64
        metric.long_value = self._bd_seq


def next_number(last: bytes | None) -> int:
    """The bdSeq of the next connection, by what was kept of the last one; anything unreadable counts as none."""
    text = (last or b"").decode("ascii", "replace").strip()
    return (int(text) + 1) % _ROUND if text.isdecimal() and len(text) < 4 else 0


def asked(payload: bytes) -> Asked:
    """What a command asks for. Everything but a rebirth is refused, as is what cannot be read."""
    try:
        metrics = Payload.FromString(payload).metrics
    except DecodeError:
        return Asked(rebirth=False, refused=1)
    births = [one.name == REBIRTH and one.boolean_value is True for one in metrics]
    return Asked(any(births), max(births.count(False), 1 - len(births)))


def _add(payload: Any, one: Metric, alias: int, value: Value) -> Any:
    metric = payload.metrics.add()
    metric.alias, metric.timestamp = alias, payload.timestamp
    if value is None:
        metric.is_null = True
    else:
        setattr(metric, _FIELDS[one.datatype], _as_field(one.datatype, value))
    return metric


def _as_field(datatype: DataType, value: Value) -> object:
    if isinstance(value, datetime):
        return milliseconds(value)
    if datatype is DataType.INT64 and isinstance(value, int):
        return value & 0xFFFF_FFFF_FFFF_FFFF  # negative numbers as two's complement
    return value
