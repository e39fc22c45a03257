"""Configuration files as they go wrong in practice: each has its finding at its line, and the agent does not start."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agent.configuration.config import Secret, Settings, load, parse, read_yaml
from agent.errors import ConfigError, Finding, NotFound


class Mqtt(Settings):
    """An MQTT source, as far as these tests need one."""

    brokers: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    user: str | None = None
    password: Secret | None = None


class Sap(Settings):
    """An ERP, as far as these tests need one."""

    base_url: str
    password: Secret | None = None


class Flow(Settings):
    """A workflow's options, as far as these tests need them."""

    backflush: bool = False


def resolve(part: str, kind: str) -> type[BaseModel]:
    kinds: dict[str, dict[str, type[BaseModel]]] = {
        "sources": {"mqtt": Mqtt},
        "targets": {"sap_s4": Sap},
        "workflows": {"consumption": Flow, "confirmation": Flow},
    }
    if kind not in kinds[part]:
        raise NotFound(f"unknown kind; known: {', '.join(kinds[part])}")
    return kinds[part][kind]


GOOD = """\
plant:
  site: "1710"
  time_zone: Europe/Berlin
  currency: EUR
store: {path: gatepost.db}
sources:
  - name: line
    kind: mqtt
    topics: [plant/+/consumption]
targets:
  - name: s4
    kind: sap_s4
    base_url: https://s4.example
workflows:
  consumption: {target: s4}
authority:
  consumption:
    mode: auto
    min_confidence: 0.9
"""


class Values(Settings):
    """One field of every type that YAML 1.1 would have changed."""

    lot: str = ""
    text: str = ""
    number: Decimal = Decimal(0)
    count: int = 0
    flag: bool = False


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def writing(content: str | bytes) -> Path:
        path = tmp_path / "agent.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o640)
        return path

    return writing


def findings(path: Path, environ: Mapping[str, str] | None = None) -> list[Finding]:
    with pytest.raises(ConfigError) as caught:
        load(path, resolve, environ or {})
    return list(caught.value.findings)


def only(found: list[Finding]) -> tuple[int, str, str]:
    assert len(found) == 1, found
    return found[0].line, found[0].path, found[0].message


def test_the_good_file_loads(write: Any) -> None:
    """What the bad files are made from is good."""
    assert load(write(GOOD), resolve, {}).plant.site == "1710"


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n", "---\n", "~\n"])
def test_71_an_empty_file_is_refused(write: Any, content: str) -> None:
    """A file without content is no configuration with defaults."""
    line, _, message = only(findings(write(content)))
    assert line == 1
    assert "is empty" in message


def test_72_a_tab_is_shown_with_its_line(write: Any) -> None:
    """Tabs are invisible, so the finding names the line."""
    line, _, message = only(findings(write("plant:\n  site: x\n\ttime_zone: Europe/Berlin\n")))
    assert line == 3
    assert "tab in the indentation" in message


def test_73_duplicate_keys_are_refused_with_both_lines(write: Any) -> None:
    """The last one does not win, at whatever depth; the rest of the file is still checked."""
    text = GOOD.replace("  currency: EUR\n", "  currency: EUR\n  site: other\n") + "plant: {}\nlog: {level: loud}\n"
    found = findings(write(text))
    assert [(finding.line, finding.path) for finding in found] == [(5, "plant.site"), (21, "plant"), (22, "log.level")]
    assert "already given in line 2" in found[0].message


@pytest.mark.parametrize(
    ("written", "path", "value"),
    [
        ("consumption:\n    min_confidence: 0,9", "authority.consumption.min_confidence", "0,9"),
        ("consumption: {mode: auto, max_value: 1,5}", "authority.consumption.max_value", "1,5"),
        ("consumption: {max_quantity: {KGM: 1,5, C62: 3}}", "authority.consumption.max_quantity.KGM", "1,5"),
    ],
)
def test_a_decimal_comma_is_told_as_one(write: Any, written: str, path: str, value: str) -> None:
    """Also within braces, where YAML takes what follows the comma for a key of its own."""
    (found,) = findings(write(GOOD[: GOOD.index("authority:")] + f"authority:\n  {written}\n"))
    assert (found.path, found.value) == (path, value)
    assert "comma" in found.message
    assert "decimal point" in found.message


def test_what_is_no_decimal_comma_is_told_otherwise(write: Any) -> None:
    """A key of digits on a line of its own is an unknown key, a text is no number."""
    two = "authority:\n  consumption:\n    max_value: 1\n    5:\n    min_confidence: much\n"
    told = [one.message for one in findings(write(GOOD[: GOOD.index("authority:")] + two))]
    assert [one.split(";")[0].split(",")[0] for one in told] == ["unknown key", "must be a number"]
    assert not any("comma" in one for one in told)


def test_74_tags_are_refused(write: Any) -> None:
    """No object is ever constructed from a file."""
    text = GOOD.replace('  site: "1710"', '  site: !!python/object/apply:os.system ["true"]')
    found = findings(write(text))
    assert (found[0].line, found[0].path) == (2, "plant.site")
    assert "tags are not allowed" in found[0].message


def test_75_an_alias_bomb_is_refused_unexpanded(write: Any) -> None:
    """Anchors, aliases and merge keys are findings, each at its line; nothing is expanded."""
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    found = findings(write(bomb + "b:\n  <<: {x: 1}\n"))
    assert {finding.line for finding in found if "anchors are not" in finding.message} == set(range(1, 10))
    assert sum("aliases are not" in finding.message for finding in found) == 8 * 9
    assert [finding.line for finding in found if "merge keys are not" in finding.message] == [11]


@pytest.mark.parametrize("opening", ["[" * 3000, "{a: " * 3000, "".join(f"{' ' * n}a:\n" for n in range(300))])
def test_76_deep_nesting_is_refused_at_once(write: Any, opening: str) -> None:
    """Nesting ends at 20 levels, before recursion does."""
    found = findings(write(opening))
    assert any("nested deeper than 20" in finding.message for finding in found)


def test_76_a_large_file_is_refused_unread(write: Any) -> None:
    """Above 256 KiB nothing is parsed."""
    line, _, message = only(findings(write("# " + "x" * 256 * 1024)))
    assert line == 1
    assert "larger than 256 KiB" in message


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("lot: 0123", "lot", "0123"),
        ("lot: 1.10", "lot", "1.10"),
        ("lot: 1e3", "lot", "1e3"),
        ("lot: 12:30:45", "lot", "12:30:45"),
        ("lot: e12", "lot", "e12"),
        ("lot: -E5", "lot", "-E5"),
        ("lot: no", "lot", "no"),
        ("lot: on", "lot", "on"),
        ("lot: 0x1F", "lot", "0x1F"),
        ("lot: 2026-11-20", "lot", "2026-11-20"),
        ("lot: 1_000", "lot", "1_000"),
        ("lot: 12345678901234567890123", "lot", "12345678901234567890123"),
        ("number: 1.10", "number", Decimal("1.10")),
        ('number: "1.10"', "number", Decimal("1.10")),
        ("number: 0.1000000000000000000000001", "number", Decimal("0.1000000000000000000000001")),
        ("count: 7", "count", 7),
        ("flag: true", "flag", True),
        ("flag: false", "flag", False),
    ],
)
def test_77_a_scalar_is_what_it_looks_like(write: Any, written: str, field: str, value: object) -> None:
    """Text keeps every character and numbers every digit."""
    got = getattr(parse(write(written + "\n"), Values), field)
    assert got == value
    assert str(got) == str(value)
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("flag: no", "must be true or false"),
        ("flag: on", "must be true or false"),
        ("flag: True", "must be true or false"),
        ("flag: 1", "must be true or false"),
        ('flag: "true"', "must be true or false"),
        ("lot: true", "must be text"),
        ("count: 0123", "must be a number"),
        ("number: e12", "must be a number"),
        ("count: 0x1F", "must be a number"),
        ("count: 1_000", "must be a number"),
        ("count: 1.5", "must be a valid integer"),
        ("number: 0,9", "must be a number"),
        ("number: 12:30:45", "must be a number"),
        ("number: .inf", "must be a number"),
        ("number: .nan", "must be a number"),
        ("number: 1e31", "must be a number"),
        ("number: 1e1000000", "must be a number"),
        ("count: [1]", "must be a valid integer"),
        ("lot:", "must be text"),
    ],
)
def test_77_nothing_is_guessed(write: Any, written: str, message: str) -> None:
    """What is no boolean or number by YAML 1.2 is a finding with line, path and value."""
    with pytest.raises(ConfigError) as caught:
        parse(write(f"text: x\n{written}\n"), Values)
    (finding,) = caught.value.findings
    assert (finding.line, finding.path) == (2, written.partition(":")[0])
    assert message in finding.message


def test_79_a_second_document_is_refused(write: Any) -> None:
    """One file, one document."""
    line, _, message = only(findings(write(GOOD + "---\nlog: {level: debug}\n")))
    assert line == 20
    assert "second document" in message


@pytest.mark.parametrize(
    "literal",
    ["hunter2", '"hunter2"', "{value: hunter2}", "[hunter2]", "{secret: [hunter2]}", "{secret: erp, value: hunter2}"],
)
def test_80_a_literal_password_is_refused_and_not_shown(write: Any, literal: str) -> None:
    """A password in the file is a finding that tells where it belongs, and does not repeat it."""
    found = findings(write(GOOD.replace("workflows:", f"    password: {literal}\nworkflows:")))
    assert only(found)[:2] == (14, "targets[0].password")
    assert "write {secret: NAME}" in found[0].message
    assert "hunter2" not in str(found[0])


SECRET = GOOD.replace("workflows:", "    password: {secret: erp_password}\nworkflows:")


def secret_file(folder: Path, content: bytes, mode: int = 0o400) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "erp_password"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"canary\n", 0o444, "can be read by everyone"),
        (b"canary\n", 0o604, "can be read by everyone"),
        (b"", 0o400, "is empty"),
        (b"\n", 0o400, "is empty"),
        (b"\xff\xfecanary", 0o400, "is not UTF-8"),
        (b"canary" * 20_000, 0o400, "larger than 64 KiB"),
    ],
)
def test_81_a_bad_secret_file_is_refused(write: Any, tmp_path: Path, content: bytes, mode: int, message: str) -> None:
    """Readable by everyone, empty or unreadable: a finding at the line that names the secret, without its value."""
    secret_file(tmp_path / "credentials", content, mode)
    found = findings(write(SECRET), {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
    line, path, said = only(found)
    assert (line, path) == (14, "targets[0].password")
    assert message in said
    assert "canary" not in str(found[0])


def test_81_a_missing_secret_tells_where_it_was_looked_for(write: Any, tmp_path: Path) -> None:
    """Every place is named in the order in which it is looked in."""
    line, _, message = only(findings(write("secrets_dir: .\n" + SECRET), {"CREDENTIALS_DIRECTORY": "/nowhere"}))
    assert line == 15
    places = ["/nowhere/erp_password", "/run/secrets/erp_password", f"{tmp_path}/erp_password"]
    positions = [message.index(place) for place in [*places, "GATEPOST_SECRET_ERP_PASSWORD"]]
    assert positions == sorted(positions)


def test_81_the_newline_of_an_editor_is_no_part_of_a_secret(write: Any, tmp_path: Path) -> None:
    """Only the trailing newline goes."""
    secret_file(tmp_path / "credentials", b" pass word \r\n")
    config = load(write(SECRET), resolve, {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
    settings = config.targets[0].settings
    assert isinstance(settings, Sap)
    assert settings.password is not None
    assert settings.password.reveal() == " pass word "


def test_82_a_file_that_everybody_can_change_is_refused(write: Any, tmp_path: Path) -> None:
    """The configuration and all files that it is made of decide what is posted."""
    path = write("mappings: maps\n" + GOOD)
    (tmp_path / "maps").mkdir()
    mapping = tmp_path / "maps" / "consumption.yaml"
    mapping.touch()
    path.chmod(0o666)
    mapping.chmod(0o646)
    found = findings(path)
    assert [finding.file for finding in found] == [str(path), str(mapping)]
    assert all("can be changed by everyone" in finding.message for finding in found)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("https://s4.example", "https://me:canary@s4.example", 13, "carries credentials"),
        ("https://s4.example", "https://canary@s4.example/x", 13, "carries credentials"),
        ("topics: [", 'brokers: ["mqtt://me:canary@host:1883"]\n    topics: [', 9, "carries credentials"),
        ("https://s4.example", "http://s4.example", 13, "is not encrypted"),
        ("https://s4.example", "HTTP://10.1.2.3:8000", 13, "is not encrypted"),
        ("https://s4.example", "http://127.0.0.1.example", 13, "is not encrypted"),
    ],
)
def test_83_urls_carry_no_credentials_and_erps_are_reached_by_tls(
    write: Any, old: str, new: str, line: int, message: str
) -> None:
    """The finding is at the URL's line and does not show the password."""
    found = findings(write(GOOD.replace(old, new)))
    assert only(found)[0] == line
    assert message in found[0].message
    assert "canary" not in str(found[0])


@pytest.mark.parametrize("url", ["http://127.0.0.1:18800/x", "http://[::1]:18800", "http://localhost:1"])
def test_83_this_machine_is_reached_as_it_is(write: Any, url: str) -> None:
    """The bench needs no certificate."""
    load(write(GOOD.replace("https://s4.example", f'"{url}"')), resolve, {})


@pytest.mark.parametrize("written", ["1.5", "-0.1", "0,9", '"0,9"', "90%", "high", "", "[0.9]", ".nan"])
def test_84_a_threshold_is_a_number_from_0_to_1(write: Any, written: str) -> None:
    """Anything else is a finding at its line."""
    found = findings(write(GOOD.replace("min_confidence: 0.9", f"min_confidence: {written}")))
    assert only(found)[:2] == (19, "authority.consumption.min_confidence")


@pytest.mark.parametrize(
    ("other", "overlaps"),
    [
        ("plant/+/consumption", True),
        ("plant/1710/consumption", True),
        ("plant/#", True),
        ("'#'", True),
        ("plant/1710/+", True),
        ("plant/+/confirmation", False),
        ("plant/+/consumption/x", False),
        ("plant", False),
    ],
)
def test_85_a_message_arrives_by_one_subscription(write: Any, other: str, overlaps: bool) -> None:
    """Overlapping topic filters of two sources are refused at the second one."""
    path = write(GOOD.replace("targets:", f"  - name: second\n    kind: mqtt\n    topics:\n      - {other}\ntargets:"))
    if not overlaps:
        assert len(load(path, resolve, {}).sources) == 2
        return
    line, where, message = only(findings(path))
    assert (line, where) == (13, "sources[1].topics[0]")
    assert "'plant/+/consumption' in line 9" in message


def test_85_other_brokers_have_other_topics(write: Any) -> None:
    """The same filter at two brokers that have nothing in common is no overlap."""
    second = '  - {name: b, kind: mqtt, brokers: ["mqtt://b:1"], topics: [plant/+/consumption]}\ntargets:'
    text = GOOD.replace("    topics:", '    brokers: ["mqtt://a:1"]\n    topics:').replace("targets:", second)
    assert len(load(write(text), resolve, {}).sources) == 2


@pytest.mark.parametrize("zone", ["Europe/Brelin", "../../etc/passwd", "Europe", "CEST+2", '""'])
def test_86_an_unknown_time_zone_is_refused(write: Any, zone: str) -> None:
    """The posting date depends on it, so it is not guessed."""
    line, path, message = only(findings(write(GOOD.replace("Europe/Berlin", zone))))
    assert (line, path) == (3, "plant.time_zone")
    assert "no known time zone" in message


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"plant:\n  site: \xff\n", 2, "is not UTF-8"),
        ("plant: 1\n".encode("utf-16"), 1, "is not UTF-8"),
        (b"plant: 1\nstore: \x00\n", 2, "control character"),
        (b"plant: [1\nstore: 2\n", 2, "is no valid YAML"),
        (b"%YAML 1.1\n---\nplant: 1\n", 1, "directives are not allowed"),
        (b"? [a, b]\n: 1\n", 1, "a key must be a single word"),
    ],
)
def test_other_unreadable_files_name_their_line(write: Any, content: bytes, line: int, message: str) -> None:
    """Wrong encodings, broken syntax and odd YAML have their line too."""
    found = findings(write(content))
    assert found[0].line == line
    assert message in found[0].message


def test_a_file_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    """Missing files and folders in a file's place are findings, not tracebacks."""
    assert "No such file" in findings(tmp_path / "none.yaml")[0].message
    assert "cannot be read" in findings(tmp_path)[0].message


def test_a_byte_order_mark_does_no_harm(write: Any) -> None:
    """Editors on Windows write one."""
    assert read_yaml(write(b"\xef\xbb\xbfplant: 1\n")).plain() == {"plant": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_a_finding(write: Any) -> None:
    """Permissions are named."""
    path = write(GOOD)
    path.chmod(0)
    assert "Permission denied" in findings(path)[0].message
