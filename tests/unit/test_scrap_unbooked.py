"""Scrap that a person corrected, or that is not booked: the histories of work centre and lot go on without it."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agent.isa95 import SegmentResponse
from agent.own_events import event_of, read
from agent.ports import Event, Kind
from agent.store.unbooked import Unbooked
from agent.unbooked import of_scrap
from agent.workflows.scrap import Config, Scrap
from tests.unit.test_workflow_scrap import AT, FACTS, report, sure

FLOW = Scrap(Config(block_from="minor"))


class Line:
    """One work centre and one lot, with what the workflow remembers of them."""

    def __init__(self) -> None:
        self.states: list[Any] = [{}, {}]

    def take(self, one: SegmentResponse) -> Any:
        proposal, states = FLOW.propose(one, FACTS, sure(), self.states)
        self.states = json.loads(json.dumps(states))  # as the store keeps them
        return proposal

    def hear(
        self, told: SegmentResponse, kind: Kind, payload: Any, action: str, instead: Any = None, **more: Any
    ) -> str:
        """The event of the agent as it is stored and read again."""
        one = Unbooked(7, "scrap", kind, AT, action, "anna", "counted again", payload, more.get("sent", False), instead)
        (about,) = of_scrap(one, told)
        delivery = event_of(about)
        event = Event(9, "gatepost", delivery.topic, delivery.payload, AT)
        proposal = self.take(read(event))
        assert not proposal.drafts
        return str(proposal.reasons[0])


def payload_of(proposal: Any, kind: Kind) -> dict[str, Any]:
    return next(dict(one.payload) for one in proposal.drafts if one.kind == kind)


def test_a_corrected_quantity_is_in_the_histories_and_in_what_is_blocked():
    """Four were told, three were scrapped: the histories are those of a report of three, and 197 are blocked."""
    line, other = Line(), Line()
    first = line.take(report("4"))
    scrap, block = payload_of(first, Kind.SCRAP), payload_of(first, Kind.STOCK_TRANSFER)
    more = {**block, "quantity": str(Decimal(block["quantity"]) + 1)}
    said = line.hear(report("4"), Kind.SCRAP, scrap, "superseded", {**scrap, "quantity": "3"})
    assert said == "corrected by anna: what was scrapped is other: 4 is 3"
    said = line.hear(report("4"), Kind.STOCK_TRANSFER, block, "superseded", more)
    numbers = f"{block['quantity']} is {more['quantity']}"
    assert said == f"corrected by anna: what is kept from use of lot L1 is other: {numbers}"
    other.take(report("3", lot_stock="196"))
    assert line.states[0] == other.states[0]
    assert line.states[1] == other.states[1] | {"blocked": more["quantity"]}


def test_who_reports_the_corrected_number_reports_the_same_defect():
    """The camera told four, a person made three of it, and another one reports three: one defect."""
    line = Line()
    scrap = payload_of(line.take(report("4")), Kind.SCRAP)
    line.hear(report("4"), Kind.SCRAP, scrap, "superseded", {**scrap, "quantity": "3.0"})
    second = line.take(report("3", id="S-2"))
    assert any("two reports of one defect" in why for why in second.holds)


def test_what_a_person_refused_is_no_defect_that_was_seen_before():
    """Refused, as it was wrong, and reported anew: it is no second report, and nothing is blocked of the first."""
    line = Line()
    first = line.take(report("4"))
    for kind in (Kind.SCRAP, Kind.STOCK_TRANSFER):
        line.hear(report("4"), kind, payload_of(first, kind), "refused")
    assert [one.get("scrapped") for one in line.states] == [0.0, 0.0]
    assert (line.states[0]["seen"], line.states[1]["blocked"]) == ([], "0")
    again = report("4", id="S-2", occurred_at=AT + timedelta(minutes=1))
    assert not any("two reports of one defect" in why for why in line.take(again).holds)


def test_the_second_report_of_one_defect_that_a_person_refuses_takes_nothing_from_the_first():
    """It was counted in no history."""
    line = Line()
    line.take(report("4"))
    before = line.states
    later = report("4", id="S-2", occurred_at=AT + timedelta(minutes=1))
    double = line.take(later)
    assert any("two reports of one defect" in why for why in double.holds)
    line.hear(later, Kind.SCRAP, payload_of(double, Kind.SCRAP), "refused")
    assert line.states == before


@pytest.mark.parametrize(("action", "sent"), [("expired", False), ("refused", True)], ids=["not signed", "by the ERP"])
def test_what_is_not_booked_was_scrapped_all_the_same(action, sent):
    """Nobody said that it is not so: the defect was seen, but nothing is kept from use."""
    line = Line()
    first = line.take(report("4"))
    line.hear(report("4"), Kind.SCRAP, payload_of(first, Kind.SCRAP), action, sent=sent)
    line.hear(report("4"), Kind.STOCK_TRANSFER, payload_of(first, Kind.STOCK_TRANSFER), action, sent=sent)
    assert [one["scrapped"] for one in line.states] == [4.0, 4.0]
    assert (len(line.states[0]["seen"]), line.states[1]["blocked"]) == (1, "0")


def test_another_cause_changes_no_quantity_and_what_becomes_of_a_lot_is_heard_of_by_nobody():
    """Nothing is told of either."""
    scrap = payload_of(Line().take(report("4")), Kind.SCRAP)
    cause = Unbooked(7, "scrap", Kind.SCRAP, AT, "superseded", "anna", "", scrap, False, {**scrap, "cause": "tool"})
    assert list(of_scrap(cause, report("4"))) == []
    choice = report("4", kind="follow_on")
    assert list(of_scrap(Unbooked(8, "scrap", Kind.SCRAP, AT, "refused", "anna", "", scrap, False), choice)) == []
