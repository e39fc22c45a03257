"""How fast work went lately: nothing of the future, little of few operations, and nothing of long ago."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.facts import Facts
from agent.features.order_history import USUAL, WINDOW, Done, Pace, of_route, paces
from agent.workflows import paces as workflow
from tests.unit.test_workflow_consumption import FACTS
from tests.unit.test_workflow_order_release import AT, FLOW, ORDER, facts_of, report, scored

PLACES = ("WC-1", "WC-2")
times = st.floats(-2 * WINDOW, WINDOW)
finished = st.builds(
    Done,
    st.sampled_from(PLACES),
    times,
    st.floats(0, 10_000),
    st.floats(1, 1_000),
    st.none() | times,  # due
    st.none() | times,  # its whole order was finished
)


def of(place: str, flow: float, *, count: int = 1, due: float | None = None, ended: float | None = None) -> list[Done]:
    return [Done(place, -10.0 - at, flow, 60.0, due, ended) for at in range(count)]


@given(st.lists(finished, max_size=30), finished)
def test_the_future_is_not_known(done, later):
    """What is finished after the moment of asking changes nothing, and an order that ends later counts as open."""
    assert paces([*done, later._replace(finished=1.0)]) == paces(done)
    told = [one._replace(order_finished=5.0) for one in done]
    assert paces(told) == paces([one._replace(order_finished=None) for one in done])


@given(st.lists(finished, max_size=30))
def test_it_stays_within_what_was_seen_and_what_is_usual(done):
    """A pace is never better or worse than both: it is drawn from one towards the other."""
    factors = [one.flow / one.minutes for one in done if -WINDOW <= one.finished <= 0]
    plant, places = paces(done)
    for one in (plant, *places.values()):
        assert min([USUAL.flow_factor, *factors]) - 1e-9 <= one.flow_factor <= max([USUAL.flow_factor, *factors]) + 1e-9
        assert 0 <= one.late_share <= 1


def test_one_operation_says_little_and_many_say_much():
    """Six times the work once: hardly more than usual. Forty times: nearly six."""
    assert paces(of("WC-1", 360))[0].flow_factor == pytest.approx((6 + 10 * 2) / 11)
    assert paces(of("WC-1", 360, count=40))[1]["WC-1"].flow_factor == pytest.approx(5.84, abs=0.01)
    assert paces(of("WC-1", 360, count=400))[1] == paces(of("WC-1", 360, count=40))[1]  # only the newest count


def test_an_order_is_late_when_it_is_known_to_be():
    """Finished after it was due, or due and not finished; before its due date nobody knows."""
    late = paces(of("WC-1", 60, due=-50, ended=-5) + of("WC-1", 60, due=-50) + of("WC-1", 60, due=50))[0]
    assert late.late_share == pytest.approx((2 + 10 * USUAL.late_share) / 12)


def test_a_route_expects_what_its_work_centres_do():
    """Each weighs as much as the work it does; one where nothing was finished counts as the plant."""
    plant, places = Pace(3.0, 0.2), {"WC-1": Pace(1.0, 0.0, 40)}
    assert of_route([("WC-1", 90), ("WC-9", 30)], plant, places) == Pace(1.5, 0.05, 40)


# ── what the ERP tells ──────────────────────────────────────────────────────────────────────────────────────


def with_history(facts: Facts, hours: float, count: int = 20) -> Facts:
    """Orders of an hour of work that took so long, one a working day, each finished two hours after it was due."""
    done: list[tuple[str, dict[str, Any]]] = []
    weekdays = [day for day in range(1, 60) if (AT - timedelta(days=day)).isoweekday() < 6]
    for day in weekdays[:count]:
        end = AT - timedelta(days=day)
        operation = {
            **ORDER["operations"][0], "minutes": "60", "confirmed": True,
            "started": (end - timedelta(hours=hours)).isoformat(), "finished": end.isoformat(),
        }  # fmt: skip
        due = (end - timedelta(hours=2)).isoformat()
        done.append(
            ("order", {**ORDER, "order": f"10001{day}", "status": "completed", "operations": [operation], "due": due})
        )
    return facts.with_documents(done)


def test_slow_and_late_orders_are_what_the_model_sees():
    """Flow factor and late share of the route are those of the last weeks, and the decision's record says so."""
    base = facts_of()
    flow = workflow.of_order(base.orders["1000200"], base, AT)
    assert flow == Pace(USUAL.flow_factor, USUAL.late_share, 0)
    facts = with_history(base, hours=6)
    row: Any = FLOW.values(report(), facts, [{}, {}])
    assert row["flow_factor"] == pytest.approx(5.5, abs=0.3)
    assert row["late_share"] > 0.8
    answer = FLOW.propose(report(), facts, scored(0.9), [{}, {}])[0].answer
    (fact,) = [one for one in answer["facts"] if one["fact"] == "the last 20 operations on its route"]
    assert fact["value"].startswith("5.6 times the work, 90 %")


def test_nights_are_no_time_in_which_anybody_works():
    """Begun at five in the afternoon, finished at nine the next morning, people there until ten and from six: 8 h."""
    operation = {
        **ORDER["operations"][0], "minutes": "60", "confirmed": True,
        "started": "2026-11-18T17:00:00+01:00", "finished": "2026-11-19T09:00:00+01:00",
    }  # fmt: skip
    order = {**ORDER, "order": "10001", "status": "completed", "operations": [operation]}
    facts = facts_of().with_documents([("order", order)])
    pace = workflow.of_order(facts.orders["1000200"], facts, AT)
    assert pace is not None
    plant = (8 + 10 * USUAL.flow_factor) / 11
    assert pace.flow_factor == pytest.approx((8 + 10 * plant) / 11)


def test_what_is_finished_after_the_decision_changes_nothing():
    """A replay that knows more decides the same: history ends at the moment of deciding."""
    facts = with_history(facts_of(), hours=6)
    order, earlier = facts.orders["1000200"], AT - timedelta(days=30)
    assert workflow.of_order(order, facts, earlier) == Pace(USUAL.flow_factor, USUAL.late_share, 0)


def test_an_operation_that_nobody_begun_or_planned_is_no_history():
    """Without a beginning, or without planned minutes, there is no flow time; with the operation before it there is."""
    facts = replace(FACTS, orders={})
    first = {**ORDER["operations"][0], "confirmed": True, "finished": (AT - timedelta(hours=5)).isoformat()}
    second = {**first, "operation": "0020", "minutes": "60", "finished": (AT - timedelta(hours=3)).isoformat()}
    facts = facts.with_documents([("order", {**ORDER, "status": "completed", "operations": [first, second]})])
    found = [(one.minutes, (one.finished - one.arrived) / timedelta(hours=1)) for one in workflow._finished(facts)]
    assert found == [(60.0, 2.0)]
