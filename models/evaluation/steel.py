"""Classification on a real set: UCI Steel Plates Faults, seven classes, repeated stratified 5-fold."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import numpy as np

from models.evaluation import repeated
from models.evaluation.figures import Figure, dataset
from models.training import doubt, measures
from models.training.judged import Judged
from models.training.learners import Classes, Probabilities
from models.training.page import page

FAULTS: Final = 7  # the last columns, one-hot
REPEATS: Final = 2
RIGHT: Final = 0.95


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """Each goal is met within one fold's standard deviation."""
    place = dataset(data, "steel_plates")
    if place is None:
        return []
    with (place / "train.csv").open(newline="") as stream:
        head, *lines = csv.reader(stream)
    table = np.array(lines, np.float32)
    rows, truth = table[:, :-FAULTS], table[:, -FAULTS:].argmax(axis=1)
    found = repeated.judge(rows, truth, "blend", REPEATS, RIGHT)
    protocol = f"UCI Steel Plates Faults, {len(rows)} rows, stratified 5-fold × {REPEATS}, boosted and random trees"
    first = repeated.together(found[0])
    classes = tuple(name.removesuffix("_Fault").removesuffix("_Faults") for name in head[-FAULTS:])
    _write(folder / "steel.html", classes, *first, protocol)
    accepted = [one.probabilities.max(axis=1) >= one.bar for folds in found for one in folds]
    right = [one.probabilities.argmax(axis=1) == one.truth for folds in found for one in folds]
    share = float(np.concatenate(accepted).mean())
    kept = float(np.concatenate(right)[np.concatenate(accepted)].mean())
    chosen = f"{protocol}, bar chosen on the training part of each fold"
    return [
        repeated.figure("steel accuracy", 0.80, found, repeated.accuracy, protocol),
        repeated.figure("steel macro-F1", 0.82, found, repeated.macro_f1, protocol),
        repeated.pooled("steel ECE", 0.03, found, measures.calibration_error, protocol, at_least=False),
        repeated.pooled("steel accepted at 95 % accuracy", 0.59, found, _accepted, protocol),
        Figure("steel accepted by the bar", share, protocol=chosen),
        Figure("steel accuracy of these", kept, protocol=chosen),
    ]


def _accepted(probabilities: Probabilities, truth: Classes) -> float:
    return measures.risk_coverage(probabilities, truth).at(RIGHT)


def _write(path: Path, classes: tuple[str, ...], probabilities: Probabilities, truth: Classes, protocol: str) -> None:
    """The page of the first repetition. Its bar is of the same rows: no fold can choose one for all."""
    bar = doubt.bar(probabilities, truth, RIGHT)
    judged = Judged(classes, truth, probabilities, bar, doubt.conformal(probabilities, truth), ())
    path.write_text(page("Steel Plates Faults", {"Data and protocol": protocol}, judged), encoding="utf-8")
