"""Confirmation: yield, scrap and times become an order confirmation, what is implausible becomes a reason."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.configuration.config import parse
from agent.errors import BadPayload
from agent.facts import Facts, Plant
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.units import UnitsFile, UnitTable
from agent.workflows.confirmation import Config, Confirmation

EDGE_CONFIG = Path(__file__).parents[2] / "edge_config"
END = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ORDER: dict[str, Any] = {
    "order": "1000120",
    "material": "VALVE-55",
    "plant": "1710",
    "quantity": "4000",
    "unit": "H87",
    "status": "released",
    "operations": [{"operation": "0010", "work_center": "ASSY-05", "unit": "H87"}],
}
FACTS = Facts(
    plant=Plant("1710", ZoneInfo("Europe/Berlin"), "EUR"),
    units=UnitTable.of(parse(EDGE_CONFIG / "units.yaml", UnitsFile)),
).with_documents(
    [
        ("order", ORDER),
        ("material", {"material": "VALVE-55", "base_unit": "H87", "price": "9.80"}),
        ("work_center", {"work_center": "ASSY-05", "line": "assembly"}),
    ]
)
FLOW = Confirmation(Config())


def made(good: str = "6", scrap: str = "0", reason: str = "", unit: str = "H87") -> tuple[MaterialActual, ...]:
    return (
        MaterialActual(MaterialUse.PRODUCED, Quantity(Decimal(good), unit)),
        MaterialActual(MaterialUse.SCRAP, Quantity(Decimal(scrap), unit), reason=reason),
    )


def report(*actuals: MaterialActual, **changes: Any) -> SegmentResponse:
    base = SegmentResponse(
        kind="confirmation",
        id="ASSY-05-000004",
        order="1000120",
        operation="0010",
        occurred_at=END,
        work_center="ASSY-05",
        start=END - timedelta(minutes=3),
        end=END,
        material_actuals=actuals or made(),
        durations={"machine": Quantity(Decimal("3.0"), "MIN"), "labor": Quantity(Decimal("2.9"), "MIN")},
        personnel="4711",
    )
    return base._replace(**changes)


def holds(one: SegmentResponse, *, facts: Facts = FACTS, state: Any = None) -> tuple[str, ...]:
    return FLOW.propose(one, facts, None, [state or {}])[0].holds


def test_a_usual_report_becomes_a_confirmation_without_a_hold():
    """Every field of the payload is what the ERP needs."""
    proposal, (state,) = FLOW.propose(report(*made("6", "1", "0001")), FACTS, None, [{}])
    (draft,) = proposal.drafts
    assert proposal.holds == ()
    assert (draft.kind, draft.ordering_key, draft.waits_for_held) == ("confirmation", "order/1000120", False)
    assert draft.value == Decimal("9.80") * 7
    assert draft.payload == {
        "plant": "1710",
        "order": "1000120",
        "operation": "0010",
        "sequence": "0",
        "yield": "6",
        "scrap": "1",
        "rework": "0",
        "unit": "H87",
        "final": False,
        "scrap_reason": "0001",
        "posting_date": "2026-11-20",
        "start": "2026-11-20T11:57:00+00:00",
        "end": "2026-11-20T12:00:00+00:00",
        "activities": {
            "1": {"quantity": "3.000", "unit": "MIN"},
            "2": {"quantity": "2.900", "unit": "MIN"},
        },
        "backflush": False,
        "text": "ASSY-05-000004",
        "personnel": "4711",
    }
    assert (state["total"], state["final"]) == ("7", False)


def test_a_final_confirmation_waits_for_what_is_held():
    """The order is not closed while its consumption waits for a person."""
    proposal, (state,) = FLOW.propose(report(final=True), FACTS, None, [{}])
    assert proposal.drafts[0].waits_for_held
    assert "finally confirmed before" in holds(report(id="2", occurred_at=END + timedelta(hours=1)), state=state)[0]


@pytest.mark.parametrize(
    ("actuals", "change", "told"),
    [
        (made("6", "1"), {}, "1 PC of scrap without a reason"),
        (made("4300"), {}, "4300 PC of yield and scrap in all, 4000 PC ordered"),
        (made("6.5"), {}, "yield: 6.5 PC cannot be posted exactly"),
        (made(), {"start": END + timedelta(hours=1)}, "end 2026-11-20 12:00 is before start 2026-11-20 13:00"),
        (made(), {"start": END - timedelta(days=2)}, "start to end is 2 days, 0:00:00, more than 24 hours"),
        (made(), {"durations": {"machine": Quantity(Decimal(1500), "MIN")}}, "not a time of up to 24 hours"),
        (made(), {"durations": {"machine": Quantity(Decimal(3), "KGM")}}, "not a time of up to 24 hours"),
        (made(), {"durations": {"coffee": Quantity(Decimal(3), "MIN")}}, "duration 'coffee' has no activity number"),
        (made(), {"operation": "0020"}, "operation '0020' is not in order 1000120"),
    ],
)
def test_what_is_implausible_is_held(actuals, change, told):
    """It could be posted, but a person must look."""
    assert any(told in reason for reason in holds(report(*actuals, **change)))


def test_an_order_that_is_not_released_is_held():
    """Created, completed, closed: nothing is posted to it by itself."""
    facts = FACTS.with_documents([("order", ORDER | {"status": "completed"})])
    assert "order 1000120 is completed, not released" in holds(report(), facts=facts)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (report(order="999"), "unknown_order"),
        (report(*made("-1")), "negative"),
        (report(*made("6", unit="MTR")), "other_dimension"),
        (report(MaterialActual(MaterialUse.CONSUMED, Quantity(Decimal(1), "H87"))), "unmapped"),
        (report(MaterialActual(MaterialUse.PRODUCED, Quantity(Decimal(1), "H87"), material="BODY-55")), "unmapped"),
    ],
)
def test_what_cannot_be_built_is_refused(one, reason):
    """The event is quarantined under a reason."""
    with pytest.raises(BadPayload) as refused:
        FLOW.propose(one, FACTS, None, [{}])
    assert refused.value.reason == reason


def test_the_same_work_at_the_same_time_is_a_double_report():
    """Another id does not make it another lot; another time does."""
    _, (state,) = FLOW.propose(report(), FACTS, None, [{}])
    assert "a double report" in holds(report(id="2"), state=state)[0]
    later = report(id="3", occurred_at=END + timedelta(minutes=3), start=END, end=END + timedelta(minutes=3))
    assert holds(later, state=state) == ()


def test_time_without_quantity_is_confirmed_and_nothing_at_all_is_not():
    """Set-up time is work; an empty report is none."""
    assert FLOW.propose(report(*made("0")), FACTS, None, [{}])[0].drafts
    assert FLOW.propose(report(*made("0"), durations={}), FACTS, None, [{}])[0].drafts == ()


def test_dozens_become_pieces():
    """The quantity is confirmed in the operation's unit."""
    proposal, _ = FLOW.propose(report(*made("2", unit="DZN")), FACTS, None, [{}])
    assert (proposal.drafts[0].payload["yield"], proposal.drafts[0].payload["unit"]) == ("24", "H87")


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 90)), max_size=15))
def test_what_passes_without_doubt_never_exceeds_the_order(lots):
    """However the lots come, the sum of what is not held stays within the over-delivery tolerance."""
    state: Any = {}
    passed = Decimal(0)
    for number, (good, scrap) in enumerate(lots):
        at = END + timedelta(minutes=number)
        one = report(*made(str(good), str(scrap), "0001"), id=str(number), occurred_at=at)
        proposal, (state,) = FLOW.propose(one, FACTS, None, [state])
        if not proposal.holds:
            passed += good + scrap
    assert passed <= Decimal(4000) * Decimal("1.05")
