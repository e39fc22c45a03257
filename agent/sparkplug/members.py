"""What is inside of a metric that is more than one value: elements of arrays, cells of data sets, members of templates.

Each gets a name that continues the metric's own: ``[2]``, ``[0]/column``, ``/member/member``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from agent.errors import BadPayload
from agent.sparkplug.payload import moment, name_of, quality_of, rated, time_of, value_of
from agent.sparkplug.schema import DataType, type_name
from agent.tags.values import Quality, Scalar, TagValue, exact

DEEPEST: Final = 8  # templates inside of templates
MOST: Final = 4096  # elements or cells of one metric
_NUMBERS: Final = {22: "b", 23: "h", 24: "i", 25: "q", 26: "B", 27: "H", 28: "I", 29: "Q", 30: "f", 31: "d", 34: "Q"}
_STRUCTURES: Final = (DataType.TEMPLATE, DataType.DATASET, *range(DataType.INT8_ARRAY, DataType.DATETIME_ARRAY + 1))


class Member(NamedTuple):
    """One value inside of a metric. `suffix` continues the metric's name."""

    suffix: str
    datatype: int
    now: TagValue


def has_members(datatype: int) -> bool:
    """Whether a metric of this type is more than one value."""
    return datatype in _STRUCTURES


def members(
    metric: Any, datatype: int, types: Mapping[str, int], at: datetime, otherwise: Quality = Quality.GOOD
) -> Iterator[Member]:
    """Everything inside of a metric. Raises BadPayload.

    `types` are those that the birth declared, by suffix: data need not repeat them.
    """
    yield from _inside(metric, datatype, types, at, otherwise, "", 1)


def _inside(
    metric: Any, datatype: int, types: Mapping[str, int], at: datetime, otherwise: Quality, prefix: str, depth: int
) -> Iterator[Member]:
    at = time_of(metric.timestamp) if metric.HasField("timestamp") else at
    quality = quality_of(metric, otherwise)
    field = metric.WhichOneof("value")
    if metric.is_null:
        if field is not None:
            raise BadPayload(f"is null and has a {field} all the same", reason="bad_value")
        return
    expected = {DataType.TEMPLATE: "template_value", DataType.DATASET: "dataset_value"}.get(
        DataType(datatype), "bytes_value"
    )
    if field != expected:
        raise BadPayload(f"is declared {type_name(datatype)} and carries a {field}", reason="type_mismatch")
    if datatype == DataType.TEMPLATE:
        yield from _of_template(metric.template_value, types, at, quality, prefix, depth)
    elif datatype == DataType.DATASET:
        yield from _of_data_set(metric.dataset_value, at, quality, prefix)
    else:
        for number, value in enumerate(elements(metric.bytes_value, datatype)):
            good = quality if value is not None else Quality.BAD
            yield Member(f"{prefix}[{number}]", datatype, TagValue(value, good, at))


def _of_template(
    template: Any, types: Mapping[str, int], at: datetime, quality: Quality, prefix: str, depth: int
) -> Iterator[Member]:
    if depth > DEEPEST:
        raise BadPayload(f"holds templates more than {DEEPEST} deep", reason="too_deep")
    if template.is_definition:
        return  # says what instances look like; what it holds are no values
    for metric in template.metrics:
        suffix = f"{prefix}/{name_of(metric)}"
        datatype = metric.datatype if metric.HasField("datatype") else types.get(suffix, DataType.UNKNOWN)
        if has_members(datatype):
            if datatype == DataType.TEMPLATE:
                yield Member(suffix, datatype, TagValue(None, Quality.BAD, at))  # that it is one, for `types`
            yield from _inside(metric, datatype, types, at, quality, suffix, depth + 1)
        elif datatype not in (DataType.BYTES, DataType.FILE):
            yield Member(suffix, datatype, value_of(metric, datatype, at, quality))


def _of_data_set(data: Any, at: datetime, quality: Quality, prefix: str) -> Iterator[Member]:
    columns, types = list(data.columns), list(data.types)
    if not len(columns) == len(types) == data.num_of_columns:
        raise BadPayload(
            f"its data set has {len(columns)} names and {len(types)} types for {data.num_of_columns} columns",
            reason="bad_value",
        )
    if len(columns) * len(data.rows) > MOST:
        raise BadPayload(f"its data set has more than {MOST} cells", reason="too_large")
    for number, row in enumerate(data.rows):
        if len(row.elements) != len(columns):
            raise BadPayload(f"row {number} of its data set has {len(row.elements)} cells", reason="bad_value")
        for column, datatype, cell in zip(columns, types, row.elements, strict=True):
            field = cell.WhichOneof("value")
            now = rated(cell, field, datatype, quality, at) if field else TagValue(None, quality, at)
            yield Member(f"{prefix}[{number}]/{column}", datatype, now)


def elements(packed: bytes, datatype: int) -> list[Scalar]:
    """The elements of an array: little-endian, booleans as bits, texts ended by a zero byte. Raises BadPayload."""
    if datatype == DataType.BOOLEAN_ARRAY:
        return _bits(packed)
    if datatype == DataType.STRING_ARRAY:
        return _texts(packed)
    code = _NUMBERS[datatype]
    size = struct.calcsize(f"<{code}")
    count, rest = divmod(len(packed), size)
    if rest:
        raise BadPayload(
            f"has {len(packed)} bytes, no multiple of {size}, for {type_name(datatype)}", reason="bad_value"
        )
    _bounded(count)
    convert = _CONVERTED.get(datatype, int)
    return [convert(number) for number in struct.unpack(f"<{count}{code}", packed)]


def _bits(packed: bytes) -> list[Scalar]:
    count = int.from_bytes(packed[:4], "little")
    _bounded(count)
    if len(packed) != 4 + (count + 7) // 8:
        raise BadPayload(f"says {count} booleans and has {len(packed)} bytes", reason="bad_value")
    return [bool(packed[4 + number // 8] >> 7 - number % 8 & 1) for number in range(count)]


def _texts(packed: bytes) -> list[Scalar]:
    if packed and packed[-1] != 0:
        raise BadPayload("its last text is not ended by a zero byte", reason="bad_value")
    texts = packed.split(b"\0")[:-1]
    _bounded(len(texts))
    try:
        return [text.decode() for text in texts]
    except UnicodeDecodeError:
        raise BadPayload("one of its texts is not UTF-8", reason="bad_value") from None


def _bounded(count: int) -> None:
    if count > MOST:
        raise BadPayload(f"has {count} elements, more than {MOST}", reason="too_large")


def _real(*, single: bool) -> Callable[[Any], Scalar]:
    def convert(number: float) -> Scalar:
        try:
            return exact(number, single=single)
        except ValueError:  # NaN and infinities are no quantities
            return None

    return convert


_CONVERTED: Final[Mapping[int, Callable[[Any], Scalar]]] = {
    DataType.FLOAT_ARRAY: _real(single=True),
    DataType.DOUBLE_ARRAY: _real(single=False),
    DataType.DATETIME_ARRAY: moment,
}
