"""What waits at a work centre, added up once for a snapshot, is what adding up every order each time would give."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.facts import Facts
from agent.features.order_feasibility import Asked, Shop, Step, Waiting, WorkCentreState, features
from agent.features.order_history import Pace
from agent.workflows import shop
from agent.worktime import Window, present_until
from tests.unit.test_order_earliest import ahead, local
from tests.unit.test_workflow_order_release import facts_of

NOW = local(20, 13)
PACE = Pace(2.0, 0.1)
DUE_H = st.one_of(st.none(), st.integers(-30, 300))
WAITS = st.lists(st.tuples(DUE_H, st.integers(0, 900), st.booleans()), max_size=12)
PLACE = ("work_center", {"work_center": "ASSY-05", "line": "assembly"})  # nothing to set up
HOURS: list[Window] = [(60.0, 300.0), (1000.0, 1500.0), (2400.0, 2900.0)]


def plant(waits: list[tuple[int | None, int, bool]]) -> Facts:
    """Released orders that are due so many hours from now; some of them have work elsewhere before."""
    orders = []
    for number, (due, minutes, second) in enumerate(waits):
        (there,) = ahead(minutes=str(minutes))["operations"]
        before = {**there, "operation": "0005", "work_center": "MOLD-02", "minutes": "45"}
        order: dict[str, Any] = {**ahead(), "order": f"20{number:05}", "due": None}
        if due is not None:
            order["due"] = (NOW + timedelta(hours=due)).isoformat()
        orders.append(("order", {**order, "operations": [before, there] if second else [there]}))
    return facts_of(due=(NOW + timedelta(hours=50)).isoformat()).with_documents([PLACE, *orders])


def one_by_one(facts: Facts, staffed: Any) -> WorkCentreState:
    """The same without adding anything up."""
    queue: list[Waiting] = []
    coming: list[Waiting] = []
    for order in facts.orders.values():
        after = 0.0
        for operation in order.operations if order.status == "released" else ():
            minutes, due = shop.minutes_of(order, operation, facts), staffed(shop.until(order.due, NOW))
            if operation.work_center == "ASSY-05" and minutes:
                (coming if after else queue).append(Waiting(due, minutes, after))
            after += minutes
    return WorkCentreState(queue=tuple(queue), coming=tuple(coming))


@settings(deadline=None, max_examples=60)
@given(waits=WAITS, hours=st.sampled_from([(), (HOURS,)]))
def test_a_row_is_what_each_order_by_itself_would_give(waits, hours):
    """For orders with and without a due date, there and still coming, and where nobody is there at night."""
    facts = plant(waits)
    order = next(one for one in facts.orders.values() if one.status != "released")
    outlook = shop.Outlook(30.0, {}, PACE, hours)
    until = present_until(hours[0]) if hours else lambda minutes: minutes
    due, work = until(50 * 60.0), shop.minutes_of(order, order.operations[0], facts)
    start = until(shop.until(order.planned_start, NOW)) if order.planned_start else max(0.0, due - 2 * work)
    state = one_by_one(facts, lambda minutes: minutes if minutes <= 0 else until(minutes))
    asked = Asked((Step("ASSY-05", work, ""),), due, start, until(30.0))
    known = shop.row(order, facts, NOW, outlook)
    assert known == pytest.approx(features(asked, Shop({"ASSY-05": state}, 2.0, 0.1)), rel=1e-9, abs=1e-9)


def test_an_order_does_not_wait_for_itself():
    """It is released already, and asked about again."""
    facts = plant([(10, 600, False), (20, 300, True)])
    first, second = facts.orders["2000000"], facts.orders["2000001"]
    assert shop.ahead_minutes(first, facts) == 0
    assert shop.ahead_minutes(second, facts) == 0
    assert shop.queue_at("ASSY-05", facts).without("2000000").sums == [0.0]
    assert [one.order for one in shop.queue_at("ASSY-05", facts).without("2000001").there] == ["2000000"]
