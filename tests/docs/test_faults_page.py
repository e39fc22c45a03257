"""The page of faults names tests that exist, every fault test there is, and the remedies as the list has them."""

from __future__ import annotations

import ast
import re
import shutil
from functools import cache
from itertools import chain
from pathlib import Path

from tests.remedies import ROOT, remedies, removed

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([a-z_0-9]+/test_[a-z_0-9]+\.py)::(test_[a-z_0-9]+)`")
ROWS = [line.split("|")[4:6] for line in PAGE.splitlines() if line.startswith("|") and "::" in line]


@cache
def functions(file: str) -> set[str]:
    """The tests of a file."""
    nodes = ast.walk(ast.parse((TESTS / file).read_text(encoding="utf-8")))
    return {one.name for one in nodes if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_named_test_exists():
    """Whoever follows the page finds the test."""
    named = NAMED.findall(PAGE)
    assert len(named) == PAGE.count("::")
    assert [f"{file}::{name}" for file, name in named if name not in functions(file)] == []


def test_every_fault_test_is_named():
    """A test of a fault that the page does not know proves a promise that nobody reads."""
    folders = chain(
        TESTS.glob("faults/test_*.py"), TESTS.glob("e2e/test_*.py"), TESTS.glob("integration/test_hostile_*")
    )
    named = set(NAMED.findall(PAGE))
    missing = {
        (file, name)
        for file in (str(path.relative_to(TESTS)) for path in folders)
        for name in functions(file)
        if name.startswith("test_") and (file, name) not in named
    }
    assert not missing


def test_the_remedies_of_a_row_are_those_of_its_tests():
    """What the last column says is what the list takes out for the tests beside it."""
    listed = [(one.name, {red.partition("[")[0] for red in one.red}) for one in remedies()]
    for named, said in ROWS:
        tests = {f"tests/{file}::{name}" for file, name in NAMED.findall(named)}
        expected = {remedy for remedy, red in listed if tests & red}
        assert {one for one in said.strip().split("<br>") if one != "–"} == expected, named


def test_every_remedy_can_be_taken_out(tmp_path: Path):
    """What the list takes out is in the code, once; else nobody hears of it until the next `make remedies`."""
    stale = []
    for number, remedy in enumerate(remedies()):
        copy = tmp_path / str(number)
        for file in {edit["file"] for edit in remedy.edits if (ROOT / edit["file"]).exists()}:
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, copy / file)
        if hindered := removed(remedy, copy):
            stale.append(f"{remedy.name}: {hindered}")
    assert stale == []


def test_every_test_of_the_list_exists():
    """A remedy whose test was renamed would be taken out for nothing."""
    listed = {red.partition("[")[0].removeprefix("tests/") for one in remedies() for red in one.red}
    assert [test for test in sorted(listed) if test.split("::")[1] not in functions(test.split("::")[0])] == []
