"""What the history of a gap must show to be believed, and in which order it is judged."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agent.sources.opcua_history import groups, needed, path, replay, requests, unfit
from agent.tags.config import TagEvent
from agent.tags.engine import TagEvents
from agent.tags.values import Change, Quality, TagValue

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
TOGETHER = timedelta(milliseconds=250)
LATER = START + timedelta(hours=1)


def said(value: Any, ms: int, quality: Quality = Quality.GOOD) -> TagValue:
    return TagValue(value, quality, START + timedelta(milliseconds=ms))


def event(name: str, **options: Any) -> TagEvent:
    return TagEvent.model_validate({"name": name, "topic": f"plant/{name}", **options})


TOTAL = {"tag": "total", "max_step": "100"}
LOT = event("lot", when={"rising": "done"}, fields={"lot": "lot"}, counted={"n": TOTAL})


def test_a_path_is_in_order_and_has_each_value_once():
    """Duplicates and any order are put right; what lies outside of the gap is left out."""
    told = [said(3, 30), said(2, 20), said(1, 10), said(2, 20), said(9, 40), said(0, 5)]
    assert path(said(1, 10), told, said(3, 30)) == (said(1, 10), said(2, 20), said(3, 30))


@pytest.mark.parametrize(
    ("before", "told", "now", "why"),
    [
        (said(1, 10), [said(2, 20)], said(2, 20), "taken last"),
        (said(1, 10), [said(4, 10), said(2, 20)], said(2, 20), "taken last"),
        (said(1, 10), [said(1, 10)], said(2, 20), "value of now"),
        (said(1, 10), [said(1, 10), said(5, 15), said(6, 15), said(2, 20)], said(2, 20), "two values of one time"),
        (said(1, 10), [said(1, 10), said(None, 15, Quality.BAD), said(2, 20)], said(2, 20), "not good"),
        (said(1, 10, Quality.UNCERTAIN), [], said(2, 20), "not good"),
        (said(1, 10), [], said(2, 5), "went back"),
        (said(1, 10), [], said(2, 10), "went back"),
        (said(1, 10), [said(True, 10), said(2, 20)], said(2, 20), "taken last"),
    ],
)
def test_a_path_that_is_not_proven_is_none(before, told, now, why):
    """Both ends must be there with their own time stamps, and everything between must be clear and good."""
    assert why in str(path(before, told, now))


def test_what_was_not_said_again_has_not_changed():
    """The same value of the same time needs no history."""
    assert path(said("A", 10), [], said("A", 10)) == (said("A", 10),)


def test_events_that_share_a_tag_belong_together():
    """Also through a third one; the request of a handshake joins nothing."""
    one = event("one", when={"rising": "a"}, fields={"x": "order"})
    two = event("two", when={"rising": "b"}, fields={"x": "lot"})
    both = event("both", when={"change": "lot"}, fields={"x": "order"})
    asks = event("asks", when={"rising": "a"}, fields={"x": "other"}, handshake={"ack": "k"})
    assert [len(group.events) for group in groups([one, two])] == [1, 1]
    assert [len(group.events) for group in groups([one, two, both])] == [3]
    assert [sorted(group.tags) for group in groups([one, asks])] == [["a", "order"], ["other"]]
    assert requests([one, asks]) == {"a"}


def test_a_timer_asks_for_the_history_of_what_it_counts_alone():
    """Its fields are those of its beat: they need no past, unless an order closes what was counted."""
    beat: dict[str, Any] = {"when": {"every_s": 60}, "fields": {"t": "temperature"}, "counted": {"n": TOTAL}}
    assert needed(event("beat", **beat)) == {"total"}
    assert needed(event("beat", **beat, closed_by=["lot"])) == {"total", "temperature", "lot"}


def test_a_group_is_made_up_for_as_a_whole_or_not_at_all():
    """One tag without a proven past, and none of its events is."""
    (group,) = groups([LOT])
    paths: dict[str, Any] = {"done": (said(False, 0),), "lot": (said("A", 0),), "total": (said(1, 0), said(2, 9))}
    assert unfit(group, paths) == {}
    assert unfit(group, {**paths, "lot": "no history"}) == {"lot": "no history"}
    del paths["done"]
    assert list(unfit(group, paths)) == ["done"]


@pytest.mark.parametrize("totals", [[10, 5, 30], [10, 200, 30], [10, 10, 500], [10, None, 20], [10, "x", 20]])
def test_a_total_that_does_not_add_up_is_not_believed(totals):
    """A step back, a jump or no number: the totaliser is compared by its ends, as without history."""
    (group,) = groups([LOT])
    one = tuple(said(total, ms) for ms, total in enumerate(totals))
    paths = {"done": (said(False, 0),), "lot": (said("A", 0),), "total": one}
    assert list(unfit(group, paths)) == ["total"]


def test_a_weighing_at_a_trigger_is_not_made_up_for():
    """A load that came to rest much later must not be taken for that of the trigger."""
    scale = event(
        "scale", when={"rising": "b"}, weighed={"kg": {"gross": "g", "stable": "s", "least": "1"}}, fields={"x": "b"}
    )
    (group,) = groups([scale])
    assert list(unfit(group, {tag: (said(1, 0),) for tag in "bgs"})) == ["g"]


def test_the_first_moment_restates_what_was_taken_last():
    """Then come the changes, judged together as a message of the subscription would be."""
    paths = {
        "done": (said(False, 0), said(True, 1000), said(False, 1100), said(True, 2000)),
        "lot": (said("A", 0), said("B", 1010), said("C", 2010)),
        "kept": (said(1, 0),),
    }
    found = [[(change.tag, change.now.value) for change in moment] for moment in replay(paths, TOGETHER)]
    assert found == [
        [("done", False), ("lot", "A"), ("kept", 1)],
        [("done", True), ("lot", "B")],
        [("done", False)],
        [("done", True), ("lot", "C")],
    ]
    assert replay({"kept": (said(1, 0),)}, TOGETHER) == []


@pytest.mark.parametrize("seed", range(60))
def test_totals_are_the_same_with_and_without_history(seed):
    """However the history is harmed: every quantity adds up to what the two ends of the gap say."""
    chance = random.Random(seed)
    total = [said(0, 0)]
    done = [said(False, 0)]
    for step in range(1, 8):
        total.append(said((total[-1].value + chance.randint(0, 9)) % 50, step * 1000))  # type: ignore[operator]
        done += [said(True, step * 1000 + 5), said(False, step * 1000 + 9)]
    lot = said("A", 0)
    told = list(total)
    for _ in range(chance.randint(0, 3)):
        place = chance.randrange(len(told))
        match chance.randint(0, 3):
            case 0:
                del told[place]
            case 1:
                told[place] = told[place]._replace(value=chance.randint(0, 60))
            case 2:
                told.append(told[place])
            case _:
                chance.shuffle(told)
    turning = {"tag": "total", "max_step": "25", "modulus": 50}
    trembling = {"tag": "total", "max_step": "100", "dead_band": "3"}
    rule = (turning, trembling, {"tag": "total", "max_step": "100"})[seed % 3]
    lots = event("lot", when={"rising": "done"}, fields={"lot": "lot"}, counted={"n": rule})
    now = [Change("total", total[-1]), Change("done", said(False, 9000)), Change("lot", lot)]
    first = [Change("total", total[0]), Change("done", done[0]), Change("lot", lot)]
    paths: dict[str, Any] = {"total": path(total[0], told, total[-1]), "done": tuple(done), "lot": (lot,)}
    (group,) = groups([lots])
    with_history = counted(lots, first, [] if unfit(group, paths) else replay(paths, TOGETHER), now)
    assert with_history == counted(lots, first, [], now)


def counted(one: TagEvent, first: list[Change], between: list[list[Change]], now: list[Change]) -> Decimal:
    """What all events report together, with one more trigger at the end."""
    tags = TagEvents([one], "plc", None)
    made = [*tags.changed(first, START).deliveries]
    tags.lost(None, LATER)
    for moment in (*between, now, [Change("done", said(True, 10_000))]):
        made += tags.changed(moment, LATER).deliveries
    return sum((json.loads(each.payload, parse_float=Decimal)["n"] for each in made), Decimal(0))
