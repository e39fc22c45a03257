"""The release sequence: what it costs is what it plans, it is never worse than the order of the ERP, and says why."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sequence.sequencing import (
    SLIGHT,
    Centre,
    Job,
    by_urgency,
    cost,
    followed,
    improved,
    planned,
    sequence,
    span,
)
from models.evaluation.sequence import LA01, exact, makespan, read, shortest, week

FAMILIES = ("", "red", "blue")
minutes = st.integers(1, 300).map(float)
jobs = st.builds(
    Job,
    order=st.uuids().map(str),
    minutes=minutes,
    due=st.integers(-500, 3000).map(float) | st.just(float("inf")),
    weight=st.sampled_from((0.0, 1.0, 4.0)),
    family=st.sampled_from(FAMILIES),
    ready=st.integers(-100, 1500).map(float),
    certificate=st.sampled_from(("", "TORQUE", "UNKNOWN")),
)
queues = st.lists(jobs, max_size=6)
centres = st.builds(
    Centre,
    free=st.integers(0, 200).map(float),
    family=st.sampled_from(FAMILIES),
    set_up=st.integers(0, 90).map(float),
    changes=st.dictionaries(st.sampled_from([*product(FAMILIES[1:], FAMILIES[1:])]), minutes, max_size=2),
    staffed=st.just({"TORQUE": ((-60.0, 120.0), (200.0, 300.0), (1440.0, 1920.0))}),
)
RED = Job("1", 60, 100, family="red")
BLUE = Job("2", 60, 100, family="blue")


@given(queues, centres)
def test_what_is_minimised_is_what_the_plan_says(queue, centre):
    """The quick sum of the search and the plan that people see are the same figures; one order after the other."""
    plan = planned(queue, centre)
    assert cost(queue, centre) == pytest.approx(plan.weighted_lateness + SLIGHT * plan.set_up_minutes)
    free = centre.free
    for slot in plan.slots:
        assert slot.begin >= max(free + slot.set_up, slot.job.ready)
        assert slot.end == pytest.approx(slot.begin + slot.job.minutes + slot.pauses)
        assert slot.pauses >= -1e-6
        assert not slot.pauses > 1e-6 or slot.job.certificate == "TORQUE"
        free = slot.end
    assert cost(queue, centre, -1.0) in (float("inf"), cost(queue, centre))


@settings(max_examples=30, deadline=None)
@given(queues, centres)
def test_it_is_never_worse_than_any_order_it_begins_with_and_the_same_every_time(queue, centre):
    """Nothing is lost or doubled, and the order of the ERP is one of those it begins with."""
    found = sequence(queue, centre, effort=300)
    assert found == sequence(queue, centre, effort=300)
    assert found.whole
    assert sorted(slot.job.order for slot in found.plan.slots) == sorted(job.order for job in queue)
    for start in (followed(queue, centre), by_urgency(queue, centre, 1.0, 0.5) if queue else []):
        assert cost([slot.job for slot in found.plan.slots], centre) <= cost(start, centre) + 1e-6
    assert len(found.reasons) == len(queue)
    assert all(all(one) for one in found.reasons)


@settings(max_examples=15, deadline=None)
@given(st.lists(jobs, max_size=5), centres)
def test_few_orders_get_the_best_sequence_there_is(queue, centre):
    """As every permutation of them shows."""
    best = min(cost(one, centre) for one in permutations(queue))
    found = sequence(queue, centre, effort=4000).plan
    assert cost([slot.job for slot in found.slots], centre) == pytest.approx(best)


def test_eight_orders_get_the_best_sequence_there_is():
    """As branch and bound shows."""
    queue, centre = week(3, orders=8, load=1.1)
    assert sequence(queue, centre).plan.weighted_lateness == pytest.approx(exact(queue, centre))


def test_a_published_job_shop_is_made_as_quickly_as_can_be():
    """Lawrence's la01: 666, which the search reaches from a start that takes longer."""
    assert shortest(read(LA01)) == 666
    assert makespan([0] * 5, read(LA01)[:1]) == sum(minutes for _, minutes in read(LA01)[0])


def test_an_order_is_begun_and_finished_while_somebody_who_may_is_there():
    """With a fifth to spare; behind the last period nobody has planned yet."""
    centre = Centre(free=20, staffed={"TORQUE": ((0.0, 120.0), (500.0, 700.0))})
    job = Job("1", 90, 0, certificate="TORQUE")
    assert planned([job], centre).slots[0].begin == 500
    assert planned([job], replace(centre, spare=0.0)).slots[0].begin == 20
    assert planned([job, job, job], centre).slots[2].begin == 700
    assert planned([replace(job, certificate="")], centre).slots[0].begin == 20


def test_an_order_longer_than_any_cover_is_begun_with_who_is_there_and_pauses():
    """It does not wait for a period that is long enough, which may never come, and says how long it pauses."""
    shifts = tuple((day * 1440.0, day * 1440.0 + 960) for day in range(28))
    long = Job("1", 2000, 20_000, certificate="TORQUE")
    found = sequence([long], Centre(staffed={"TORQUE": shifts}))
    (slot,) = found.plan.slots
    assert (slot.begin, slot.end, slot.pauses) == (0, 2 * 1440 + 80, 960)
    assert "pauses 16 h in all, while nobody with TORQUE is there" in found.reasons[0]
    assert planned([long], Centre(free=900, staffed={"TORQUE": shifts})).slots[0].begin == 900
    (last,) = planned([long], Centre(staffed={"TORQUE": ((0.0, 100.0),)})).slots
    assert (last.begin, last.end) == (0, 2000)  # behind the last period somebody is taken as there


def test_an_order_that_fits_into_a_day_does_not_begin_in_what_is_left_of_it():
    """A period that has begun already is as long as it is, not as what is left of it."""
    centre = Centre(staffed={"TORQUE": ((-900.0, 60.0), (540.0, 1500.0))})
    (slot,) = planned([Job("1", 200, 0, certificate="TORQUE")], centre).slots
    assert (slot.begin, slot.pauses) == (540, 0)


def test_a_set_up_is_done_while_material_is_on_its_way():
    """And takes what that very change takes."""
    centre = Centre(family="red", set_up=30, changes={("red", "blue"): 45})
    (slot,) = planned([replace(BLUE, ready=40)], centre).slots
    assert (slot.set_up, slot.begin) == (45, 45)
    assert planned([RED, replace(RED, family=""), RED], centre).set_ups == 0
    assert planned([BLUE, RED], centre).set_up_minutes == 75


def test_whoever_follows_the_list_passes_over_what_cannot_begin():
    """So the sequence is not praised for what every foreman does."""
    waits = Job("1", 60, 100, ready=500)
    assert [job.order for job in followed([waits, BLUE], Centre())] == ["2", "1"]
    assert sequence([waits, BLUE], Centre()).given.slots[0].job == BLUE


def test_every_place_has_its_reasons():
    """Set-up, what it waits for, how it stands to its due date, and what another place would cost."""
    late = Job("3", 60, 50, weight=2, family="red", ready=100, waits_for="RM-RESIN")
    found = sequence([BLUE, RED, late], Centre(family="red", set_up=30))
    assert [slot.job.order for slot in found.plan.slots] == ["1", "3", "2"]
    assert found.reasons == (
        (
            "goes on with red, no set-up",
            "finished 40 min before it is due",
            "behind 3 the orders would be 3 h later in all, weighted",
            "1 place earlier than by the order of the ERP, 1 h 20 min less late",
        ),
        (
            "goes on with red, no set-up",
            "waits 40 min for RM-RESIN",
            "1 h 50 min late",
            "behind 2 the orders would be 1 h later in all, weighted",
            "1 place earlier than by the order of the ERP, 1 h 20 min less late",
        ),
        (
            "set up for blue: 30 min",
            "2 h 30 min late",
            "2 places later than by the order of the ERP, 2 h 30 min more late",
        ),
    )


def test_a_search_that_is_cut_off_says_so():
    """And gives the best it has."""
    queue, centre = week(1)
    found = sequence(queue, centre, out_of_time=lambda: True)
    assert not found.whole
    assert found.plan.weighted_lateness <= found.given.weighted_lateness
    best, whole = improved([1], lambda one, _: float(one[0]))
    assert (best, whole) == ([1], True)


def test_an_order_that_takes_no_time_is_refused():
    """By its number."""
    with pytest.raises(ValueError, match="order 1 takes no time"):
        sequence([replace(RED, minutes=0)], Centre())


@pytest.mark.parametrize(
    ("told", "words"),
    [(0.2, "1 min"), (35, "35 min"), (130, "2 h 10 min"), (120, "2 h"), (1500, "1 d 1 h"), (1440, "1 d")],
)
def test_times_are_told_as_people_tell_them(told, words):
    """In two units at most."""
    assert span(told) == words
