"""docs/tags.md: its examples are declarations, its event is what the agent makes, its tables are whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.strict.schema import Settings, parse
from agent.strict.tagfile import scan_tags
from agent.strict.yamltree import Node
from agent.tags.config import TagEvent, When
from agent.tags.handshake import Code
from tests.tag_bench import Agent, change

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tags.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


class Example(Settings):
    """A part of a source, whose addresses are left out."""

    tags: Mapping[str, str] = {}
    events: tuple[TagEvent, ...]


def declared(folder: Path, text: str) -> TagEvent:
    file = folder / "example.yaml"
    file.write_text(text if "events:" in text else f"events:\n{text}", encoding="utf-8")
    (event,) = parse(file, Example).events
    return event


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_a_declaration(tmp_path: Path, text: str):
    """What a reader copies is accepted."""
    assert declared(tmp_path, text).name


def test_the_event_of_the_page_is_what_the_agent_makes(tmp_path: Path):
    """The first example makes the message that is shown below it."""
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    event = declared(tmp_path, EXAMPLES[0])
    agent = Agent([event], "line")
    agent.committed = b'{"version":1,"numbers":{"plant/1710/ASSY-05/ASSY-05":40},"events":{"assy05-seal":{"n":16}}}'
    agent.kill()
    agent.say(lot_done=False, order="1000120", operation="0010", batch="B1", seal_total=65530)

    made = agent.send(change("seal_total", 6), change("lot_done", True, 1.5))

    assert made.deliveries[0].payload.decode() == shown.replace("\n ", "").strip()
    assert json.loads(shown)["quantity"] == 0.012


def test_the_csv_of_the_page_is_a_list_of_tags(tmp_path: Path):
    """What a reader copies is read: two tags, one with a comma in its address."""
    (shown,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "tags.csv"
    file.write_text(shown, encoding="utf-8")
    found, findings = scan_tags(file, Node("agent.yaml", 1, "tags_file"))
    assert findings == []
    assert {tag: node.text for tag, node in found.items()} == {
        "press1_total": "nsu=urn:line;s=Press 1/Total",
        "press1_state": "nsu=urn:line;s=Press 1/State, coded",
    }


def test_every_error_code_is_explained():
    """The table of the error tag has each code of the agent, and 0."""
    table = PAGE.split("| `error` |")[1].split("\n\n")[0]

    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == [str(number) for number in (0, *Code)]


def test_every_trigger_is_explained():
    """The table of triggers names each key of `when`."""
    table = PAGE.split("## When an event is made")[1].split("\n\n")[1]

    assert all(f"`{name}:" in table for name in When.model_fields)
