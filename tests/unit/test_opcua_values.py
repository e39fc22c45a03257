"""What an OPC UA server says becomes exact values with a quality; the list of bad input decides nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncua
import pytest
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from agent.sources.opcua_values import Limits, Reading, read, status_name, values_dropped, variant
from agent.tags.values import Quality

ua: Any = asyncua.ua  # its types are stricter than what it takes
NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
THEN = NOW - timedelta(seconds=3)
LIMITS = Limits(timedelta(seconds=60), 100)
Type = ua.VariantType
BAD = ua.StatusCodes.BadSensorFailure
UNCERTAIN = ua.StatusCodes.UncertainLastUsableValue


def told(value: Any, kind: Any = None, status: int = 0, **times: Any) -> Reading:
    """What becomes of a value that went over the wire."""
    times = times or {"SourceTimestamp": THEN}
    sent = ua.DataValue(ua.Variant(value, kind), ua.StatusCode(ua.UInt32(status)), **times)
    return read(struct_from_binary(ua.DataValue, Buffer(struct_to_binary(sent))), NOW, LIMITS)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (True, Type.Boolean, True),
        (-128, Type.SByte, -128),
        (255, Type.Byte, 255),
        (-32768, Type.Int16, -32768),
        (65535, Type.UInt16, 65535),
        (-2147483648, Type.Int32, -2147483648),
        (4294967295, Type.UInt32, 4294967295),
        (-(2**63), Type.Int64, -(2**63)),
        (2**64 - 1, Type.UInt64, 2**64 - 1),
        (12.4, Type.Float, Decimal("12.4")),
        (12.4, Type.Double, Decimal("12.4")),
        (0.1 + 0.2, Type.Double, Decimal("0.30000000000000004")),
        ("LOT-1", Type.String, "LOT-1"),
        (ua.LocalizedText("<b>LOT</b>"), Type.LocalizedText, "<b>LOT</b>"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), Type.DateTime, "2026-01-02T03:04:05Z"),
        (UUID(int=7), Type.Guid, str(UUID(int=7))),
        (None, Type.Null, None),
        (None, Type.String, None),
    ],
)
def test_a_good_value_is_exact(value, kind, expected):
    """Numbers keep every digit and get no more, texts are what was sent, markup and all, at the source's time."""
    reading = told(value, kind)
    assert (reading.value, reading.why) == ((expected, Quality.GOOD, THEN), "")
    assert type(reading.value.value) is type(expected)


def test_a_bad_status_has_no_value():
    """Whatever value a server sends with a bad status is none (row 41)."""
    assert told(7, Type.Int32, BAD) == ((None, Quality.BAD, THEN), "BadSensorFailure")
    assert told(None, None, BAD).value.quality is Quality.BAD


def test_an_uncertain_status_keeps_its_value_and_says_so():
    """It can be shown, and never feeds a decision (row 41)."""
    assert told(7, Type.Int32, UNCERTAIN) == ((7, Quality.UNCERTAIN, THEN), "UncertainLastUsableValue")


def test_a_reserved_severity_is_bad():
    """The two bits that the specification keeps free are not taken for good."""
    assert told(7, Type.Int32, 0xC0000000).value.quality is Quality.BAD


def test_an_overridden_value_is_good():
    """A value that an operator has forced is one that he answers for."""
    assert told(7, Type.Int32, ua.StatusCodes.GoodLocalOverride).value == (7, Quality.GOOD, THEN)


@pytest.mark.parametrize(
    ("times", "at"),
    [
        ({"SourceTimestamp": THEN, "ServerTimestamp": NOW}, THEN),
        ({"ServerTimestamp": THEN}, THEN),
        ({"SourceTimestamp": None}, NOW),
    ],
)
def test_a_missing_time_is_the_servers_or_that_of_arrival(times, at):
    """Servers leave out time stamps; the value is none the worse for it (row 42)."""
    assert told(7, Type.Int32, **times).value == (7, Quality.GOOD, at)


@pytest.mark.parametrize(
    "at", [datetime(1601, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), NOW + timedelta(seconds=61)]
)
def test_an_impossible_time_makes_the_value_uncertain(at):
    """1601, 9999 and the future beyond the allowed skew (row 49): kept at the time of arrival, with the reason."""
    reading = told(7, Type.Int32, SourceTimestamp=at)
    assert reading.value == (7, Quality.UNCERTAIN, NOW)
    assert "is impossible" in reading.why


def test_a_clock_may_be_ahead_within_the_skew():
    """A minute ahead is allowed here, and an old value is only old."""
    ahead, old = NOW + timedelta(seconds=60), datetime(2024, 1, 1, tzinfo=UTC)
    assert told(7, Type.Int32, SourceTimestamp=ahead).value == (7, Quality.GOOD, ahead)
    assert told(7, Type.Int32, SourceTimestamp=old).value == (7, Quality.GOOD, old)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [Type.Float, Type.Double])
def test_no_number_is_bad_also_when_its_status_is_good(value, kind):
    """NaN and infinities arrive as good (row 43)."""
    assert told(value, kind) == ((None, Quality.BAD, THEN), f"{value} is no number")


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        ([1, 2], Type.Int32, "array"),
        ("x" * 101, Type.String, "101 characters; the limit is 100"),
        (b"M\xfcller".decode("utf-8", "surrogateescape"), Type.String, "a text that is not UTF-8"),
        (ua.LocalizedText("x" * 101), Type.LocalizedText, "101 characters"),
        (b"\x01", Type.ByteString, "ByteString"),
        (ua.NodeId(85), Type.NodeId, "NodeId"),
        (ua.StatusCode(ua.UInt32(BAD)), Type.StatusCode, "StatusCode"),
        (ua.QualifiedName("a", 1), Type.QualifiedName, "QualifiedName"),
    ],
)
def test_what_no_event_can_carry_is_bad_with_the_reason(value, kind, why):
    """Arrays, long texts and structures (rows 46 and 47)."""
    reading = told(value, kind)
    assert reading.value == (None, Quality.BAD, THEN)
    assert why in reading.why


def test_a_structure_of_unknown_type_is_bad():
    """A structure that nobody described is named by its type's id (row 46)."""
    unknown = ua.ExtensionObject(TypeId=ua.NodeId("Recipe", 4), Body=b"\x00\x01")
    reading = read(ua.DataValue(ua.Variant(unknown, Type.ExtensionObject), SourceTimestamp=THEN), NOW, LIMITS)
    assert reading.value == (None, Quality.BAD, THEN)
    assert "s=Recipe" in reading.why


def test_a_tag_whose_type_changed_says_what_it_is_now():
    """Double yesterday, String today (row 44): the value is what was sent, and the mapping judges it."""
    assert told("12,4", Type.String).value.value == "12,4"


def test_an_overflow_of_the_servers_queue_is_seen():
    """Info type DataValue with the bit Overflow, and nothing less."""
    assert values_dropped(ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(0x480))))
    assert not values_dropped(ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(0x400))))
    assert not values_dropped(ua.DataValue())


def test_a_status_that_the_specification_does_not_know_is_a_number():
    """A vendor's own code can be looked up."""
    assert status_name(0x8FFF0001) == "status 0x8FFF0001"
    assert status_name(0x80340000) == "BadNodeIdUnknown"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (True, Type.Boolean, True),
        (1, Type.Boolean, True),
        (3, Type.UInt16, 3),
        (True, Type.Int32, 1),
        (2, Type.Float, 2.0),
    ],
)
def test_a_handshake_is_written_in_the_nodes_own_type(value, kind, expected):
    """A controller refuses any other."""
    assert variant(value, kind) == ua.Variant(expected, kind)


def test_a_handshake_that_does_not_fit_is_refused():
    """Neither a text nor a number out of range is written."""
    with pytest.raises(ValueError, match="String"):
        variant(1, Type.String)
    with pytest.raises(ValueError, match="does not fit into Byte"):
        variant(256, Type.Byte)
