"""Bad OPC UA input over the wire: each has its one clear outcome, and the good values after it go through.

The numbers are those of the list of abuses. What a single value becomes is in tests/unit/test_opcua_values.py; a text
of 16 MB (47) and an answer with less than was asked (52) in test_opcua_source.py, servers that cannot be trusted
(53, 54) in test_opcua_security.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from agent.sources.opcua import OpcuaSource
from agent.tags.values import Quality
from tests.mqtt_bench import Shelf, until
from tests.opcua_bench import free_port, numbers, put, running, serving, source, ua

Type = ua.VariantType
RANGE = 886  # a structure that every library knows
UNKNOWN = ua.ExtensionObject(TypeId=ua.NodeId("Recipe", 4), Body=b"\x00\x01")
BEFORE, AFTER = datetime(1601, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@asynccontextmanager
async def line(*, reconnects: int = 0, **options: Any) -> AsyncIterator[tuple[dict[str, Any], OpcuaSource, Shelf]]:
    """A server that checks no types, its nodes by name; the source that reads it, and what it has reported."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, running(source(port, **options), shelf) as opcua:
        plc["server"].iserver.aspace._is_expected_variant_type = lambda *_: True
        yield plc, opcua, shelf
        assert opcua.status()["connected"]
        assert opcua.status()["reconnects"] == reconnects


async def say(node: Any, value: Any, kind: Any, status: int = 0, **times: Any) -> None:
    """Let a node say whatever it likes."""
    times = times or {"SourceTimestamp": datetime.now(UTC)}
    await node.write_value(ua.DataValue(ua.Variant(value, kind), ua.StatusCode(ua.UInt32(status)), **times))


async def count(plc: dict[str, Any], shelf: Shelf, total: int) -> None:
    """The totaliser goes on to this, and all of it is reported."""
    await put(plc["good"], total)
    await until(lambda: sum(numbers(shelf)) == total)


def current(opcua: OpcuaSource, tag: str) -> Any:
    assert opcua._tags is not None
    return opcua._tags.current().get(tag)


UNBELIEVED: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = (
    ("BadSensorFailure", (7, Type.UInt32, ua.StatusCodes.BadSensorFailure), {}),  # 41
    ("UncertainLastUsableValue", (7, Type.UInt32, ua.StatusCodes.UncertainLastUsableValue), {}),  # 41
    ("nan is no number", (float("nan"), Type.Double), {}),  # 43, and its status is good
    ("-inf is no number", (float("-inf"), Type.Float), {}),  # 43
    ("s=Recipe", (UNKNOWN, Type.ExtensionObject), {}),  # 46
    ("an array", ([7, 8], Type.UInt32), {}),
    ("limit is 4096", ("x" * 5000, Type.String), {}),  # 47
    ("1601-01-01", (7, Type.UInt32), {"SourceTimestamp": BEFORE}),  # 49
    ("9999-12-31", (7, Type.UInt32), {"SourceTimestamp": AFTER}),  # 49
)


async def test_a_value_that_cannot_be_believed_is_shown_with_its_reason():
    """It counts nothing, no other tag suffers, the connection stays, and the next good value brings the total."""
    async with line() as (plc, opcua, shelf):
        await count(plc, shelf, 4)
        for number, (why, told, times) in enumerate(UNBELIEVED, 1):
            await say(plc["good"], *told, **times)
            await until(lambda why=why: why in opcua.status()["bad"].get("good", ""))  # type: ignore[misc]
            await say(plc["lot"], f"LOT-{number}", Type.String)
            await until(lambda lot=f"LOT-{number}": current(opcua, "lot").value == lot)  # type: ignore[misc]
            assert current(opcua, "good").quality is not Quality.GOOD
            await count(plc, shelf, 4 + number)
            await until(lambda: opcua.status()["bad"] == {})


NO_READINGS = (
    ("4,5", Type.String),  # 44: a number became a text
    (True, Type.Boolean),  # 44
    (ua.LocalizedText("<b>5</b>"), Type.LocalizedText),  # 48
    (-5, Type.Int32),
)


async def test_a_totaliser_that_says_no_reading_counts_nothing():
    """A good value of another type, or below nothing: told once with what it was, and the total is exact after it."""
    async with line() as (plc, _opcua, shelf):
        await count(plc, shelf, 4)
        for number, (value, kind) in enumerate(NO_READINGS, 1):
            await say(plc["good"], value, kind)
            await until(lambda number=number: len(shelf.notices("counter_refused")) == number)  # type: ignore[misc]
            await say(plc["good"], value, kind)
            await count(plc, shelf, 4 + number)
        assert len(shelf.notices("counter_refused")) == len(NO_READINGS)


async def test_a_value_without_a_time_counts_and_a_totaliser_that_goes_back_posts_nothing_negative():
    """42: the time is that of arrival. 50: a reset with both readings; what stands after it is what was made since."""
    async with line() as (plc, opcua, shelf):
        await count(plc, shelf, 4)
        await say(plc["good"], 400, Type.UInt32, SourceTimestamp=None, ServerTimestamp=None)
        await until(lambda: sum(numbers(shelf)) == 400)
        assert opcua.status()["bad"] == {}
        await put(plc["good"], 1)
        await until(lambda: shelf.notices("counter_reset"))
        await put(plc["good"], 6)
        await until(lambda: sum(numbers(shelf)) == 406)
        assert all(one > 0 for one in numbers(shelf))
        detail = shelf.notices("counter_reset")[0].detail
        assert (detail["before"], detail["now"], detail["counted"]) == ("400", "1", "1")


async def test_markup_in_a_text_is_a_text():
    """48: it reaches the report as it was sent."""
    lot = {"name": "lot", "topic": "plant/lot", "when": {"change": "lot"}, "fields": {"lot": "lot"}}
    async with line(events=[lot]) as (plc, opcua, shelf):
        await until(lambda: current(opcua, "lot"))
        await say(plc["lot"], ua.LocalizedText("<script>alert(1)</script>"), Type.LocalizedText)
        await until(lambda: shelf.payloads)
        assert b'"<script>alert(1)</script>"' in shelf.payloads[0]


async def test_a_value_that_cannot_be_decoded_costs_its_own_tag_alone():
    """A structure cut short, in a message with others: its tag is named and left out, the others are told anew."""
    async with line(reconnects=1) as (plc, opcua, shelf):
        await count(plc, shelf, 4)
        await say(plc["lot"], ua.ExtensionObject(TypeId=ua.NodeId(RANGE, 0), Body=b"\0"), Type.ExtensionObject)
        await until(lambda: "cannot be decoded" in opcua.status()["missing"].get("lot", ""))
        await until(lambda: current(opcua, "done").quality is Quality.GOOD)
        await count(plc, shelf, 9)
        assert "cannot be decoded" in opcua.status()["troubles"][0]["why"]
        await say(plc["lot"], "LOT-2", Type.String)
        await until(lambda: current(opcua, "lot").value == "LOT-2")
        assert opcua.status()["missing"] == {}
