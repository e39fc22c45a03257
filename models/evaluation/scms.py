"""Late delivery on real deliveries (USAID SCMS): told at the scheduled day from what was known before it.

History counts an outcome from the day after its scheduled day on, when everybody sees whether it came; nothing of the
delivery itself (weight, freight, recorded date) is looked at. Judged in time: each quarter by models that learnt from
earlier ones, its odds shifted by outcomes as they become known.
"""

from __future__ import annotations

import csv
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import date, timedelta
from math import log, log1p
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import GroupKFold

from agent.scoring.recalibration import InterceptShift
from models.evaluation.figures import Figure, dataset
from models.evaluation.overdue import overdue

Row = Mapping[str, str]
Values = NDArray[np.float64]

SPLIT: Final = date(2013, 8, 6)  # where later rows are there; else the last 30 % are judged
JUDGED: Final = 0.3
HALF_LIVES: Final = (365.0, 60.0)  # days, of what is remembered
PRIOR: Final = 4.0  # outcomes that the overall share counts for
SCHEDULED: Final = "Scheduled Delivery Date"
KEYS: Final[Sequence[Callable[[Row], Hashable]]] = (
    lambda row: ("vendor", row["Vendor"]),
    lambda row: ("site", row["Manufacturing Site"]),
    lambda row: ("country", row["Country"]),
    lambda row: ("country and mode", row["Country"], row["Shipment Mode"]),
    lambda row: ("vendor and country", row["Vendor"], row["Country"]),
    lambda row: ("product", row["Molecule/Test Type"]),
    lambda row: ("project", row["Project Code"]),
    lambda row: ("project and mode", row["Project Code"], row["Shipment Mode"]),
    lambda row: ("terms", row["Vendor"], row["Fulfill Via"], row["Vendor INCO Term"]),
    lambda row: ("purchase order", row["PO / SO #"]),
)
PLAIN: Final = ("Vendor", "Manufacturing Site", "Country")  # whose share of late ones is what one would try first
CROWDS: Final = ("Vendor", "Country", "Project Code", "Manufacturing Site")
CATEGORIES: Final = (
    "Country",
    "Fulfill Via",
    "Vendor INCO Term",
    "Shipment Mode",
    "Product Group",
    "Sub Classification",
)
RARE: Final = 50  # rows of a category's value; rarer ones are none
NUMBERS: Final = ("Line Item Quantity", "Line Item Value", "Pack Price", "Unit of Measure (Per Pack)")


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """AUC, precision and mean of what is said, with and without following the outcomes."""
    place = dataset(data, "scms_delivery")
    if place is None:
        return []
    rows = read(place)
    days = [date.fromisoformat(row[SCHEDULED]) for row in rows]
    late = np.array([row["Delivered to Client Date"] > row[SCHEDULED] for row in rows])
    cut = bisect_left(days, SPLIT)
    if len(rows) - cut < JUDGED / 2 * len(rows):
        cut = bisect_left(days, days[int(len(rows) * (1 - JUDGED))])
    delivered = [date.fromisoformat(row["Delivered to Client Date"]) for row in rows]
    seen = overdue(rows, days, delivered)
    table = np.hstack([history(rows, days, late), one_hot(rows, cut), seen]).astype(np.float32)
    quarters = np.array([day.year * 4 + (day.month - 1) // 3 for day in days])
    static = fitted(table[:cut], late[:cut], table[cut:])
    said = np.empty(len(rows) - cut)
    for quarter in np.unique(quarters[cut:]):
        judged = np.flatnonzero(quarters[cut:] == quarter)
        known = cut + judged[0]
        said[judged] = fitted(table[:known], late[:known], table[cut + judged])
    told = hindsight(table, late, rows)[cut:]
    truth = late[cut:]
    protocol = f"USAID SCMS deliveries, {cut} rows before {days[cut]}, {len(truth)} from then on"
    quarterly = f"{protocol}, models renewed each quarter"
    each = [roc_auc_score(truth[part], said[part]) for part in np.array_split(np.arange(len(truth)), 4)]
    found = [
        Figure("delivery AUC", float(roc_auc_score(truth, said)), 0.8, True, float(np.std(each, ddof=1)), quarterly),
        Figure("delivery AUC, models of the first day", float(roc_auc_score(truth, static)), protocol=protocol),
        Figure(
            "delivery AUC, shares by vendor, site and country alone",
            float(roc_auc_score(truth, usual(rows, days, late, cut))),
            protocol=f"{protocol}; with what a row says of itself, by extremely randomised trees",
        ),
        Figure(
            "delivery AUC with hindsight",
            float(roc_auc_score(truth, told)),
            protocol=f"{protocol}, of which four fifths of the other shipments are learnt from, later ones included",
        ),
        Figure("delivery average precision", float(average_precision_score(truth, said)), protocol=quarterly),
        Figure("delivery share late", float(truth.mean()), protocol=protocol),
    ]
    for words, plain in (("", said), (", models of the first day", static)):
        moved = followed(plain, truth, days[cut:])
        for name, values, goal in ((f"not followed{words}", plain, None), (f"followed{words}", moved, 0.2)):
            found += _means(name, values, truth, quarters[cut:], goal, protocol)
    return found


def read(place: Path) -> list[Row]:
    """The rows of every file of the folder, each line once, in order of their scheduled days."""
    rows: dict[str, Row] = {}
    for path in sorted(place.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            rows |= {row["ID"]: row for row in csv.DictReader(stream)}
    return sorted(rows.values(), key=lambda row: (row[SCHEDULED], int(row["ID"])))


class Shares:
    """The share of late ones under a key, faded by half-lives; asked and told in order of time."""

    def __init__(self) -> None:
        self.late = [0.0] * len(HALF_LIVES)
        self.all = [0.0] * len(HALF_LIVES)
        self.day = date.min

    def fade(self, day: date) -> None:
        """Nothing is told twice as old: what is known is aged up to this day."""
        if self.all[0] and day > self.day:
            for at, half in enumerate(HALF_LIVES):
                kept = 0.5 ** ((day - self.day).days / half)
                self.late[at] *= kept
                self.all[at] *= kept
        self.day = max(day, self.day)

    def add(self, day: date, late: float) -> None:
        """One outcome of this day."""
        self.fade(day)
        self.late = [value + late for value in self.late]
        self.all = [value + 1 for value in self.all]


def history(rows: Sequence[Row], days: Sequence[date], late: NDArray[np.bool_]) -> Values:
    """What is known of each row on its scheduled day: of outcomes only those of earlier days."""
    known: defaultdict[Hashable, Shares] = defaultdict(Shares)
    overall, table, told = Shares(), [], 0
    crowds: defaultdict[Hashable, list[date]] = defaultdict(list)
    for row, day in zip(rows, days, strict=True):  # the schedule is known beforehand, outcomes are not
        for name in CROWDS:
            crowds[name, row[name]].append(day)
    for row, day in zip(rows, days, strict=True):
        while days[told] < day:
            for shares in (overall, *(known[key(rows[told])] for key in KEYS)):
                shares.add(days[told], float(late[told]))
            told += 1
        overall.fade(day)
        base = (overall.late[0] + 1) / (overall.all[0] + 10)
        found = [_odds(base)]
        for key in KEYS:
            shares = known[key(row)]
            shares.fade(day)
            found += [
                _odds((part + PRIOR * base) / (whole + PRIOR)) - _odds(base)
                for part, whole in zip(shares.late, shares.all, strict=True)
            ]
            found.append(min(shares.all[0], 10.0))
        for name in CROWDS:
            planned, month = crowds[name, row[name]], timedelta(days=15)
            found.append(log1p(bisect_right(planned, day) - bisect_left(planned, day)))
            found.append(log1p(bisect_right(planned, day + month) - bisect_left(planned, day - month)))
        table.append(found + _own(row, day))
    return np.array(table)


def _odds(share: float) -> float:
    return log(share / (1 - share))


def _own(row: Row, day: date) -> list[float]:
    ordered, asked = (_day(row[name]) for name in ("PO Sent to Vendor Date", "PQ First Sent to Client Date"))
    lead = float((day - ordered).days) if ordered else -1.0
    quoted = float((day - asked).days) if asked else -1.0
    numbers = [log1p(max(float(row[name]), 0.0)) for name in NUMBERS]
    return [*numbers, lead, quoted, float(ordered is None), float(day.weekday())]


def _day(written: str) -> date | None:
    try:
        return date.fromisoformat(written)
    except ValueError:  # "Date Not Captured", "N/A - From RDC"
        return None


def one_hot(rows: Sequence[Row], cut: int) -> Values:
    """The values of the categories that were not rare among the first `cut` rows."""
    columns = [
        [row[name] == value for row in rows]
        for name in CATEGORIES
        for value, count in sorted(Counter(row[name] for row in rows[:cut]).items())
        if count >= RARE
    ]
    return np.array(columns, np.float64).reshape(-1, len(rows)).T


def usual(rows: Sequence[Row], days: Sequence[date], late: NDArray[np.bool_], cut: int) -> Values:
    """The usual way beside which the others are read: all outcomes so far by a few keys, drawn to the overall share."""
    known: defaultdict[Hashable, list[float]] = defaultdict(lambda: [0.0, 0.0])
    table, told = [], 0
    for row, day in zip(rows, days, strict=True):
        while days[told] < day:
            for key in ("", *((name, rows[told][name]) for name in PLAIN)):
                known[key][0] += float(late[told])
                known[key][1] += 1
            told += 1
        base = (known[""][0] + 1) / (known[""][1] + 10)
        shares = [known[name, row[name]] for name in PLAIN]
        table.append([(part + 20 * base) / (whole + 20) for part, whole in shares] + _own(row, day))
    values = np.hstack([table, one_hot(rows, cut)]).astype(np.float32)
    forest = ExtraTreesClassifier(300, min_samples_leaf=5, n_jobs=1, random_state=7).fit(values[:cut], late[:cut])
    answers: Values = forest.predict_proba(values[cut:])[:, 1]
    return answers


def fitted(known: NDArray[np.float32], late: NDArray[np.bool_], fresh: NDArray[np.float32]) -> Values:
    """The mean of extremely randomised and boosted trees."""
    forest = ExtraTreesClassifier(300, min_samples_leaf=5, max_features=0.2, n_jobs=1, random_state=7)
    boosted = HistGradientBoostingClassifier(
        learning_rate=0.04, max_iter=120, max_leaf_nodes=8, min_samples_leaf=30, max_features=0.3, random_state=7
    )
    answers: Values = np.mean([one.fit(known, late).predict_proba(fresh)[:, 1] for one in (forest, boosted)], axis=0)
    return answers


def hindsight(table: NDArray[np.float32], late: NDArray[np.bool_], rows: Sequence[Row]) -> Values:
    """What is said by models that know other shipments of the same weeks: more than anybody has on the day."""
    answers: Values = np.empty(len(late))
    for known, fresh in GroupKFold(5).split(table, groups=[row["ASN/DN #"] for row in rows]):
        answers[fresh] = fitted(table[known], late[known], table[fresh])
    return answers


def followed(said: Values, late: NDArray[np.bool_], days: Sequence[date]) -> Values:
    """What would have been said with the outcomes of all earlier days learnt."""
    state, told, answers = InterceptShift(), 0, []
    for at, day in enumerate(days):
        while days[told] < day:
            state = state.learn(float(said[told]), bool(late[told]))
            told += 1
        answers.append(state.probability(float(said[at])))
    return np.array(answers)


def _means(
    name: str, said: Values, late: NDArray[np.bool_], quarters: NDArray[np.intp], goal: float | None, protocol: str
) -> list[Figure]:
    """How far the mean of what is said is from what happened, over everything and in single quarters."""
    ratios = [said[quarters == one].mean() / max(late[quarters == one].mean(), 1e-9) for one in np.unique(quarters)]
    off, close = abs(said.mean() / late.mean() - 1), np.mean([abs(ratio - 1) <= 0.2 for ratio in ratios])
    words = f"{protocol}; by quarter, said over observed: " + " ".join(f"{ratio:.2f}" for ratio in ratios)
    return [
        Figure(f"delivery mean off by, {name}", float(off), goal, False, float(np.std(ratios, ddof=1)), words),
        Figure(f"delivery quarters within 20 %, {name}", float(close), protocol=protocol),
    ]
