"""What everybody sees of late deliveries on a day, beside shares: what is overdue still, and how the last ones went.

Of a delivery that was scheduled earlier it is known whether it had come by yesterday, and if not, how long it is
overdue; when an overdue one comes in the end is not.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Mapping, Sequence
from datetime import date
from math import copysign, log1p
from typing import Final

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, str]

KEYS: Final[Sequence[tuple[str, ...]]] = (
    (),
    ("Vendor",),
    ("Country",),
    ("Manufacturing Site",),
    ("Project Code",),
    ("Vendor", "Country"),
    ("Country", "Shipment Mode"),
    ("PO / SO #",),
    ("Item Description",),
    ("Molecule/Test Type", "Country"),
)
LOOKED_AT: Final = 60  # deliveries of a key, the latest
LAST: Final = 8


def overdue(rows: Sequence[Row], days: Sequence[date], delivered: Sequence[date]) -> NDArray[np.float64]:
    """Of each row, in order of its scheduled day, and for each key: how many are overdue, for how long the longest,
    how long ago the last was scheduled, what share of the last ones was late, and by how much.
    """
    known: defaultdict[Hashable, deque[int]] = defaultdict(lambda: deque(maxlen=LOOKED_AT))
    table, told = [], 0
    for row, day in zip(rows, days, strict=True):
        while days[told] < day:
            for key in _keys(rows[told]):
                known[key].append(told)
            told += 1
        table.append([value for key in _keys(row) for value in _seen(known[key], day, days, delivered)])
    return np.array(table)


def _keys(row: Row) -> list[Hashable]:
    return [(names, *(row[name] for name in names)) for names in KEYS]


def _seen(which: deque[int], day: date, days: Sequence[date], delivered: Sequence[date]) -> list[float]:
    if not which:
        return [0.0, 0.0, -1.0, 0.1, 0.0]
    waiting = [(day - days[one]).days for one in which if delivered[one] >= day]
    last = [(min(delivered[one], day) - days[one]).days for one in list(which)[-LAST:]]
    return [
        log1p(len(waiting)),
        log1p(max(waiting, default=0)),
        log1p((day - days[which[-1]]).days),
        sum(late > 0 for late in last) / len(last),
        sum(copysign(log1p(abs(late)), late) for late in last) / len(last),
    ]
