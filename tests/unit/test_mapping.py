"""Mapping files: what they can say, and what is found wrong in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.configuration import config
from agent.errors import BadPayload, ConfigError
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.mapping import Mappings, load
from agent.mapping.topics import Pattern
from agent.ports import Event
from agent.units import UnitsFile, UnitTable

NOW = datetime(2026, 11, 20, 13, 0, 6, tzinfo=UTC)
UNITS = UnitTable.of(config.parse("edge_config/units.yaml", UnitsFile))
SMALL = """
kind: consumption
topic: "{area}/scale"
message_id: $.id
time: {format: received}
order: $.order
operation: {const: "0010"}
materials:
  - use: Consumed
    material: $.material
    quantity: {value: $.kg, unit: {const: KGM}}
"""
BODY = {"id": "1", "order": "77", "material": "A", "kg": 1}


def mapping(folder: Path, *texts: str) -> Mappings:
    files = [folder / f"{number}.yaml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    return load(files, UNITS)


def read(mappings: Mappings, topic: str = "north/scale", **changes: Any) -> SegmentResponse:
    return mappings.read(Event(1, "line", topic, json.dumps({**BODY, **changes}).encode(), NOW))


def findings(folder: Path, *texts: str) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        mapping(folder, *texts)
    return [f"{Path(finding.file).name}:{finding.line}: {finding.message}" for finding in refusal.value.findings]


def test_the_bench_consumption_is_read():
    """The consumption message of the bench becomes what was consumed, and the lot it was consumed for."""
    body = {
        "id": "MIX-01-000123", "seq": 123, "ts": "2026-11-20T14:00:05.123+01:00", "order": "1000100",
        "operation": "0010", "material": "RM-RESIN", "quantity": 12.5, "unit": "kg", "batch": "0000000301",
        "location": "171A", "lot_quantity": 13, "operator": "4711", "device": "SC-01",
    }  # fmt: skip
    event = Event(1, "line", "plant/1710/mixing/MIX-01/consumption", json.dumps(body).encode(), NOW)

    assert load(Path("edge_config/mappings"), UNITS).read(event) == SegmentResponse(
        kind="consumption",
        id="MIX-01-000123",
        order="1000100",
        operation="0010",
        occurred_at=datetime(2026, 11, 20, 13, 0, 5, 123000, tzinfo=UTC),
        work_center="MIX-01",
        material_actuals=(
            MaterialActual(MaterialUse.CONSUMED, Quantity(Decimal("12.5"), "KGM"), "RM-RESIN", "0000000301", "171A"),
            MaterialActual(MaterialUse.PRODUCED, Quantity(Decimal(13), "C62")),
        ),
        personnel="4711",
        sender="MIX-01",
        sequence=123,
    )


DEFECT = """
kind: scrap
topic: "{line}/defect"
message_id: $.id
time: {format: received}
order: {path: $.order, required: false}
data:
  code: $.code
  station: "{line}"
  note: {path: $.note, optional: true}
  temperature: {path: $.t, type: number, optional: true}
"""


def test_named_values_of_a_message_are_texts_and_exact_numbers(tmp_path):
    """What a message says beside quantities is read by name; what is optional and absent is not there at all."""
    mappings = mapping(tmp_path, DEFECT)
    event = Event(1, "line", "north/defect", b'{"id": "a", "code": "C7", "t": 21.50}', NOW)
    report = mappings.read(event)
    assert dict(report.data) == {"code": "C7", "station": "north", "temperature": Decimal("21.50")}
    assert (report.order, report.operation) == ("", "")
    for payload, field in ((b'{"id": "b"}', "$.code"), (b'{"id": "c", "code": "C7", "t": "warm"}', "$.t")):
        with pytest.raises(BadPayload) as refusal:
            mappings.read(event._replace(payload=payload))
        assert refusal.value.field == field


def test_a_mapping_that_names_no_order_is_known(tmp_path):
    """So that `check` can refuse it for a workflow that works on orders."""
    assert mapping(tmp_path, DEFECT).without_order("scrap")
    assert not load(Path("edge_config/mappings"), UNITS).without_order("consumption")


@pytest.mark.parametrize(("scrap", "reason", "kept"), [(0, "", False), (0.5, "0002", True)])
def test_the_bench_confirmation_is_read(scrap: float, reason: str, kept: bool):
    """The confirmation of the bench becomes yield, scrap with its reason where there is some, and times."""
    body = {
        "id": "MIX-01-000124", "seq": 124, "ts": "2026-11-20T14:00:05+01:00", "order": "1000100",
        "operation": "0010", "yield": 13, "scrap": scrap, "unit": "kg", "scrap_reason": reason, "final": True,
        "start": "2026-11-20T13:57:29+01:00", "end": "2026-11-20T14:00:05+01:00", "machine_minutes": 2.6,
        "labor_minutes": 2.5, "operator": "4711",
    }  # fmt: skip
    event = Event(1, "line", "plant/1710/mixing/MIX-01/confirmation", json.dumps(body).encode(), NOW)

    report = load(Path("edge_config/mappings"), UNITS).read(event)

    yielded = MaterialActual(MaterialUse.PRODUCED, Quantity(Decimal(13), "KGM"))
    scrapped = MaterialActual(MaterialUse.SCRAP, Quantity(Decimal("0.5"), "KGM"), reason="0002")
    assert report.material_actuals == ((yielded, scrapped) if kept else (yielded,))
    assert report.durations == {"machine": Quantity(Decimal("2.6"), "MIN"), "labor": Quantity(Decimal("2.5"), "MIN")}
    assert report.final is True
    assert (report.start, report.end) == (
        datetime(2026, 11, 20, 12, 57, 29, tzinfo=UTC),
        datetime(2026, 11, 20, 13, 0, 5, tzinfo=UTC),
    )


def test_paths_reach_into_objects_and_lists(tmp_path: Path):
    """A path goes down by names, by quoted names and by indices."""
    text = SMALL.replace("$.order", "$.head['order no'][1]")

    assert read(mapping(tmp_path, text), head={"order no": ["x", "88"]}).order == "88"
    for head in ({}, {"order no": ["x"]}, {"order no": "88"}, "88", None):
        with pytest.raises(BadPayload, match=r"order no.*missing"):
            read(mapping(tmp_path, text), head=head)


def test_wildcards_and_constants_are_values(tmp_path: Path):
    """A named level of the topic, and a fixed text, can stand where a path can."""
    report = read(mapping(tmp_path, SMALL + 'work_center: "{area}"\n'))

    assert (report.work_center, report.operation) == ("north", "0010")


def test_a_default_stands_for_what_is_missing_null_or_empty(tmp_path: Path):
    """A default makes a field optional; without one a required field is refused."""
    mappings = mapping(tmp_path, SMALL.replace("order: $.order", "order: {path: $.order, default: NONE}"))

    assert [read(mappings, order=value).order for value in ("77", None, "")] == ["77", "NONE", "NONE"]


@pytest.mark.parametrize(
    "changes",
    [
        {"lot": "L" * 150, "order": "7" * 150},  # each short enough, both together longer than the limit of one
        {"lot": None, "place": None},
        {"lot": "", "place": ""},
        {"id": 17, "lot": "A"},
    ],
)
def test_texts_are_judged_one_by_one(tmp_path: Path, changes: dict[str, Any]):
    """However many texts a message has, each is read as if it stood alone."""
    text = SMALL + "    lot: $.lot\n    storage_location: {path: $.place, default: X1}\npersonnel: $.who\n"

    report = read(mapping(tmp_path, text), **changes)

    (used,) = report.material_actuals
    assert (report.id, report.order) == (str(changes.get("id", 1)), changes.get("order", "77"))
    assert (used.material, used.lot, used.storage_location) == ("A", changes["lot"] or "", "X1")
    assert report.personnel == ""


def test_a_level_of_the_topic_is_translated_or_refused(tmp_path: Path):
    """What the topic names is read by the same rules as what the message names."""
    mappings = mapping(tmp_path, SMALL + "work_center: {wildcard: area, map: {north: WC-1}}\n")

    assert read(mappings).work_center == "WC-1"
    with pytest.raises(BadPayload, match=r"\{area\}: 'south' is unknown; the mapping knows north"):
        read(mappings, "south/scale")


def test_codes_are_translated_or_refused(tmp_path: Path):
    """A table of codes passes nothing through that it does not hold."""
    mappings = mapping(tmp_path, SMALL.replace("order: $.order", "order: {path: $.order, map: {A: '1', B: '2'}}"))

    assert read(mappings, order="B").order == "2"
    with pytest.raises(BadPayload, match=r"\$\.order: 'C' is unknown; the mapping knows A, B"):
        read(mappings, order="C")


def test_a_whole_number_is_text_only_where_declared(tmp_path: Path):
    """An order number sent as a number is taken only where the mapping says so."""
    declared = SMALL.replace("order: $.order", "order: {path: $.order, number_as_text: true}")

    assert read(mapping(tmp_path, declared), order=1000100).order == "1000100"
    with pytest.raises(BadPayload, match=r"\$\.order: must be a text, not 1000100"):
        read(mapping(tmp_path, SMALL), order=1000100)


@pytest.mark.parametrize(
    ("style", "value", "expected"),
    [
        ("point", "12.50", "12.50"),
        ("comma", "12,50", "12.50"),
        ("comma", 12.5, "12.5"),
        ("comma", "1.000,5", None),
        ("point", "1,5", None),
        ("point", "1e5", None),
        ("point", "٣", None),
        ("point", "", None),
        ("point", " 5", None),
    ],
)
def test_numbers_in_texts_are_read_only_as_declared(tmp_path: Path, style: str, value: object, expected: str | None):
    """Text is a number only in the declared style: no thousands, no blanks, no exponent, no other digits."""
    mappings = mapping(tmp_path, SMALL.replace("{value: $.kg,", f"{{value: $.kg, number: {style},"))

    if expected is None:
        with pytest.raises(BadPayload, match=rf"\$\.kg: .* is no number with a decimal {style}"):
            read(mappings, kg=value)
    else:
        assert str(read(mappings, kg=value).material_actuals[0].quantity.value) == expected


@pytest.mark.parametrize(
    ("value", "reason"), [("0.0005", None), ("0.00050", None), ("0.00051", "too_precise"), ("-1", "out_of_range")]
)
def test_a_quantity_has_declared_limits(tmp_path: Path, value: str, reason: str | None):
    """Limits and decimals are believed as declared; zeros at the end are no decimals."""
    mappings = mapping(tmp_path, SMALL.replace("{value: $.kg,", "{value: $.kg, decimals: 4,"))
    event = Event(1, "line", "a/scale", json.dumps(BODY).replace('"kg": 1', f'"kg": {value}').encode(), NOW)

    if reason is None:
        assert mappings.read(event).material_actuals[0].quantity.value == Decimal("0.0005")
    else:
        with pytest.raises(BadPayload) as refusal:
            mappings.read(event)
        assert refusal.value.reason == reason


def test_a_negative_quantity_needs_its_minimum(tmp_path: Path):
    """A return is read where the mapping allows less than nothing; minus zero is zero."""
    mappings = mapping(tmp_path, SMALL.replace("{value: $.kg,", "{value: $.kg, minimum: -5,"))

    assert read(mappings, kg=-2.5).material_actuals[0].quantity.value == Decimal("-2.5")
    assert str(read(mappings, kg=-0.0).material_actuals[0].quantity) == "0.0 KGM"


def test_an_optional_quantity_may_be_absent_but_not_wrong(tmp_path: Path):
    """Optional means missing or null; a text there is still refused."""
    mappings = mapping(tmp_path, SMALL.replace("{value: $.kg,", "{value: $.kg, optional: true,"))

    assert read(mappings, kg=None).material_actuals == ()
    with pytest.raises(BadPayload, match=r"\$\.kg: must be a number, not 'x'"):
        read(mappings, kg="x")


def test_a_unit_must_measure_what_is_declared(tmp_path: Path):
    """A unit of another dimension is refused with what it measures."""
    mappings = mapping(tmp_path, SMALL.replace("unit: {const: KGM}", "unit: $.uom, dimension: mass"))

    assert read(mappings, uom="g").material_actuals[0].quantity.unit == "GRM"
    with pytest.raises(BadPayload, match=r"\$\.uom: l \(LTR\) measures volume, not mass"):
        read(mappings, uom="l")


@pytest.mark.parametrize(
    ("identity", "changes", "expected"),
    [
        ("message_id: $.id", {"id": "A-1"}, "A-1"),
        ("message_id: $.id", {"id": 17}, "17"),
        ("message_id: ['{area}', $.id]", {"id": 17}, "north|17"),
        ("message_id: [$.a, $.b]", {"a": "x|", "b": "y"}, "x\\||y"),
        ("message_id: [$.a, $.b]", {"a": "x", "b": "|y"}, "x|\\|y"),
        ("unique_by: [$.order, $.kg, $.last]", {"kg": 12.50, "last": True}, "77|12.5|true"),
        ("unique_by: [$.order, $.kg]", {"kg": 100.0}, "77|100"),
        ("", {}, None),
    ],
)
def test_the_identity_of_a_message(tmp_path: Path, identity: str, changes: dict[str, Any], expected: str | None):
    """The sender's id, several values together, or nothing; parts stay distinct and numbers have one form."""
    mappings = mapping(tmp_path, SMALL.replace("message_id: $.id", identity))

    assert read(mappings, **changes).id == expected


@pytest.mark.parametrize("value", [None, "", [], {}, "a\x00b"])
def test_a_declared_identity_must_be_there(tmp_path: Path, value: object):
    """A message without the id that its mapping promises is refused."""
    with pytest.raises(BadPayload):
        read(mapping(tmp_path, SMALL), id=value)


def test_mappings_without_identity_are_told(tmp_path: Path):
    """Files whose messages have no identity are named with file and line, by kind."""
    mappings = mapping(tmp_path, SMALL, SMALL.replace("message_id: $.id\n", "").replace("/scale", "/counter"))

    (problem,) = mappings.identity_problems()
    assert str(problem).startswith(f"{tmp_path / '1.yaml'}:3: topic: its messages have no identity")
    assert mappings.identity_problems("consumption") == (problem,)
    assert mappings.identity_problems("confirmation") == ()


@pytest.mark.parametrize("number", [None, -1, 1.5, "7", True])
def test_a_running_number_is_whole_and_not_negative(tmp_path: Path, number: object):
    """Gaps can only be seen in whole numbers, so nothing else is taken for one."""
    mappings = mapping(tmp_path, SMALL + 'sequence: {sender: "{area}", number: $.seq}\n')

    report = read(mappings, seq=7)
    assert (report.sender, report.sequence) == ("north", 7)
    with pytest.raises(BadPayload, match=r"\$\.seq"):
        read(mappings, seq=number)


@pytest.mark.parametrize(
    ("time", "stamp", "expected"),
    [
        ("{path: $.ts}", "2026-11-20T13:00:05Z", "13:00:05"),
        ("{path: $.ts}", "2026-11-20 14:00:05.5+01:00", "13:00:05.500000"),
        ("{path: $.ts, zone: Europe/Berlin}", "2026-11-20T14:00:05", "13:00:05"),
        ("{path: $.ts, zone: Europe/Berlin}", "2026-11-20T13:00:05+00:00", "13:00:05"),
        ("{path: $.ts, format: epoch_ms}", 1795179605123, "13:00:05.123000"),
        ("{path: $.ts, format: '%d.%m.%Y %H:%M:%S', zone: Europe/Berlin}", "20.11.2026 14:00:05", "13:00:05"),
        ("{path: $.ts, format: '%Y%m%d%H%M%S%z'}", "20261120080005-0500", "13:00:05"),
        ("{format: received}", None, "13:00:06"),
    ],
)
def test_time_stamps_become_utc(tmp_path: Path, time: str, stamp: object, expected: str):
    """Each declared format becomes the same moment in UTC."""
    report = read(mapping(tmp_path, SMALL.replace("{format: received}", time)), ts=stamp)

    assert report.occurred_at.tzinfo is UTC
    assert report.occurred_at.time().isoformat() == expected


@pytest.mark.parametrize(
    ("stamp", "policy", "expected"),
    [
        ("2026-10-25T02:30:00", "first", "2026-10-25T00:30:00+00:00"),
        ("2026-10-25T02:30:00", "second", "2026-10-25T01:30:00+00:00"),
        ("2026-10-25T02:30:00", "refuse", "it was twice in Europe/Berlin"),
        ("2026-03-29T02:30:00", "first", "there is no such time in Europe/Berlin"),
    ],
)
def test_the_hours_of_a_clock_change_are_not_guessed(tmp_path: Path, stamp: str, policy: str, expected: str):
    """The repeated hour follows the policy, the skipped one is refused."""
    time = f"{{path: $.ts, zone: Europe/Berlin, repeated_hour: {policy}, max_age_days: 365}}"
    mappings = mapping(tmp_path, SMALL.replace("{format: received}", time))

    if expected.startswith("2026"):
        assert read(mappings, ts=stamp).occurred_at.isoformat() == expected
    else:
        with pytest.raises(BadPayload, match=expected):
            read(mappings, ts=stamp)


def test_the_end_is_not_before_the_start(tmp_path: Path):
    """A span that runs backwards is refused; a missing side is allowed."""
    text = SMALL.replace("{format: received}", "{path: $.ts}") + "start: $.a\nend: $.b\n"
    mappings = mapping(tmp_path, text)
    early, late = (NOW - timedelta(minutes=2)).isoformat(), NOW.isoformat()

    assert read(mappings, ts=late, a=early).end is None
    with pytest.raises(BadPayload, match=r"\$\.b: .* is before the start"):
        read(mappings, ts=late, a=late, b=early)


@pytest.mark.parametrize("final", ["true", 1, []])
def test_a_flag_is_true_or_false(tmp_path: Path, final: object):
    """A missing flag is false; a text or number is no flag."""
    mappings = mapping(tmp_path, SMALL + "final: $.done\n")

    assert [read(mappings).final, read(mappings, done=True).final] == [False, True]
    with pytest.raises(BadPayload, match=r"\$\.done: must be true or false"):
        read(mappings, done=final)


def test_additional_fields_are_refused_where_declared(tmp_path: Path):
    """Fields that nobody names are allowed, unless the file refuses them; ignored ones are known."""
    strict = mapping(tmp_path, SMALL + "additional: refuse\nignore: [$.device.id]\n")

    assert read(mapping(tmp_path, SMALL), colour="red").order == "77"
    assert read(strict, device={"id": 5}).order == "77"
    with pytest.raises(BadPayload, match="the field 'colour' is not in the mapping"):
        read(strict, colour="red")
    with pytest.raises(BadPayload, match=r"\$\.device: the field 'name' is not in the mapping"):
        read(strict, device={"name": 5})


def test_the_version_follows_the_files(tmp_path: Path):
    """The same files have the same version, one changed byte another."""
    version = mapping(tmp_path, SMALL).version

    assert version == mapping(tmp_path, SMALL).version
    assert version != mapping(tmp_path, SMALL + "# more\n").version
    assert len(version) == 12


def test_a_source_of_its_own_may_share_a_topic(tmp_path: Path):
    """Two files may read the same topic where they belong to different sources."""
    other = SMALL.replace("kind: consumption", "kind: confirmation\nsource: http")
    mappings = mapping(tmp_path, SMALL.replace("kind: consumption", "kind: consumption\nsource: line"), other)

    assert mappings.kinds() == {"consumption", "confirmation"}
    assert mappings.read(Event(1, "http", "a/scale", json.dumps(BODY).encode(), NOW)).kind == "confirmation"
    with pytest.raises(BadPayload, match="no mapping reads topic 'a/scale' of source 'opc'"):
        mappings.read(Event(1, "opc", "a/scale", json.dumps(BODY).encode(), NOW))


@pytest.mark.parametrize(
    ("one", "two", "overlap"),
    [
        ("a/{x}/c", "a/{y}/c", True),
        ("a/{x}/c", "{y}/b/c", True),
        ("a/b", "a/b", True),
        ("a/{x}/c", "a/{x}/d", False),
        ("a/{x}", "a/{x}/c", False),
    ],
)
def test_patterns_overlap_when_one_topic_fits_both(one: str, two: str, overlap: bool):
    """Two patterns overlap when no level tells them apart."""
    assert Pattern.parse(one).overlaps(Pattern.parse(two)) is overlap
    assert Pattern.parse(two).overlaps(Pattern.parse(one)) is overlap


@pytest.mark.parametrize(
    ("before", "after", "finding"),
    [
        ("order: $.order", "order: $.", "6: must be a path like"),
        ("order: $.order", "order: order", "6: must be a path ($.order), a wildcard"),
        ("order: $.order", 'order: "{line}"', "6: is no wildcard of the topic, which has area"),
        ("order: $.order", "order: {wildcard: line}", "6: is no wildcard of the topic, which has area"),
        ("order: $.order", "order: {path: $.a, const: b}", "6: name just one of path, wildcard and const"),
        ("order: $.order", "orders: $.order", "6: unknown key; did you mean 'order'?"),
        ("{area}/scale", "{area}/#", "3: level '#' must be a word or one named wildcard"),
        ("{area}/scale", "{a}/{a}", "3: wildcard {a} stands twice"),
        ("{area}/scale", "{area}//scale", "3: level '' must be a word"),
        ("Consumed", "Eaten", "9: must be 'Consumed', 'Produced', 'Scrap', 'Rework' or 'Inventoried'"),
        ("{const: KGM}", "{const: stone}", "11: unit 'stone' is unknown"),
        ("{const: KGM}", "{const: KGM}, maximum: -1", "11: maximum -1 is below minimum 0"),
        ("{const: KGM}", "{const: KGM}, maximum: 1,5", "11: "),
        ("{const: KGM}", "{const: KGM}, dimension: time", "11: KGM does not measure time"),
        ("{format: received}", "{path: $.ts, zone: Europe/Berlim}", "5: is no time zone"),
        ("{format: received}", "{path: $.ts, format: rfc822}", "5: unknown format 'rfc822'"),
        ("{format: received}", "{path: $.ts, format: '%H:%M'}", "5: a pattern without %z needs the zone"),
        ("{format: received}", "{}", "5: needs a path"),
        ("message_id: $.id", "message_id: $.id\nunique_by: [$.a]", "name message_id or unique_by, not both"),
        ("message_id: $.id", "message_id: $.id\nmessage_id: $.id", "5: duplicate key"),
        ("kind: consumption", "kind: Con sumption", "2: must match pattern"),
    ],
)
def test_mistakes_are_found_at_their_line(tmp_path: Path, before: str, after: str, finding: str):
    """A mistake in a file is refused at load, with its line and what to write instead."""
    assert before in SMALL
    found = findings(tmp_path, SMALL.replace(before, after))

    assert any(finding in line for line in found), found


def test_mistakes_of_all_files_come_at_once(tmp_path: Path):
    """Nobody has to start twice to see the second mistake."""
    found = findings(tmp_path, SMALL.replace("message_id: $.id\n", "id: $.id\n"), SMALL + "final: done\n")

    assert [line.split(":")[0] for line in found] == ["0.yaml", "1.yaml"]


def test_overlapping_topics_are_refused(tmp_path: Path):
    """Two files that could read the same message are refused, and both are named."""
    (found,) = findings(tmp_path, SMALL, SMALL.replace('"{area}/scale"', '"north/{device}"'))

    assert found.startswith("1.yaml:3: a topic could fit this pattern and '{area}/scale' in ")
    assert "0.yaml:3; only one may read a message" in found


def test_a_file_of_another_ending_is_not_overlooked(tmp_path: Path):
    """A file that would silently not be read is a finding."""
    (tmp_path / "a.yaml").write_text(SMALL)
    (tmp_path / "b.yml").write_text(SMALL)

    with pytest.raises(ConfigError, match=r"b\.yml:1: would not be read; name it \.yaml"):
        load(tmp_path, UNITS)


def test_an_empty_folder_is_refused(tmp_path: Path):
    """Without any mapping the agent could read nothing, so it says so at start."""
    with pytest.raises(ConfigError, match="holds no mapping file"):
        load(tmp_path, UNITS)
