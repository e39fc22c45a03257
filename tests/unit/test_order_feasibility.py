"""Order feasibility: its features are pure and say what they mean, and the simulated shop is the same every time."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.features.order_feasibility import FEATURES, Asked, Shop, Step, Waiting, WorkCentreState, features
from models.order_feasibility.simulate import routes, run

PLACES = ("WC-1", "WC-2", "WC-3")
minutes = st.floats(0, 5_000)
waiting = st.builds(Waiting, st.floats(-5_000, 5_000), minutes, minutes)
states = st.builds(
    WorkCentreState,
    busy=minutes,
    down=minutes,
    queue=st.lists(waiting, max_size=5).map(tuple),
    coming=st.lists(waiting, max_size=5).map(tuple),
    oee=st.floats(0, 1),
    family=st.sampled_from(("", "A", "B")),
    set_up=minutes,
)
shops = st.builds(Shop, st.fixed_dictionaries(dict.fromkeys(PLACES, states)), st.floats(0, 20), st.floats(0, 1))
steps = st.builds(Step, st.sampled_from(PLACES), st.floats(0.1, 5_000), st.sampled_from(("", "A", "B")))
orders = st.builds(
    Asked,
    st.lists(steps, min_size=1, max_size=6).map(tuple),
    st.floats(-5_000, 50_000),
    st.floats(-5_000, 50_000),
    st.floats(-5_000, 5_000),
)


def told(asked: Asked, shop: Shop) -> dict[str, float]:
    return dict(zip(FEATURES, features(asked, shop), strict=True))


def with_more(shop: Shop, place: str, more: Waiting) -> Shop:
    state = shop.work_centers[place]
    return replace(shop, work_centers={**shop.work_centers, place: replace(state, queue=(*state.queue, more))})


@given(orders, shops)
def test_finite(asked, shop):
    """Whatever the shop is like, a row has all features and every one is a number."""
    row = features(asked, shop)
    assert len(row) == len(FEATURES)
    assert all(isfinite(value) for value in row)


@given(orders, shops, st.sampled_from(PLACES), st.floats(1, 5_000))
def test_what_is_due_later_waits(asked, shop, place, work):
    """An order that is due later is not ahead, one that is due earlier makes the margins no larger."""
    before = told(asked, shop)
    later = told(asked, with_more(shop, place, Waiting(asked.due + 1, work)))
    assert {name for name in FEATURES if later[name] != before[name]} <= {"behind_sum_h"}
    earlier = told(asked, with_more(shop, place, Waiting(asked.due, work)))
    assert earlier["finish_margin_h"] <= before["finish_margin_h"]
    assert earlier["start_margin_h"] <= before["start_margin_h"]
    assert earlier["ahead_sum_h"] >= before["ahead_sum_h"]


def test_an_example():
    """Slack, waiting and margins of one order are what one works out on paper."""
    shop = Shop(
        {
            "WC-1": WorkCentreState(busy=30, queue=(Waiting(500, 60), Waiting(900, 45)), family="A", set_up=15),
            "WC-2": WorkCentreState(down=120, coming=(Waiting(400, 30, after=10), Waiting(400, 50, after=9_000))),
        },
        flow_factor=3,
    )
    row = told(Asked((Step("WC-1", 60, "B"), Step("WC-2", 60)), due=600, planned_start=120, material=60), shop)
    assert row["slack_h"] == 8  # 600 − 120
    assert row["critical_ratio"] == 5
    assert row["ahead_first_h"] == 1.5  # what is on the machine and what is due earlier
    assert row["behind_sum_h"] == 0.75
    assert row["start_margin_h"] == pytest.approx((120 - (90 + 15)) / 60)
    assert row["finish_margin_h"] == pytest.approx((600 - (90 + 15 + 60 + 60)) / 60)  # WC-2 is free when it comes
    assert row["flow_margin_h"] == 3  # 600 − 60 − 3 × 120


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((), "no operation"),
        ((Step("WC-1", 0),), "takes 0 minutes"),
        ((Step("WC-1", float("nan")),), "takes nan minutes"),
        ((Step("WC-9", 5),), "work centre WC-9"),
    ],
)
def test_what_cannot_be_told(steps, words):
    """An order without a route, without times or on an unknown work centre is refused with what is missing."""
    with pytest.raises(ValueError, match=words):
        features(Asked(steps, 100, 50), Shop({"WC-1": WorkCentreState()}))


def test_the_same_every_time():
    """The same seed gives the same orders and outcomes, another seed others."""
    choices = routes(3, work_centers=5, number=20)
    first, again, other = (run(seed, choices, 60) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(first) == 60


def test_only_what_is_known():
    """A longer run tells the same about its first orders: no row knows what comes later."""
    choices = routes(3, work_centers=5, number=20)
    short, long = run(1, choices, 40), run(1, choices, 80)
    assert [(case.asked, case.shop) for case in long[:40]] == [(case.asked, case.shop) for case in short]


def test_both_outcomes_are_there():
    """Some orders of the simulated shop are late, most are not: there is something to learn."""
    late = [not case.finished_on_time for case in run(5, routes(5), 300)]
    assert 0.02 < sum(late) / len(late) < 0.6
