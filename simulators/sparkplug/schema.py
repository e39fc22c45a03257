"""The protobuf messages of Sparkplug B that an edge node writes and reads, built here from the specification.

Field numbers are those of Sparkplug 3.0, chapter 6.4. The package has a name of its own, so that the descriptors of
another Sparkplug implementation in the same process cannot clash with these.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "simulators.sparkplug"
_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "double": _FIELD.TYPE_DOUBLE,
    "float": _FIELD.TYPE_FLOAT,
    "string": _FIELD.TYPE_STRING,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
}
# message → fields as "number type name"; `*` repeats, `|` belongs to the oneof `value`
_MESSAGES = {
    "PropertyValue": """
        1 uint32 type; 2 bool is_null; 3 uint32 int_value |; 4 uint64 long_value |; 5 float float_value |;
        6 double double_value |; 7 bool boolean_value |; 8 string string_value |""",
    "PropertySet": "1 string keys *; 2 PropertyValue values *",
    "Metric": """
        1 string name; 2 uint64 alias; 3 uint64 timestamp; 4 uint32 datatype; 5 bool is_historical;
        6 bool is_transient; 7 bool is_null; 9 PropertySet properties; 10 uint32 int_value |; 11 uint64 long_value |;
        12 float float_value |; 13 double double_value |; 14 bool boolean_value |; 15 string string_value |;
        16 bytes bytes_value |""",
    "Payload": "1 uint64 timestamp; 2 Metric metrics *; 3 uint64 seq; 4 string uuid; 5 bytes body",
}


class DataType(IntEnum):
    """Those of the specification's data types that a simulated controller shows."""

    INT32 = 3
    INT64 = 4
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="simulators/sparkplug.proto", package=PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split(";"):
            number, kind, called, *marks = field.split()
            made = message.field.add(name=called, number=int(number))
            made.label = _FIELD.LABEL_REPEATED if "*" in marks else _FIELD.LABEL_OPTIONAL
            if kind in _TYPES:
                made.type = _TYPES[kind]
            else:
                made.type, made.type_name = _FIELD.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            if "|" in marks:
                if not message.oneof_decl:
                    message.oneof_decl.add(name="value")
                made.oneof_index = 0
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())
_payload: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.Payload"))


def new_payload() -> Any:
    """An empty `Payload`."""
    return _payload()


def read_payload(data: bytes) -> Any:
    """A `Payload` from its bytes; raises `google.protobuf.message.DecodeError`."""
    return _payload.FromString(data)
