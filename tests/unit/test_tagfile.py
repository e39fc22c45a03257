"""Tags out of a CSV: read as if they were written in the configuration, and wrong ones told where they stand."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import assembly
from agent.configuration import config, reload
from agent.configuration.config import Config, Examined, Node
from agent.errors import ConfigError
from agent.strict.tagfile import MAX_BYTES, MOST, scan_tags
from tests.command_line import gatepost_

HOUSE = Path(__file__).parents[2]
SECRETS = {"GATEPOST_SECRET_ERP_PASSWORD": "not-a-secret"}
NAMED = Node("agent.yaml", 7, "sources[0].tags_file", "tags.csv", "tags.csv")
MORE = "extra_a,1710/line/MIX-01:Extra/A\nextra_b,1710/line/MIX-01:Extra/B\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bench's Sparkplug configuration, whose source names a file of tags as well."""
    made = tmp_path / "edge_config"
    shutil.copytree(HOUSE / "edge_config", made)
    shutil.copytree(HOUSE / "models", tmp_path / "models")
    file = made / "sparkplug.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.count("    tags:  ") == 1
    file.write_text(text.replace("    tags:  ", "    tags_file: tags.csv\n    tags:  "), encoding="utf-8")
    return made


def put(folder: Path, rows: str | bytes, head: str = "tag,address\n") -> None:
    raw = rows if isinstance(rows, bytes) else (head + rows).encode()
    (folder / "tags.csv").write_bytes(raw)


def examined(folder: Path) -> Examined:
    return config.examine(folder / "sparkplug.yaml", assembly.resolver(), SECRETS)


def loaded(folder: Path) -> Config:
    return config.load(folder / "sparkplug.yaml", assembly.resolver(), SECRETS)


def tags(made: Config) -> dict[str, str]:
    return dict(next(vars(one.settings)["tags"] for one in made.sources if "tags" in vars(one.settings)))


def said(folder: Path) -> list[str]:
    """The findings, without the folder."""
    return [str(one).replace(f"{folder}/", "") for one in examined(folder).findings]


def read(folder: Path, raw: bytes) -> tuple[dict[str, str], list[str]]:
    put(folder, raw)
    found, findings = scan_tags(folder / "tags.csv", NAMED)
    return {tag: node.text for tag, node in found.items()}, [str(one).replace(f"{folder}/", "") for one in findings]


# ── what is read ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_adds_to_what_is_written_in_the_configuration(folder: Path):
    """Both are the tags of the source, and events may name either."""
    put(folder, MORE)
    found = tags(loaded(folder))
    assert found["extra_a"] == "1710/line/MIX-01:Extra/A"
    assert "mix01_order" in found


@pytest.mark.parametrize(
    "raw",
    [
        b"tag,address\na,G/N:x\nb,\"G/N:y, z\"\n",
        b"\xef\xbb\xbftag,address\r\na,G/N:x\r\nb,\"G/N:y, z\"\r\n",
        b"Data Type;Address;Tag\nInt;G/N:x;a\n\nInt; G/N:y, z ;b\n;;\n",
        b"\"tag\"\t\"comment\"\t\"address\"\na\tone\tG/N:x\nb\t\"two\nlines\"\tG/N:y, z",
    ],
    ids=["plain", "a byte order mark", "semicolons and a further column", "tabs"],
)  # fmt: skip
def test_what_spreadsheets_write_is_read(tmp_path: Path, raw: bytes):
    """UTF-8 with or without a mark, three separators, columns in any order, further columns, empty lines."""
    assert read(tmp_path, raw) == ({"a": "G/N:x", "b": "G/N:y, z"}, [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", fullmatch=True),
        st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1),
        min_size=1,
    ),
    st.sampled_from([",", ";", "\t"]),
)
def test_what_was_written_is_what_is_read(tmp_path: Path, wanted: dict[str, str], delimiter: str):
    """Every name and address comes back as any CSV writer wrote it."""
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter).writerows([("tag", "address"), *wanted.items()])
    assert read(tmp_path, stream.getvalue().encode()) == (wanted, [])


def test_twenty_thousand_tags_are_read(folder: Path):
    """As many as a large line has, in a file far below the limit."""
    put(folder, "".join(f"m{n:05},1710/line/MIX-01:Area 4/Machine {n}/Motor/Speed\n" for n in range(20_000)))
    assert (folder / "tags.csv").stat().st_size < MAX_BYTES / 8
    assert tags(loaded(folder))["m19999"] == "1710/line/MIX-01:Area 4/Machine 19999/Motor/Speed"


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────


def test_everything_wrong_with_a_file_is_told_at_once(folder: Path):
    """Names, addresses, repetitions and missing cells, each with line, column and value; also what is in the YAML."""
    put(
        folder,
        "a,1710/line/MIX-01:A\n1a,1710/line/MIX-01:B\na,1710/line/MIX-01:C\nc,\nd\ne,nowhere\nmix01_order,G/N:x\n",
    )
    found = [line.partition(";")[0] for line in said(folder)]
    assert found == [
        "tags.csv:3: tag: is no name",
        "tags.csv:4: tag: is in line 2, too",
        "tags.csv:5: address: is empty",
        "tags.csv:6: has 1 cells where the first line names 2 columns",
        "tags.csv:7: address: e: 'nowhere' is no Sparkplug address",
        "tags.csv:8: tag: is under tags in sparkplug.yaml, line 26, too (mix01_order)",
    ]
    assert said(folder)[0].endswith("(1a)")
    assert said(folder)[4].endswith("(nowhere)")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"tag,address\na,\xff\n", "tags.csv:2: is not UTF-8; save it as CSV UTF-8 (byte 0xff)"),
        ("tag,address\na,G/N:x\n".encode("utf-16"), "tags.csv:1: is not UTF-8; save it as CSV UTF-8 (byte 0xff)"),
        (b"", "tags.csv:1: the first line must name the columns tag and address"),
        (b"name,address\na,G/N:x\n", "tags.csv:1: the first line must name the columns tag and address"),
        (b"tag,address\n", "tags.csv:1: lists no tags"),
        (b"tag,tag,address\na,b,G/N:x\n", "tags.csv:1: tag: is the name of two columns"),
        (b'tag,address\na,"G/N:x\n', "tags.csv:2: is no valid CSV: unexpected end of data"),
        (b'tag,address\na,"G/N\n:x"\n', "tags.csv:3: address: has a line break or a control character"),
        (b"tag,address\na,G/N:\x00\n", "tags.csv:2: address: has a line break or a control character"),
        (b"tag,address\n" + b"," * (MAX_BYTES + 1), "tags.csv:1: is larger than 16 MiB"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_list_of_tags_is_refused(tmp_path: Path, raw: bytes, sentence: str):
    """One sentence says where and what to do."""
    (found,) = read(tmp_path, raw)[1]
    assert found.startswith(sentence)


def test_a_file_that_is_not_there_is_told_where_it_is_named(folder: Path):
    """At the line of `tags_file`, with the path that was tried."""
    (found,) = said(folder)
    assert found.startswith(
        "sparkplug.yaml:23: sources[0].tags_file: tags.csv cannot be read: No such file or directory"
    )
    assert found.endswith("(tags.csv)")


def test_a_file_of_nothing_but_mistakes_is_told_in_a_hundred_lines(folder: Path):
    """The first of them, and how many more there are: of names, and of addresses."""
    put(folder, "".join(f"t{n},nowhere\n" for n in range(2000)))
    found = said(folder)
    assert len(found) == MOST + 1
    assert any("1900 more addresses cannot be read" in line for line in found)
    put(folder, "".join(f"{n},nowhere\n" for n in range(2000)))
    found = said(folder)
    assert len(found) == MOST + 1
    assert any("1900 more are not shown" in line for line in found)


def test_a_file_that_everybody_may_change_is_refused(folder: Path):
    """As every file that decides what is posted."""
    put(folder, MORE)
    (folder / "tags.csv").chmod(0o666)
    assert said(folder) == ["tags.csv:1: can be changed by everyone; chmod o-w"]


def test_an_unknown_tag_among_thousands_is_one_short_sentence(folder: Path):
    """The nearest name where one begins alike, else some of them and how many more."""
    put(folder, "".join(f"m{n:05},1710/line/MIX-01:M{n}\n" for n in range(5000)))
    file = folder / "sparkplug.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("order: mix01_order", "order: mix01_ordr", 1), encoding="utf-8")
    assert any("did you mean 'mix01_order'?" in line for line in said(folder))
    file.write_text(text.replace("order: mix01_order", "order: zzz", 1), encoding="utf-8")
    (found,) = said(folder)
    assert re.search(
        r" and 50\d\d more", found
    )  # the 5 000 and those of the shipped file, without those that are named
    assert len(found) < 1500


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ("name,address\n", "tags.csv:1: the first line must name the columns"),
        ("tag,address\nmix01_order,\n", "tags.csv:2: address: is empty"),
        ("tag,address\nmix01_order,a,b\n", "tags.csv:2: has 3 cells"),
        (None, "sparkplug.yaml:"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_without_what_follows_from_it(folder: Path, raw: str | None, line: str):
    """Events that name what the file would list are not called wrong."""
    file = folder / "sparkplug.yaml"
    text = file.read_text(encoding="utf-8")
    start, end = text.index("    tags:  "), text.index("    live:")
    file.write_text(text[:start] + text[end:], encoding="utf-8")
    if raw is not None:
        put(folder, raw, head="")
    told = said(folder)
    assert next(one for one in told if "tags.csv" in one).startswith(line)
    assert len(told) == 1


def test_a_tag_that_is_missing_is_told_once(folder: Path):
    """However many places name it."""
    file = folder / "sparkplug.yaml"
    text = file.read_text(encoding="utf-8")
    put(folder, MORE)
    file.write_text(text.replace("      mix01_order:", "      mix01_ordr:", 1), encoding="utf-8")
    (found,) = said(folder)
    assert found.count("'mix01_order'") == 1
    assert "more places); did you mean 'mix01_ordr'?" in found


# ── what goes with it ───────────────────────────────────────────────────────────────────────────────────────


def test_the_version_and_the_reload_know_the_file(folder: Path):
    """Another tag is another version of the configuration, and needs a restart, as under `tags`."""
    put(folder, MORE)
    before = loaded(folder)
    assert loaded(folder).version == before.version
    assert reload.needs_restart(before, loaded(folder)) == []
    put(folder, MORE + "extra_c,1710/line/MIX-01:Extra/C\n")
    after = loaded(folder)
    assert after.version != before.version
    assert [one.path for one in reload.needs_restart(before, after)] == ["sources line"]


def test_nodes_of_an_opc_ua_server_come_from_a_file_too(folder: Path):
    """The same under that kind of source, with what is wrong at its line."""
    file = folder / "opcua.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.count("    tags:  ") == 1
    file.write_text(text.replace("    tags:  ", "    tags_file: tags.csv\n    tags:  "), encoding="utf-8")
    put(folder, "extra,ns=line;s=MIX-01/Extra\n")
    assert tags(config.load(file, assembly.resolver(), SECRETS))["extra"] == "ns=line;s=MIX-01/Extra"
    put(folder, "extra,ns=line;s=MIX-01/Extra\nother,ns=3;s=MIX-01/Other\n")
    (found,) = config.examine(file, assembly.resolver(), SECRETS).findings
    assert str(found).startswith(f"{folder}/tags.csv:3: address: other: 'ns=3;s=MIX-01/Other': a namespace index")


def test_check_reads_it(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """`gatepost check` lists what is wrong with the file, and ends with 2."""
    monkeypatch.setenv("GATEPOST_SECRET_ERP_PASSWORD", "not-a-secret")
    put(folder, "a,nowhere\n")
    ran = gatepost_(folder / "sparkplug.yaml", "check", str(folder / "sparkplug.yaml"))
    assert ran.code == 2
    assert "tags.csv:2: address: a: 'nowhere' is no Sparkplug address" in ran.out


def test_load_refuses_what_examine_finds(folder: Path):
    """The agent does not start with a wrong file."""
    put(folder, "a,nowhere\n")
    with pytest.raises(ConfigError, match="is no Sparkplug address"):
        loaded(folder)
