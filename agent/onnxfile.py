"""What an ONNX file says about itself, read from its bytes without running it: operator sets, operators, external data.

ONNX is protobuf; only the few fields that matter are followed (onnx.proto: ModelProto, GraphProto, NodeProto,
AttributeProto, TensorProto). The run-time image needs no onnx package for this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from agent.errors import ModelUnfit

Field: TypeAlias = tuple[int, int, int | bytes]  # number, wire type, value

# message → field number → the message below it that is followed
_BELOW: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 8: "opset", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DEEPEST: Final = 32


@dataclass(slots=True)
class OnnxFile:
    """The operator sets by domain, the operators used, and whether a tensor points outside of the file."""

    opsets: dict[str, int] = field(default_factory=dict)
    operators: set[str] = field(default_factory=set)
    external: bool = False


def read(data: bytes) -> OnnxFile:
    """Walk the model. Raises ModelUnfit where the bytes are no complete protobuf message."""
    found = OnnxFile()
    _walk(data, "model", found, 0)
    if not found.opsets:
        raise ModelUnfit("is no ONNX model: it names no operator set")
    return found


def _walk(data: bytes, message: str, found: OnnxFile, depth: int) -> None:
    if depth > _DEEPEST:
        raise ModelUnfit(f"is nested deeper than {_DEEPEST} levels")
    fields = list(_fields(data))
    if message == "opset":
        version = next((value for number, _, value in fields if number == 2), 0)
        found.opsets[_text(fields, 1)] = version if isinstance(version, int) else 0
    elif message == "node":
        found.operators.add(_text(fields, 4))
    elif message == "tensor":
        found.external = found.external or any(number in (13, 14) and value != 0 for number, _, value in fields)
    for number, _, value in fields:
        below = _BELOW.get(message, {}).get(number)
        if below and isinstance(value, bytes):
            _walk(value, below, found, depth + 1)


def _text(fields: list[Field], wanted: int) -> str:
    value = next((value for number, _, value in fields if number == wanted), b"")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _fields(data: bytes) -> Iterator[Field]:
    """The fields of one message. Raises ModelUnfit at the first byte that does not fit."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        size, at = (8, at) if wire == 1 else (4, at) if wire == 5 else _varint(data, at) if wire == 2 else (-1, at)
        if size < 0 or number == 0 or at + size > len(data):
            raise ModelUnfit("is no complete ONNX file: it is truncated or something else")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ModelUnfit("is no complete ONNX file: it is truncated or something else")
