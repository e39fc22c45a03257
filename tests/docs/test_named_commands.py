"""Every `gatepost …` that a page, an alert or a deployment file tells people to type can be typed."""

import re
from pathlib import Path

import click
import pytest

from agent.cli import COMMANDS, gatepost

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "edge_config").rglob("*.y*ml")]
TYPED = re.compile(r"(?:`|^ {4}|bin/)gatepost +([a-z][^`\n]*)", re.MULTILINE)


def mistake(typed: str) -> str:
    """What is wrong with a command line as it is printed: an unknown command or option; empty: nothing."""
    words = typed.split()
    if words[0] not in COMMANDS:
        return f"there is no `gatepost {words[0]}`"
    command: click.Command | None = gatepost.get_command(click.Context(gatepost), words[0])
    if isinstance(command, click.Group) and len(words) > 1:
        command = command.get_command(click.Context(command), words[1])
        if command is None:
            return f"`gatepost {words[0]}` has no {words[1]!r}"
    known = {name for one in (command.params if command else ()) for name in one.opts}
    return ", ".join(f"no option {word}" for word in words if word.startswith("--") and word not in {*known, "--help"})


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_what_people_are_told_to_type_can_be_typed(page):
    """Commands, their subcommands and options exist as they are named."""
    for typed in TYPED.findall(page.read_text(encoding="utf-8")):
        assert not mistake(typed), f"{typed!r}: {mistake(typed)}"


def test_a_wrong_command_is_found():
    """The check above is no formality."""
    assert mistake("nonsense")
    assert mistake("approvals nonsense")
    assert mistake("status --nonsense")
    assert not mistake("approvals approve 13 --reason weighed --yes")
