"""The parity gate: a graph is written only where it computes what scikit-learn computes.

Several conversions are wrong without a word. So every graph is run on at least 500 rows (of the data, of the corners of
the ranges, with missing values and unknown categories) and refused at the first difference that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from agent.errors import ModelUnfit
from agent.scoring.modelfiles import Input, Parity
from models.training.graph import INPUT, OUTPUT
from models.training.learners import Table

LARGEST: Final = 1e-5  # difference between graph and scikit-learn
ROWS: Final = 600
SHARE_OF_DATA: Final = 0.6  # of the rows; the others are made
SEED: Final = 7


def rows(data: Table, features: Sequence[Input], groups: Sequence[Sequence[int]] = ()) -> Table:
    """ROWS rows to compare on; `groups` are the columns that are one category each, of which at most one is 1.

    Some are rows of the data, the others have each number at an end of its range, at its usual ends, somewhere between
    or, where that is allowed, missing; and each category one of its values or none: unknown.
    """
    random = np.random.default_rng(SEED)
    chosen = data[random.choice(len(data), int(ROWS * SHARE_OF_DATA), replace=len(data) < ROWS)]
    count = ROWS - len(chosen)
    made = np.empty((count, len(features)), np.float32)
    for at, one in enumerate(features):
        between = random.uniform(one.least, one.most, count)
        choices = [np.full(count, value) for value in (one.least, one.most, one.low, one.high)] + [between, between]
        if one.null == "allowed":
            choices += [np.full(count, np.nan)] * 2
        made[:, at] = np.choose(random.integers(len(choices), size=count), choices)
    for group in groups:
        made[:, list(group)] = np.eye(len(group) + 1, len(group))[random.integers(len(group) + 1, size=count)]
    return np.vstack([chosen, made]).astype(np.float32)


def gate(graph: bytes, table: Table, expected: NDArray[Any], output: str = OUTPUT) -> NDArray[np.float32]:
    """What the graph computes for the rows. Raises ModelUnfit where it is not what is expected, or another decision.

    `expected` has one column per column of the output. Nothing may be written of a graph that does not pass.
    """
    try:
        session = ort.InferenceSession(graph, _quiet(), providers=["CPUExecutionProvider"])
        (found,) = session.run([output], {INPUT: table})
    except Exception as error:  # noqa: BLE001  # onnxruntime's exceptions have no other common base
        raise ModelUnfit(f"the graph cannot be run: {str(error)[:300]}; nothing is written") from None
    if not isinstance(found, np.ndarray):
        raise ModelUnfit(f"the graph gives {type(found).__name__}s, not a table; convert it with zipmap=False")
    answer: NDArray[np.float32] = found
    if answer.shape != expected.shape:
        raise ModelUnfit(f"the graph gives {answer.shape}, expected is {expected.shape}; nothing is written")
    differences = np.abs(answer - expected).max(axis=1)
    worst, wrong = float(differences.max()), int((~(differences <= LARGEST)).sum())
    changed = int((answer.argmax(axis=1) != expected.argmax(axis=1)).sum()) if expected.shape[1] > 1 else 0
    if wrong or changed:
        raise ModelUnfit(
            f"graph and scikit-learn differ in {wrong} of {len(table)} rows, by {worst:.2g} at most "
            f"({LARGEST:g} is allowed), and decide otherwise in {changed}: the conversion is wrong; nothing is written"
        )
    return answer


def cases(table: Table, answer: NDArray[np.float32]) -> bytes:
    """The content of ``parity.json``: rows, and what they must give wherever the model is loaded."""
    told = [[None if np.isnan(value) else float(value) for value in row] for row in table]
    return Parity.model_validate({"rows": told, "outputs": answer.astype(float).tolist()}).model_dump_json().encode()


def _quiet() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, and told once
    return options
