"""A finding whose booking a person takes back beside its correction: nothing is left to sign, the account is right."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from agent import observing
from agent.observing import BELIEVED, Seen, Withdrawn
from agent.reconciliation.findings import Finding
from agent.reconciliation.observed import Booked, Corrected, Made, Material, Observation, Place, Plan, Used
from agent.reconciliation.state import State, restored
from agent.reconciliation.step import step
from agent.store.movements import Moved
from tests.unit.test_workflow_reconciliation import AT, FACTS

MONDAY = datetime(2026, 11, 23, 6, tzinfo=UTC)
RESIN = Place("RESIN", "SILO")
MATERIALS = {"RESIN": Material("KG", Decimal("0.001"), code="KGM")}
PLAN, MADE = Plan("1", ((RESIN, 0.96),)), Made("m1", MONDAY, "1", Decimal(100))
LOT = Used("first", MONDAY, "1", RESIN, Decimal("96.1"), 96.0, Decimal(100), "WC")
AGAIN = LOT._replace(id="again", at=MONDAY + timedelta(minutes=1))
BOOKED = Booked("4900000001", MONDAY, "1", RESIN, LOT.quantity)
SECOND = BOOKED._replace(id="4900000002")
DOUBLE: list[Observation] = [PLAN, LOT, BOOKED, AGAIN, SECOND, MADE]
WRONG: list[Observation] = [PLAN, LOT, BOOKED._replace(quantity=Decimal("961.0")), MADE]


def others(quantity: str) -> Booked:
    """What the ERP told of others."""
    return Booked("withdrawn by 09:00", MONDAY, "1", RESIN, Decimal(quantity), others=True)


def seen(*looks: list[Observation]) -> tuple[list[Finding], State]:
    """What is found over two days of looks, one an hour, the first later ones when the finding waits; and the state."""
    state, told = State(), []
    for hour in range(48):
        came = looks[0] if hour == 0 else looks[hour - 9] if 10 <= hour < 9 + len(looks) else []
        now = MONDAY + timedelta(hours=hour, minutes=30)
        state = restored(state.written())
        told += step(state, came, now, MATERIALS, timedelta(hours=2))
    return told, state


def account(state: State) -> tuple[float, float, float, str]:
    order = state.orders["1"]
    total = order.totals["RESIN"]
    return total.expected, float(total.used), float(total.booked), order.found["RESIN"]


BACK = SECOND._replace(id="4900000003", quantity=-SECOND.quantity, takes_back=SECOND.id)
FIRST_BACK = BACK._replace(takes_back=BOOKED.id)


@pytest.mark.parametrize(
    ("looks", "says"),
    [
        ([[others("-96.1")]], "96.1 KG of RESIN were taken back in the ERP by others: withdrawn by 09:00"),
        ([[BACK, Corrected(AGAIN, Decimal(0), taken_back=True)]], "again was taken back by a person"),
        ([[FIRST_BACK, Corrected(LOT, Decimal(0), taken_back=True)]], "first was taken back by a person"),
    ],
    ids=["in the ERP", "the second here", "the first here"],
)
def test_a_double_that_was_taken_back_by_hand_is_right_and_says_how(looks, says):
    """Whichever of the two documents it was, and wherever: one finding, put right, and nothing of it found again."""
    (found,), state = seen(DOUBLE, *looks)
    told = state.orders["1"].told[found.id]
    assert told.by_hand == says
    assert account(state) == (96.0, 96.1, 96.1, f"double report put right (finding {found.id[:8]})")


@pytest.mark.parametrize(
    "looks", [[[others("-864.9")]], [[others("-961.0")], [others("96.1")]]], ids=["the rest", "all, and anew"]
)
def test_a_wrong_number_that_others_put_right_in_the_erp_is_no_second_finding(looks):
    """They take back what is too much, or all of it and book what is right: explained, and used as it was measured."""
    (found,), state = seen(WRONG, *looks)
    assert "taken back in the ERP" in state.orders["1"].told[found.id].by_hand
    assert account(state)[1:3] == (96.1, 96.1)
    assert "put right" in account(state)[3]


def test_what_this_agent_books_next_is_not_put_in_the_place_of_what_others_took_back():
    """Only what others book after it may be; a lot that takes a little less is reported and booked as any other."""
    at = MONDAY + timedelta(hours=10)
    next_ = LOT._replace(id="next", at=at, quantity=Decimal("95.9"))
    booked = BOOKED._replace(id="4900000005", at=at, quantity=next_.quantity)
    (found,), state = seen(DOUBLE, [others("-96.1")], [next_, booked, MADE._replace(id="m2", at=at)])
    assert found.cause == "double report"
    assert account(state)[1:3] == (192.0, 192.0)


@pytest.mark.parametrize("came", [others("-50"), BACK._replace(takes_back="4900000077", quantity=Decimal(-50))])
def test_what_was_taken_back_of_something_else_leaves_the_correction_waiting(came):
    """Another document, or another amount: the finding is still to be put right."""
    (found,), state = seen(DOUBLE, [came])
    assert state.orders["1"].told[found.id].by_hand == ""


MISSING: list[Observation] = [PLAN, LOT, MADE]
SMALL = LOT._replace(id="small", quantity=Decimal("48.2"), expected=48.0, lot=Decimal(50))
TWO: list[Observation] = [*MISSING, SMALL, MADE._replace(id="m2", quantity=Decimal(50))]


def still_to_sign(state: State) -> list[str]:
    """The reports whose additional issue a person may still sign."""
    return [one.about[0] for one in state.orders["1"].told.values() if one.excess < 0 and not one.by_hand]


@pytest.mark.parametrize(
    ("came", "looks", "left", "books"),
    [
        (MISSING, [[others("96.1")]], [], 96.1),
        (MISSING, [[others("95")]], [], 95.0),
        (MISSING, [[others("50")]], ["first"], 50.0),
        (TWO, [[others("144.3")]], [], 144.3),
        (TWO, [[others("48.2")]], ["first"], 48.2),
        (TWO, [[others("96.1")], [others("48.2")]], [], 144.3),
        ([PLAN, MADE], [[others("96")]], [], 96.0),
    ],
    ids=["as much", "about as much", "too little", "both at once", "one of two", "one after the other", "never told"],
)
def test_what_others_book_of_what_is_missing_is_not_issued_once_more(came, looks, left, books):
    """The issue that was proposed for it cannot be signed any more, and nothing is odd about what they booked."""
    found, state = seen(came, *looks)
    assert still_to_sign(state) == left
    assert account(state)[2] == books
    assert {one.cause for one in found} == (
        {"missing report"} if books != 50.0 else {"missing report", "recording error"}
    )
    if came is MISSING and not left:
        (told,) = state.orders["1"].told.values()
        assert told.by_hand.endswith("KG of RESIN were booked in the ERP by others: withdrawn by 09:00")
        assert account(state)[3].startswith("missing report put right")


def test_what_is_more_than_what_is_missing_is_found_for_the_rest():
    """They booked another 50 with it, which nothing explains: the rest alone is odd."""
    found, state = seen(MISSING, [others("146.1")])
    assert still_to_sign(state) == []
    assert [(one.cause, one.excess) for one in found] == [("missing report", -96.1), ("recording error", 50.0)]


@pytest.mark.parametrize("theirs_first", [True, False])
def test_an_issue_that_was_signed_while_others_booked_it_is_found_and_taken_back(theirs_first):
    """Whoever was first: what is in the books twice is a finding, and its correction takes one back."""
    (missing,), _ = seen(MISSING)
    own = Booked("4900000009", MONDAY, "1", RESIN, LOT.quantity, corrects=missing.id)
    looks: list[list[Observation]] = [[others("96.1")], [own]] if theirs_first else [[own], [others("96.1")]]
    (_, twice), state = seen(MISSING, *looks)
    assert (twice.cause, twice.correction, twice.excess) == ("double report", "reversal", 96.1)
    assert own.id in twice.about
    assert account(state)[1:3] == (96.1, 192.2)


def test_a_report_that_comes_after_all_takes_its_issue_away():
    """A lot was told to be missing, and the scale sends its report late: that one is booked, and no second one."""
    (missing, *rest), state = seen([PLAN, MADE], [LOT, BOOKED])
    assert rest == []
    assert state.orders["1"].told[missing.id].by_hand == "its report came after all: first"
    assert account(state)[1:3] == (96.1, 96.1)


@pytest.mark.parametrize("proposed", [True, False])
def test_what_others_took_back_is_told_where_it_was_proposed(proposed):
    """The ERP's number fell and stays so. What nobody proposed is nobody's: what others book later is theirs."""
    withdrawn = Withdrawn(own=Decimal("19.2"), told=Decimal("9.6"), at=AT - BELIEVED, fell=Decimal("9.6"))
    seen = Seen(withdrawn={"1000100/RM-RESIN": withdrawn})
    told = [one.quantity for one in observing.by_others(seen, FACTS, AT, lambda one: proposed)]
    assert told == ([Decimal("-9.6")] if proposed else [])
    assert list(observing.by_others(seen, FACTS, AT, lambda one: True)) == []
    withdrawn.told = Decimal("19.2")  # they book it again
    later = [one.quantity for one in observing.by_others(seen, FACTS, AT, lambda one: True)]
    assert later == ([Decimal("9.6")] if proposed else [])


def test_the_agents_own_reversal_is_not_taken_for_one_of_others():
    """The ERP tells the lower number before this agent has its answer."""
    withdrawn = Withdrawn(own=Decimal("19.2"), told=Decimal("9.6"), at=AT - BELIEVED, fell=Decimal("9.6"))
    seen = Seen(withdrawn={"1000100/RM-RESIN": withdrawn})
    original = {"order": "1000100", "operation": "0010", "material": "RM-RESIN", "quantity": "9.6", "unit": "KGM"}
    row = Moved(7, AT, "acknowledged", {}, None, "reversal", {"document": "4900000018"}, "4900000019")
    observing.taken_back(row, original, seen, FACTS)
    assert withdrawn.fell == 0
    assert list(observing.by_others(seen, FACTS, AT, lambda one: True)) == []
