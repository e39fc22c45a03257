"""Which rows are learnt from and which are judged: the later ones in time, or a stratified share of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, train_test_split

from agent.errors import ConfigError, Finding

Indices = NDArray[np.intp]
FOLDS: Final = 5
FEWEST: Final = 2 * FOLDS  # rows of a class that are learnt from
SEED: Final = 7


def temporal(times: Sequence[datetime], share: float) -> tuple[Indices, Indices]:
    """Earlier rows to learn from, the last `share` to be judged; rows of one moment stay on one side."""
    order = np.array(sorted(range(len(times)), key=times.__getitem__), np.intp)
    cut = int(len(order) * (1 - share))
    while 0 < cut < len(order) and times[order[cut]] == times[order[cut - 1]]:
        cut -= 1
    return order[:cut], order[cut:]


def stratified(truth: NDArray[np.intp], share: float) -> tuple[Indices, Indices]:
    """A share of each class is judged, chosen by chance, always the same."""
    train, test = train_test_split(np.arange(len(truth)), test_size=share, stratify=truth, random_state=SEED)
    return np.sort(train), np.sort(test)


def folds(truth: NDArray[np.intp], count: int = FOLDS, seed: int = SEED) -> Iterator[tuple[Indices, Indices]]:
    """Stratified folds, always the same."""
    yield from StratifiedKFold(count, shuffle=True, random_state=seed).split(np.zeros(len(truth)), truth)


def check(file: str, column: str, train: Sequence[str], test: Sequence[str]) -> None:
    """Raises ConfigError where a class has too few rows to learn from, or appears only among the judged ones."""
    counts = Counter(train)
    findings = [
        Finding(
            file, 1, column, f"has only {count} rows of this class to learn from, {FEWEST} are needed; {_REMEDY}", name
        )
        for name, count in sorted((dict.fromkeys(test, 0) | counts).items())
        if count < FEWEST
    ]
    if findings:
        raise ConfigError(findings)


_REMEDY: Final = "collect more, or write another class in its place"
