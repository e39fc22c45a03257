"""What people decide is no discrepancy: reports refused, corrected or taken back, postings that wait, and counts."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from agent.ports import Acknowledgement
from agent.reconciliation.account import Total
from agent.reconciliation.findings import Finding
from agent.reconciliation.observed import (
    Booked,
    Corrected,
    InBooks,
    Level,
    Made,
    Material,
    Observation,
    Place,
    Plan,
    Restated,
    Scrapped,
    Used,
)
from agent.reconciliation.state import State, restored
from agent.reconciliation.step import step
from agent.store import inbox, movements, outbox
from tests.stores import arrive, claim, fill, opened

MONDAY = datetime(2026, 11, 23, 6, tzinfo=UTC)
RESIN = Place("RESIN", "SILO")
MATERIALS = {"RESIN": Material("KGM", Decimal("0.001"))}
LOT = Used("first", MONDAY, "1", RESIN, Decimal("96.1"), 96.0, Decimal(100), "WC")
BOOKED = Booked("4900000001", MONDAY, "1", RESIN, LOT.quantity)
MADE = Made("m1", MONDAY, "1", Decimal(100))


def seen(*looks: list[Observation], open_: bool = False) -> tuple[list[Finding], Total]:
    """What is found over three days of looks, and the account of the order then."""
    state, told = State(), []
    for hour in range(72):
        came = looks[hour] if hour < len(looks) else []
        now = MONDAY + timedelta(hours=hour, minutes=30)
        state = restored(state.written())
        told += step(state, came, now, MATERIALS, timedelta(hours=2), lambda report: open_)
    return told, state.orders["1"].totals["RESIN"]


def totals(total: Total) -> tuple[float, float, float]:
    return total.expected, float(total.used), float(total.booked)


PLAN = Plan("1", ((RESIN, 0.96),))
AGAIN = LOT._replace(id="again", at=MONDAY + timedelta(minutes=1))
REFUSED = Corrected(AGAIN, Decimal(0))


@pytest.mark.parametrize("looks", [([MADE], [REFUSED]), ([REFUSED], [MADE])], ids=["made first", "refused first"])
def test_a_report_that_was_refused_is_neither_expected_nor_used_and_no_finding(looks):
    """A lot that was reported twice, the second of which a person refused; what is approved afterwards counts."""
    reports: list[Observation] = [PLAN, LOT, BOOKED, AGAIN]
    found, total = seen(reports, *looks)
    assert (found, totals(total)) == ([], (96.0, 96.1, 96.1))
    third = LOT._replace(id="third", at=MONDAY + timedelta(hours=2))
    booked, made = BOOKED._replace(id="4900000002", at=third.at), MADE._replace(id="m2", at=third.at)
    more: list[Observation] = [third, booked, made]
    found, total = seen(reports, *looks, more)
    assert (found, totals(total)) == ([], (192.0, 192.2, 192.2))


def test_a_report_that_was_corrected_is_as_a_person_said():
    """Ten times too much, corrected before it was booked: it is used and booked so, and is no finding."""
    wrong = LOT._replace(quantity=Decimal(961))
    found, total = seen([PLAN, wrong, MADE], [Corrected(wrong, Decimal("96.1")), BOOKED])
    assert (found, totals(total)) == ([], (96.0, 96.1, 96.1))
    found, total = seen([PLAN, wrong, MADE, Corrected(wrong, Decimal("96.1")), Corrected(wrong, Decimal(0))])
    assert (found, totals(total)) == ([], (0.0, 0.0, 0.0))  # a second person refused it


@pytest.mark.parametrize(("instead", "account"), [("0", (0.0, 0.0, 0.0)), ("55.5", (96.0, 55.5, 55.5))])
def test_a_report_whose_document_a_person_took_back_counts_no_more(instead, account):
    """Nor is it missed; what was booked in its place counts as what was used."""
    back = BOOKED._replace(id="4900000003", quantity=-BOOKED.quantity, takes_back=BOOKED.id)
    booked: list[Observation] = [BOOKED._replace(id="by hand", quantity=Decimal(instead))] if instead != "0" else []
    found, total = seen(
        [PLAN, LOT, BOOKED, MADE], [back, Corrected(LOT, Decimal(0), taken_back=True)], booked
    )  # fmt: skip
    assert (found, totals(total)) == ([], account)


def test_what_waits_for_a_person_is_not_missing_in_the_books():
    """A report whose posting is held, or on its way to an ERP that is away, is no finding; without a posting it is."""
    assert seen([PLAN, LOT, MADE], open_=True)[0] == []
    (missing,) = seen([PLAN, LOT, MADE])[0]
    assert "not in the books" in missing.evidence[0]


@pytest.mark.parametrize("counted", [False, True], ids=["nothing tells what was made", "it is told"])
def test_what_is_not_booked_took_nothing_too_much_off_the_books(counted):
    """Ten times the usual is found once the books have it, and never while its posting waits or was refused."""
    state, wait = State(), timedelta(hours=2)
    lots = [LOT._replace(id=f"u{hour}", at=MONDAY + timedelta(hours=hour)) for hour in range(40)]
    lots[-1] = lots[-1]._replace(id="wrong", quantity=Decimal(961))
    for one in lots:
        made = [MADE._replace(id=f"m {one.id}", at=one.at)] if counted else []
        booked = [BOOKED._replace(id=f"b {one.id}", at=one.at)] if one.id != "wrong" else []
        assert step(state, [PLAN, one, *booked, *made], one.at, MATERIALS, wait, lambda id: id == "wrong") == []
    later = MONDAY + timedelta(days=3)
    assert step(state, [], later, MATERIALS, wait, lambda id: id == "wrong") == []
    late = BOOKED._replace(id="b wrong", at=later, quantity=Decimal(961))
    (found,) = step(restored(state.written()), [late], later, MATERIALS, wait)
    assert found.about == ("wrong",)
    assert found.excess == pytest.approx(865, abs=1)
    refused = Corrected(lots[-1], Decimal(0))
    assert step(state, [refused], later, MATERIALS, wait) == []


@pytest.mark.parametrize("counted", [False, True], ids=["nothing tells what was made", "it is told"])
@pytest.mark.parametrize("by_hand", [False, True], ids=["not booked", "booked by others"])
def test_what_this_agent_never_books_is_odd_once_others_have_booked_it(counted, by_hand):
    """A dry run, advice, or what nobody signed in time: ten times the usual is missing, or wrong if others took it."""
    state, wait = State(), timedelta(hours=2)
    lots = [LOT._replace(id=f"u{hour}", at=MONDAY + timedelta(hours=hour)) for hour in range(40)]
    lots[-1] = lots[-1]._replace(id="wrong", quantity=Decimal(961))
    found = []
    for one in lots:
        made = [MADE._replace(id=f"m {one.id}", at=one.at)] if counted else []
        booked = [BOOKED._replace(id=f"b {one.id}", at=one.at)] if one.id != "wrong" else []
        found += step(state, [PLAN, one, *booked, *made], one.at, MATERIALS, wait, never=lambda id: id == "wrong")
    assert found == []
    late = [BOOKED._replace(id="by hand", at=lots[-1].at, quantity=Decimal(961))] if by_hand else []
    for hours in (1, 72):
        later = lots[-1].at + timedelta(hours=hours)
        state = restored(state.written())
        found += step(state, late if hours == 1 else [], later, MATERIALS, wait, never=lambda id: id == "wrong")
    (only,) = found
    assert only.about == ("wrong",)
    assert only.correction == ("reversal" if by_hand else "issue")


@pytest.mark.parametrize("never", ["first", "again"])
def test_a_second_report_that_this_agent_never_books_is_not_one_too_many(never):
    """A lot that was told twice, once in a dry run: the books have it once, and nothing is missing."""
    state, found = State(), []
    one = BOOKED if never == "again" else BOOKED._replace(at=AGAIN.at)
    for hour in range(48):
        came: list[Observation] = [PLAN, LOT, one, AGAIN, MADE] if not hour else []
        now = MONDAY + timedelta(hours=hour)
        found += step(state, came, now, MATERIALS, timedelta(hours=2), never=lambda id: id == never)
    assert found == []
    assert state.orders["1"].settled


def test_one_number_is_told_in_one_form():
    """What a scale and the ERP write with different zeros is the same number to a reader."""
    wrong = BOOKED._replace(quantity=Decimal("80.0000"))
    (found,) = seen([PLAN, LOT._replace(quantity=Decimal("13.5310")), wrong, MADE])[0]
    assert found.evidence[0] == "13.531 KGM measured by first, 80 KGM booked by 4900000001"


def test_a_second_report_that_is_not_booked_is_not_booked_twice():
    """A lot that was told twice is found once the books have both, and not while one of them waits."""
    reports: list[Observation] = [PLAN, LOT, BOOKED, AGAIN, MADE]
    assert seen(reports, open_=True)[0] == []
    found, _ = seen([*reports, BOOKED._replace(id="4900000002")])
    assert [one.about for one in found] == [("again", "first")]


def test_a_correction_that_a_person_takes_back_is_out_of_the_account():
    """A lot that nobody reported is issued by a signature, and that document is reversed by hand."""
    state = State()
    told = step(state, [PLAN, LOT, BOOKED, MADE], MONDAY + timedelta(minutes=5), MATERIALS, timedelta(hours=2))
    later = MONDAY + timedelta(hours=5)
    told += step(state, [MADE._replace(id="m2", at=MONDAY + timedelta(hours=2))], later, MATERIALS, timedelta(hours=2))
    (missing,) = told
    issued = BOOKED._replace(id="4900000009", at=later, quantity=Decimal(96), corrects=missing.id)
    total = state.orders["1"].totals["RESIN"]
    step(state, [issued], later, MATERIALS, timedelta(hours=2))
    assert totals(total) == (192.0, 192.1, 192.1)
    back = issued._replace(id="4900000010", quantity=Decimal(-96), takes_back=issued.id)
    assert step(state, [back], later + timedelta(days=1), MATERIALS, timedelta(hours=2)) == []
    assert totals(total) == (96.0, 96.1, 96.1)
    assert "put right" not in state.orders["1"].found["RESIN"]


def test_a_report_that_was_one_too_many_is_told_once():
    """Not again when, later, another report waits for its lot."""
    later = MONDAY + timedelta(hours=6)
    third = LOT._replace(id="third", at=later, quantity=Decimal("95.3"))
    twice: list[Observation] = [PLAN, LOT, BOOKED, AGAIN, BOOKED._replace(id="4900000002"), MADE]
    looks: list[list[Observation]] = [twice, *([] for _ in range(5))]
    found, _ = seen(*looks, [third, BOOKED._replace(id="4900000004", at=later, quantity=third.quantity)])
    assert [one.about for one in found] == [("again", "first")]


def test_scrap_that_was_confirmed_is_expected():
    """So much more was made than was told: every component of it is expected, and the sentence says put right."""
    state = State()
    step(state, [PLAN, LOT, BOOKED, MADE], MONDAY, MATERIALS, timedelta(hours=2))
    order = state.orders["1"]
    order.found["RESIN"] = "scrap not reported (finding 0123abcd)"
    step(state, [Scrapped("1", Decimal(5), "0123abcdef")], MONDAY, MATERIALS, timedelta(hours=2))
    assert totals(order.totals["RESIN"]) == pytest.approx((96 + 5 * 0.96, 96.1, 96.1))
    assert order.found["RESIN"] == "scrap not reported put right (finding 0123abcd)"


def silo(*, restated: bool) -> list[Finding]:
    """Two weeks of a silo that holds 300 less than its books; on day 11 it is counted, and the difference posted."""
    random, state, told = Random(2), State(), []
    for hour in range(24 * 14):
        now, posted = MONDAY + timedelta(hours=hour), hour > 24 * 11
        came: list[Observation] = [Level(now, RESIN, 8700 + random.gauss(0, 20))]
        if hour == 24 * 11 + 1 and restated:
            came.append(Restated(now, RESIN, 300.0, counted=True))
        came.append(InBooks(now, RESIN, 8700.0 if posted else 9000.0))
        told += step(state, came, now + timedelta(minutes=1), MATERIALS, timedelta(hours=1))
    return told


def test_the_difference_of_a_count_is_no_finding_of_its_own():
    """The books jump to what was counted, and nothing came or went."""
    assert silo(restated=True) == []
    assert len(silo(restated=False)) == 1


def test_what_becomes_of_a_report_is_told_by_its_posting(tmp_path):
    """In the books sooner or later, waiting, or never: not signed in time, a dry run, only advised, unknown."""
    with opened(tmp_path / "gatepost.db") as writer:
        fill(writer, 4)
        (first, *_) = claim(writer, 1)
        writer.call(lambda tx: outbox.acknowledged(tx, first.posting, Acknowledgement("2026/1")))
        claim(writer, 1, lambda _: outbox.Simulate())
        claim(writer, 1, lambda _: outbox.HoldBack(("limit",)))
        arrive(writer, b"{}")
        advised = inbox.Settlement(5, "advised", "consumption:5", bytes(32))
        writer.call(lambda tx: inbox.settle(tx, [advised]))

        def told(report: int) -> tuple[bool, bool, object]:
            name, kinds = str(report), ["consumption"]
            return writer.call(
                lambda tx: (
                    movements.is_open(tx.connection, name, kinds), movements.is_never(tx.connection, name, kinds),
                    movements.fate(tx.connection, name, kinds),
                )
            )  # fmt: skip

        states = [told(report) for report in range(1, 7)]
        assert states == [
            (False, False, (1, "acknowledged")), (False, True, (2, "simulated")), (True, False, (3, "held")),
            (True, False, (4, "ready")), (False, True, (None, "advised")), (False, False, None),
        ]  # fmt: skip
        writer.call(lambda tx: outbox.expire(tx, 3, "nobody decided"))
        assert told(3) == (False, True, (3, "refused"))
