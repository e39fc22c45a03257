"""Whatever quantities, times and dates are asked or told, an order is decided, or refused with what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.errors import BadPayload
from agent.facts import Facts
from agent.features.order_feasibility import FEATURES
from agent.isa95 import SegmentResponse
from agent.ports import Proposal
from agent.workflows.constraints import BLOCKS
from tests.unit.test_releasing import NOW, facts, order, told
from tests.unit.test_workflow_consumption import component
from tests.unit.test_workflow_order_release import AT, CHECK, ENOUGH, FLOW, ORDER, facts_of, report, scored, stock

TEN_YEARS = timedelta(days=3653)
LARGEST = Decimal("9999999999.999")
OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(timezones=OFFSETS | st.just(UTC)) | st.sampled_from(
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), AT]
)
QUANTITIES = st.decimals(Decimal("0.001"), LARGEST, places=3) | st.just(LARGEST)
MINUTES = st.none() | st.decimals(0, Decimal(10) ** 30, places=3) | st.just(Decimal("0.001"))


def decided(facts: Facts, one: SegmentResponse) -> Proposal | None:
    """What the workflow makes of it; None where the request is refused."""
    try:
        values = FLOW.values(one, facts, [{}, {}])
        proposal, _ = FLOW.propose(one, facts, scored(0.9) if values else None, [{}, {}])
    except BadPayload:
        return None
    assert values is None or tuple(values) == FEATURES
    start = proposal.answer["earliest_start"]
    assert start is None or AT <= datetime.fromisoformat(start) <= AT + TEN_YEARS
    return proposal


@given(QUANTITIES, MOMENTS, MINUTES)
@example(LARGEST, AT, Decimal(30))
def test_any_request_has_a_clear_outcome(quantity: Decimal, due: datetime, minutes: Decimal | None):
    """Of an order that the ERP does not have, with planned times of the routing."""
    needs = {"material": "VALVE-55", "work_center": "ASSY-05", "minutes": f"{minutes or 0:f}", "unit": "H87"}
    facts = facts_of().with_documents([("routing", needs)])
    asked = report(**CHECK | {"quantity": quantity, "due_date": due.isoformat()})._replace(order="PROD-1")
    decided(facts, asked)


@given(QUANTITIES, MOMENTS, MOMENTS, MINUTES, QUANTITIES, MOMENTS)
def test_any_order_of_the_erp_has_a_clear_outcome(
    quantity: Decimal, due: datetime, planned: datetime, minutes: Decimal | None, there: Decimal, back: datetime
):
    """Also beside a released one that takes as long, and with a tool that is back at any time."""
    operation: dict[str, Any] = {"operation": "0010", "work_center": "ASSY-05", "unit": "H87"}
    operation |= {"minutes": f"{minutes:f}"} if minutes is not None else {}
    changes: dict[str, Any] = {
        "quantity": f"{quantity:f}", "due": due.isoformat(), "planned_start": planned.isoformat(),
        "operations": [operation], "components": [component("PT-SPRING", "0001", f"{quantity:f}", "H87")],
    }  # fmt: skip
    running = {**ORDER, **changes, "order": "1000100", "status": "released", "due": AT.isoformat()}
    needs = {"material": "VALVE-55", "work_center": "ASSY-05", "minutes": "0.5", "unit": "H87", "tool": "T-9"}
    away = {"resource": "T-9", "available": False, "back_at": back.isoformat()}
    facts = facts_of(stock("PT-SPRING", f"{there:f}"), **changes)
    facts = facts.with_documents([("order", running), ("routing", needs), ("resource", away)])
    assert decided(facts, report()) is not None
    list(FLOW.watched(facts, AT))


def test_work_of_more_than_ten_years_blocks_an_order():
    """Ten thousand million pieces of half a minute: named with its quantity, and no date in the year 11507."""
    needs = {"material": "VALVE-55", "work_center": "ASSY-05", "minutes": "0.5", "unit": "H87"}
    facts = facts_of().with_documents([("routing", needs)])
    proposal = decided(facts, report(**CHECK | {"quantity": LARGEST})._replace(order="PROD-1"))
    assert proposal is not None
    assert proposal.answer["status"] == "BLOCKED"
    assert "9999999999.999 PC" in proposal.answer["blocking_issues"][0]
    assert any(one["weight"] == BLOCKS for one in proposal.answer["constraints"])


def test_a_due_date_of_another_zone_is_told_in_utc():
    """15:00 at +02:00 is 13:00 UTC."""
    needs = {"material": "VALVE-55", "work_center": "ASSY-05", "minutes": "0.5", "unit": "H87"}
    facts = facts_of(*ENOUGH, stock("BODY-55", "700")).with_documents([("routing", needs)])
    proposal = decided(facts, report(**CHECK | {"due_date": "2026-11-20T15:00:00+02:00"})._replace(order="PROD-1"))
    assert proposal is not None
    assert any("after it is due, 2026-11-20 13:00 UTC" in one for one in proposal.answer["warnings"])


@settings(max_examples=30)
@given(QUANTITIES, MOMENTS)
@example(LARGEST, AT)
def test_any_order_has_a_place_in_the_sequence(quantity: Decimal, due: datetime):
    """However long it takes, its times are dates of this decade."""
    long = order(1, quantity=f"{quantity:f}", due=due.isoformat())
    for one in told(facts(long, order(2)))["orders"]:
        assert datetime.fromisoformat(one["begin"]) <= datetime.fromisoformat(one["end"]) <= NOW + TEN_YEARS
