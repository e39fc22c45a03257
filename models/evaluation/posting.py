"""Posting classification on simulated ledgers of plants that were not learnt from: are wrong tables noticed?

There are no public labels. A table is wrong where a material has the valuation class of another kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from agent.features import row
from agent.masterdata.accounts import disagrees
from models.evaluation.figures import Figure
from models.posting_classification.simulate import ledger
from models.posting_classification.train import COLUMNS, LINES, SEEDS, data, table_of_the_bench
from models.training import learners, split
from models.training.encoding import Encoding

JUDGED: Final = tuple(range(100, 110))


def measure(data_folder: Path | None, folder: Path) -> list[Figure]:
    """How many wrong decisions of the table are told, and how many right ones are doubted."""
    accounts = table_of_the_bench()
    known = data([line for seed in SEEDS for line in ledger(seed, accounts, LINES)])
    encoding, classes = Encoding.of(known.rows, COLUMNS), sorted(set(known.target))
    truth = np.array([classes.index(one) for one in known.target], np.intp)
    fitted = learners.fit(encoding.table(known.rows), truth, list(split.folds(truth)), ("linear",))
    found, doubted, right = [], [], []
    for seed in JUDGED:
        lines = [line for line in ledger(seed, accounts, LINES) if line.table is not None]
        table = [row.row(line.features, encoding.numbers, encoding.categories) for line in lines]
        answers = fitted.classifier.probabilities(np.array(table, np.float32))
        told = [
            disagrees(line.table or "", dict(zip(classes, answer, strict=True)))
            for line, answer in zip(lines, answers.tolist(), strict=True)
        ]
        wrong = np.array([line.table != line.right for line in lines])
        flagged = np.array([one is not None for one in told])
        found.append(flagged[wrong].mean())
        doubted.append(flagged[~wrong].mean())
        named = [one == line.right for one, line in zip(told, lines, strict=True)]
        right.append(np.array(named)[wrong & flagged].mean())
    protocol = f"simulated ledgers, {len(JUDGED)} plants not learnt from, {LINES} lines each"
    return [
        Figure("posting: wrong account of the table told", *_over(found), protocol=protocol),
        Figure("posting: right account named then", *_over(right), protocol=protocol),
        Figure("posting: right account of the table doubted", *_over(doubted), protocol=protocol),
    ]


def _over(values: list[float]) -> tuple[float, None, bool, float]:
    return float(np.mean(values)), None, True, float(np.std(values, ddof=1))
