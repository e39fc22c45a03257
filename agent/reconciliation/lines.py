"""One component of one order: are its reports in the books, and is there one for every lot that was made?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import combinations, pairwise
from typing import Final, NamedTuple

from pydantic import BaseModel

from agent.digits import plain
from agent.reconciliation.causes import slip
from agent.reconciliation.findings import Cause, Correction, Finding
from agent.reconciliation.observed import Booked, Made, Material, Place, Used
from agent.reconciliation.pairing import EARLY, dated, pair

KEPT: Final = 12  # entries that are remembered after they were paired: a double comes later
TWIN: Final = timedelta(hours=24)  # a second entry of the same is no older
SHIFT: Final = timedelta(hours=12)  # one count may be of all lots of so long
ALIKE: Final = 0.15  # of an expected quantity: a booking without a report is that lot's


class Line(BaseModel):
    """What waits for its counterpart, and what found it lately."""

    uses: list[Used] = []  # not in the books yet
    books: list[Booked] = []  # of which no report is known yet
    lots: list[Used] = []  # for which nothing is known to have been made yet
    made: list[Made] = []  # of which there is no report yet
    used: list[Used] = []
    booked: list[Booked] = []
    decided: list[str] = []  # reports whose booking a person took back: what is booked instead is right, or nothing
    doubled: list[str] = []  # reports that were told to be one too many
    refused: list[str] = []  # reports of which a person said that nothing is to be booked, or took it back
    alone: list[str] = []  # reports that were judged before anything told that their lot was made
    earliest: datetime | None = None  # of the lots that were reported
    absent: list[Made] = []  # told to be missing: what comes after all is no surprise

    @property
    def settled(self) -> bool:
        """Whether nothing waits."""
        return not (self.uses or self.books or self.made)


def corrected(line: Line, use: Used, quantity: Decimal) -> None:
    """A person decided what a report is: nobody misses it, or its number, in the books."""
    if not quantity:
        line.uses = [one for one in line.uses if one.id != use.id]
        refused(line, use)
    for uses in (line.uses, line.used, line.lots):
        uses[:] = [one._replace(quantity=quantity) if one.id == use.id and quantity else one for one in uses]


def refused(line: Line, use: Used) -> None:
    """A report is of no lot; the one that it seemed to be of is another report's, where there is one."""
    line.refused = [*line.refused, use.id][-KEPT:]
    if any(one.id == use.id for one in line.lots):
        return
    heir = next((one for one in line.lots if one.lot == use.lot and abs(one.at - use.at) <= TWIN), None)
    if heir is not None:
        line.lots.remove(heir)


def taken_back(line: Line, id: str) -> None:
    """A signed correction took a booking back: it explains nothing any more, and its report waits for nothing."""
    line.books = [one for one in line.books if one.id != id]
    line.booked = [one for one in line.booked if one.id != id]


def _taken_back(line: Line, step: Decimal) -> None:
    """What was booked and taken back was never booked; its report waits for a booking again."""
    for back in [one for one in line.books if one.quantity < 0]:
        same = [one for one in (*line.books, *line.booked) if abs(one.quantity + back.quantity) <= step]
        line.books.remove(back)
        if not same:
            continue
        if same[0] in line.books:
            line.books.remove(same[0])
        else:
            line.booked.remove(same[-1])
        among = [*line.uses, *line.used]
        if (use := next((one for one in among if abs(one.quantity + back.quantity) <= step), None)) is not None:
            line.uses = [*(one for one in line.uses if one != use), use]
            line.used = [one for one in line.used if one != use]
            line.decided = [*line.decided, use.id][-KEPT:]


class Joined(NamedTuple):
    """Reports and what was made of them."""

    uses: list[Used]
    made: list[Made]


class Compared(NamedTuple):
    """What reports and bookings show. `instead`: what is booked of a report whose own booking a person took back."""

    findings: list[Finding]
    late: list[timedelta]  # each booking
    instead: list[tuple[Used, Decimal]]


def with_books(line: Line, material: Material, overdue: datetime, open_: Callable[[str], bool]) -> Compared:
    """Pair reports with bookings; what waits since before `overdue` is told.

    `open_` says of a report that its posting is on its way, or waits for a person: it is not missing.
    """
    _taken_back(line, material.step)
    found, uses, books = pair(
        dated(line.uses, lambda one: one.quantity), dated(line.books, lambda one: one.quantity), material.step
    )
    late = []
    for one, two in found:
        late.append(max(book.at for book in two) - max(use.at for use in one))
        line.used, line.booked = [*line.used, *one][-KEPT:], [*line.booked, *two][-KEPT:]
    line.uses, line.books = [one.entry for one in uses], [one.entry for one in books]
    _balanced(line, material.step)
    instead = _settle_decided(line, overdue)
    findings: list[Finding] = []
    for book in [one for one in line.books if one.at < overdue]:
        findings.append(_booked_without(book, line, material))
        line.books.remove(book)
    for use in [one for one in line.uses if one.at < overdue]:
        if any(use.at <= book.at + EARLY for book in line.books):
            continue  # one of these may be its booking, with a wrong number: wait until that is overdue, too
        if open_(use.id):
            continue
        findings.append(_not_booked(use, material))
        line.uses.remove(use)
    return Compared(findings, late, instead)


def _settle_decided(line: Line, overdue: datetime) -> list[tuple[Used, Decimal]]:
    """What a person took back waits for nothing, and what is booked instead needs no report of that number."""
    found = []
    for use in [one for one in line.uses if one.id in line.decided and one.at < overdue]:
        instead = next((book for book in line.books if use.at <= book.at + EARLY), None)
        if instead is not None:
            line.books.remove(instead)
            line.booked = [*line.booked, instead][-KEPT:]
            found.append((use, instead.quantity))
        line.uses.remove(use)
        line.used = [*line.used, use][-KEPT:]
    return found


def _balanced(line: Line, step: Decimal) -> None:
    """What is right in sum is right: sums of lots that are all alike may have been told apart wrongly."""
    for most in (2, len(line.uses)):
        for books in combinations(line.books, min(most, len(line.books))):
            for uses in combinations(line.uses, min(most, len(line.uses))):
                off = sum((one.quantity for one in books), Decimal(0)) - sum((one.quantity for one in uses), Decimal(0))
                if books and uses and abs(off) <= step * (len(books) + len(uses)):
                    line.books = [one for one in line.books if one not in books]
                    line.uses = [one for one in line.uses if one not in uses]
                    return


def _booked_without(book: Booked, line: Line, material: Material) -> Finding:
    """A booking that no report explains: a wrong number of one, a second of one, or one that nothing measured."""
    unit = material.unit
    step = float(material.step)
    candidates = [use for use in line.uses if use.at <= book.at + EARLY]
    twin = next((one for one in reversed(line.booked) if _twins(one, book, material.step)), None)
    for use in sorted(candidates, key=lambda one: one.at, reverse=True):

        def fits(number: float, slack: float, use: Used = use) -> bool:
            return abs(number - float(use.quantity)) <= max(step, slack, 0.002 * float(use.quantity))

        if fits(float(book.quantity) / 2, step):
            line.uses.remove(use)
            return _wrong(book, use, unit, Cause.DOUBLE, "twice what was measured: booked twice in one go")
        if (found := slip(book.quantity, fits, material)) is not None:
            line.uses.remove(use)
            return _wrong(book, use, unit, *found)
    if twin is not None:
        twice = f"{plain(book.quantity)} {unit} booked twice for the order"
        evidence = (f"{twice}, by {twin.id} and {book.id}; measured once",)
        return _of(book, Cause.DOUBLE, float(book.quantity), Correction.REVERSAL, evidence, (book.id, twin.id))
    if candidates:
        use = min(candidates, key=lambda one: abs(one.quantity - book.quantity))
        line.uses.remove(use)
        return _wrong(book, use, unit, Cause.RECORDING, "no slip of a unit, a point or two digits: typed wrongly")
    if line.made or line.absent:  # the lot has no report: this is its booking
        evidence = (f"{plain(book.quantity)} {unit} are booked by {book.id} for a lot that the floor never reported",)
        return _of(book, Cause.MISSING, 0.0, Correction.NONE, evidence, (book.id,))
    evidence = (f"{plain(book.quantity)} {unit} booked by {book.id}; nothing that was measured explains it",)
    return _of(book, Cause.RECORDING, float(book.quantity), Correction.REVERSAL, evidence, (book.id,))


def issued_twice(book: Booked, before: str, material: Material) -> Finding:
    """A person signed the issue of what was missing, and it had been put right otherwise by then."""
    evidence = (f"{plain(book.quantity)} {material.unit} were issued by {book.id} for what was missing", before)
    return _of(book, Cause.DOUBLE, float(book.quantity), Correction.REVERSAL, evidence, (book.id,))


def _twins(one: Booked, other: Booked, step: Decimal) -> bool:
    return abs(one.quantity - other.quantity) <= step and abs(one.at - other.at) <= TWIN


def _wrong(book: Booked, use: Used, unit: str, cause: Cause, why: str) -> Finding:
    measured = f"{plain(use.quantity)} {unit} measured by {use.id}"
    evidence = (f"{measured}, {plain(book.quantity)} {unit} booked by {book.id}", why)
    excess = float(book.quantity - use.quantity)
    return _of(book, cause, excess, Correction.REVERSAL, evidence, (book.id, use.id))._replace(at=use.at)


def _of(
    entry: Booked,
    cause: Cause,
    excess: float,
    correction: Correction,
    evidence: tuple[str, ...],
    about: tuple[str, ...],
) -> Finding:
    return Finding(
        cause, entry.place, entry.at, entry.at, excess, 0.0, correction, evidence, entry.order, about=about,
        whole=float(entry.quantity),
    )  # fmt: skip


def _not_booked(use: Used, material: Material) -> Finding:
    evidence = (f"{plain(use.quantity)} {material.unit} measured by {use.id}, and not in the books",)
    return Finding(
        Cause.MISSING, use.place, use.at, use.at, -float(use.quantity), 0.0, Correction.ISSUE, evidence, use.order,
        use.work_center, (use.id,),
    )  # fmt: skip


# ── against what was made ───────────────────────────────────────────────────────────────────────────────────


def with_made(line: Line) -> list[Joined]:
    """Pair reports with the lots that were made."""
    told_wrong = [one for one in line.lots if one.id in line.refused]
    joined: list[Joined] = []
    left: list[Used] = []
    for lots in ([one for one in line.lots if one not in told_wrong], told_wrong):  # what a person refused comes last
        found, alone, made = pair(
            dated(lots, lambda one: one.lot), dated(line.made, lambda one: one.quantity), Decimal(0), nearest=True
        )
        line.made, left = [one.entry for one in made], [*left, *(one.entry for one in alone)]
        joined += [Joined(*one) for one in found]
    line.lots = left
    return joined


def of_lot(use: Used, made: Made) -> bool:
    """Whether a report may be the one of this lot."""
    return use.lot == made.quantity and made.at - SHIFT <= use.at <= made.at + EARLY


def drop_repeated(line: Line, material: Material, overdue: datetime, never: Callable[[str], bool]) -> None:
    """A second report of a lot that was made once, which this agent `never` books and others have not, is not missing.

    Nothing is booked of it, and nothing was made for it.
    """
    booked = {one.id for one in line.used}
    for lot in [one for one in line.lots if one.at < overdue]:
        twins = _twins_of(lot, (*line.used, *line.uses), material.step) or ()
        unbooked = [one for one in twins if one.id not in booked]  # as much: whose booking it is is all the same
        if unbooked and any(never(one.id) for one in twins):
            line.lots.remove(lot)
            line.uses = [one for one in line.uses if one.id != unbooked[-1].id]


def reported_twice(
    line: Line, material: Material, overdue: datetime, open_: Callable[[str], bool]
) -> list[tuple[Used, Finding]]:
    """Reports for which nothing was made: a second report of the same, where there is a first.

    Not while the posting of one of the two is `open_`: the books have one of them at most.
    """
    findings = []
    for lot in [one for one in line.lots if one.at < overdue and one.id not in line.refused]:
        known = [one for one in (*line.used, *line.uses) if one.id not in (*line.doubled, *line.refused)]
        twins = _twins_of(lot, known, material.step)
        if twins is None or any(open_(one.id) for one in twins):
            continue
        line.lots.remove(lot)
        twin, use = sorted(twins, key=lambda one: one.at)  # the later one is too many
        line.doubled = [*line.doubled, use.id][-KEPT:]
        evidence = (
            f"{plain(use.quantity)} {material.unit} for a lot of {plain(use.lot)} reported twice, "
            f"as {twin.id} and {use.id}",
            "the lot was made once",
        )
        findings.append(
            (
                use,
                Finding(
                    Cause.DOUBLE, use.place, use.at, use.at, float(use.quantity), 0.0, Correction.REVERSAL, evidence,
                    use.order, use.work_center, (use.id, twin.id), misreported=True, expected=-use.expected,
                    whole=float(use.quantity),
                ),
            )
        )  # fmt: skip
    return findings


def _twins_of(lot: Used, others: Iterable[Used], step: Decimal) -> tuple[Used, Used] | None:
    """A report and the one it repeats: with this one, else among those of lots as large (one of these is too many)."""
    alike = sorted(
        (one for one in others if one.lot == lot.lot and abs(one.at - lot.at) <= TWIN), key=lambda one: one.at
    )
    pairs = [*((one, lot) for one in alike), *pairwise(alike)]
    return next(
        ((one, two) for one, two in pairs if one.id != two.id and abs(one.quantity - two.quantity) <= step), None
    )


def never_reported(
    line: Line, place: Place, usual: float, width: float, material: Material, overdue: datetime
) -> tuple[list[tuple[Made, Finding]], list[Joined]]:
    """What was made and of which no report came; and the reports for the rest of it.

    `usual` is what one of the product takes, `width` its share.
    """
    findings: list[tuple[Made, Finding]] = []
    rest: list[Joined] = []
    for counted in sorted((one for one in line.made if one.at < overdue), key=lambda one: one.at):
        line.made.remove(counted)
        told = [one for one in line.lots if counted.at - SHIFT <= one.at <= counted.at + EARLY]
        line.lots = [one for one in line.lots if one not in told]
        if told:
            rest.append(Joined(told, [counted]))
        made = counted._replace(quantity=counted.quantity - sum((one.lot for one in told), Decimal(0)))
        if made.quantity <= 0:
            continue
        line.absent = [*line.absent, made][-KEPT:]
        quantity = float(made.quantity) * usual
        book = next((one for one in line.books if abs(float(one.quantity) / quantity - 1) <= ALIKE), None)
        words = f"{quantity:.4g} {material.unit}"
        if book is not None:
            line.books.remove(book)
            evidence = (
                f"a lot of {plain(made.quantity)} was made, and no report says what it took of {place.material}",
                f"{plain(book.quantity)} {material.unit} are booked for it by {book.id}, {words} are usual: "
                "the books are right",
            )
            excess, correction, about = 0.0, Correction.NONE, (made.id, place.material)
        else:
            evidence = (
                f"a lot of {plain(made.quantity)} was made, and no report says what it took of {place.material}",
                f"about {words} are usual for it, and nothing is booked",
            )
            excess, correction, about = -quantity, Correction.ISSUE, (made.id, place.material)
        findings.append(
            (
                made,
                Finding(
                    Cause.MISSING, place, made.at, made.at, excess, quantity * width, correction, evidence, made.order,
                    about=about,
                ),
            )
        )  # fmt: skip
    return findings, rest
