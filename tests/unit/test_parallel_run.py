"""A parallel run counts what people did as it was, finds their documents in the ERP's list, and claims no more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.authority import EVERY, SAMPLED
from agent.errors import ConfigError
from agent.oversight.parallel_cases import alone
from agent.parallel.bookings import Booking, match, read
from agent.parallel.figures import Asked, Case, Comparison, People, Posted, Share
from agent.parallel.page import page
from tests.unit.test_workflow_consumption import FACTS

AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
UNITS = FACTS.units


def posted(quantity: str = "12.500", **changes: Any) -> Posted:
    return Posted("goods_issue", "1000100", "RM-RESIN", Decimal(quantity), "KGM", "2026-11-20")._replace(**changes)


def case(event: int, *posts: Posted, **changes: Any) -> Case:
    one = Case(event, AT, "consumption", True, 0.95, posts or (posted(),), Decimal("40.00"))
    return replace(one, **changes)


def booking(document: str, quantity: str = "12.500", **changes: Any) -> Booking:
    return Booking(document, posted(quantity, **changes), AT + timedelta(minutes=90), "SCHMIDT")


def people(cases: list[Case], *bookings: Booking) -> list[People]:
    return [one.people for one in match(cases, bookings, UNITS).cases]


# ── documents of the ERP ────────────────────────────────────────────────────────────────────────────────────


def test_the_same_quantity_at_the_same_order_material_and_day_is_the_same():
    """Its document, who entered it, and how many minutes after the report."""
    ((found,), left) = match([case(1)], [booking("4900000001")], UNITS)
    assert (found.people, found.by, found.how) == (People.SAME, "SCHMIDT", "booked as 4900000001")
    assert found.waited_min == 90
    assert left == []


@pytest.mark.parametrize(
    ("changes", "as_people"),
    [
        ({"day": "2026-11-21"}, People.SAME),
        ({"day": "2026-11-23"}, People.NOT),
        ({"unit": "GRM", "quantity": Decimal("12500")}, People.SAME),
        ({"quantity": Decimal("12.000")}, People.OTHERWISE),
        ({"order": "1000101"}, People.NOT),
        ({"about": "RM-PIGMENT"}, People.NOT),
        ({"kind": "scrap"}, People.NOT),
    ],
)
def test_a_booking_fits_by_kind_order_thing_quantity_and_day(changes: dict[str, Any], as_people: People):
    """The day after is near enough; another unit is converted; another quantity at the same place is told as such."""
    assert people([case(1)], Booking("4900000001", posted()._replace(**changes))) == [as_people]


def test_two_equal_reports_need_two_bookings():
    """One document explains one report."""
    assert people([case(1), case(2)], booking("A")) == [People.SAME, People.NOT]


def test_several_reports_may_be_booked_as_one_sum():
    """As people do at the end of a shift."""
    three = [case(1, posted("5.000")), case(2, posted("7.500")), case(3, posted("1.000", order="1000101"))]
    found, left = match(three, [booking("A", "12.500")], UNITS)
    assert [one.people for one in found] == [People.SAME, People.SAME, People.NOT]
    assert found[0].how == "booked in one sum as A"
    assert left == []


def test_what_people_booked_without_a_report_is_left():
    """The agent would have missed it; what is of another time is not its business."""
    far = booking("C", day="2025-01-01")
    assert [one.document for one in match([case(1)], [booking("A"), booking("B", "3"), far], UNITS).left] == ["B"]


def test_a_case_of_several_postings_is_the_same_only_as_a_whole():
    """One of two was booked: people did it otherwise."""
    both = case(1, posted("5.000"), posted("2.000", about="RM-PIGMENT"))
    assert people([both], booking("A", "5.000")) == [People.OTHERWISE]


@given(st.lists(st.decimals("0.001", "999", places=3), min_size=1, max_size=12), st.randoms())
def test_bookings_in_any_order_explain_their_reports(quantities: list[Decimal], random: Any):
    """Whatever the order of the list: each report finds its own, and nothing is left."""
    cases = [case(number, posted(f"{one:f}")) for number, one in enumerate(quantities)]
    listed = [booking(str(number), f"{one:f}") for number, one in enumerate(quantities)]
    random.shuffle(listed)
    found, left = match(cases, listed, UNITS)
    assert {one.people for one in found} == {People.SAME}
    assert left == []


def test_what_people_decided_is_never_overruled_by_a_list():
    """A refusal stays one, whatever was booked elsewhere."""
    assert people([case(1, people=People.NOT)], booking("A")) == [People.NOT]


def test_the_list_says_every_line_that_cannot_be_read(tmp_path: Path):
    """Line, document and what is wrong with it; a good list is read with decimal commas and SAP's units."""
    head = "kind;document;order;about;quantity;unit;day;entered_at\n"
    good = tmp_path / "good.csv"
    good.write_text(head + "goods_issue;4900000001;1000100;RM-RESIN;12,5;KG;2026-11-20;2026-11-20T15:30:00+01:00\n")
    (one,) = read(good, UNITS)
    assert one == Booking("4900000001", posted("12.5"), datetime(2026, 11, 20, 14, 30, tzinfo=UTC))
    bad = tmp_path / "bad.csv"
    bad.write_text(
        head + "tea;1;1;A;1;KG;2026-11-20;\ngoods_issue;2;1;A;much;KG;2026-11-20;\ngoods_issue;3;1;A;1;KG;20.11.2026;\n"
        "goods_issue;4;1;A;1;FOO;2026-11-20;\ngoods_issue;5;1;A;1;KG;2026-11-20;2026-11-20 15:30\n"
    )
    with pytest.raises(ConfigError) as error:
        read(bad, UNITS)
    assert [(one.line, one.value) for one in error.value.findings] == [(2, "1"), (3, "2"), (4, "3"), (5, "4"), (6, "5")]
    bare = tmp_path / "bare.csv"
    bare.write_text("document,quantity\n1,2\n")
    with pytest.raises(ConfigError, match="kind, order, about, unit, day are missing"):
        read(bare, UNITS)


@pytest.mark.parametrize(
    ("separator", "quantities", "wrong"),
    [
        (",", ('"1,250"',), "no number"),
        (",", ("1_250",), "no number"),
        (",", ("NaN",), "no number"),
        (";", ("1.250,5",), "no number"),
        (";", ("1.250", "12,5"), "one decimal sign"),
        (";", ("1250.5", "12.5"), None),
        (";", ("1250,5", "12"), None),
    ],
)
def test_no_quantity_of_a_list_is_a_thousand_times_too_small(tmp_path: Path, separator, quantities, wrong):
    """A separator of thousands is never taken for a decimal sign: the line, or the file, is refused."""
    rows = ["kind,document,order,about,quantity,unit,day"] + [
        f"goods_issue,{number},1000100,RM-RESIN,{{}},KG,2026-11-20" for number, _ in enumerate(quantities)
    ]
    text = "\n".join(rows).replace(",", separator).format(*quantities)
    (tmp_path / "booked.csv").write_text(text)
    if wrong is None:
        assert len(read(tmp_path / "booked.csv", UNITS)) == len(quantities)
    else:
        with pytest.raises(ConfigError, match=wrong):
            read(tmp_path / "booked.csv", UNITS)


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────


def compared(*cases: Case, mode: str = "advise", **more: Any) -> Comparison:
    return Comparison("consumption", mode, cases, **more)


def test_agreement_counts_what_it_would_post_by_itself_and_people_judged():
    """What nobody looked at, and what it would have asked about, is counted apart; money and minutes go with it."""
    found = compared(
        case(1, people=People.SAME, waited_min=30.0),
        case(2, people=People.OTHERWISE, value=Decimal("100.00"), how="corrected by anna"),
        case(3, people=People.UNKNOWN),
        case(4, people=People.SAME, alone=False),
        case(5, people=People.NOT, alone=False),
    )
    assert (found.agreement.n, found.agreement.of) == (1, 2)
    assert (found.proposals.n, found.proposals.of) == (2, 4)
    assert (found.rightly_asked.n, found.rightly_asked.of) == (1, 2)
    assert [one.event for one in found.misses] == [2]
    assert found.waits == [30.0]
    against = " ".join(found.speaks_against("EUR"))
    assert "1 case by itself that people did otherwise, worth 100.00 EUR" in against
    assert "Of 1 case nobody knows" in against


@pytest.mark.parametrize(
    ("right", "wrong", "enough"), [(100, 0, True), (99, 0, False), (200, 2, True), (200, 12, False)]
)
def test_few_cases_are_no_evidence_however_well_they_went(right: int, wrong: int, enough: bool):
    """The lower bound counts, and the number of cases; the page says which of both is missing."""
    cases = [case(at, people=People.SAME) for at in range(right)] + [
        case(-at, people=People.NOT) for at in range(wrong)
    ]
    found = compared(*cases, mode="assist", asked=Asked(100, 0.95))
    assert found.enough is enough
    assert found.verdict().startswith("Ready for auto:" if enough else "Not ready yet for auto:")
    assert ("auto" in found.verdict()) is True


def test_of_nothing_judged_no_share_is_told():
    """Neither a share nor what is sure of it: 0.0 % would be a verdict."""
    told = page([compared(case(1), mode="assist")], "this week", "1710", "EUR", UNITS)
    assert "the same of 0 by itself and judged<" in told
    assert "0.0%" not in told
    assert "chance apart 20.7%" in page([compared(case(1, people=People.SAME), mode="assist")], "", "", "EUR", UNITS)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_bounds_hold_the_share(n: int, more: int):
    """Between 0 and 1, around the share, and narrower with more cases."""
    one, ten = Share(n, n + more), Share(10 * n, 10 * (n + more))
    low, high = one.bounds
    assert 0 <= low <= one.share + 1e-12
    assert one.share - 1e-12 <= high <= 1
    assert ten.bounds[1] - ten.bounds[0] <= high - low + 1e-12


@pytest.mark.parametrize(
    ("detail", "by_itself"),
    [
        ({"route": "posted"}, True),
        ({"route": "held", "reasons": ["too much"]}, False),
        ({"route": "held", "reasons": [EVERY]}, True),
        ({"route": "held", "reasons": ["too much", EVERY], "in_auto": "held"}, False),
        ({"route": "held", "reasons": ["looks as usual", EVERY], "in_auto": "posted"}, True),
        ({"route": "advised", "reasons": [], "in_auto": "posted"}, True),
        ({"route": "advised", "reasons": [f"{SAMPLED}: 2 % is shown"], "in_auto": "held"}, True),
        ({"route": "held", "reasons": [f"{SAMPLED}: 2 % is shown"]}, True),
    ],
)
def test_what_auto_would_post_by_itself_is_read_from_the_record(detail: dict[str, Any], by_itself: bool):
    """In every mode; the audit sample is what it would have posted."""
    assert alone(detail) is by_itself
