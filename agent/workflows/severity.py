"""How bad a defect is: by its cause, its share of the lot, and how often it was seen at its place and lot. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple

REMEMBERED: Final = 50  # reports of one work centre or one lot


class Severity(StrEnum):
    """From what happens to what must not; the ERP's defect classes are named by them."""

    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


ORDER: Final = tuple(Severity)


class Limits(NamedTuple):
    """From where on a defect is major or critical: share of its lot, and reports of the same defect."""

    major_share: Decimal
    critical_share: Decimal
    major_repeats: int
    critical_repeats: int


class Judged(NamedTuple):
    """How bad, and in words why it is more than minor."""

    severity: Severity
    reasons: tuple[str, ...] = ()


def judged(share: Decimal | None, repeats: int, limits: Limits, of_cause: str = "") -> Judged:
    """The worst of what share, repetition and cause say. `repeats` counts this report, too; `of_cause` is a severity
    or empty.
    """
    by_share = _step(share if share is not None else Decimal(0), limits.major_share, limits.critical_share)
    by_repeats = _step(repeats, limits.major_repeats, limits.critical_repeats)
    by_cause = ORDER.index(Severity(of_cause)) if of_cause else 0
    worst = max(by_share, by_repeats, by_cause)
    why = ["by its cause"] if by_cause and by_cause == worst else []
    if by_share and share is not None:
        why.append(f"{100 * share:.0f} % of the lot")
    if by_repeats:
        why.append(f"the same defect {repeats} times")
    severity = ORDER[worst]
    return Judged(severity, (f"{severity}: {', '.join(why)}",) if why else ())


def _step(value: Decimal | int, major: Decimal | int, critical: Decimal | int) -> int:
    return (value >= major) + (value >= critical)


def at_least(severity: Severity, least: str) -> bool:
    """Whether it is as bad as this, or worse; nothing is as bad as ``never``."""
    return least in ORDER and ORDER.index(severity) >= ORDER.index(Severity(least))


def seen_before(seen: Sequence[Sequence[Any]], defect: str, at: float, within: float) -> int:
    """How many reports of this defect lie within so many seconds of `at`, on either side: streams overtake."""
    return sum(what == defect and abs(at - when) <= within for when, what in seen)


def remembered(seen: Sequence[Sequence[Any]], defect: str, at: float) -> list[Sequence[Any]]:
    """The last reports with their times (s of the epoch), this one included."""
    return [*seen[1 - REMEMBERED :], (at, defect)]
