"""Train the model that tells why something was scrapped.

    python -m models.scrap_classification.train [folder]

The cases are simulated. The features are computed by the same pure functions that serve. The same seed gives the same
files, byte for byte, but for the signature.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.features.scrap_classification import values
from models import shipped
from models.scrap_classification.simulate import Case, cases
from models.training import pipeline
from models.training.columns import Category, Columns, Number
from models.training.pipeline import Trained
from models.training.table import Data

HERE: Final = Path(__file__).parent
VERSION: Final = "1"
SEED: Final = 11
CASES: Final = 6000

COLUMNS: Final = Columns(
    target="cause",
    time="at",
    numbers={
        "scrapped_share": Number(text="share of the lot that is scrap", least=Decimal(0), most=Decimal(1)),
        "since_set_up": Number(text="since the machine was set up", unit="pieces", least=Decimal(0)),
        "tool_used": Number(text="share of the tool's life", least=Decimal(0), most=Decimal(2)),
        "since_stop": Number(text="since the machine last stood still", unit="minutes", least=Decimal(0)),
        "temperature_off": Number(text="temperature off its set-point", unit="tolerances"),
        "pressure_off": Number(text="pressure off its set-point", unit="tolerances"),
        "cycle_off": Number(text="cycle time off its usual", unit="tolerances"),
        "scrap_of_machine": Number(text="scrap of the machine lately", least=Decimal(0), most=Decimal(1)),
        "scrap_of_batch": Number(text="scrap with this batch so far", least=Decimal(0), most=Decimal(1)),
    },
    categories={"machine": Category(), "defect": Category(text="defect code"), "shift": Category()},
    learner="boosting",
    right=Decimal("0.9"),  # one answer in twenty is wrong: more cannot be asked of any bar
)
ORIGIN: Final = pipeline.Origin(
    data=f"models/scrap_classification/simulate.py, seed {SEED}",
    about=(
        "\n## Trained on a simulated plant\n"
        "No real floor is in it: six causes on the bench's three machines leave the traces that somebody wrote into a\n"
        "simulation, one answer in twenty is wrong on purpose. Its figures say that it finds what was put in,\n"
        "not what your plant will do. Train it on your own reports (docs/training.md) before anybody acts on it.\n"
    ),
    limits=(
        "It tells causes of this list only. Who bears a cause is a table of yours (`cost_centre`), not the model's."
    ),
)


def data(found: Sequence[Case]) -> Data:
    """The cases as the pipeline reads them."""
    rows = tuple(values(one.scrap) for one in found)
    target = tuple(one.cause for one in found)
    digest = sha256(json.dumps([*zip(rows, target, strict=True)], sort_keys=True).encode()).hexdigest()
    return Data(rows, target, tuple(one.scrap.at for one in found), digest)


def trained(count: int = CASES) -> Trained:
    """The version, proven and judged; nothing is written."""
    return pipeline.train(HERE.name, data(list(cases(count, SEED))), COLUMNS, ORIGIN, version=VERSION)


if __name__ == "__main__":
    shipped.write(trained())
