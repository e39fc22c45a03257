"""What the simulators are given that makes no sense: a sentence and an exit code, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulators import bench, outage
from simulators.line import __main__ as line
from simulators.plan import parser


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (bench.main, ["--rate", "-1"]),
        (bench.main, ["--rate", "nan"]),
        (bench.main, ["--events", "-5"]),
        (bench.main, ["--duration", "soon"]),
        (bench.main, ["--first-port", "0"]),
        (bench.main, ["--first-port", "65533"]),
        (line.main, ["--rate", "inf"]),
        (line.main, ["--events", "0"]),
        (outage.main, ["sap", "--first-port", "x"]),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(program, words, capsys):
    """Exit code 2 with the option and what it takes."""
    with pytest.raises(SystemExit) as ended:
        program(words)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert f"argument {words[-2]}: {words[-1]!r} is no " in told


def test_a_story_is_found_however_it_is_written_and_another_names_those_that_there_are(capsys):
    """In capitals and with an underscore; else one plain line."""
    assert parser("").parse_args(["--story", "Order_Release"]).story == "order-release"
    with pytest.raises(SystemExit) as ended:
        bench.main(["--story", "Scrapp"])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == (
        "", "there is no story 'Scrapp'; the stories are scrap, backflush, reconcile, order-release\n",
    )  # fmt: skip


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """The bench says which folder, also where a file stands in its place."""
    (tmp_path / "file").touch()
    for folder in (Path("/proc/none"), tmp_path / "file"):
        with pytest.raises(bench.BenchError, match=f"{folder} cannot be used"):
            bench._fresh_folder(folder)
