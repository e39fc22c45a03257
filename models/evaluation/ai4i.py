"""Failure or not on AI4I 2020 (synthetic by its author): three features of physics beside the raw inputs.

The columns of the failure modes tell the answer and are not looked at.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from math import pi
from pathlib import Path
from typing import Final

import numpy as np

from models.evaluation import repeated
from models.evaluation.figures import Figure, dataset

REPEATS: Final = 2
TYPES: Final = "LMH"  # quality of the product, in order


def measure(data: Path | None, _folder: Path) -> list[Figure]:
    """Macro-F1 and F1 of failures."""
    place = dataset(data, "ai4i2020")
    if place is None:
        return []
    with (place / "ai4i2020.csv").open(newline="", encoding="utf-8-sig") as stream:
        lines = list(csv.DictReader(stream))
    rows = np.array([features(line) for line in lines], np.float32)
    truth = np.array([int(line["Machine failure"]) for line in lines], np.intp)
    found = repeated.judge(rows, truth, "forest", REPEATS)
    protocol = f"AI4I 2020, {len(rows)} rows, stratified 5-fold × {REPEATS}, random forest, three physics features"
    return [repeated.figure("AI4I macro-F1", 0.94, found, repeated.macro_f1, protocol)]


def features(line: Mapping[str, str]) -> tuple[float, ...]:
    """Raw inputs, then power (W), how much warmer the process is than the air (K), and wear times torque (min Nm)."""
    air, process = float(line["Air temperature"]), float(line["Process temperature"])
    speed, torque, wear = float(line["Rotational speed"]), float(line["Torque"]), float(line["Tool wear"])
    power = torque * speed * 2 * pi / 60
    return (TYPES.index(line["Type"]), air, process, speed, torque, wear, power, process - air, wear * torque)
