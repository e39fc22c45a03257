"""The files of the Ignition project: what a gateway would refuse or silently skip, and what no linter looks at."""

from __future__ import annotations

import ast
import json
import re
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).resolve().parents[2]
FOLDER = HOUSE / "ignition_project"
PROJECT = FOLDER / "Gatepost"
PERSPECTIVE = PROJECT / "com.inductiveautomation.perspective"
LIBRARY = PROJECT / "ignition/script-python/gatepost"
RESOURCES = sorted(PROJECT.rglob("resource.json"))
CODE = sorted(PROJECT.rglob("*.py"))
VIEWS = sorted(PERSPECTIVE.rglob("view.json"))
SIX = {"scope", "version", "restricted", "overridable", "files", "attributes"}
BUILD = runpy.run_path(str(FOLDER / "build.py"))
README = (FOLDER / "README.md").read_text()


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def everything(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, all the way down."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield key, one
            yield from everything(one)
    elif isinstance(value, list):
        for one in value:
            yield from everything(one)


ALL = [pair for path in VIEWS for pair in everything(read(path))]


def test_iglint_finds_nothing():
    """The linter for Ignition's formats has no finding, not even a warning."""
    command = [str(Path(sys.executable).parent / "iglint"), "check", str(FOLDER), "--isolated", "--error-on", "info"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_resource_is_told_as_a_gateway_wants_it():
    """Six keys, a time of the last change, no invented signature, and exactly the files that are there."""
    for path in RESOURCES:
        told = read(path)
        assert set(told) == SIX, path
        assert "lastModification" in told["attributes"], path
        assert "lastModificationSignature" not in told["attributes"], path
        beside = {one.name for one in path.parent.iterdir() if one.is_file()}
        assert {*told["files"], "resource.json"} == beside, path


def test_no_resource_lies_in_another_and_no_file_without_one():
    """A view within a view's folder would not exist for a gateway; a file beside no resource.json neither."""
    folders = {path.parent for path in RESOURCES}
    assert [one for one in folders if folders & set(one.parents)] == []
    files = {one.parent for one in PROJECT.rglob("*") if one.is_file() and one.name != "project.json"}
    assert files - folders == set()


def scripts() -> Iterator[tuple[str, str]]:
    for path in CODE:
        yield str(path.relative_to(PROJECT)), path.read_text()
    for path in VIEWS:
        for key, value in everything(read(path)):
            if key in ("script", "code") and isinstance(value, str):
                yield f"{path.parent.name}: {value[:40]}", value


def test_scripts_are_ascii_with_tabs():
    """A space before a statement, or an umlaut without a coding line, stops a script on a gateway."""
    for where, text in scripts():
        assert text.isascii(), where
        assert not re.search(r"^ +\S", text, re.MULTILINE), where
    for where, text in scripts():
        if not where.endswith(".py"):
            assert all(line.startswith("\t") for line in text.splitlines() if line), where


def test_only_one_module_touches_the_gateway():
    """Views, events and every other module reach Ignition through `gatepost.gateway`, so that they run without it."""
    for where, text in scripts():
        if "gatepost/gateway/" not in where:
            assert not re.search(r"\bsystem\.\w|\bfrom java|\bimport java", text), where


def test_no_binding_asks_over_http():
    """Bindings and transforms read tags and properties: a call over HTTP in one would run in every session."""
    kinds = {value["type"] for key, value in ALL if key == "binding"}
    assert kinds <= {"tag", "property", "expr", "expr-struct"}
    asks = re.compile(r"gatepost\.(agent|gateway|poll|signing|approval|trace)\b")
    for key, value in ALL:
        if key == "code":
            assert not asks.search(value), value
        if key == "expression":
            assert "runScript" not in value, value


def test_what_is_referred_to_is_there():
    """Views, style classes, messages and functions of the library that are named are shipped."""
    known = {str(one.parent.relative_to(PERSPECTIVE / "views")) for one in VIEWS}
    pages = read(PERSPECTIVE / "page-config/config.json")
    used = {value for key, value in [*ALL, *everything(pages)] if key in ("viewPath",)}
    used |= {
        value["path"] for key, value in ALL if key == "props" and str(value.get("path", "")).startswith("Gatepost")
    }
    assert used - known == set()
    styles = {str(one.parent.relative_to(PERSPECTIVE / "style-classes")) for one in PERSPECTIVE.rglob("style.json")}
    text = "".join(one.read_text() for one in [*VIEWS, *CODE])
    classes = {one for one in re.findall(r"Gatepost/[A-Z]\w+(?:/[A-Z]\w+)?", text) if one not in known}
    tags = {one.removeprefix("[default]") for one in tag_paths()}
    assert {one for one in classes - styles if one not in tags and one not in known} == set()
    assert styles - classes == set(), "styles that nothing wears"
    heard = {value["messageType"] for key, values in ALL if key == "messageHandlers" for value in values}
    assert heard == {one for _, script in scripts() for one in re.findall(r'\.tell\(.*"(gatepost-\w+)"', script)}
    functions = {
        f"gatepost.{path.parent.name}.{one.name}"
        for path in LIBRARY.rglob("code.py")
        for one in ast.parse(path.read_text()).body
        if isinstance(one, ast.FunctionDef | ast.ClassDef)
    }
    called = {one for _, script in scripts() for one in re.findall(r"gatepost\.[a-z]+\.\w+(?=\()", script)}
    assert called - functions == set()


def tag_paths() -> set[str]:
    """The tags that are there after the import: those of the instance, by its type."""
    root = read(FOLDER / "tags/gatepost.json")
    types, instance = root["tags"]
    assert (root["tagType"], types["name"], instance["tagType"]) == ("Provider", "_types_", "UdtInstance")
    (of_type,) = types["tags"]
    assert (of_type["tagType"], of_type["name"]) == ("UdtType", instance["typeId"])
    return paths_in({**of_type, "name": instance["name"]}, "[default]")


def paths_in(node: Any, above: str) -> set[str]:
    path = above + node["name"]
    if node["tagType"] == "AtomicTag":
        return {path}
    return {one for tag in node["tags"] for one in paths_in(tag, path + "/")}


def test_every_tag_of_views_and_scripts_is_in_the_export():
    """A tag that is bound, read or written exists after the import; the export has none that nobody uses."""
    bound = {one.strip("{}") for path in VIEWS for one in re.findall(r"\[default\][\w/]+", path.read_text())}
    written = {
        f"[default]Gatepost/{one}"
        for path in LIBRARY.rglob("code.py")
        for one in re.findall(r'"((?:Board|Settings)/\w+)"', path.read_text())
    }
    assert bound | written == tag_paths()


def test_no_secret_and_no_foreign_address():
    """No key, no password; the only address is this machine's."""
    for path in [one for one in FOLDER.rglob("*") if one.is_file() and "__pycache__" not in one.parts]:
        text = path.read_text()
        assert not re.search(r"BEGIN [A-Z ]*PRIVATE|bearer [a-z0-9]{8}|password\"\s*:\s*\"\w", text, re.IGNORECASE), (
            path
        )
        for address in re.findall(r"https?://([\w.-]+)", text):
            assert address in ("127.0.0.1", "localhost"), (path, address)


def test_only_the_listed_components_and_bindings_are_used():
    """The README lists every type of component, binding and action: what a new version of Ignition may break."""
    types = {value for key, value in ALL if key == "type" and isinstance(value, str)}
    assert {one for one in types if f"`{one}`" not in README} == set()


def test_fingers_find_every_button():
    """What is touched on a panel is at least 40 pixels high."""
    touched = {"ia.input.button", "ia.input.dropdown", "ia.input.text-field"}
    for path in VIEWS:
        for one in [read(path)["root"], *(value for _, value in everything(read(path)) if isinstance(value, dict))]:
            if one.get("type") in touched:
                name = one["props"]["style"]["classes"]
                style = read(PERSPECTIVE / "style-classes" / name / "style.json")["base"]["style"]
                assert int(style["minHeight"].removesuffix("px")) >= 40, (path, one["meta"])


def test_inputs_that_a_browser_may_write_are_told():
    """Every parameter has its direction; what a binding fills is not kept in the view's file."""
    for path in VIEWS:
        view = read(path)
        for name in view["params"]:
            assert view["propConfig"][f"params.{name}"]["paramDirection"] == "input", path


# ── the zips ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("zips")
    BUILD["main"](folder)
    return folder


def test_the_zip_for_8_3_is_the_tree(built: Path):
    """`project.json` at the root, nothing above it, every file as it is."""
    with zipfile.ZipFile(built / "gatepost-ignition-8.3.zip") as archive:
        content = {one: archive.read(one) for one in archive.namelist()}
    assert "project.json" in content
    assert content == {str(one.relative_to(PROJECT)): one.read_bytes() for one in PROJECT.rglob("*") if one.is_file()}


def test_the_zip_for_8_1_has_the_same_scripts_in_its_own_form(built: Path):
    """No folder that only 8.3 knows; the session's events are the bodies of 8.3 without their headers."""
    with zipfile.ZipFile(built / "gatepost-ignition-8.1.zip") as archive:
        content = {one: archive.read(one) for one in archive.namelist()}
    assert [one for one in content if one.startswith("ignition/") and "script-python" not in one] == []
    assert [one for one in content if "/auth-challenge/" in one] == []
    events = json.loads(content["com.inductiveautomation.perspective/session-scripts/data.bin"])
    script = (PERSPECTIVE / "auth-challenge/onAuthChallengeCompleted.py").read_text()
    assert events["onAuthChallengeCompleted"] == script.split("\n", 1)[1].rstrip("\n")
    told = json.loads(content["com.inductiveautomation.perspective/session-scripts/resource.json"])
    assert told["files"] == ["data.bin"]
    assert "lastModification" in told["attributes"]


def test_the_zips_are_the_same_bytes_every_time(built: Path, tmp_path: Path):
    """Who builds the same tree again gets the same files, to the byte."""
    BUILD["main"](tmp_path)
    for one in built.iterdir():
        assert one.read_bytes() == (tmp_path / one.name).read_bytes(), one.name
