"""The page for auditors: every test that it names exists, and its configuration is understood."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

from agent import assembly
from agent.configuration import config
from tests.api_bench import write

PAGE = Path("docs/signatures.md").read_text()


def test_every_named_test_exists():
    """No clause rests on a test that is not there, and every clause has one or says that it is the plant's."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    for file, name in named:
        tree = ast.parse((Path("tests") / file).read_text())
        there = {getattr(node, "name", "") for node in tree.body}
        there |= {
            one.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for one in node.targets
            if isinstance(one, ast.Name)
        }
        assert name in there, f"{file}::{name}"


def test_the_printed_configuration_is_understood(tmp_path: Path):
    """It can be copied."""
    (printed,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    path = write(tmp_path, "http://127.0.0.1:1", **yaml.safe_load(printed))
    assert config.examine(path, assembly.resolver(), {}).findings == []
