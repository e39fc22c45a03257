"""Sparkplug payloads: every data type to an exact value, and nothing guessed."""

from __future__ import annotations

import math
import struct
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf import descriptor_pool

from agent.errors import BadPayload
from agent.sparkplug.commands import rebirth, write
from agent.sparkplug.members import elements, members
from agent.sparkplug.metrics import Declared
from agent.sparkplug.names import Address, Topic, Verb, read_address, read_topic
from agent.sparkplug.payload import bd_seq, read, value_of
from agent.sparkplug.schema import DataType, Payload
from agent.tags.values import Quality
from tests.sparkplug_bench import MS, NOW, chunk, metric, ndeath, payload, template, whole


def one(raw: bytes) -> Any:
    """The only metric of a payload made of it."""
    return read(payload(raw), Verb.NDATA).metrics[0]


def value(raw: bytes, datatype: int) -> Any:
    return value_of(one(raw), datatype, NOW).value


@pytest.mark.parametrize(
    ("datatype", "sent", "read_as"),
    [
        (DataType.INT8, 0xFFFFFFFB, -5),  # the sign extended to the 32 bits of the field, as Tahu does
        (DataType.INT8, 0xFB, -5),  # in its own eight bits
        (DataType.INT8, 127, 127),
        (DataType.INT16, 0xFFFF8000, -32768),
        (DataType.INT16, 0x8000, -32768),
        (DataType.INT32, 4294967291, -5),
        (DataType.INT32, 2147483647, 2147483647),
        (DataType.INT64, 2**64 - 5, -5),
        (DataType.INT64, 2**63 - 1, 2**63 - 1),
        (DataType.UINT8, 255, 255),
        (DataType.UINT16, 65535, 65535),
        (DataType.UINT32, 4294967295, 4294967295),
        (DataType.UINT64, 2**64 - 1, 2**64 - 1),
        (DataType.FLOAT, 12.4, Decimal("12.4")),
        (DataType.FLOAT, 0.1, Decimal("0.1")),
        (DataType.DOUBLE, 0.30000000000000004, Decimal("0.30000000000000004")),
        (DataType.BOOLEAN, 1, True),
        (DataType.STRING, "Auftrag ü", "Auftrag ü"),
        (DataType.TEXT, "", ""),
        (DataType.UUID, "6e5ed3c0", "6e5ed3c0"),
        (DataType.DATETIME, MS, "2026-11-20T14:00:05.123Z"),
    ],
)
def test_every_simple_type_has_its_exact_value(datatype: int, sent: Any, read_as: Any):
    """What was sent is what is read: signs, 64 bits, and the decimal that a float stands for."""
    found = value(metric("m", sent, datatype), datatype)
    assert found == read_as
    assert type(found) is type(read_as)


def test_an_unsigned_32_bit_number_may_come_in_64_bits():
    """Tahu, and Ignition with it, sends a UInt32 as long_value; the specification as int_value: both are read."""
    assert value(metric("m", 4294967295, 7, field=11), 7) == value(metric("m", 4294967295, 7), 7) == 4294967295


@pytest.mark.parametrize(("datatype", "bad"), [(9, math.nan), (9, math.inf), (10, math.nan), (10, -math.inf)])
def test_a_float_that_is_no_number_is_no_value(datatype: int, bad: float):
    """NaN and infinity become a bad value: a sensor is gone, the message is right."""
    found = value_of(one(metric("m", bad, datatype)), datatype, NOW)
    assert (found.value, found.quality) == (None, Quality.BAD)


@pytest.mark.parametrize(
    ("code", "quality"),
    [(None, Quality.GOOD), (192, Quality.GOOD), (500, Quality.STALE), (0, Quality.BAD), (42, Quality.UNCERTAIN)],
)
def test_the_property_quality_says_how_far_a_value_can_be_trusted(code: int | None, quality: Quality):
    """192 and no property are good; a code that the specification does not know is not."""
    assert value_of(one(metric("m", 5, 3, quality=code)), 3, NOW).quality is quality


def test_null_is_a_good_value_that_is_none():
    """A controller that says there is no value is believed."""
    assert value_of(one(metric("m", None, 3, null=True)), 3, NOW) == (None, Quality.GOOD, NOW)


def test_a_value_has_its_own_time_or_that_of_its_message():
    """The metric's time stamp counts; without one that of the payload."""
    assert value_of(one(metric("m", 5, 3, at=MS + 1000)), 3, NOW).at == NOW + timedelta(seconds=1)
    assert value_of(one(metric("m", 5, 3, at=None)), 3, NOW).at == NOW


def test_absent_can_be_told_from_zero():
    """Alias 0, seq 0 and a value 0 are there; proto2 keeps that apart from not being there."""
    found = read(payload(metric(value=0, datatype=3, alias=0), seq=0), Verb.NDATA)
    assert found.seq == 0
    assert found.metrics[0].HasField("alias")
    assert value_of(found.metrics[0], 3, NOW).value == 0


def test_the_number_of_a_death_is_found():
    """bdSeq is a metric among others; without one there is no number."""
    assert bd_seq(read(ndeath(7), Verb.NDEATH).metrics) == 7
    assert bd_seq(read(payload(metric("a", 1, 3)), Verb.NDATA).metrics) is None


@pytest.mark.parametrize(
    ("datatype", "packed", "read_as"),
    [
        (22, bytes([0xEF, 0x7B]), [-17, 123]),
        (23, bytes([0xD0, 0x8A, 0x30, 0x75]), [-30000, 30000]),
        (24, struct.pack("<2i", -1, 315338746), [-1, 315338746]),
        (25, struct.pack("<q", -(2**62)), [-(2**62)]),
        (26, bytes([23, 250]), [23, 250]),
        (27, bytes([0x1E, 0, 0x88, 0xCC]), [30, 52360]),
        (28, struct.pack("<I", 3293969225), [3293969225]),
        (29, struct.pack("<Q", 16444743074749521625), [16444743074749521625]),
        (30, struct.pack("<2f", 1.23, math.nan), [Decimal("1.23"), None]),
        (31, struct.pack("<d", 12.354213), [Decimal("12.354213")]),
        (32, bytes([12, 0, 0, 0, 0x34, 0xD0]), [f == "1" for f in "001101001101"]),
        (33, b"ABC\0hello\0", ["ABC", "hello"]),
        (34, bytes([0xC7, 0xD0, 0x90, 0x75, 0x24, 1, 0, 0]), ["2009-10-21T05:27:55.335Z"]),
        (22, b"", []),
        (33, b"", []),
    ],
)
def test_arrays_are_read_element_by_element(datatype: int, packed: bytes, read_as: list[Any]):
    """The examples of the specification, little-endian; booleans are bits, texts end with a zero byte."""
    assert elements(packed, datatype) == read_as


@pytest.mark.parametrize(
    ("datatype", "packed"),
    [
        (24, b"abc"),
        (32, b"\xff\xff\xff\xff"),
        (32, b"\x09\0\0\0\x01"),
        (33, b"ABC"),
        (33, b"\xff\0"),
        (22, bytes(5000)),
    ],
)
def test_arrays_that_are_none_are_refused(datatype: int, packed: bytes):
    """Wrong lengths, more elements than anybody reads, texts that are none."""
    with pytest.raises(BadPayload):
        elements(packed, datatype)


def test_members_of_templates_have_names_that_continue_the_metric():
    """Templates in templates become /member/member, each with its own type, quality and time."""
    inner = metric("Inner", template(metric("Depth", 2.5, 9, quality=500)), 19)
    raw = metric("Motor", template(metric("Speed", 1500, 7), inner, metric("Log", b"x", 17)), 19)
    found = {member.suffix: member.now for member in members(one(raw), 19, {}, NOW)}
    assert found["/Speed"] == (1500, Quality.GOOD, NOW)
    assert found["/Inner/Depth"][:2] == (Decimal("2.5"), Quality.STALE)
    assert "/Log" not in found


def test_members_may_leave_out_what_the_birth_has_declared():
    """In data a member comes without its type."""
    raw = metric("Motor", template(metric("Speed", 7)), 19)
    assert [m.now.value for m in members(one(raw), 19, {"/Speed": 3}, NOW)] == [7]
    with pytest.raises(BadPayload):
        list(members(one(raw), 19, {}, NOW))


def test_a_template_definition_has_no_values():
    """It says what instances look like."""
    assert (
        list(members(one(metric("_types_/Motor", template(metric("a", 1, 3), definition=True), 19)), 19, {}, NOW)) == []
    )


def nested(depth: int) -> bytes:
    raw = metric("leaf", 1, 3)
    for _ in range(depth):
        raw = metric("t", template(raw), 19)
    return raw


def test_templates_are_read_eight_deep():
    """Eight are read, nine are refused."""
    assert [m.suffix for m in members(one(nested(8)), 19, {}, NOW)][-1] == "/t" * 7 + "/leaf"
    with pytest.raises(BadPayload, match="more than 8 deep"):
        list(members(one(nested(9)), 19, {}, NOW))


def data_set(columns: int = 2, cells: int = 2) -> bytes:
    row = b"".join(chunk(1, whole(1, 4294967291)) if n == 0 else chunk(1, chunk(6, "kg")) for n in range(cells))
    return whole(1, columns) + chunk(2, "qty") + chunk(2, "unit") + whole(3, 3) + whole(3, 12) + chunk(4, row)


def test_cells_of_a_data_set_have_row_and_column():
    """[row]/column, each of the type of its column."""
    found = members(one(metric("Set", None, 16, extra=chunk(17, data_set()))), 16, {}, NOW)
    assert {m.suffix: m.now.value for m in found} == {"[0]/qty": -5, "[0]/unit": "kg"}


@pytest.mark.parametrize("broken", [data_set(columns=3), data_set(cells=1)])
def test_a_data_set_whose_rows_do_not_fit_is_refused(broken: bytes):
    """Names, types and cells must be as many as it has columns."""
    with pytest.raises(BadPayload):
        list(members(one(metric("Set", None, 16, extra=chunk(17, broken))), 16, {}, NOW))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("G/N:Total", Address("G/N", "", "Total")),
        ("G/N/D:Folder/Total", Address("G/N", "D", "Folder/Total")),
        ("G/N/D:a:b", Address("G/N", "D", "a:b")),
        ("Plant 1/Line 3:x[2]", Address("Plant 1/Line 3", "", "x[2]")),
    ],
)
def test_addresses_are_read(text: str, address: Address):
    """Split at the first colon; the metric may have slashes and colons."""
    assert read_address(text) == address


@pytest.mark.parametrize("text", ["", "Total", "G:Total", "G/N:", "G/N/D/E:x", "G/+:x", "G//D:x", "STATE/N:x"])
def test_what_is_no_address_is_refused_with_an_example(text: str):
    """The sentence shows how one is written, or why this one cannot be."""
    with pytest.raises(ValueError, match=r"GROUP/NODE|no group"):
        read_address(text)


def test_topics_are_read_and_written():
    """Node and device, and the same text again."""
    for text in ("spBv1.0/G/NBIRTH/N", "spBv1.0/G/DDATA/N/D"):
        assert str(read_topic(text)) == text
    assert read_topic("spBv1.0/G/DDATA/N/D") == Topic(Verb.DDATA, "G/N", "D")


def test_a_rebirth_request_is_as_the_specification_says():
    """An NCMD with `Node Control/Rebirth` true, by name, without seq."""
    topic, raw = rebirth("G/N", NOW)
    sent = Payload.FromString(raw)
    assert topic == "spBv1.0/G/NCMD/N"
    assert (sent.timestamp, sent.HasField("seq")) == (MS, False)
    assert [(m.name, m.boolean_value, m.HasField("alias")) for m in sent.metrics] == [
        ("Node Control/Rebirth", True, False)
    ]


@pytest.mark.parametrize(
    ("datatype", "given", "field", "sent"),
    [
        (11, 1, "boolean_value", True),
        (3, -5, "int_value", 4294967291),
        (4, -5, "long_value", 2**64 - 5),
        (9, 3, "float_value", 3.0),
        (12, 3, "string_value", "3"),
        (12, True, "string_value", "true"),
        (6, 7, "int_value", 7),
    ],
)
def test_writes_have_the_type_of_the_birth(datatype: int, given: int, field: str, sent: Any):
    """By alias where the metric has one, in the field of its type."""
    topic, raw = write("G/N", Declared("Ack", "D", datatype, 4), given, NOW)
    found = Payload.FromString(raw).metrics[0]
    assert topic == "spBv1.0/G/DCMD/N/D"
    assert (found.WhichOneof("value"), getattr(found, field)) == (field, sent)
    assert (found.alias, found.HasField("name")) == (4, False)


def test_a_write_without_an_alias_goes_by_name_to_the_node():
    """A metric of the node itself is written by NCMD; an unsigned number as the node sends it itself."""
    topic, raw = write("G/N", Declared("Code", "", 7, None, field="long_value"), 9, NOW)
    found = Payload.FromString(raw).metrics[0]
    assert (topic, found.name, found.long_value) == ("spBv1.0/G/NCMD/N", "Code", 9)


@pytest.mark.parametrize("datatype", [0, 16, 17, 19, 24, 99])
def test_what_is_no_single_value_cannot_be_written(datatype: int):
    """The refusal names the metric and its type."""
    with pytest.raises(ValueError, match=r"Ack is of .* cannot be written"):
        write("G/N", Declared("Ack", "D", datatype, 4), 1, NOW)


def test_another_sparkplug_library_in_the_process_does_not_clash():
    """The schema has a package and a pool of its own."""
    assert Payload.DESCRIPTOR.full_name == "gatepost.sparkplug.Payload"
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("gatepost.sparkplug.Payload")
