"""What the agent itself notices is an event like any other: written, read back as it was, and decided once."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import own_events
from agent.errors import BadPayload
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.judging.judge import judge
from agent.ports import Event
from tests.unit.test_judge import TODAY, Nothing, rules_of
from tests.unit.test_workflow_consumption import AT

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
NUMBER = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6)
QUANTITY = st.builds(Quantity, NUMBER, st.sampled_from(["KGM", "C62"]))
MOMENT = st.datetimes(datetime(2020, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone
REPORT = st.builds(
    SegmentResponse,
    kind=st.sampled_from(["order_release", "consumption"]),
    id=TEXT,
    order=TEXT,
    operation=TEXT,
    occurred_at=MOMENT,
    work_center=TEXT,
    start=st.none() | MOMENT,
    end=st.none() | MOMENT,
    final=st.booleans(),
    material_actuals=st.lists(
        st.builds(MaterialActual, st.sampled_from(MaterialUse), QUANTITY, TEXT, TEXT, TEXT, TEXT), max_size=2
    ).map(tuple),
    durations=st.dictionaries(TEXT, QUANTITY, max_size=2),
    personnel=TEXT,
    sender=st.just(""),
    sequence=st.none(),
    data=st.fixed_dictionaries({}, optional={"a": TEXT, "b": NUMBER}),
)


def event_of(report: SegmentResponse, number: int = 1) -> Event:
    one = own_events.event_of(report)
    return Event(number, own_events.SOURCE, one.topic, one.payload, AT)


@given(REPORT)
def test_a_report_is_read_back_as_it_was_written(report: SegmentResponse):
    """Every quantity, moment and text survives the way through the store."""
    assert own_events.read(event_of(report)) == report


def test_the_same_notice_twice_is_a_duplicate():
    """The agent noticed it again, after a restart perhaps: it is decided once."""
    consumed = (
        MaterialActual(MaterialUse.CONSUMED, Quantity(Decimal("9.6"), "KGM"), "RM-RESIN", "0000000301"),
        MaterialActual(MaterialUse.PRODUCED, Quantity(Decimal(10), "KGM")),
    )
    report = SegmentResponse("consumption", "A", "1000100", "0010", AT, "MIX-01", material_actuals=consumed)
    rules = rules_of()
    judged = judge([event_of(report), event_of(report, 2)], rules, Nothing(), TODAY)
    assert [one.state for one in judged.verdicts] == ["posted", "duplicate"]
    (elsewhere,) = judge([event_of(report)._replace(source="line")], rules, Nothing(), TODAY).verdicts
    assert elsewhere.detail["code"] == "unmapped"  # nobody else can speak for the agent


@pytest.mark.parametrize("payload", [b"{}", b'{"id": "a", "occurred_at": "2026-11-20T12:00:00"}', b'{"id": 1}', b"[]"])
def test_what_the_agent_did_not_write_is_refused(payload: bytes):
    """A payload that was changed by hand is quarantined with a reason."""
    with pytest.raises(BadPayload):
        own_events.read(Event(1, own_events.SOURCE, "gatepost/order_release", payload, AT))
