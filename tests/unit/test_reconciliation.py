"""Floor, bill of material, books and silos held against each other: each sort of discrepancy, none where none is."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from agent.balances import settled_by_backflush
from agent.commands.reconciliation import no_account
from agent.detectors import balance
from agent.detectors.balance import Balance, Change
from agent.reconciliation import stock
from agent.reconciliation.findings import Cause, Correction, Finding
from agent.reconciliation.lots import judged
from agent.reconciliation.observed import (
    Booked,
    InBooks,
    Level,
    Made,
    Material,
    Observation,
    Place,
    Plan,
    Restated,
    Used,
)
from agent.reconciliation.pairing import dated, pair
from agent.reconciliation.state import Order, State, Waiting, restored
from agent.reconciliation.step import moved_at, step
from agent.reconciliation.usualuse import Off
from tests.stores import opened, reading

MONDAY = datetime(2026, 11, 23, 6, tzinfo=UTC)
RESIN, DYE, CAP = Place("RESIN", "SILO"), Place("DYE", "BAGS"), Place("CAP", "PACK")
NEEDS = ((RESIN, 0.9), (DYE, 0.05), (CAP, 0.2))
MATERIALS = {
    "RESIN": Material("KGM", Decimal("0.001"), {"lb": 0.45359237}),
    "DYE": Material("KGM", Decimal("0.001"), {"lb": 0.45359237}),
    "CAP": Material("C62", Decimal(1)),
    "OTHER": Material("KGM", Decimal("0.001")),
}
LEARNT = 60  # lots before anything goes wrong
Change_ = Callable[[Observation], list[Observation]]


def lots(wrong: Change_ = lambda one: [one], *, many: int = LEARNT + 8) -> Iterator[tuple[datetime, list[Observation]]]:
    """One lot an hour, ten to an order; what comes of the lot LEARNT + 2 goes through `wrong`."""
    random = Random(5)
    for number in range(many):
        at, order = MONDAY + timedelta(hours=number), f"{number // 10}"
        said: list[Observation] = [Plan(order, NEEDS)] if number % 10 == 0 else []
        came: list[Observation] = [Made(f"m{number}", at, order, Decimal(100))]
        for place, per in NEEDS:
            expected = per * 100
            exact = expected if place is CAP else expected * (1.01 + random.gauss(0, 0.005))
            quantity = Decimal(f"{exact:.3f}") if place is not CAP else Decimal(round(exact))
            id = f"{number}/{place.material}"
            came.append(Used(id, at, order, place, quantity, expected, Decimal(100), "WC"))
            came.append(Booked(f"b{id}", at + timedelta(minutes=5), order, place, quantity))
        if number == LEARNT + 2:
            came = [after for one in came for after in wrong(one)]
        yield at + timedelta(minutes=30), said + came


def found(wrong: Change_ = lambda one: [one]) -> list[Finding]:
    state, told = State(), []
    for now, came in lots(wrong):
        state = restored(state.written())  # as after a restart
        told += step(state, came, now, MATERIALS)
    for hours in range(1, 80):
        told += step(state, [], now + timedelta(hours=hours), MATERIALS)
    return told


def of(kind: type, material: str, change: Callable[..., list[Observation]]) -> Change_:
    """What changes the one entry of this kind and material."""

    def wrong(one: Observation) -> list[Observation]:
        mine = isinstance(one, kind) and getattr(one, "place", Place("")).material == material
        return change(one) if mine else [one]

    return wrong


def test_where_nothing_is_wrong_nothing_is_found():
    """Weeks of good lots, with the noise of scales, raise no alarm."""
    assert found() == []


def quantity(factor: str) -> Callable[..., list[Observation]]:
    return lambda one: [one._replace(quantity=(one.quantity * Decimal(factor)).quantize(Decimal("0.001")))]


@pytest.mark.parametrize(
    ("wrong", "cause", "correction", "words"),
    [
        (of(Booked, "RESIN", quantity("10")), Cause.RECORDING, Correction.REVERSAL, "10 times too high"),
        (of(Booked, "RESIN", quantity("2.20462262")), Cause.UNIT, Correction.REVERSAL, "lb"),
        (of(Used, "DYE", lambda one: []), Cause.MISSING, Correction.NONE, "the books are right"),
        (of(Booked, "DYE", lambda one: []), Cause.MISSING, Correction.ISSUE, "not in the books"),
        (
            of(Booked, "CAP", lambda one: [one, one._replace(id="again", at=one.at + timedelta(minutes=9))]),
            Cause.DOUBLE, Correction.REVERSAL, "booked twice",
        ),
        (
            of(Used, "RESIN", lambda one: [one, one._replace(id="again", at=one.at + timedelta(minutes=1)),
                                           Booked("b-again", one.at, one.order, one.place, one.quantity)]),
            Cause.DOUBLE, Correction.REVERSAL, "the lot was made once",
        ),
    ],
)  # fmt: skip
def test_an_error_in_one_entry_is_found_once_with_its_cause(wrong, cause, correction, words):
    """What is booked wrongly, twice or not at all is one finding, with the numbers that show it."""
    (one,) = found(wrong)
    assert (one.cause, one.correction) == (cause, correction), one.evidence
    assert any(words in said for said in one.evidence), one.evidence


def test_what_a_report_says_wrongly_is_found_against_the_usual():
    """A report in pounds that was booked as it was told has only the bill of material against it."""

    def wrong(one: Observation) -> list[Observation]:
        mine = isinstance(one, Used | Booked) and one.place == RESIN
        return quantity("2.20462262")(one) if mine else [one]

    (one,) = found(wrong)
    assert (one.cause, one.correction) == (Cause.UNIT, Correction.REVERSAL)
    assert one.excess == pytest.approx(90.9 * 1.2046, rel=0.03)


def test_scrap_shows_in_all_components_alike():
    """Five per cent more of everything is product that nobody told of; five of one component alone is not."""

    def wrong(one: Observation) -> list[Observation]:
        if not isinstance(one, Used | Booked):
            return [one]
        return quantity("1.05")(one) if one.place != CAP else [one._replace(quantity=Decimal(21))]

    (one,) = found(wrong)
    assert (one.cause, one.correction) == (Cause.SCRAP, Correction.SCRAP)
    assert "more were made than is told" in one.evidence[1]


def test_another_material_in_its_place_is_a_substitution():
    """What the order did not plan, taken as one of its components was not, is one finding, not two."""

    def wrong(one: Observation) -> list[Observation]:
        if isinstance(one, Used | Booked) and one.place == DYE:
            one = one._replace(place=Place("OTHER", "BAGS"))
            return [one._replace(expected=0.0) if isinstance(one, Used) else one]
        return [one]

    (one,) = found(wrong)
    assert (one.cause, one.correction) == (Cause.SUBSTITUTION, Correction.NONE)
    assert one.instead == Place("OTHER", "BAGS")


def test_what_a_person_takes_back_is_no_discrepancy():
    """A booking that was taken back, with or without another in its place, is neither missing nor wrong."""

    def wrong(one: Observation) -> list[Observation]:
        if isinstance(one, Booked) and one.place == DYE:
            back = one._replace(id="back", at=one.at + timedelta(minutes=5), quantity=-one.quantity)
            again = one._replace(id="again", at=one.at + timedelta(minutes=6), quantity=Decimal("5.5"))
            return [one, back, again]
        if isinstance(one, Booked) and one.place == RESIN:
            return [one, one._replace(id="back too", at=one.at + timedelta(minutes=5), quantity=-one.quantity)]
        return [one]

    assert found(wrong) == []


def test_what_comes_late_is_not_missing():
    """A report that its device holds back for hours, and a booking at the end of the shift, are no discrepancies."""
    held: list[Observation] = []
    state, told = State(), []

    def keep(one: Observation) -> list[Observation]:
        if isinstance(one, Used | Booked) and one.place == DYE:
            held.append(one)
            return []
        return [one]

    for number, (now, came) in enumerate(lots(keep)):
        if number == LEARNT + 6:
            came += [one._replace(at=now) if isinstance(one, Booked) else one for one in held]
        told += step(state, came, now, MATERIALS, timedelta(hours=12))
    for hours in range(1, 40):
        told += step(state, [], now + timedelta(hours=hours), MATERIALS, timedelta(hours=12))
    assert told == []


def test_a_first_lot_that_comes_late_is_still_the_first():
    """What setting up takes is in it, though a device held it back and the second lot came before."""
    state = State()
    for now, came in lots(many=LEARNT):
        step(state, came, now, MATERIALS)

    def lot(number: int, factor: float) -> list[Observation]:
        at, came = now + timedelta(hours=1 + number), list[Observation]()
        for place, per in NEEDS:
            id, quantity = f"late {number}/{place.material}", Decimal(f"{per * 100 * factor:.3f}")
            quantity = quantity if place is not CAP else Decimal(round(quantity))
            came.append(Used(id, at, "late", place, quantity, per * 100, Decimal(100), "WC"))
            came.append(Booked(f"b{id}", at, "late", place, quantity))
        return [*came, Made(f"made {number}", at, "late", Decimal(100))]

    second: list[Observation] = [Plan("late", NEEDS), *lot(1, 1.01)]
    told = step(state, second, now + timedelta(hours=3), MATERIALS)
    told += step(state, lot(0, 1.15), now + timedelta(hours=4), MATERIALS)
    assert told + step(state, [], now + timedelta(hours=60), MATERIALS) == []


@pytest.mark.parametrize(("other", "many"), [(9.0, 0), (0.5, 1)])
def test_what_no_slip_explains_is_told_where_no_other_component_is_off(other, many):
    """A first lot of which everything took more was a longer set-up; one component alone is a report to look at."""
    use = Used("u", MONDAY, "1", RESIN, Decimal("47.31"), 40.0, Decimal(100), "WC", first=True)
    seen = [
        Off(use._replace(place=place), 40.0, z * 0.01, 0.01, known=True) for place, z in ((RESIN, 9.0), (DYE, other))
    ]
    told, _ = judged(seen, MATERIALS, None)
    assert [one.cause for one in told] == [Cause.RECORDING] * many


# ── what a person signed ────────────────────────────────────────────────────────────────────────────────────


def put_right(wrong: Change_) -> tuple[list[Finding], Order]:
    """Findings, and the order after each of their corrections was signed and booked."""
    state, told, order = State(), [], str((LEARNT + 2) // 10)
    books: dict[str, Booked] = {}
    waiting: list[Observation] = []
    arrivals = [*lots(wrong), *((MONDAY + timedelta(hours=LEARNT + hours), []) for hours in range(9, 80))]
    for now, came in arrivals:
        state = restored(state.written())
        books |= {one.id: one for one in came if isinstance(one, Booked)}
        findings = step(state, [*came, *waiting], now, MATERIALS, timedelta(hours=2))
        waiting = [booking for one in findings for booking in corrections(one, books, now)]
        told += findings
    return told, state.orders[order]


def corrections(finding: Finding, books: dict[str, Booked], now: datetime) -> list[Booked]:
    """As the workflow proposes them: the document taken back, and what is right issued instead."""
    right, document = Decimal(f"{-finding.excess:.3f}"), Booked("", now, finding.order, finding.place, Decimal(0))
    found: list[Booked] = []
    if finding.correction is Correction.REVERSAL:
        document = next(books[id] for about in finding.about for id in (about, f"b{about}") if id in books)
        back = document._replace(id=f"-{document.id}", at=now, quantity=-document.quantity, takes_back=document.id)
        found, right = [back], document.quantity + right
    if right > Decimal("0.0005"):
        found.append(document._replace(id=f"+{finding.id}", at=now, quantity=right))
    return [one._replace(corrects=finding.id) for one in found]


def twice(one: Observation) -> list[Observation]:
    """A scale that reports the lot of resin again under another id, and its booking."""
    if isinstance(one, Used | Booked) and one.place == RESIN:
        return [one, one._replace(id=f"{one.id} again", at=one.at + timedelta(minutes=1))]
    return [one]


def unbooked(one: Observation) -> list[Observation]:
    return [] if isinstance(one, Booked) and one.place == DYE else [one]


def unsaid(one: Observation) -> list[Observation]:
    return [] if isinstance(one, Used | Booked) and one.place == DYE else [one]


def in_pounds(one: Observation) -> list[Observation]:
    return quantity("2.20462262")(one) if isinstance(one, Used | Booked) and one.place == RESIN else [one]


@pytest.mark.parametrize(
    ("wrong", "cause", "material"),
    [
        (twice, Cause.DOUBLE, "RESIN"),
        (of(Booked, "CAP", lambda one: [one, one._replace(id="again")]), Cause.DOUBLE, "CAP"),
        (unbooked, Cause.MISSING, "DYE"),
        (unsaid, Cause.MISSING, "DYE"),
        (of(Booked, "RESIN", quantity("10")), Cause.RECORDING, "RESIN"),
        (in_pounds, Cause.UNIT, "RESIN"),
    ],
)
def test_a_signed_correction_is_no_second_finding_and_the_account_is_right_after_it(wrong, cause, material):
    """What the correction books is explained by its finding, and the order took what it truly took, of lots made."""
    told, order = put_right(wrong)
    assert [one.cause for one in told] == [cause], [one.evidence for one in told]
    total, per = order.totals[material], {place.material: per for place, per in NEEDS}[material]
    assert total.expected == pytest.approx(8 * 100 * per)  # of the eight lots that the order made
    assert float(total.used) == pytest.approx(total.expected, rel=0.02)
    assert float(total.booked) == pytest.approx(float(total.used), abs=0.002)
    assert order.found[material] == f"{cause.value} put right (finding {told[0].id[:8]})"


def test_a_report_that_comes_after_it_was_made_up_for_counts_once():
    """The estimate leaves the account when the report comes after all; that the books have both shows in it."""
    held: list[Observation] = []

    def late(one: Observation) -> list[Observation]:
        if isinstance(one, Used | Booked) and one.place == DYE:
            held.append(one)
            return []
        return [*held, one] if isinstance(one, Plan) else [one]

    told, order = put_right(late)
    (finding,) = told
    state = State(orders={finding.order: order})
    after = MONDAY + timedelta(hours=LEARNT + 81)
    assert step(state, held, after, MATERIALS, timedelta(hours=2)) == []
    total = state.orders[finding.order].totals["DYE"]
    assert total.expected == pytest.approx(40.0)
    assert float(total.used) == pytest.approx(40.0, rel=0.02)
    assert float(total.booked) == pytest.approx(45.0, rel=0.02)


def test_what_was_put_right_is_no_reason_to_count():
    """The doubt that a finding left about the books of its place goes with its correction."""
    state, needs = State(), Plan("1", NEEDS)
    use = Used("u", MONDAY, "1", DYE, Decimal(5), 5.0, Decimal(100), "WC")
    (finding,) = step(state, [needs, use], MONDAY + timedelta(hours=3), MATERIALS, timedelta(hours=2))
    assert moved_at(state, DYE, MONDAY).doubt == -5.0
    now = MONDAY + timedelta(hours=3)
    step(state, corrections(finding, {}, now), now, MATERIALS, timedelta(hours=2))
    assert moved_at(state, DYE, MONDAY).doubt == 0.0


# ── what lies there ─────────────────────────────────────────────────────────────────────────────────────────


def readings(lost: Callable[[float], float], hours: int = 300) -> list[Change]:
    random, state, told = Random(3), Balance(), []
    for hour in range(hours):
        state, change = balance.follow(state, hour * 3600.0, random.gauss(0, 10) - lost(hour))
        told += [change] if change else []
    return told


def test_a_silo_that_only_trembles_is_quiet():
    """Readings around what should lie there are no news, nor is a delivery that is booked three hours later."""
    assert readings(lambda hour: 0.0) == []
    assert readings(lambda hour: -5000.0 if 200 <= hour < 203 else 0.0) == []


def test_what_goes_at_once_is_a_step():
    """Four standard deviations that are gone from one hour to the next are found with their hour and their size."""
    (one,) = readings(lambda hour: 40.0 if hour >= 200 else 0.0)
    assert not one.drift
    assert one.at / 3600 == pytest.approx(199, abs=4)
    assert one.by == pytest.approx(-40, abs=4 * one.error)


def test_what_goes_slowly_is_a_drift_and_is_told_once():
    """A leak is found with its rate and its beginning, and is not news every day."""
    (one,) = readings(lambda hour: max(0, hour - 200) * 2.0)
    assert one.drift
    assert one.by * 3600 == pytest.approx(-2.0, rel=0.3)


def silo(steal: float, mixed: bool = False) -> list[Finding]:
    """Twelve days of two silos; at the eleventh something happens."""
    random, state, told = Random(2), State(), []
    other = Place("OTHER", "SILO")
    for hour in range(24 * 14):
        now, gone = MONDAY + timedelta(hours=hour), steal if hour > 24 * 11 else 0.0
        came: list[Observation] = []
        for place, off in ((RESIN, -gone), (other, gone if mixed else 0.0)):
            came.append(Level(now, place, 9000 + off + random.gauss(0, 20)))
            came.append(InBooks(now, place, 9000.0))
        told += step(state, came, now + timedelta(minutes=1), MATERIALS, timedelta(hours=1))
    return told


def test_stock_that_goes_without_a_report_is_theft_or_a_mix_up():
    """Gone at one place alone it is theft; as much too many at another since the same hour, a substitution."""
    (theft,) = silo(120.0)
    assert (theft.cause, theft.correction, theft.place) == (Cause.THEFT, Correction.COUNT, RESIN)
    (mixed,) = silo(120.0, mixed=True)
    assert (mixed.cause, mixed.instead) == (Cause.SUBSTITUTION, RESIN)


def test_what_was_told_is_no_bias_of_the_scales():
    """A silo that much is taken from loses a lot at once: when that is told, the scales are believed as before."""
    random, state, told = Random(4), State(), []
    for hour in range(24 * 16):
        now, gone = MONDAY + timedelta(hours=hour), 900.0 if hour > 24 * 9 else 0.0
        used = Used(f"u{hour}", now, "1", RESIN, Decimal(100), 0.0, Decimal(0), "WC")
        came: list[Observation] = [
            used, Booked(f"b{hour}", now, "1", RESIN, Decimal(100)),
            Level(now, RESIN, 90000 - 100 * (hour + 1) - gone + random.gauss(0, 20)),
            InBooks(now, RESIN, 90000.0 - 100 * (hour + 1)),
        ]  # fmt: skip
        told += step(state, came, now + timedelta(minutes=1), MATERIALS, timedelta(hours=1))
    assert [one.cause for one in told] == [Cause.THEFT], [one.evidence for one in told]
    assert abs(state.stocks[0][1].bias[1]) < 0.0005  # of what was taken


BESIDE = Place("RESIN", "SILO 2")


def two_silos(other: Place, off: float = 300.0, back: float = 300.0) -> list[Finding]:
    """Three weeks; on day 11 `off` goes from one and `back` comes to the other, on day 17 the books are moved."""
    random, state, told = Random(3), State(), []
    for hour in range(24 * 21):
        now, mixed, moved = MONDAY + timedelta(hours=hour), hour > 24 * 11, hour > 24 * 17
        came: list[Observation] = []
        if hour == 24 * 17 + 1:
            came = [Restated(now, RESIN, off), Restated(now, other, -off)]
        for place, lies, books in ((RESIN, -off * mixed, -off * moved), (other, back * mixed, off * moved)):
            came.append(Level(now, place, 9000 + lies + random.gauss(0, 20)))
            came.append(InBooks(now, place, 9000.0 + books))
        told += step(state, came, now + timedelta(minutes=1), MATERIALS, timedelta(hours=1))
    return told


@pytest.mark.parametrize("other", [BESIDE, Place("OTHER", "SILO")])
def test_what_was_mixed_up_for_sure_is_moved_in_the_books_and_told_once(other):
    """Two silos of one material, or two materials of one place: a transfer, and no finding when it is booked."""
    (found,) = two_silos(other)
    assert (found.correction, found.place, found.instead) == (Correction.TRANSFER, other, RESIN)
    assert found.excess == pytest.approx(300.0, abs=30)


@pytest.mark.parametrize(
    ("other", "off", "back"),
    [(Place("OTHER", "ELSEWHERE"), 300.0, 300.0), (BESIDE, 300.0, 265.0)],
    ids=["two materials at two places", "not the same"],
)
def test_a_mix_up_that_is_not_sure_is_counted(other, off, back):
    """What is no one movement, or not quite equal, is for people to count first."""
    first = two_silos(other, off, back)[0]
    assert (first.cause, first.correction) == (Cause.SUBSTITUTION, Correction.COUNT)


@pytest.mark.parametrize(
    ("there", "error", "back", "sure"),
    [
        (BESIDE, 5.0, 100.0, True),
        (Place("OTHER", "SILO"), 5.0, 100.0, True),
        (BESIDE, 15.0, 100.0, False),
        (BESIDE, 1.0, 108.0, False),
        (Place("RESIN", "SILO 2", "B1"), 5.0, 100.0, False),
        (Place("RESIN", "SILO", "B1"), 5.0, 100.0, False),
    ],
    ids=["two places", "two materials", "not known well", "not the same", "two batches, too", "two batches alone"],
)
def test_only_a_mix_up_that_is_known_well_is_moved(there, error, back, sure):
    """Both sizes within a tenth, equal by what is known of them, and one movement of one material or at one place."""
    gone, more = (Change(0.0, 3600.0, by, error, False, 0.0) for by in (-100.0, back))
    assert stock.opposite(RESIN, gone, there, more)
    assert stock.mixed_up(RESIN, gone, there, more) is sure


@pytest.mark.parametrize("third", [-100.0, 100.0])
def test_where_it_could_be_another_pair_it_is_counted(third):
    """As much is missing, or too much, at a third place: nobody knows which two were mixed up."""
    steps = [
        Waiting(place, Change(0.0, 3600.0, by, 3.0, False, 0.0), MONDAY)
        for place, by in ((RESIN, -100.0), (BESIDE, 100.0), (Place("RESIN", "SILO 3"), third))
    ]
    (found,) = step(State(steps=steps), [], MONDAY, MATERIALS, timedelta(hours=1))
    assert (found.cause, found.correction) == (Cause.SUBSTITUTION, Correction.COUNT)


def test_entries_are_paired_in_sums_too():
    """A document may be for several lots, a count for a shift; what is left is left."""
    amounts = [Decimal(one) for one in ("1.5", "2.25", "4", "8")]
    causes = [Booked(str(one), MONDAY, "", RESIN, one) for one in amounts]
    answers = [Booked("sum", MONDAY, "", RESIN, Decimal("3.75")), Booked("eight", MONDAY, "", RESIN, Decimal(8))]
    pairs, left, over = pair(
        dated(causes, lambda one: one.quantity), dated(answers, lambda one: one.quantity), Decimal("0.001")
    )
    assert [[one.id for one in two] for pair_ in pairs for two in pair_] == [["8"], ["eight"], ["1.5", "2.25"], ["sum"]]
    assert ([one.amount for one in left], over) == ([Decimal(4)], [])


def test_a_finding_has_one_id_however_often_it_is_found():
    """The id follows from what was found."""
    wrong = of(Booked, "RESIN", quantity("10"))
    assert [one.id for one in found(wrong)] == [one.id for one in found(wrong)]


# ── what is said where there is nothing ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("order", "day", "words"),
    [
        ("1000100", "", "nothing is known of order 1000100"),
        ("", "2026-11-23", "2026-11-23 is not over"),
        ("1000100", "2026-11-22", "no account of order 1000100 was made on 2026-11-22"),
        ("", "", "no order is under way"),
    ],
)
def test_where_there_is_no_account_the_reason_is_told(order, day, words):
    """Who asked for the orders under way is not told to ask for them, and a day has no account before it is over."""
    said = no_account(order, day, today="2026-11-23")
    assert said.startswith(words)
    assert ("`gatepost variance` alone" in said) is bool(order or day)


def test_of_an_order_that_backflush_settles_that_is_told(tmp_path: Path):
    """It is not unknown: backflush follows it, and no order of a longer or shorter number is taken for it."""
    path = tmp_path / "gatepost.db"
    with opened(path) as writer:
        writer.call(lambda tx: tx.execute("INSERT INTO state VALUES ('backflush/1000100/10', '{}')"))
    with reading(path) as reader:
        known = [settled_by_backflush(reader, order) for order in ("1000100", "100010", "10001000", "1000100/10")]
    assert known == [True, False, False, False]
    said = no_account("1000100", "", today="2026-11-23", backflush=True)
    assert said.startswith("backflush settles order 1000100")
    assert "nothing is known" not in said
