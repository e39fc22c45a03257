"""Which entries of two lists tell of the same thing: equal amounts, near in time, one to one or several in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any, Final, NamedTuple, TypeVar

EARLY: Final = timedelta(minutes=15)  # clocks differ: an answer may look as if it came before its cause
MOST: Final = 40  # entries that one may sum up: a shift


class Dated(NamedTuple):
    """An entry as it is paired: where it stands in its list."""

    at: datetime
    amount: Decimal
    entry: Any


T = TypeVar("T")
Pair = tuple[list[Any], list[Any]]


def dated(entries: Sequence[T], amount: Callable[[T], Decimal]) -> list[Dated]:
    """Entries in order of time."""
    return sorted((Dated(one.at, amount(one), one) for one in entries), key=lambda one: one.at)  # type: ignore[attr-defined]


def pair(
    causes: list[Dated], answers: list[Dated], grain: Decimal, *, nearest: bool = False
) -> tuple[list[Pair], list[Dated], list[Dated]]:
    """Pairs of causes with their answers, and what is left of both.

    An answer comes after its cause. Equal ones are paired, with the oldest or the nearest cause; then an
    answer may sum up a run of causes
    or any two, or they a cause. `grain` is how far equal amounts may be apart, for each entry.
    """
    found: list[Pair] = []
    for answer in list(answers):
        fitting = [one for one in causes if abs(one.amount - answer.amount) <= grain and _before(one, answer)]
        if fitting:
            cause = fitting[-1 if nearest else 0]  # counted pieces are all alike
            found.append(([cause.entry], [answer.entry]))
            causes.remove(cause)
            answers.remove(answer)
    _sums(causes, answers, grain, found, late=True)
    _sums(answers, causes, grain, found, late=False)
    return found, causes, answers


def _sums(many: list[Dated], single: list[Dated], grain: Decimal, found: list[Pair], *, late: bool) -> None:
    """Runs of `many` that make up one of `single`. `late`: the single ones are the answers."""
    for one in list(single):
        before = [each for each in many if (_before(each, one) if late else _before(one, each))]
        run = _run(before, one.amount, grain)
        if run:
            entries = [each.entry for each in run]
            found.append((entries, [one.entry]) if late else ([one.entry], entries))
            single.remove(one)
            for each in run:
                many.remove(each)


def _run(entries: list[Dated], amount: Decimal, grain: Decimal) -> list[Dated]:
    for start in range(len(entries)):
        total = Decimal(0)
        for end in range(start, min(len(entries), start + MOST)):
            total += entries[end].amount
            if end > start and abs(total - amount) <= grain * (end - start + 1):
                return entries[start : end + 1]
            if total > amount + grain * MOST:
                break
    for start in range(len(entries)):  # one too many among them
        for end in range(start + 2, min(len(entries), start + MOST)):
            over = sum(one.amount for one in entries[start : end + 1]) - amount
            for at in range(end, start - 1, -1):
                if abs(entries[at].amount - over) <= grain * (end - start):
                    return [*entries[start:at], *entries[at + 1 : end + 1]]
    for one, other in combinations(entries[-MOST:], 2):
        if abs(one.amount + other.amount - amount) <= 2 * grain:
            return [one, other]
    return []


def _before(cause: Dated, answer: Dated) -> bool:
    return cause.at <= answer.at + EARLY
