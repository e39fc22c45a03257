"""Earliest start and finish of an order: people's hours, OEE, what waits before it and what it waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent.configuration.settings import LiveKind
from agent.facts import Facts
from tests.unit.test_workflow_order_release import DUE, FLOW, ORDER, RUNS, facts_of, proposed, report

BERLIN = ZoneInfo("Europe/Berlin")
OEE = (LiveKind.OEE, "ASSY-05")


def local(day: int, hour: int, minute: int = 0) -> datetime:
    """November 2026 by the plant's clock; the 20th is a Friday, people are there from six to ten, Monday to Friday."""
    return datetime(2026, 11, day, hour, minute, tzinfo=BERLIN).astimezone(UTC)


def at(moment: datetime, facts: Facts) -> tuple[datetime, datetime, str]:
    answer = proposed(facts, report()._replace(occurred_at=moment)).answer
    starts, ends = (datetime.fromisoformat(answer[f"earliest_{name}"]) for name in ("start", "finish"))
    return starts, ends, answer["set_by"]


@pytest.mark.parametrize(
    ("asked", "starts", "ends"),
    [
        (local(20, 13), local(20, 13), local(20, 17, 10)),
        (local(20, 23), local(23, 6), local(23, 10, 10)),  # Friday night: Monday morning
        (local(20, 19), local(23, 6), local(23, 10, 10)),  # four hours of work, and three are left of the week
        (local(21, 12), local(23, 6), local(23, 10, 10)),
    ],
)
def test_an_order_begins_when_somebody_who_may_make_it_is_there(asked, starts, ends):
    """250 minutes of work for people with TORQUE_CERT."""
    found = at(asked, facts_of(due=DUE))
    assert found[:2] == (starts, ends)
    assert ("nobody who may make it is at ASSY-05 for long enough before 2026-11-23 05:00 UTC" in found[2]) is (
        starts != asked
    )


def test_an_order_that_anybody_may_make_begins_at_night():
    """Without a certificate nobody tells when people are there: it is taken as always."""
    needs = {"material": "VALVE-55", "work_center": "ASSY-05", "minutes": "0.5", "unit": "H87"}
    facts = facts_of(due=DUE).with_documents([("routing", needs)])
    assert at(local(20, 23), facts)[0] == local(20, 23)


def test_oee_makes_it_longer():
    """Half the OEE, twice the time; the master data's where no tag tells one."""
    told = facts_of(live=RUNS | {OEE: Decimal("0.5")}, due=DUE)
    assert at(local(20, 7), told)[1] == local(20, 15, 20)
    place = {"work_center": "ASSY-05", "line": "assembly", "oee": "0.5"}
    assert at(local(20, 7), facts_of(due=DUE).with_documents([("work_center", place)]))[1] == local(20, 15, 20)


def ahead(**operation: str) -> dict[str, Any]:
    """A released order of ten hours that goes before."""
    return {
        **ORDER, "order": "1000100", "status": "released", "components": [], "due": local(21, 13).isoformat(),
        "operations": [{**ORDER["operations"][0], "minutes": "600", **operation}],
    }  # fmt: skip


def test_what_waits_before_it_is_made_in_peoples_hours_too():
    """Ten hours of work ahead on Friday at one: nine before ten at night, one on Monday, and then this order."""
    facts = facts_of(due=DUE).with_documents([("order", ahead())])
    starts, ends, set_by = at(local(20, 13), facts)
    assert (starts, ends) == (local(23, 7), local(23, 11, 10))
    assert set_by == "10.0 h of work ahead at ASSY-05"


def test_what_is_confirmed_of_an_order_that_waits_is_done():
    """Four fifths of the ten hours are confirmed: two are ahead."""
    facts = facts_of(due=DUE).with_documents([("order", ahead(confirmed_yield="390", confirmed_scrap="10"))])
    assert at(local(20, 13), facts)[0] == local(20, 15)


def test_a_weekend_in_the_way_is_a_risk_and_said():
    """Due on Sunday, asked on Friday night: there is nobody to make it before Monday."""
    answer = proposed(facts_of(), report()._replace(occurred_at=local(20, 23))).answer
    assert answer["status"] == "AT_RISK"
    assert answer["warnings"] == [
        "4.2 h of work from then on end 21.2 h after it is due, 2026-11-22 12:00 UTC",
    ]


def test_a_night_without_anybody_is_no_reason_to_hold_an_order():
    """Nobody is logged on at eleven at night: people come at six, it is noted. At seven somebody should be there."""
    live = RUNS | {(LiveKind.OPERATOR, "ASSY-05"): ""}
    answer = proposed(facts_of(live=live, due=DUE), report()._replace(occurred_at=local(19, 23))).answer
    assert answer["status"] == "FEASIBLE_WITH_NOTES"
    assert answer["warnings"] == [
        "nobody is logged on at ASSY-05; TORQUE_CERT is needed: who has it comes at 2026-11-20 05:00 UTC"
    ]
    assert answer["earliest_start"] == local(20, 6).isoformat()
    day = proposed(facts_of(live=live, due=DUE), report()._replace(occurred_at=local(20, 7))).answer
    assert day["status"] == "BLOCKED"


def test_the_model_is_told_minutes_in_which_somebody_is_there():
    """From Friday at one until Tuesday at one there are 41 hours of people, not 96."""
    values = FLOW.values(report(), facts_of(due=DUE), [{}, {}])
    assert values is not None
    assert values["slack_h"] == pytest.approx(9 + 16 + 7 - 250 / 60, abs=1e-3)
