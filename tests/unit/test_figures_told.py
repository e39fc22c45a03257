"""Every figure of a model is explained where it is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.commands.figures import meaning

SHIPPED = sorted((Path(__file__).parents[2] / "models").glob("*/*/manifest.json"))


@pytest.mark.parametrize("manifest", SHIPPED, ids=lambda path: f"{path.parts[-3]}/{path.parts[-2]}")
def test_every_figure_of_the_shipped_models_has_a_meaning(manifest: Path):
    """Also those with a share or a time in their names."""
    figures = json.loads(manifest.read_text())["metrics"]
    assert figures
    assert [one for one in figures if not meaning(one)] == []


@pytest.mark.parametrize(
    ("figure", "told"),
    [
        ("covered_0.05", "the set that should hold 95%"),
        ("set_size_0.1", "classes in that set"),
        ("90% covered, 3 h", "below the 90 % quantile: should be near 0.9"),
        ("normal_accepted_at_0.9", "at confidence 0.9"),
        ("nonsense", ""),
    ],
)
def test_shares_in_the_name_are_in_the_meaning(figure: str, told: str):
    """What nobody knows has no meaning."""
    assert told in meaning(figure)
    assert bool(told) == bool(meaning(figure))
