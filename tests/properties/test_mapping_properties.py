"""Mapping for any bytes: a report or BadPayload, never anything else, and what is refused can be told and stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.configuration import config
from agent.errors import BadPayload
from agent.isa95 import SegmentResponse
from agent.mapping import load
from agent.ports import Event
from agent.strict import strictjson
from agent.units import UnitsFile, UnitTable

NOW = datetime(2026, 11, 20, 13, 0, 6, tzinfo=UTC)
MAPPINGS = load(Path("edge_config/mappings"), UnitTable.of(config.parse("edge_config/units.yaml", UnitsFile)))
GOOD: dict[str, Any] = {
    "id": "A-1", "seq": 1, "ts": "2026-11-20T14:00:05.123+01:00", "order": "1000100", "operation": "0010",
    "material": "RM-RESIN", "quantity": 12.5, "unit": "kg", "batch": "301", "location": "171A", "lot_quantity": 13,
    "yield": 13, "scrap": 1, "scrap_reason": "0001", "final": False, "start": "2026-11-20T13:57:00+01:00",
    "end": "2026-11-20T14:00:05+01:00", "machine_minutes": 2.6, "labor_minutes": 2.6, "operator": "4711",
}  # fmt: skip

kinds = st.sampled_from(["consumption", "confirmation"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,45})?([eE][-+]?[0-9]{1,5})?", fullmatch=True)
stamps = st.datetimes().map(datetime.isoformat) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ].{0,20}")


def outcome(kind: str, payload: bytes, topic: str = "") -> SegmentResponse | None:
    """The report, or None after a refusal that can be stored and counted."""
    try:
        return MAPPINGS.read(Event(1, "line", topic or f"plant/1710/mixing/WC-1/{kind}", payload, NOW))
    except BadPayload as refusal:
        assert str(refusal).isprintable()  # noqa: PT017  # either outcome is allowed
        assert len(str(refusal)) < 2000  # noqa: PT017
        assert refusal.reason.isidentifier()  # noqa: PT017
        return None


@given(kind=kinds, payload=st.binary(max_size=400))
def test_any_bytes(kind: str, payload: bytes):
    """Random bytes are refused, by BadPayload and nothing else."""
    assert outcome(kind, payload) is None


@given(kind=kinds, data=st.data())
def test_a_good_message_with_damaged_bytes(kind: str, data: st.DataObject):
    """Bytes cut out of, put into or changed in a good message never raise anything but BadPayload."""
    payload = bytearray(json.dumps(GOOD).encode())
    start = data.draw(st.integers(0, len(payload)))
    payload[start : start + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))

    outcome(kind, bytes(payload))


@settings(max_examples=200)
@given(kind=kinds, field=st.sampled_from(sorted(GOOD)), value=anything)
def test_any_value_in_any_field(kind: str, field: str, value: object):
    """Whatever JSON can hold may stand in any field."""
    outcome(kind, json.dumps({**GOOD, field: value}).encode())


@given(kind=kinds, field=st.sampled_from(["quantity", "lot_quantity", "seq", "yield", "ts", "id"]), number=numbers)
def test_any_number_in_any_field(kind: str, field: str, number: str):
    """Numbers of any size and precision are read exactly or refused."""
    payload = json.dumps({**GOOD, field: "HERE"}).replace('"HERE"', number).encode()

    report = outcome(kind, payload)

    if report is not None and kind == "consumption" and field == "quantity":
        assert report.material_actuals[0].quantity.value == Decimal(number)


@given(kind=kinds, field=st.sampled_from(["ts", "start", "end"]), stamp=stamps)
def test_any_time_stamp(kind: str, field: str, stamp: str):
    """A time stamp becomes aware UTC within the believed range, or is refused."""
    report = outcome(kind, json.dumps({**GOOD, field: stamp}).encode())

    assert report is None or report.occurred_at.tzinfo is UTC


@given(kind=kinds, topic=st.text(st.characters(exclude_categories=()), min_size=1))
def test_any_topic(kind: str, topic: str):
    """A topic that no mapping reads, or that hides something, is refused."""
    outcome(kind, json.dumps(GOOD).encode(), topic)
    outcome(kind, json.dumps(GOOD).encode(), f"plant/{topic}/x/y/{kind}")


@given(value=st.dictionaries(st.text(), anything, max_size=4))
def test_strict_json_reads_what_the_standard_reads_or_refuses(value: dict[str, Any]):
    """What is read is what the standard decoder reads, with exact numbers; the rest is refused."""
    payload = json.dumps(value).encode()
    try:
        read = strictjson.read(payload)
    except BadPayload:
        return

    assert read == json.loads(payload, parse_float=Decimal)


keys = st.sampled_from(["a", "b", ",", '",'])
values = st.integers(0, 9) | st.text(',":{}[] \\a', max_size=4)


@given(st.lists(st.tuples(keys, values)))
def test_a_key_that_stands_twice_is_always_seen(members: list[tuple[str, int | str]]):
    """Whatever commas and braces the texts hold: an object is read as it stands, or a key stands in it twice."""
    payload = "{" + ",".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in members) + "}"
    twice = len(dict(members)) < len(members)
    try:
        read = strictjson.read(payload.encode())
    except BadPayload as refusal:
        assert (twice, refusal.reason) == (True, "duplicate_key")  # noqa: PT017  # either outcome is allowed
    else:
        assert (twice, read) == (False, dict(members))
