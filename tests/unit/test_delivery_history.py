"""Late delivery: no row of the evaluation knows an outcome of its own day or of a later one."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

import numpy as np

from models.evaluation.overdue import overdue
from models.evaluation.scms import CATEGORIES, CROWDS, NUMBERS, SCHEDULED, followed, history, usual

FIRST = date(2010, 1, 1)


def deliveries(count: int) -> tuple[list[dict[str, str]], list[date]]:
    random = Random(5)
    names = {*CATEGORIES, *CROWDS, "Molecule/Test Type", "PO / SO #"}
    rows = []
    for number in range(count):
        day = FIRST + timedelta(days=number // 3)
        row = {name: f"{name} {random.randint(1, 4)}" for name in names} | dict.fromkeys(NUMBERS, "5")
        dates = {"PO Sent to Vendor Date": "Date Not Captured", "PQ First Sent to Client Date": "2009-12-01"}
        rows.append(row | dates | {SCHEDULED: day.isoformat()})
    return rows, [date.fromisoformat(row[SCHEDULED]) for row in rows]


def test_history_knows_no_later_outcome():
    """Other outcomes from one day on change no row of that day and before, and rows after it."""
    rows, days = deliveries(120)
    late = np.array([Random(number).random() < 0.3 for number in range(120)])
    other = late.copy()
    other[60:] = ~other[60:]
    first, second = history(rows, days, late), history(rows, days, other)
    same = [day <= days[60] for day in days]
    assert np.array_equal(first[same], second[same])
    assert not np.array_equal(first[np.logical_not(same)], second[np.logical_not(same)])


def test_the_usual_way_knows_no_later_outcome():
    """It learns from the first rows; other outcomes from one day on change nothing of what it says until that day."""
    rows, days = deliveries(120)
    late = np.array([Random(number).random() < 0.3 for number in range(120)])
    other = late.copy()
    other[90:] = ~other[90:]
    first, second = usual(rows, days, late, 60), usual(rows, days, other, 60)
    same = [day <= days[90] for day in days[60:]]
    assert np.array_equal(first[same], second[same])
    assert not np.array_equal(first, second)


def test_what_is_overdue_knows_no_later_arrival():
    """When something comes from one day on makes no difference to that day and before; that it has not come does."""
    rows, days = deliveries(120)
    rows = [{**row, "Item Description": "item"} for row in rows]
    random = Random(3)
    delivered = [day + timedelta(days=random.randint(-3, 9)) for day in days]
    today = days[60]
    other = [one if one < today else one + timedelta(days=random.randint(0, 30)) for one in delivered]
    first, second = overdue(rows, days, delivered), overdue(rows, days, other)
    same = [day <= today for day in days]
    assert np.array_equal(first[same], second[same])
    assert not np.array_equal(first[np.logical_not(same)], second[np.logical_not(same)])
    held_up = [one if one < today else one + timedelta(days=300) for one in delivered]
    assert overdue(rows, days, held_up)[-1][0] > first[-1][0]


def test_followed_knows_no_later_outcome():
    """The shift of a day rests on outcomes of earlier days alone."""
    _, days = deliveries(90)
    said, late = np.full(90, 0.2), np.zeros(90, bool)
    other = late.copy()
    other[45:] = True
    first, second = followed(said, late, days), followed(said, other, days)
    assert np.array_equal(first[:48], second[:48])
    assert first[-1] < 0.2 < second[-1]
