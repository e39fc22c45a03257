"""Classification on a real set: UCI Steel Plates Faults, seven classes, repeated stratified 5-fold."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score
from sklearn.model_selection import RepeatedStratifiedKFold

from models.evaluation.figures import Figure, dataset

FAULTS: Final = 7  # the last columns, one-hot
PROTOCOL: Final = "UCI Steel Plates Faults ({rows} rows), stratified 5-fold × 2"


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """Accuracy and macro-F1, each within one fold's standard deviation of its goal."""
    place = dataset(data, "steel_plates")
    if place is None:
        return []
    with (place / "train.csv").open(newline="") as stream:
        table = np.array(list(csv.reader(stream))[1:], np.float32)
    rows, classes = table[:, :-FAULTS], table[:, -FAULTS:].argmax(axis=1)
    found = []
    for train, test in RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=7).split(rows, classes):
        model = HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=200,
            max_leaf_nodes=15,
            min_samples_leaf=10,
            l2_regularization=1.0,
            max_features=0.3,
            random_state=7,
        )
        answer = model.fit(rows[train], classes[train]).predict(rows[test])
        found.append((float((answer == classes[test]).mean()), float(f1_score(classes[test], answer, average="macro"))))
    means, spreads = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
    protocol = PROTOCOL.format(rows=len(rows))
    return [
        Figure(name, float(mean), goal, spread=float(spread), protocol=protocol, slack=float(spread))
        for name, goal, mean, spread in zip(
            ("steel accuracy", "steel macro-F1"), (0.80, 0.82), means, spreads, strict=True
        )
    ]
