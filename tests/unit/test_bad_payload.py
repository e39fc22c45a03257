"""Bad messages: each gets its clear refusal, and the good message after it goes through."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.configuration import config
from agent.errors import BadPayload
from agent.mapping import Mappings, load
from agent.ports import Event
from agent.units import UnitsFile, UnitTable

NOW = datetime(2026, 11, 20, 13, 0, 6, tzinfo=UTC)
TOPIC = "plant/1710/mixing/MIX-01/consumption"
GOOD: dict[str, Any] = {
    "id": "MIX-01-000123",
    "seq": 123,
    "ts": "2026-11-20T14:00:05.123+01:00",
    "order": "1000100",
    "operation": "0010",
    "material": "RM-RESIN",
    "quantity": 12.5,
    "unit": "kg",
    "batch": "0000000301",
    "location": "171A",
    "lot_quantity": 13,
    "operator": "4711",
    "device": "SC-01",
}


@pytest.fixture(scope="module")
def mappings() -> Mappings:
    return load(Path("edge_config/mappings"), UnitTable.of(config.parse("edge_config/units.yaml", UnitsFile)))


def message(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def raw(key: str, text: str) -> bytes:
    """The good message with one value written as it stands."""
    return message(**{key: "HERE"}).replace(b'"HERE"', text.encode())


def without(key: str) -> bytes:
    return json.dumps({name: value for name, value in GOOD.items() if name != key}).encode()


def refusal(mappings: Mappings, payload: bytes, topic: str = TOPIC) -> BadPayload:
    """The refusal of a message; then the good one must still be read."""
    with pytest.raises(BadPayload) as refused:
        mappings.read(Event(1, "line", topic, payload, NOW))
    good = mappings.read(Event(2, "line", TOPIC, message(), NOW))
    assert good.material_actuals[0].quantity.value == Decimal("12.5")
    assert str(refused.value).encode()
    return refused.value


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"", "empty", id="1 empty"),
        pytest.param(message(device="x" * 300 * 1024), "too_large", id="2 300 KiB"),
        pytest.param(message().replace(b"SC-01", b"\xff\xfe"), "not_utf8", id="3 not UTF-8"),
        pytest.param(json.dumps(GOOD).encode("utf-16"), "not_utf8", id="4 UTF-16"),
        pytest.param(json.dumps(GOOD).encode("utf-16-be"), "not_an_object", id="4 UTF-16 without mark"),
        pytest.param(b"\xef\xbb\xbf" + message(), "not_utf8", id="4 byte order mark"),
        pytest.param(b"[" * 100_000, "not_an_object", id="5 deep list"),
        pytest.param(raw("device", "[" * 100_000), "too_deep", id="5 deep list inside"),
        pytest.param(raw("device", "[" * 40 + "]" * 40), "too_deep", id="6 40 levels"),
        pytest.param(raw("quantity", "1e400"), "number_range", id="7 1e400"),
        pytest.param(raw("quantity", "NaN"), "number_range", id="7 NaN"),
        pytest.param(raw("quantity", "Infinity"), "number_range", id="7 Infinity"),
        pytest.param(message()[:-1] + b',"quantity":1000}', "duplicate_key", id="8 duplicate key"),
        pytest.param(raw("batch", r'"\ud800"'), "bad_text", id="9 lone surrogate"),
        pytest.param(raw("batch", r'"03\u0000"'), "bad_text", id="10 NUL"),
        pytest.param(message()[:-2], "not_json", id="10 cut off"),
        pytest.param(b"<html>502 Bad Gateway</html>", "not_an_object", id="10 HTML"),
    ],
)
def test_what_is_no_strict_json_is_refused(mappings: Mappings, payload: bytes, reason: str):
    """Bytes that are not one JSON object with one meaning are refused with their reason code."""
    assert refusal(mappings, payload).reason == reason


@pytest.mark.parametrize(
    "lot", ["<script>alert(1)</script>", '=HYPERLINK("x")', "'; DROP TABLE event; --", "Größe 5 µ"]
)
def test_text_that_looks_like_code_is_text(mappings: Mappings, lot: str):
    """11: a lot number may look like a script, a formula or SQL; it is kept as it is."""
    report = mappings.read(Event(1, "line", TOPIC, message(batch=lot), NOW))

    assert report.material_actuals[0].lot == lot


@pytest.mark.parametrize(
    ("lot", "words"),
    [("03\n01", "U+000A"), ("abc\u202edcba", "U+202E"), ("\u2066x", "U+2066"), ("x\x7f", "U+007F"), ("x" * 201, "201")],
)
def test_text_that_hides_something_is_refused(mappings: Mappings, lot: str, words: str):
    """11: control characters, marks that turn the direction of writing and endless texts are refused by name."""
    bad = refusal(mappings, message(batch=lot))

    assert (bad.field, bad.reason) == ("$.batch", "bad_text")
    assert words in str(bad)
    assert str(bad).isprintable()


@pytest.mark.parametrize(
    ("quantity", "reason", "shown"),
    [
        ('"5"', "wrong_type", "'5'"),
        ('"5,5"', "wrong_type", "'5,5'"),
        ('"5.0 kg"', "wrong_type", "'5.0 kg'"),
        ("true", "wrong_type", "true"),
        ("null", "missing", "missing or null"),
        ("[]", "wrong_type", "the list []"),
        ('{"value": 5}', "wrong_type", "the object {'value': 5}"),
    ],
)
def test_a_quantity_that_is_no_number_is_refused(mappings: Mappings, quantity: str, reason: str, shown: str):
    """12: a quantity of another type is never converted; the refusal names field and value."""
    bad = refusal(mappings, raw("quantity", quantity))

    assert (bad.field, bad.reason) == ("$.quantity", reason)
    assert shown in str(bad)


@pytest.mark.parametrize(("quantity", "words"), [("-1", "below the minimum 0"), ("1e9", "above the maximum 100000")])
def test_an_absurd_quantity_is_refused(mappings: Mappings, quantity: str, words: str):
    """13: what no scale can have weighed is refused with the limit it broke."""
    bad = refusal(mappings, raw("quantity", quantity))

    assert (bad.field, bad.reason) == ("$.quantity", "out_of_range")
    assert words in str(bad)


@pytest.mark.parametrize(
    ("unit", "reason"), [("stone", "unknown_unit"), ("BX", "unknown_unit"), ("", "missing"), (5, "wrong_type")]
)
def test_an_unknown_unit_is_refused(mappings: Mappings, unit: object, reason: str):
    """14: a unit that nobody configured is refused, not passed through."""
    bad = refusal(mappings, message(unit=unit))

    assert (bad.field, bad.reason) == ("$.unit", reason)


@pytest.mark.parametrize("field", ["id", "seq", "ts", "order", "operation", "material", "quantity", "unit"])
def test_a_missing_field_is_named(mappings: Mappings, field: str):
    """15: a report that does not say what it is about is refused, and the refusal names the field."""
    bad = refusal(mappings, without(field))

    assert (bad.field, bad.reason) == (f"$.{field}", "missing")


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        ("1970-01-01T00:00:00Z", "31 days before the arrival"),
        ("9999-12-31T23:59:59-05:00", "no time stamp"),
        ("9999-12-31T23:59:59Z", "600 s after the arrival"),
        ("2026-11-20T15:00:06Z", "600 s after the arrival"),
        ("2026-11-20T14:00:05", "names no offset"),
        ("2026-11-20", "write it like"),
        ("yesterday", "write it like"),
        ("2026-02-30T10:00:00Z", "no time stamp"),
        (1795179605, "must be a text"),
        ("", "write it like"),
    ],
)
def test_an_unbelievable_time_is_refused(mappings: Mappings, stamp: object, words: str):
    """16: a time stamp that is missing, without zone, far past or future is refused with what it was read as."""
    bad = refusal(mappings, message(ts=stamp))

    assert bad.field == "$.ts"
    assert words in str(bad)


@pytest.mark.parametrize(
    ("format_", "stamp", "read"),
    [
        ("epoch_ms", 1795179605123, True),
        ("epoch_s", 1795179605, True),
        ("epoch_ms", 1795179605, False),
        ("epoch_s", 1795179605123, False),
        ("epoch_s", -(2**63), False),
        ("epoch_s", "1795179605", False),
    ],
)
def test_seconds_are_not_taken_for_milliseconds(tmp_path: Path, format_: str, stamp: object, read: bool):
    """16: a number in the wrong unit of time lands far away, and is refused."""
    text = Path("edge_config/mappings/consumption.yaml").read_text()
    file = tmp_path / "consumption.yaml"
    file.write_text(text.replace("{path: $.ts}", f"{{path: $.ts, format: {format_}}}"))
    table = UnitTable.of(config.parse("edge_config/units.yaml", UnitsFile))
    event = Event(1, "line", TOPIC, message(ts=stamp), datetime(2026, 11, 20, 13, 0, 10, tzinfo=UTC))

    if read:
        assert load([file], table).read(event).occurred_at.replace(microsecond=0) == datetime(
            2026, 11, 20, 13, 0, 5, tzinfo=UTC
        )
    else:
        with pytest.raises(BadPayload, match=r"\$\.ts") as refused:
            load([file], table).read(event)
        assert refused.value.reason in ("bad_time", "wrong_type")


@pytest.mark.parametrize(
    ("version", "known"), [('"1"', True), ("2", True), ("3", False), ("null", False), ("true", False)]
)
def test_an_unknown_version_of_the_message_is_refused(tmp_path: Path, version: str, known: bool):
    """22: a message of a version that the file cannot read is refused before anything else is read from it."""
    text = Path("edge_config/mappings/consumption.yaml").read_text()
    file = tmp_path / "consumption.yaml"
    file.write_text(text + 'schema_version: {path: $.v, known: ["1", "2"]}\n')
    mappings = load([file], UnitTable.of(config.parse("edge_config/units.yaml", UnitsFile)))

    if known:
        assert mappings.read(Event(1, "line", TOPIC, raw("v", version), NOW)).kind == "consumption"
    else:
        with pytest.raises(BadPayload, match=r"\$\.v: version .* is unknown") as refused:
            mappings.read(Event(1, "line", TOPIC, raw("v", version), NOW))
        assert refused.value.reason == "schema_version"


@pytest.mark.parametrize("topic", ["", "/", "plant", "plant/1710/mixing/MIX-01/other", "plant/1710//WC/consumption"])
def test_a_topic_without_mapping_is_refused(mappings: Mappings, topic: str):
    """A message that no file reads is refused by its topic and source."""
    bad = refusal(mappings, message(), topic)

    assert bad.reason == "unmapped"
    assert repr(topic) in str(bad)


def test_a_topic_that_hides_something_is_refused(mappings: Mappings):
    """Topic levels become texts of the report, so they are checked like texts."""
    bad = refusal(mappings, message(), "plant/1710/mix\u202eing/MIX-01/consumption")

    assert (bad.field, bad.reason) == ("{line}", "bad_text")
