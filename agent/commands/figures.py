"""What the figures of a model mean, one line each: for whoever has not trained it."""

from __future__ import annotations

import re
from typing import Final

MEANINGS: Final = {
    "rows": "rows that were judged",
    "not_asked": "rows outside of the model's ranges: a person gets these",
    "accuracy": "share of rows whose likeliest class is the true one; 1 is best",
    "macro_f1": "F1 (precision and recall in one) averaged over the classes, rare ones count as much; 1 is best",
    "log_loss": "how wrong the probabilities are, wrong and sure costs most; 0 is best",
    "brier": "squared error of the probabilities; 0 is best",
    "ece": "how far the probabilities are from how often they come true; 0 is best",
    "most_frequent": "accuracy of always saying the most frequent class: the least to beat",
    "accepted": "share of rows that are sure enough to need no person",
    "right_of_accepted": "share of these that are right; 1 is best",
    "auc": "how well normal and wrong are told apart: 1 always, 0.5 by chance",
}
PATTERNS: Final = (
    (r"covered_(0\.\d+)", "share of rows whose true class is in the set that should hold {rest:.0%}"),
    (r"set_size_(0\.\d+)", "classes in that set on average: 1 says most"),
    (r"normal_accepted_at_(0\.\d+)", "share of normal reports that need no person at confidence {part:g}; 1 is best"),
    (r"distorted_accepted_at_(0\.\d+)", "share of wrong reports that pass at confidence {part:g}; 0 is best"),
    (r"found: .*", "share of reports distorted in this way that are not accepted; 1 is best"),
    (r"pinball over naive, .*", "error of the quantiles over that of `the last hours go on`; below 1 is better"),
    (r"(\d+)% covered, .*", "share of outcomes below the {part:g} % quantile: should be near {hundredth:g}"),
)


def meaning(figure: str) -> str:
    """What a figure of this name says and which values are good; empty where nobody knows."""
    for pattern, text in PATTERNS:
        if found := re.fullmatch(pattern, figure):
            part = float(found[1]) if found.groups() else 0.0
            return text.format(part=part, rest=1 - part, hundredth=part / 100)
    return MEANINGS.get(figure, "")
