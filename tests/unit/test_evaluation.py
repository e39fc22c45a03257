"""The frame of the evaluation: a figure knows whether its goal is met, and a missing data set is no failure."""

import json
import math
import re
import sys

import pytest

from models.evaluation import __main__ as evaluation
from models.evaluation.figures import Figure, dataset, table


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("told", 1.0), None),
        (Figure("at least", 0.80, 0.80), True),
        (Figure("at least", 0.79, 0.80), False),
        (Figure("at least, within a fold", 0.79, 0.80, slack=0.02), True),
        (Figure("at most", 0.03, 0.03, at_least=False), True),
        (Figure("at most", 0.031, 0.03, at_least=False), False),
        (Figure("no number", math.nan, 0.5), False),
        (Figure("no number", math.nan, 0.5, at_least=False), False),
    ],
)
def test_a_figure_knows_whether_its_goal_is_met(figure, met):
    """On the good side of the goal, or within the slack that the protocol allows; NaN meets nothing."""
    assert figure.met is met
    assert figure.record()["met"] is met
    assert ("NOT met" in table([figure])) is (met is False)


def test_a_data_set_that_is_not_there_is_left_out(tmp_path):
    """Neither without a folder of data, nor where the folder lacks the set."""
    (tmp_path / "nab").mkdir()
    assert dataset(None, "nab") is None
    assert dataset(tmp_path, "steel_plates") is None
    assert dataset(tmp_path, "nab") == tmp_path / "nab"


def test_what_was_measured_is_written(tmp_path, monkeypatch, capsys):
    """A run over one part without data leaves a file that says so, whichever folder it runs in, and claims nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluation", "--only", "steel"])
    evaluation.main()
    assert json.loads((tmp_path / "build" / "evaluate.json").read_text()) == []
    told = capsys.readouterr().out
    assert re.search(r"steel: \d+ s, no data", told)
    assert "0 figures" in told
    assert "met" not in told
