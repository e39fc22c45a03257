"""The engine: which changes fire an event, and when timers do."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agent.tags.values import Quality, Scalar
from tests.tag_bench import TOTAL, Agent, at, change, event


@pytest.mark.parametrize(
    ("trigger", "first", "then"),
    [
        ({"rising": "tag"}, False, True), ({"falling": "tag"}, True, False),
        ({"change": "tag"}, "A", "B"), ({"step": "tag"}, 1, 2),
    ],
)  # fmt: skip
def test_a_change_while_away_fires_once(trigger: dict[str, str], first: Scalar, then: Scalar):
    """What changed between two connections or two lives of the agent makes one event, its repetitions none."""
    agent = Agent([event(when=trigger)])
    agent.say(tag=first)
    agent.say(tag=first)
    assert agent.stored == []

    agent.kill()
    agent.say(tag=then)
    agent.lose()
    agent.say(tag=then)
    agent.kill()
    agent.say(tag=then)

    assert len(agent.stored) == 1


def test_an_edge_that_went_back_is_on_disk():
    """The flag that fell is written down although nothing is delivered, so that its next rise is an edge."""
    agent = Agent([event(when={"rising": "done"})])
    agent.say(done=False)
    agent.say(done=True)
    made = agent.send(change("done", False))
    assert made.to_store
    assert made.keep
    agent.commit()

    agent.kill()

    assert len(agent.say(done=True)) == 1


def test_edges_within_one_message_are_not_lost():
    """A pulse inside one message fires; two of them are one event and a notice."""
    agent = Agent([event(when={"rising": "done"})])
    agent.say(done=False)

    agent.send(change("done", True), change("done", False))
    agent.commit()
    assert (len(agent.stored), agent.actions()) == (1, [])
    agent.send(change("done", True), change("done", False), change("done", True))
    agent.commit()

    assert (len(agent.stored), agent.actions()) == (2, ["edges_merged"])


def test_a_number_that_went_back_is_told():
    """A reload of the controller under `step` is a notice and no event."""
    agent = Agent([event(when={"step": "parts"})])
    agent.say(parts=5)
    agent.say(parts=2)

    assert (agent.stored, agent.actions()) == ([], ["step_back"])


def test_a_timer_reports_every_so_often():
    """It begins at the first look, keeps its beat, and does not make up for the time it was away."""
    agent = Agent([event(when={"every_s": 60}, fields={"level": "level"})])
    agent.say(level=1)
    agent.tick()

    assert len(agent.tick(59)) == 0
    assert [body["level"] for body in agent.tick(2)] == [1]
    assert agent.engine.due() == at(120)
    agent.kill()
    agent.say(level=2)
    assert len(agent.tick(3600)) == 1
    assert len(agent.tick(1)) == 0


def test_beats_that_were_missed_for_long_are_told():
    """Where the agent was away, or the disk took nothing, the trail says how many; a busy moment is no matter."""
    agent = Agent([event(when={"every_s": 10})])
    agent.tick()
    agent.tick(10)
    assert len(agent.tick(35)) == 1
    assert agent.noticed == []

    agent.kill()
    assert len(agent.tick(3600)) == 1

    assert agent.noticed == [("beats_missed", {"event": "lot", "count": 359, "since": at(55).isoformat()})]


def test_a_timer_tells_once_that_its_values_are_stale():
    """A refusal for every beat would bury the trail: the first says it, and the next good one reports."""
    agent = Agent([event(when={"every_s": 60}, fields={"level": "level"})])
    agent.say(level=1)
    agent.tick()
    agent.lose()

    for _ in range(3):
        agent.tick(60)
    assert agent.actions() == ["event_refused"]
    agent.say(level=1)

    assert len(agent.tick(60)) == 1


def test_a_timer_reports_nothing_of_a_time_that_is_over():
    """While the past is told it is not due; then it reports what is true now, at once and once."""
    agent = Agent([event(when={"every_s": 60}, fields={"level": "level"})])
    agent.say(level=1)
    agent.now = 100

    for level in (2, 3):
        assert not agent.engine.changed([change("level", level, level)], at(agent.now), past=True).deliveries
        assert agent.engine.due() is None
        assert not agent.engine.tick(at(agent.now)).deliveries

    assert [body["level"] for body in agent.say(level=4)] == [4]
    assert agent.tick() == []


def test_a_loss_ends_the_time_that_is_over():
    """A connection that breaks while the past is told holds no timer for ever."""
    agent = Agent([event(when={"every_s": 60}, fields={"level": "level"})])
    agent.say(level=1)
    agent.engine.changed([change("level", 2, 2)], at(2), past=True)
    agent.lose()

    assert agent.engine.due() == at(60)


@pytest.mark.parametrize("trigger", [{"every_s": 60}, {"counts": {"least": 1, "every_s": 60}}])
def test_a_clock_that_is_set_back_stops_no_timer(trigger: dict[str, Any]):
    """An hour back, the next report is at most its own interval away."""
    agent = Agent([event(when=trigger, counted={"quantity": TOTAL})])
    agent.say(total=0)
    agent.tick()
    agent.say(total=1)
    agent.tick(60)
    before = len(agent.stored)

    agent.now -= 3600
    agent.say(total=2)
    assert agent.engine.due() == at(agent.now + 60)
    agent.tick(60)

    assert len(agent.stored) == before + 1


def test_a_clock_that_is_set_back_lets_nothing_wait_longer():
    """An event that waits for a value, and a report that does, are given up as if nothing had happened to the clock."""
    agent = Agent(
        [
            event(name="edge", when={"rising": "done"}, fields={"order": "order"}),
            event(name="counts", when={"counts": {}}, fields={"order": "order"}, counted={"quantity": TOTAL}),
        ]
    )
    agent.say(done=False, total=0)
    agent.say(done=True, total=1)

    agent.now -= 3600
    agent.say(oee=1)
    assert agent.engine.due() == at(agent.now + 5)
    agent.tick(5)

    assert sorted(agent.actions()) == ["event_refused", "event_waits"]


def test_counts_report_what_is_worth_it_and_not_too_often():
    """`least` is after the factor, and `every_s` the shortest time between two reports."""
    agent = Agent(
        [event(when={"counts": {"least": "0.5", "every_s": 60}}, counted={"quantity": {**TOTAL, "factor": "0.1"}})]
    )
    agent.say(total=0)

    assert agent.say(total=4) == []
    assert [body["quantity"] for body in agent.say(total=5)] == [Decimal("0.5")]
    agent.now = 30
    assert agent.say(total=15) == []
    assert agent.engine.due() == at(60)
    assert [body["quantity"] for body in agent.tick(30)] == [Decimal("1.0")]


def test_counts_wait_for_their_values_and_say_so_once():
    """What was counted is not lost while a field is bad: it waits, one notice says so, and it is reported after."""
    agent = Agent([event(when={"counts": {}}, fields={"order": "order"}, counted={"quantity": TOTAL})])
    agent.say(total=0, order="77")
    agent.say(Quality.BAD, order="77")

    agent.say(total=3)
    assert agent.engine.due() == at(5)
    for _ in range(3):
        agent.tick(5)
        agent.say(total=3)
    assert (agent.stored, agent.actions()) == ([], ["event_waits"])
    assert agent.engine.due() is None

    assert [body["quantity"] for body in agent.say(order="77")] == [3]
