"""The page on mappings: its example works as printed, and it names all there is."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agent.configuration import config
from agent.errors import BadPayload
from agent.isa95 import MaterialActual, Quantity, SegmentResponse
from agent.mapping import MappingFile, load
from agent.ports import Event
from agent.strict.schema import models_in
from agent.units import UnitsFile, UnitTable

PAGE = Path("docs/mapping.md").read_text()
NOW = datetime(2026, 11, 20, 13, 0, 6, tzinfo=UTC)
SNIPPETS = dict(re.findall(r"^```\w+ (\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def read(folder: Path, message: str) -> Any:
    """What the printed mapping, with the printed units, makes of a message."""
    for name in ("units", "mapping"):
        (folder / f"{name}.yaml").write_text(SNIPPETS[name])
    units = UnitTable.of(config.parse(folder / "units.yaml", UnitsFile))
    event = Event(1, "scales", "hall3/mix/M-07/weighed", message.encode(), NOW)
    return plain(load([folder / "mapping.yaml"], units).read(event))


def plain(value: Any) -> Any:
    """A report as the page prints it: in JSON, without what is empty."""
    if isinstance(value, Quantity):
        return str(value)
    if isinstance(value, SegmentResponse | MaterialActual):
        return {name: plain(member) for name, member in value._asdict().items() if member}
    if isinstance(value, tuple):
        return [plain(member) for member in value]
    return value.isoformat() if isinstance(value, datetime) else str(value)


def test_the_example_is_read_as_printed(tmp_path: Path):
    """The printed message with the printed mapping gives the printed report."""
    assert read(tmp_path, SNIPPETS["message"]) == json.loads(SNIPPETS["report"])


def test_the_refusal_is_as_printed(tmp_path: Path):
    """The printed mistake gives the printed reason."""
    with pytest.raises(BadPayload) as refusal:
        read(tmp_path, SNIPPETS["message"].replace('"12,50"', '"12.50"'))

    assert str(refusal.value) == SNIPPETS["refusal"].strip()


def test_every_snippet_is_tested():
    """A snippet without a name would be one that nobody runs."""
    assert set(SNIPPETS) == {"message", "mapping", "report", "refusal", "units"}
    assert PAGE.count("```") == 2 * len(SNIPPETS)


def keys_of(model: type[BaseModel]) -> set[str]:
    """Every key that the file can hold, at any depth."""
    below = (keys_of(inner) for field in model.model_fields.values() for inner in models_in(field.annotation))
    return set(model.model_fields).union(*below)


def test_every_key_is_on_the_page():
    """Whatever a mapping file may say is explained here."""
    unexplained = {key for key in keys_of(MappingFile) if not re.search(rf"\b{key}\b", PAGE)}

    assert unexplained == set()


def test_every_reason_is_on_the_page():
    """Each reason code that the code can give has its line in the table."""
    files = [*Path("agent/mapping").glob("*.py"), Path("agent/strict/strictjson.py"), Path("agent/units.py")]
    code = "\n".join(file.read_text() for file in files)
    bad_calls = re.findall(r'bad\((?:[^()]|\([^()]*\))*"([a-z_]+)",?\s*\)', code)
    reasons = {*re.findall(r'reason="(\w+)"', code), *bad_calls}

    assert {"bad_time", "missing", "too_deep", "out_of_range"} <= reasons
    assert {reason for reason in reasons if f"`{reason}`" not in PAGE} == set()
