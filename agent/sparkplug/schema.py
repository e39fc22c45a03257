"""The protobuf messages of Sparkplug B, built here from the field table of the specification (v3.0, chapter 6.4.1).

proto2, so that absent can be told from zero. The package has a name of its own and a pool of its own: the descriptors
of another Sparkplug library in the same process cannot clash with these.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "gatepost.sparkplug"
_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "double": _FIELD.TYPE_DOUBLE,
    "float": _FIELD.TYPE_FLOAT,
    "string": _FIELD.TYPE_STRING,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
}
_VALUE: Final = (  # the alternatives of the oneof `value`, in the order in which every message numbers them
    ("int_value", "uint32"),
    ("long_value", "uint64"),
    ("float_value", "float"),
    ("double_value", "double"),
    ("boolean_value", "bool"),
    ("string_value", "string"),
)
# message → its fields as number, name, type; a type in brackets repeats; then the first number of its oneof `value`
# and what may be in it beside the scalars. Extensions for third parties are not declared: they stay unknown fields.
_MESSAGES: Final[dict[str, tuple[tuple[tuple[int, str, str], ...], int, tuple[tuple[str, str], ...]]]] = {
    "Payload": (
        (
            (1, "timestamp", "uint64"),
            (2, "metrics", "[Metric]"),
            (3, "seq", "uint64"),
            (4, "uuid", "string"),
            (5, "body", "bytes"),
        ),
        0,
        (),
    ),
    "Metric": (
        (
            (1, "name", "string"),
            (2, "alias", "uint64"),
            (3, "timestamp", "uint64"),
            (4, "datatype", "uint32"),
            (5, "is_historical", "bool"),
            (6, "is_transient", "bool"),
            (7, "is_null", "bool"),
            (8, "metadata", "MetaData"),
            (9, "properties", "PropertySet"),
        ),
        10,
        (("bytes_value", "bytes"), ("dataset_value", "DataSet"), ("template_value", "Template")),
    ),
    "MetaData": (
        (
            (1, "is_multi_part", "bool"),
            (2, "content_type", "string"),
            (3, "size", "uint64"),
            (4, "seq", "uint64"),
            (5, "file_name", "string"),
            (6, "file_type", "string"),
            (7, "md5", "string"),
            (8, "description", "string"),
        ),
        0,
        (),
    ),
    "PropertySet": (((1, "keys", "[string]"), (2, "values", "[PropertyValue]")), 0, ()),
    "PropertySetList": (((1, "propertyset", "[PropertySet]"),), 0, ()),
    "PropertyValue": (
        ((1, "type", "uint32"), (2, "is_null", "bool")),
        3,
        (("propertyset_value", "PropertySet"), ("propertysets_value", "PropertySetList")),
    ),
    "DataSet": (
        (
            (1, "num_of_columns", "uint64"),
            (2, "columns", "[string]"),
            (3, "types", "[uint32]"),
            (4, "rows", "[Row]"),
        ),
        0,
        (),
    ),
    "Row": (((1, "elements", "[DataSetValue]"),), 0, ()),
    "DataSetValue": ((), 1, ()),
    "Template": (
        (
            (1, "version", "string"),
            (2, "metrics", "[Metric]"),
            (3, "parameters", "[Parameter]"),
            (4, "template_ref", "string"),
            (5, "is_definition", "bool"),
        ),
        0,
        (),
    ),
    "Parameter": (((1, "name", "string"), (2, "type", "uint32")), 3, ()),
}


class DataType(IntEnum):
    """What a metric is declared to be."""

    UNKNOWN = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    DATASET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    PROPERTY_SET = 20
    PROPERTY_SET_LIST = 21
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32
    STRING_ARRAY = 33
    DATETIME_ARRAY = 34


def type_name(number: int) -> str:
    """A data type as people read it."""
    try:
        return DataType(number).name
    except ValueError:
        return f"data type {number}, which Sparkplug does not know"


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="gatepost/sparkplug.proto", package=PACKAGE, syntax="proto2")
    for name, (fields, first, others) in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            _declare(message, number, field, kind)
        if first:
            message.oneof_decl.add(name="value")
            for number, (field, kind) in enumerate((*_VALUE, *others), first):
                _declare(message, number, field, kind).oneof_index = 0
    return file


def _declare(message: Any, number: int, name: str, kind: str) -> Any:
    bare = kind.strip("[]")
    label = _FIELD.LABEL_OPTIONAL if bare == kind else _FIELD.LABEL_REPEATED
    field = message.field.add(name=name, number=number, label=label)
    if bare in _SCALARS:
        field.type = _SCALARS[bare]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{PACKAGE}.{bare}"
    return field


_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.Add(_file())
Payload: Final[Any] = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.Payload"))
