"""What people booked in the ERP, as a CSV out of it, and to which cases of a parallel run that belongs.

Columns: ``kind`` (a posting kind), ``document``, ``order``, ``about`` (the material, of a confirmation the
operation), ``quantity`` (of a confirmation the yield), ``unit`` (as in the ERP or UN/ECE Rec 20), ``day`` (posting
date), and, where known, ``entered_at`` (ISO time with its offset) and ``by``.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from agent.errors import BadPayload, ConfigError, Finding
from agent.parallel.figures import Case, People, Posted
from agent.ports import Kind
from agent.units import UnitTable

NEEDED: Final = ("kind", "document", "order", "about", "quantity", "unit", "day")
MOST: Final = 50  # errors that are told
NUMBER: Final = {  # by what stands between the cells: no thousands, and one kind of decimal sign in a file
    ",": re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII),
    ";": re.compile(r"-?[0-9]+([.,][0-9]+)?", re.ASCII),
}
DAYS: Final = 1  # a booking may be of the day before or after


class Booking(NamedTuple):
    """One document of the ERP, or one item of it."""

    document: str
    posted: Posted
    entered_at: datetime | None = None
    by: str = ""


def read(file: Path, units: UnitTable) -> list[Booking]:
    """The list. Raises ConfigError with every line that cannot be read, at its line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Finding(str(file), 1, "", f"cannot be read: {error}")]) from None
    separator = ";" if ";" in text.partition("\n")[0] else ","
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    missing = [name for name in NEEDED if name not in (rows.fieldnames or ())]
    if missing:
        raise ConfigError([Finding(str(file), 1, "", f"the columns {', '.join(missing)} are missing")])
    found, wrong = [], list[Finding]()
    signs = set[str]()  # decimal signs
    try:
        for row in rows:
            try:
                found.append(_booking(row, units, NUMBER[separator]))
            except (ValueError, BadPayload) as error:
                wrong.append(Finding(str(file), rows.line_num, "", str(error), str(row.get("document") or "")))
            else:
                signs.update(re.findall("[.,]", row["quantity"] or ""))
    except csv.Error as error:
        wrong.append(Finding(str(file), rows.line_num, "", f"is no valid CSV: {error}"))
    if len(signs) > 1:
        why = "has quantities with a decimal comma and others with a point, and nobody can tell which means thousands"
        wrong.append(Finding(str(file), 1, "quantity", f"{why}; export it with one decimal sign"))
    if wrong:
        raise ConfigError(wrong[:MOST])
    return found


def _booking(row: Mapping[str, str | None], units: UnitTable, number: re.Pattern[str]) -> Booking:
    """One line. Raises ValueError, BadPayload."""
    cells = {name: (value or "").strip() for name, value in row.items() if name}
    if cells["kind"] not in list(Kind):
        raise ValueError(f"kind: {cells['kind']!r} is no kind of posting")
    if not number.fullmatch(cells["quantity"]):
        raise ValueError(f"quantity: {cells['quantity']!r} is no number; write 1250.5, without thousands")
    quantity = Decimal(cells["quantity"].replace(",", "."))
    unit = cells["unit"]
    if unit not in units.units:
        unit = units.from_sap(unit)
    entered = datetime.fromisoformat(cells["entered_at"]) if cells.get("entered_at") else None
    if entered is not None and entered.tzinfo is None:
        raise ValueError(f"entered_at: {cells['entered_at']!r} has no offset; write 2026-11-20T14:00:00+01:00")
    day = date.fromisoformat(cells["day"]).isoformat()
    posted = Posted(cells["kind"], cells["order"], _about(cells["kind"], cells["about"]), quantity, unit, day)
    return Booking(cells["document"], posted, entered, cells.get("by", ""))


def _about(kind: str, about: str) -> str:
    """Operations are compared without leading zeros, as SAP does."""
    return about.lstrip("0") if kind == Kind.CONFIRMATION else about


# ── which booking belongs to which case ─────────────────────────────────────────────────────────────────────


class Matched(NamedTuple):
    """Cases with what people booked, and the bookings that no case explains."""

    cases: list[Case]
    left: list[Booking]


def match(cases: Sequence[Case], bookings: Sequence[Booking], units: UnitTable) -> Matched:
    """Find the document of each case whose end is not known, by kind, order, material or operation, quantity and day.

    First the same quantity on the same day, then on the next one; then several reports booked as one sum; what is left
    of both sides at one order, material and day was booked with another quantity. A case with several postings is the
    same only where all of them are.
    """
    open_cases = [at for at, one in enumerate(cases) if one.people is People.UNKNOWN]
    wanted = [(at, posted) for at in open_cases for posted in cases[at].posts]
    left = _Left(bookings, [posted.day for _, posted in wanted])
    found: dict[int, list[_Part]] = defaultdict(list)
    for apart in (0, DAYS):
        still = []
        for at, posted in wanted:
            booking = left.take(posted, lambda other, mine=posted: _same(mine, other, units, apart))  # type: ignore[misc]  # noqa: B023
            if booking is None:
                still.append((at, posted))
            else:
                found[at].append(_Part(People.SAME, booking, f"booked as {booking.document}"))
        wanted = still
    for at, posted in _without_sums(wanted, left, found, units):
        booking = left.take(posted, lambda other, mine=posted: other.day == mine.day)  # type: ignore[misc]
        if booking is None:
            found[at].append(_Part(People.NOT, None, "not booked"))
        else:
            said = f"booked {booking.posted.quantity:f} {units.shown(booking.posted.unit)} as {booking.document}"
            found[at].append(_Part(People.OTHERWISE, booking, said))
    judged = [_judged(one, found[at]) if at in found else one for at, one in enumerate(cases)]
    return Matched(judged, left.rest())


class _Part(NamedTuple):
    """What became of one posting of a case."""

    people: People
    booking: Booking | None
    how: str


class _Left:
    """The bookings that no case has taken yet, of the days that the cases are about."""

    def __init__(self, bookings: Sequence[Booking], days: Sequence[str]) -> None:
        self._by: dict[tuple[str, str, str], list[Booking]] = defaultdict(list)
        first, last = (min(days), max(days)) if days else ("", "")
        for one in bookings:
            day = one.posted.day
            if days and (first <= day <= last or min(_apart(day, first), _apart(day, last)) <= DAYS):
                self._by[one.posted[:3]].append(one)

    def take(self, posted: Posted, fits: Callable[[Posted], bool]) -> Booking | None:
        """The nearest by quantity of those that fit; it is then no longer left."""
        there = self._by.get(posted[:3], [])
        fitting = [one for one in there if fits(one.posted)]
        if not fitting:
            return None
        booking = min(fitting, key=lambda one: abs(one.posted.quantity - posted.quantity))
        there.remove(booking)
        return booking

    def of_day(self, posted: Posted) -> list[Booking]:
        """Those of the same order, thing and day."""
        return [one for one in self._by.get(posted[:3], []) if one.posted.day == posted.day]

    def drop(self, taken: Sequence[Booking]) -> None:
        """These are explained."""
        for one in taken:
            self._by[one.posted[:3]].remove(one)

    def rest(self) -> list[Booking]:
        """What nobody has taken."""
        return [one for there in self._by.values() for one in there]


def _without_sums(
    wanted: Sequence[tuple[int, Posted]], left: _Left, found: dict[int, list[_Part]], units: UnitTable
) -> list[tuple[int, Posted]]:
    """What is left behind several reports of one day that people booked as one sum."""
    still: list[tuple[int, Posted]] = []
    for _, group in groupby(sorted(wanted, key=lambda one: _place(one[1])), key=lambda one: _place(one[1])):
        members = list(group)
        unit = members[0][1].unit
        total = sum((_in(posted, unit, units) for _, posted in members), Decimal(0))
        there = left.of_day(members[0][1])
        booked = sum((_in(one.posted, unit, units) for one in there), Decimal(0))
        if len(members) > 1 and there and total == booked:
            left.drop(there)
            for at, _ in members:
                found[at].append(_Part(People.SAME, there[0], f"booked in one sum as {there[0].document}"))
        else:
            still += members
    return sorted(still, key=lambda one: one[0])


def _judged(case: Case, parts: Sequence[_Part]) -> Case:
    """What people did about all of its postings."""
    kinds = {one.people for one in parts}
    people = People.SAME if kinds == {People.SAME} else People.NOT if kinds == {People.NOT} else People.OTHERWISE
    booked = [one.booking for one in parts if one.booking is not None]
    entered = max((one.entered_at for one in booked if one.entered_at is not None), default=None)
    waited = (entered - case.at).total_seconds() / 60 if entered is not None else None
    by = next((one.by for one in booked if one.by), "")
    how = "; ".join(dict.fromkeys(one.how for one in parts))
    return replace(case, people=people, by=by, how=how, waited_min=max(0.0, waited) if waited is not None else None)


def _place(posted: Posted) -> tuple[str, str, str, str]:
    return posted.kind, posted.order, posted.about, posted.day


def _same(one: Posted, other: Posted, units: UnitTable, days: int) -> bool:
    if (one.kind, one.order, one.about) != (other.kind, other.order, other.about):
        return False
    return _apart(one.day, other.day) <= days and _in(other, one.unit, units) == one.quantity


def _in(posted: Posted, unit: str, units: UnitTable) -> Decimal:
    """The quantity in this unit, rounded as it posts; as it is where nothing converts."""
    if posted.unit == unit:
        return posted.quantity
    try:
        factor = units.factor(posted.unit, unit)
    except BadPayload:
        return Decimal("NaN")  # equal to nothing
    value = posted.quantity * factor.numerator / factor.denominator
    return value.quantize(Decimal(1).scaleb(-units.decimals(unit)))


def _apart(one: str, other: str) -> int:
    return abs((date.fromisoformat(one) - date.fromisoformat(other)).days)
