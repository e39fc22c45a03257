"""The detector of process signals on the Numenta Anomaly Benchmark, beside two plain ones; none looks ahead."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import pairwise
from math import erfc, sqrt
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from agent.detectors import signal
from models.evaluation.figures import Figure, dataset
from models.evaluation.nab_score import Labelled, Numbers, Steps, Weights, best, steps

GOAL: Final = 58.0  # what such an ensemble reaches on the whole corpus
DAY_S: Final = 86_400
GAUSSIAN: Final = 6400  # samples of the windowed Gaussian, as in the benchmark
ALPHA: Final = 0.005  # of the moving average
NAMES: Final = {"standard": "standard", "reward_low_FP_rate": "low FP", "reward_low_FN_rate": "low FN"}
ALL, OTHER = "threshold best over all files", "each category at the threshold best over the others"
PROTOCOL: Final = (
    "NAB v1.1, {files} files of {categories} of its 7 categories, {windows} windows; no look ahead; " + ALL
)


class Series(NamedTuple):
    """A file of the benchmark."""

    category: str
    values: Numbers
    day: int  # samples in a day
    labelled: Labelled


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """The scores of the three profiles; nothing without the data: simulated signals would prove what was put in."""
    place = dataset(data, "nab")
    if place is None:
        return []
    corpus, profiles = read(place), weights(place)
    protocol = PROTOCOL.format(
        files=len(corpus),
        categories=len({one.category for one in corpus.values()}),
        windows=sum(len(one.labelled.windows) for one in corpus.values()),
    )
    figures = []
    for name, detector in DETECTORS.items():
        scores = {file: detector(one.values, one.day) for file, one in corpus.items()}
        for profile, weight in profiles.items():
            found = {file: steps(one.labelled, scores[file], weight) for file, one in corpus.items()}
            goal = GOAL if (name, profile) == ("four scores", "standard") else None
            value, _ = best(found.values(), weight)
            figures.append(Figure(f"NAB {NAMES[profile]}, {name}", value, goal, protocol=protocol))
            if profile == "standard":
                other = f"NAB standard, {name}, threshold of other categories"
                figures.append(Figure(other, _foreign(corpus, found, weight), protocol=protocol.replace(ALL, OTHER)))
    return figures


def read(place: Path) -> dict[str, Series]:
    """The files that are there, by their names in ``windows.json``."""
    labels: dict[str, list[list[str]]] = json.loads((place / "windows.json").read_text())
    return {
        name: _series(place / "data" / name, windows)
        for name, windows in sorted(labels.items())
        if (place / "data" / name).is_file()
    }


def weights(place: Path) -> dict[str, Weights]:
    """The profiles of ``profiles.json``."""
    told = {name: one["CostMatrix"] for name, one in json.loads((place / "profiles.json").read_text()).items()}
    return {name: Weights(told[name]["tpWeight"], told[name]["fpWeight"], told[name]["fnWeight"]) for name in NAMES}


def _series(path: Path, windows: list[list[str]]) -> Series:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    times = [datetime.fromisoformat(time) for time, _ in rows]
    index = {time: at for at, time in reversed(list(enumerate(times)))}  # the clock change repeats some: the first
    between = float(np.median([(after - before).total_seconds() for before, after in pairwise(times)]))
    limits = [(index[datetime.fromisoformat(first)], index[datetime.fromisoformat(last)]) for first, last in windows]
    values = np.array([float(value) for _, value in rows])
    return Series(path.parent.name, values, max(1, round(DAY_S / between)), Labelled(len(values), limits))


def _foreign(corpus: Mapping[str, Series], found: Mapping[str, Steps], weight: Weights) -> float:
    """Every category at the threshold that is best on the others; the mean over windows. What a new plant would see."""
    total, windows = 0.0, 0
    for category in sorted({one.category for one in corpus.values()}):
        own = [found[file] for file, one in corpus.items() if one.category == category]
        _, threshold = best((found[file] for file, one in corpus.items() if one.category != category), weight)
        count = sum(one.windows for one in own)
        gained = sum(float(one.change[one.at >= threshold].sum()) for one in own)
        total, windows = total + gained, windows + count
    return 100 * total / (windows * (weight.found + weight.missed))


# ── the detectors ───────────────────────────────────────────────────────────────────────────────────────────


def four_scores(values: Numbers, day: int) -> Numbers:
    """The agent's own."""
    return signal.follow(signal.fresh(day), values)[1].astype(np.float64)


def windowed_gaussian(values: Numbers, day: int) -> Numbers:
    """The tail probability under mean and standard deviation of the last 6400 samples."""
    zero, sums, squares = 0.0, np.cumsum(np.r_[0, values]), np.cumsum(np.r_[0, values**2])
    now = np.arange(1, len(values))
    before = np.maximum(0, now - GAUSSIAN)
    mean = (sums[now] - sums[before]) / (now - before)
    spread = np.sqrt(np.maximum(0, (squares[now] - squares[before]) / (now - before) - mean**2))
    z = np.abs(values[1:] - mean) / np.where(spread > 0, spread, 1e-6)
    return np.array([zero, *(1 - erfc(one / sqrt(2)) / 2 for one in z)])


def moving_average(values: Numbers, day: int) -> Numbers:
    """Standard deviations off an exponentially weighted mean, with a variance that is weighted the same."""
    mean, variance, scores = float(values[0]), 0.0, np.zeros(len(values))
    for at, value in enumerate(values.tolist()):
        off = value - mean
        scores[at] = abs(off) / sqrt(variance) if variance > 0 else 0.0
        mean += ALPHA * off
        variance = (1 - ALPHA) * (variance + ALPHA * off * off)
    return scores


DETECTORS: Final[Mapping[str, Callable[[Numbers, int], Numbers]]] = {
    "four scores": four_scores,
    "windowed Gaussian": windowed_gaussian,
    "moving average": moving_average,
}
