"""What was found: a discrepancy that matters, its likely cause, the evidence, and what would put it right."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from agent.reconciliation.observed import Place


class Cause(StrEnum):
    """Why floor, books and stock differ."""

    RECORDING = "recording error"
    UNIT = "unit error"
    DOUBLE = "double report"
    MISSING = "missing report"
    SCRAP = "scrap not reported"
    SUBSTITUTION = "substitution"
    LEAK = "leak"
    THEFT = "theft"


class Correction(StrEnum):
    """What would put it right; always for a person to decide."""

    NONE = "none"  # the books are right
    REVERSAL = "reversal"  # of what was booked
    ISSUE = "issue"  # what is missing in the books
    SCRAP = "scrap"  # confirm it
    COUNT = "count"
    TRANSFER = "transfer"  # what is missing at `instead` is too much here: two places mixed up


class Finding(NamedTuple):
    """One discrepancy. `excess` is what the books took off the stock too much; below 0: too little."""

    cause: Cause
    place: Place
    at: datetime  # when it began
    until: datetime  # when it was over, or last seen
    excess: float
    noise: float  # one standard deviation of what it was found in
    correction: Correction
    evidence: tuple[str, ...]
    order: str = ""
    work_center: str = ""
    about: tuple[str, ...] = ()  # ids of the reports and documents
    instead: Place | None = None  # of a substitution: what was used
    scrapped: float = 0.0  # of the order's product, in the unit of its lots: what nobody told of
    misreported: bool = False  # what was told as used is wrong, too: a correction of the books is one of it as well
    expected: float = 0.0  # so much more is to be expected of the order once it is put right
    whole: float = 0.0  # of the booking that is to be taken back

    @property
    def id(self) -> str:
        """The same discrepancy has the same id, however often it is found."""
        words = [self.cause.value, *self.place, self.order, *self.about]
        if not self.about:
            words.append(self.at.isoformat())
        return sha256("\n".join(words).encode()).hexdigest()[:20]
