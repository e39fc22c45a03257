"""Quantiles of the use of the next hours: rows of a series, boosted trees for each of them, one graph for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import compose, helper
from sklearn.ensemble import HistGradientBoostingRegressor

from agent.features.shortage_forecast import FEATURES, HISTORY, QUANTILES, SLOT_MINUTES, features, unit
from agent.scoring.recalibration import QuantileOffsets
from agent.scoring.shortage import STEP
from agent.shortages.outlook import moved
from models.training import graph

OUTPUT: Final = "quantiles"
PARTS: Final = 5  # of the time: what deviates in each is told by a mean of the others
TREES: Final[Mapping[str, Any]] = {
    "learning_rate": 0.12,
    "max_iter": 75,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 30,
    "l2_regularization": 0.0,
    "max_features": 0.5,
    "early_stopping": False,
    "random_state": 7,
}

Values = NDArray[np.float64]


class Rows(NamedTuple):
    """Forecasts that can be judged: features, what was used, its unit, what was used just before; `at` is the slot."""

    features: NDArray[np.float32]
    used: Values
    unit: Values
    before: Values
    at: NDArray[np.intp]

    def of(self, chosen: Any) -> Rows:
        """Some of them."""
        return Rows(*(one[chosen] for one in self))


def rows(usage: Sequence[float], start: datetime, horizon: int, every: int = 1) -> Rows:
    """Every so many slots one forecast of `horizon` slots. `start` is the plant's local time of the first slot."""
    found, places = [], range(HISTORY, len(usage) - horizon + 1, every)
    for at in places:
        told = usage[at - HISTORY : at]
        row = features(told, horizon, start + timedelta(minutes=SLOT_MINUTES * at))
        found.append((row, sum(usage[at : at + horizon]), unit(told, horizon), sum(told[-horizon:])))
    table = np.array([row for row, *_ in found], np.float32)  # as the graph computes
    used, units, before = (np.array([one[part] for one in found]) for part in (1, 2, 3))
    return Rows(table, used, units, before, np.array(places, np.intp))


def joined(parts: Sequence[Rows]) -> Rows:
    """Several series or horizons, one after the other."""
    return Rows(*(np.concatenate(part) for part in zip(*parts, strict=True)))


@dataclass(frozen=True, slots=True)
class Forecaster:
    """The mean, and for each quantile how far it lies from that."""

    mean: HistGradientBoostingRegressor
    members: tuple[HistGradientBoostingRegressor, ...]

    def shares(self, table: NDArray[np.float32]) -> Values:
        """One column per quantile, in units; quantiles may cross, whoever serves sorts them."""
        mean = self.mean.predict(table)
        return np.column_stack([mean + member.predict(table) for member in self.members])

    def graph(self, told: Mapping[str, str]) -> bytes:
        """All quantiles in one ONNX graph. Raises ModelUnfit."""
        nodes: list[onnx.NodeProto] = []
        constants: list[onnx.TensorProto] = []
        answers = []
        for at, member in enumerate((self.mean, *self.members)):
            proto = graph.convert(member, len(FEATURES))
            part = compose.add_prefix_graph(proto.graph, f"q{at}_", rename_inputs=False)
            nodes += part.node
            constants += part.initializer
            answers.append(part.output[0].name)
        mean, *deviations = answers
        nodes.append(helper.make_node("Concat", deviations, ["deviations"], axis=1))
        nodes.append(helper.make_node("Add", ["deviations", mean], [OUTPUT]))
        return graph.assemble(nodes, constants, len(FEATURES), len(self.members), told, output=OUTPUT)


def fit(known: Rows, quantiles: Sequence[float] = QUANTILES) -> Forecaster:
    """Fit the mean of the use over its unit, and each quantile of what deviates from it.

    Trees of a quantile alone begin at that of all rows and come only slowly from there: as nothing is used in a quarter
    of the rows, low quantiles of a busy hour would stay far too low. What deviates is told by means that were fitted
    without that part of the time: from a mean that has seen its rows they deviate less than the next ones will.
    """
    shares = known.used / known.unit
    ends = np.quantile(known.at, np.linspace(0, 1, PARTS + 1)[1:-1])
    part = np.searchsorted(ends, known.at, side="right")
    deviations = np.empty_like(shares)
    for one in range(PARTS):
        unseen = part == one
        mean = _mean(known.features[~unseen], shares[~unseen])
        deviations[unseen] = shares[unseen] - mean.predict(known.features[unseen])
    members = [
        HistGradientBoostingRegressor(loss="quantile", quantile=quantile, **TREES).fit(known.features, deviations)
        for quantile in quantiles
    ]
    return Forecaster(_mean(known.features, shares), tuple(members))


def _mean(table: NDArray[np.float32], shares: Values) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(loss="squared_error", **TREES).fit(table, shares)


def adapted(shares: Values, fresh: Rows, horizon: int, quantiles: Sequence[float] = QUANTILES) -> Values:
    """What would have been said, in the unit of the use: each outcome is learnt when its hours are over, not before."""
    offsets = QuantileOffsets(tuple(quantiles), STEP)
    said, waiting = np.empty_like(shares), 0
    for row in range(len(shares)):
        while fresh.at[waiting] + horizon <= fresh.at[row]:
            offsets = moved(offsets, said[waiting].tolist(), fresh.used[waiting] / fresh.unit[waiting])
            waiting += 1
        said[row] = np.maximum(offsets.forecast(shares[row]), 0.0)
    return said * fresh.unit[:, None]


def pinball(said: Values, used: Values, quantiles: Sequence[float] = QUANTILES) -> float:
    """The mean over quantiles and rows; smaller is better, in the unit of the use."""
    missing = used[:, None] - said
    shares = np.array(quantiles)
    return float(np.maximum(shares * missing, (shares - 1) * missing).mean())


def naive(known: Rows, fresh: Rows, quantiles: Sequence[float] = QUANTILES) -> Values:
    """What was used just before, spread as its errors were among the rows that were learnt from."""
    errors = np.quantile(known.used - known.before, quantiles)
    return np.maximum(fresh.before[:, None] + errors, 0.0)
