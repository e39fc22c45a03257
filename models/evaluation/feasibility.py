"""Order feasibility on job-shop routes: who says beforehand which orders are late, and how often that is true.

The routes are those of the published job-shop instances with 15 machines where the data are given, else generated.
What happens on them is simulated by `models.order_feasibility.simulate`; judged are whole runs that nothing was learnt
from.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from agent.features.order_feasibility import FEATURES
from models.evaluation.figures import Figure, dataset
from models.order_feasibility.rows import LATE_FINISH, ON_TIME, Rows, folds, rows
from models.order_feasibility.simulate import Route, routes
from models.order_feasibility.train import DIRECTIONS
from models.training import learners

MACHINES: Final = 15
LEARNT: Final = tuple(range(10))  # seeds of runs
JUDGED: Final = tuple(range(100, 108))
ORDERS: Final = 1500
BANDS: Final = ((0.0, 0.1), (0.1, 0.5), (0.5, 1.0))  # of the probability to be late: feasible, with notes, at risk

Values = NDArray[np.float64]


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """AUC and Brier of a late finish, the same for start and finish, and what the three bands mean."""
    place = dataset(data, "jobshop_instances")
    choices = published(place / "instances.json") if place else routes(1)
    name = f"{len(choices)} published routes of {MACHINES} machines" if place else "generated routes"
    known, fresh = rows(LEARNT, choices, ORDERS), rows(JUDGED, choices, ORDERS)
    protocol = f"{name}, simulated shop, {len(LEARNT)} runs learnt, {len(JUDGED)} unseen runs of {ORDERS} orders"
    fitted = learners.fit(known.features, known.classes, list(folds(known.runs)), ("boosting",), DIRECTIONS)
    answers = fitted.classifier.probabilities(fresh.features)
    late, told = (fresh.classes == LATE_FINISH).astype(float), answers[:, LATE_FINISH]
    missed, doubt = (fresh.classes != ON_TIME).astype(float), 1 - answers[:, ON_TIME]
    slack = fresh.features[:, FEATURES.index("critical_ratio")].astype(np.float64)
    found = [
        _over_runs("feasibility AUC late finish", _auc, late, told, fresh, protocol, 0.93),
        _over_runs("feasibility Brier late finish", _brier, late, told, fresh, protocol, 0.08, at_least=False),
        _over_runs("feasibility AUC start and finish", _auc, missed, doubt, fresh, protocol),
        _over_runs("feasibility Brier start and finish", _brier, missed, doubt, fresh, protocol),
        _over_runs("feasibility AUC of the critical ratio alone", _auc, late, -slack, fresh, protocol),
        Figure("feasibility share late", float(late.mean()), protocol=protocol),
    ]
    return found + _bands(late, told, fresh, protocol)


def published(path: Path) -> list[Route]:
    """The routes of every instance with MACHINES machines; minutes are the published times."""
    instances = json.loads(path.read_text())
    return [
        [(int(machine), float(minutes)) for machine, minutes in zip(machines, times, strict=True)]
        for one in instances.values()
        if len(one["machines_matrix"][0]) == MACHINES
        for machines, times in zip(one["machines_matrix"], one["duration_matrix"], strict=True)
    ]


def _over_runs(
    name: str,
    figure: Callable[[Values, Values], float],
    truth: Values,
    told: Values,
    fresh: Rows,
    protocol: str,
    goal: float | None = None,
    *,
    at_least: bool = True,
) -> Figure:
    each = [figure(truth[fresh.runs == run], told[fresh.runs == run]) for run in np.unique(fresh.runs)]
    return Figure(name, figure(truth, told), goal, at_least, float(np.std(each, ddof=1)), protocol)


def _auc(truth: Values, told: Values) -> float:
    return float(roc_auc_score(truth, told))


def _brier(truth: Values, told: Values) -> float:
    return float(((told - truth) ** 2).mean())


def _bands(late: Values, told: Values, fresh: Rows, protocol: str) -> list[Figure]:
    """How many orders are in each band and how many of them are late; a band means what it says.

    The goal is the band's own edge, and in the middle one that what is said lies within 0.05 of what is observed.
    """
    found = []
    for low, high in BANDS:
        inside = (told >= low) & (told < high) if high < 1 else told >= low
        name = f"feasibility late where {low:.2f} ≤ p < {high:.2f}"
        each = [late[inside & (fresh.runs == run)].mean() for run in np.unique(fresh.runs)]
        goal = {0.0: high, 0.5: low}.get(low)
        rate, spread = float(late[inside].mean()), float(np.std(each, ddof=1))
        words = f"{inside.mean():.1%} of orders; {protocol}"
        found.append(Figure(name, rate, goal, low > 0, spread, words))
        gap = abs(float(told[inside].mean()) - rate)
        found.append(Figure(f"{name}: said − observed", gap, 0.05, at_least=False, protocol=words))
    return found
