"""The shipped model of scrap on runs of the simulated plant that it has not seen: simulated causes, no real floor.

And what the workflow makes of it: how often the cause is among the three that people are shown, how often it abstains,
and how often what goes by itself is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from agent.errors import ModelUnfit
from agent.features.scrap_classification import values
from agent.scoring import registry
from agent.scoring.inference import PATIENCE_S, Model
from models.evaluation.figures import Figure
from models.scrap_classification.simulate import Case, cases
from models.scrap_classification.train import COLUMNS, HERE, data
from models.training import evaluating
from models.training.page import page

SEEDS: Final = tuple(range(101, 111))
CASES: Final = 2000
BAR: Final = 0.76  # of the bench's authority, and of the card
MAY_BE_WRONG: Final = "0.1"  # the workflow's default
BATCH: Final = 250
KEYS: Final = HERE.parents[1] / "edge_config" / "trust" / "models"


def measure(_data: Path | None, folder: Path) -> list[Figure]:
    """Figures without goals: they say that the pipeline finds what was put into the simulation."""
    keys = registry.trusted(KEYS)
    place = registry.champion(HERE)
    version, model = registry.read(place, keys), Model.load(place, keys, explain_below=0.0, deadline_s=PATIENCE_S)
    made = [list(cases(CASES, one)) for one in SEEDS]
    runs = [
        evaluating.judge(model, version, data(one), COLUMNS, f"seed {seed}")
        for seed, one in zip(SEEDS, made, strict=True)
    ]
    decided = [_decided(model, one) for one in made]
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
        _figure("scrap right among these", [one.get("right_of_accepted", np.nan) for one in figures], protocol),
        *(_figure(name, [one[name] for one in decided], protocol) for name in decided[0]),
    ]


def _decided(model: Model, found: Sequence[Case]) -> dict[str, float]:
    """What the workflow would do with these, as it decides: one cause left, and sure enough; else a person."""
    shown = alone = wrong = 0
    for at in range(0, len(found), BATCH):
        part = found[at : at + BATCH]
        answers = model.classify([model.row(values(one.scrap)) for one in part])
        for one, answer in zip(part, answers, strict=True):
            if isinstance(answer, ModelUnfit):
                continue
            shown += one.cause in dict(answer.top())
            if len(answer.possible[MAY_BE_WRONG]) == 1 and answer.confidence >= BAR:
                alone += 1
                wrong += answer.likeliest != one.cause
    return {
        "scrap cause among the three shown": shown / len(found),
        "scrap abstained": 1 - alone / len(found),
        "scrap wrong among what goes by itself": wrong / alone,
    }


def _figure(name: str, values: list[float], protocol: str) -> Figure:
    return Figure(name, float(np.mean(values)), spread=float(np.std(values, ddof=1)), protocol=protocol)
