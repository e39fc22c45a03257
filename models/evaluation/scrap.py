"""The shipped model of scrap on runs of the simulated plant that it has not seen: simulated causes, no real floor."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from agent import registry
from agent.inference import Model
from models.evaluation.figures import Figure
from models.scrap_classification.simulate import cases
from models.scrap_classification.train import COLUMNS, HERE, data
from models.training import evaluating
from models.training.page import page

SEEDS: Final = (101, 102, 103, 104, 105)
CASES: Final = 2000
KEYS: Final = HERE.parents[1] / "edge_config" / "trust" / "models"


def measure(_data: Path | None, folder: Path) -> list[Figure]:
    """Figures without goals: they say that the pipeline finds what was put into the simulation."""
    keys = registry.trusted(KEYS)
    place = registry.champion(HERE)
    version, model = registry.read(place, keys), Model.load(place, keys)
    runs = [evaluating.judge(model, version, data(list(cases(CASES, one))), COLUMNS, f"seed {one}") for one in SEEDS]
    model.close()
    protocol = f"simulated scrap, {len(SEEDS)} runs of {CASES} cases not learnt from"
    told = {"Data": f"simulated scrap, {CASES} cases not learnt from", "Model": model.name}
    (folder / "scrap.html").write_text(page("Why was it scrapped?", told, runs[0].judged), encoding="utf-8")
    figures = [one.judged.figures() for one in runs]
    names = {
        "accuracy": "scrap accuracy",
        "macro_f1": "scrap macro-F1",
        "ece": "scrap ECE",
        "accepted": "scrap accepted",
    }
    return [_figure(told, [one[name] for one in figures], protocol) for name, told in names.items()] + [
        _figure("scrap right among these", [one.get("right_of_accepted", np.nan) for one in figures], protocol)
    ]


def _figure(name: str, values: list[float], protocol: str) -> Figure:
    return Figure(name, float(np.mean(values)), spread=float(np.std(values, ddof=1)), protocol=protocol)
