"""What the stories of the bench print can be copied into a shell as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simulators import stories
from simulators.scenario import Bench
from simulators.stories.stage import WIDTH, Stage

FOLDER = Path(stories.__file__).parent
BENCH = Bench(1, 2, 3, 4, 5, 6, 7, "nobody", "NONE")
ALONE = re.compile(r"""stage\.say\(\s*f?['"]  \.venv/bin/$""")
COMMAND = re.compile(r"gatepost (?:[a-z]+-)?[a-z]+ ")


@pytest.mark.parametrize("story", sorted(path.stem for path in FOLDER.glob("[a-z]*.py")))
def test_every_command_of_a_story_says_where_the_program_is(story):
    """A newcomer has no `gatepost` on the path; and each has a line of its own, that no fold breaks."""
    text = (FOLDER / f"{story}.py").read_text(encoding="utf-8")
    bare = [found.group() for found in COMMAND.finditer(text) if not ALONE.search(text[: found.start()])]
    assert bare == []


def test_an_id_stays_in_one_piece(tmp_path):
    """Lines fold at spaces, never at the hyphen of an id."""
    lines: list[str] = []
    id = "FOLLOW-ON-20261127-0017-3"
    for much in range(WIDTH):
        Stage(BENCH, tmp_path, lines.append).tell("x" * much + f" {id}")
    assert sum(id in line for line in lines) == WIDTH
