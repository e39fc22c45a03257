"""`gatepost export ignition-tags`: the tag import of Ignition, from a configuration and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Conflict
from agent.opcua.ignition import count, tag_import, tag_name
from agent.opcua.nodes import Parts
from tests.command_line import gatepost_

HOUSE = Path(__file__).resolve().parents[2]
SERVER = "opcua_server: {address: 127.0.0.1:48010}\n"
TAG = {"name", "tagType", "valueSource", "dataType", "opcServer", "opcItemPath", "readOnly", "documentation", "engUnit"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of the bench with an OPC UA server, where neither secrets nor a store are."""
    shutil.copytree(HOUSE / "edge_config", tmp_path / "edge_config")
    (tmp_path / "models").mkdir()
    for name in [one for one in os.environ if one.startswith("GATEPOST")]:
        monkeypatch.delenv(name)
    file = tmp_path / "edge_config" / "agent.yaml"
    file.write_text(file.read_text() + "\n" + SERVER)
    return file


def parts(*lines: str) -> Parts:
    return Parts(["line"], ["s4"], ["consumption"], lines)


def tags(node: dict[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every tag by its path."""
    for one in node["tags"]:
        path = f"{above}{one['name']}"
        yield from tags(one, f"{path}/") if "tags" in one else [(path, one)]


def test_the_tags_of_the_bench(config: Path, tmp_path: Path):
    """Without secrets, store or agent: a tag for every source, target, workflow and line, at the named connection."""
    ran = gatepost_(
        config, "export", "ignition-tags", str(tmp_path / "t.json"), "--opc-server", "Edge 5", "--folder", "A"
    )
    assert ran.code == 0, ran.out
    root = json.loads((tmp_path / "t.json").read_text())
    assert root["name"] == "A"
    found = dict(tags(root))
    assert f"{len(found)} tags in " in ran.out
    assert len(found) == count(root)
    assert {one["opcServer"] for one in found.values()} == {"Edge 5"}
    for path in (
        "Heartbeat", "Sources/line/Connected", "Sources/reports/Error", "Targets/s4/Available",
        "Workflows/consumption/Held", "Lines/mixing/LastDecision/State",
    ):  # fmt: skip
        assert found[path]["opcItemPath"] == f"nsu=urn:gatepost:agent;s={path}"
    assert found["OldestWaitingSeconds"]["engUnit"] == "s"


def test_it_has_the_structure_of_a_tag_import(config: Path):
    """Folders hold a name, a type and tags; OPC tags hold what one needs, and nothing but that."""
    ran = gatepost_(config, "export", "ignition-tags", "-")
    assert ran.code == 0, ran.out
    waiting = [json.loads(ran.out)]
    for one in waiting:
        if one["tagType"] == "Folder":
            assert set(one) == {"name", "tagType", "tags"}
            names = [each["name"].casefold() for each in one["tags"]]
            assert len(names) == len(set(names))
            waiting += one["tags"]
            continue
        assert TAG - set(one) <= {"engUnit"}
        assert set(one) <= TAG
        assert (one["tagType"], one["valueSource"], one["readOnly"]) == ("AtomicTag", "opc", True)
        assert one["dataType"] in {"Boolean", "Int8", "Float8", "String", "DateTime"}
        assert one["documentation"]
    assert all(tag_name(one["name"]) == one["name"] for one in waiting)


def test_the_same_configuration_gives_the_same_file(config: Path):
    """Exported twice, not a byte differs."""
    first = gatepost_(config, "export", "ignition-tags", "-").out
    assert gatepost_(config, "export", "ignition-tags", "-").out == first


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Füllerei 2", "Füllerei 2"),
        ("A.1", "A_1"),
        ("-x", "_x"),
        ("[a]{b}~\\", "_a__b___"),
        (" ", "_"),
        ("5:(b)", "5:(b)"),
    ],
)
def test_names_that_ignition_does_not_take(written: str, name: str):
    """Letters, digits and what is allowed stay, everything else is an underscore."""
    assert tag_name(written) == name


def test_a_line_keeps_its_item_path():
    """A name that is changed for Ignition is still the agent's in the item path; a slash is a folder on both sides."""
    found = dict(tags(tag_import(parts("Hall 1/P.2"), "Gatepost", "Gatepost")))
    one = found["Lines/Hall 1/P_2/LastDecision/At"]
    assert one["opcItemPath"] == "nsu=urn:gatepost:agent;s=Lines/Hall 1/P.2/LastDecision/At"


@pytest.mark.parametrize("two", [("P.2", "P_2"), ("p2", "P2"), ("A/P#1", "A/P.1")])
def test_two_lines_that_would_be_one_tag(two: tuple[str, str]):
    """They are refused by name: an import would keep one of the two without a word."""
    with pytest.raises(Conflict, match=f"Lines/{two[0]} and Lines/{two[1]} would both be the tag"):
        tag_import(parts(*two), "Gatepost", "Gatepost")


def test_a_configuration_without_the_server(config: Path):
    """There is nothing that Ignition could connect to, and that is said with the section that is missing."""
    config.write_text(config.read_text().replace(SERVER, ""))
    ran = gatepost_(config, "export", "ignition-tags", "-")
    assert ran.code == 2
    assert "opcua_server: is not configured, so there is nothing that Ignition could connect to" in ran.out


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("agent.yaml", "address: 127.0.0.1:48010", "adress: 127.0.0.1:48010", "opcua_server.adress"),
        ("agent.yaml", "- name: line ", "- name: Line ", "sources[0].name"),
        ("masterdata/work_centers.yaml", "line: mixing", "lime: mixing", "work_centers[0].lime"),
        ("units.yaml", "aliases:", "alias:", "alias"),
    ],
)
def test_what_is_wrong_with_the_configuration_is_said(config: Path, file: str, old: str, new: str, said: str):
    """A name that cannot be trusted makes no tag: file, line and path, exit code 2."""
    wrong = config.parent / file
    text = wrong.read_text()
    assert old in text
    wrong.write_text(text.replace(old, new, 1))
    ran = gatepost_(config, "export", "ignition-tags", "-")
    assert ran.code == 2
    assert f"{wrong}:" in ran.out
    assert said in ran.out
    assert "secret" not in ran.out


def test_names_and_files_that_cannot_be(config: Path, tmp_path: Path):
    """A folder that Ignition would not take, no connection, and a file that is there already are refused."""
    for options in (("--folder", "a/b"), ("--folder", ""), ("--opc-server", " ")):
        assert gatepost_(config, "export", "ignition-tags", "-", *options).code == 2
    there = tmp_path / "t.json"
    there.write_text("mine")
    assert gatepost_(config, "export", "ignition-tags", str(there)).code == 1
    assert there.read_text() == "mine"
    assert gatepost_(config, "export", "ignition-tags", "/proc/none/t.json").code == 1
