"""The engine: the values of one message are one moment, and an event has those of the moment it closes."""

from __future__ import annotations

from typing import Any

import pytest

from agent.tags.engine import KEEP_AFTER
from agent.tags.values import Quality
from tests.tag_bench import TOTAL, Agent, at, change, event, lots


def test_a_message_is_one_moment():
    """Whatever the order inside a message, the event has the values that are true after it."""
    agent = lots()

    (body,) = agent.say(done=True, order="78", total=130)

    assert (body["order"], body["quantity"]) == ("78", 30)


def test_what_closes_has_the_values_from_before():
    """A new order reports what was counted until then for the old one; what came with it belongs to the new one."""
    agent = lots(closed_by=["order"])
    agent.say(total=110)

    (closed,) = agent.say(order="78", total=115)
    (done,) = agent.say(done=True)

    assert (closed["order"], closed["quantity"]) == ("77", 10)
    assert (done["order"], done["quantity"]) == ("78", 5)
    assert agent.actions() == []


def test_the_last_values_of_the_old_order_are_reported():
    """An operator who came after the last piece signs for it, as the controller shows it when the order ends."""
    agent = lots(closed_by=["order"], fields={"order": "order", "operator": "operator"})
    agent.say(operator="A", total=110)
    agent.say(operator="B")

    (closed,) = agent.say(order="78", operator="C")

    assert (closed["order"], closed["operator"]) == ("77", "B")


def test_values_of_one_order_are_never_used_for_the_next():
    """Where nobody knew the values under which something was counted, it joins the next report, with an alarm."""
    agent = lots(closed_by=["order"], fields={"order": "order", "operator": "operator"})
    agent.say(operator="A", total=110)
    agent.say(order="78")
    agent.say(Quality.BAD, operator="A")
    agent.say(total=120)

    assert agent.say(order="79") == []
    (done,) = agent.say(operator="B", done=True)

    assert (done["order"], done["operator"], done["quantity"]) == ("79", "B", 10)
    assert [(action, detail["counted"]) for action, detail in agent.noticed[-1:]] == [
        ("event_refused", {"quantity": "10"})
    ]


def test_an_order_that_changed_with_nothing_counted_is_on_disk():
    """After a kill nobody takes it for an order that changed while the agent was away."""
    agent = lots(closed_by=["order"])
    agent.say(order="78")

    agent.kill()
    agent.say(order="78", total=110, done=False)

    assert (agent.stored, agent.actions()) == ([], [])


def test_a_tag_that_only_closes_must_be_known_too():
    """Nobody can say to which lot a quantity belongs while the tag that parts the lots is stale."""
    agent = lots(closed_by=["lot"], wait_s=0)
    agent.say(lot=1)
    agent.lose("lot")

    assert agent.say(total=110, done=True) == []
    assert agent.noticed[-1][1]["why"] == "lot is stale"


def test_an_order_that_changes_with_nothing_counted_reports_nothing():
    """Closing is about quantities: without one there is no event, and a repeated order closes nothing."""
    agent = lots(closed_by=["order"])

    assert agent.say(order="78") == []
    agent.say(total=110)
    assert agent.say(order="78") == []
    assert agent.say(Quality.BAD, order="79") == []


def test_an_order_that_changed_while_the_agent_was_away_closes_what_was_counted_before():
    """What was counted and committed under the old order is its own; what nobody saw joins the new one, and is told."""
    agent = lots(closed_by=["order"])
    agent.say(total=110)
    agent.lose()
    agent.commit()

    agent.kill()
    agent.say(total=130)  # the counter comes first, the order in the next message
    (closed,) = agent.say(order="78", done=False)
    agent.say(total=131)
    (done,) = agent.say(done=True)

    assert (closed["order"], closed["quantity"]) == ("77", 10)
    assert (done["order"], done["quantity"]) == ("78", 21)
    assert agent.actions() == ["counted_across"]
    assert agent.noticed[-1][1] == {"event": "lot", "counted": {"quantity": "20"}, "now": {"order": "78"}}


def test_only_what_was_made_meanwhile_is_told_as_counted_across():
    """An order that changed while the line stood is no trouble: what is made after it belongs to the new one."""
    order: dict[str, Any] = {"order": "78"}
    still: dict[str, Any] = {"total": 100}
    grown: dict[str, Any] = {"total": 105}
    stood: list[list[dict[str, Any]]] = [[order, still, grown], [still, order, grown], [{**order, **still}, grown]]
    for messages in stood:
        agent = lots(closed_by=["order"])
        agent.lose()
        for message in messages:
            agent.say(**message)
        assert agent.actions() == []
        assert [(body["order"], body["quantity"]) for body in agent.say(done=True)] == [("78", 5)]

    ran: list[list[dict[str, Any]]] = [[order, grown], [grown, order], [{**order, **grown}]]
    for messages in ran:
        agent = lots(closed_by=["order"])
        agent.kill()
        for message in messages:
            agent.say(**message)
        assert [(action, detail["counted"]) for action, detail in agent.noticed[1:]] == [
            ("counted_across", {"quantity": "5"})
        ]


def test_the_same_order_after_an_outage_is_no_change():
    """What was counted while nobody knew the order joins it when it is still the same."""
    agent = lots(closed_by=["order"])
    agent.say(total=110)
    agent.lose("order")
    agent.say(total=120)

    assert agent.say(order="77") == []
    (done,) = agent.say(done=True)

    assert (done["order"], done["quantity"]) == ("77", 20)
    assert agent.actions() == []


def test_counting_for_an_order_is_on_disk_after_some_seconds():
    """A kill leaves at most ten seconds of counting without the order that ran: the checkpoint asks to be kept."""
    agent = lots(closed_by=["order"])
    agent.now = 1

    made = agent.send(change("total", 110))

    assert not made.to_store
    assert agent.engine.due() == at(0) + KEEP_AFTER
    agent.tick(10)
    agent.kill()
    agent.say(order="78", total=112, done=False)
    assert [(body["order"], body["quantity"]) for body in agent.stored] == [("77", 10)]


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.UNCERTAIN, Quality.STALE])
def test_no_value_that_is_not_good_feeds_an_event(quality: Quality):
    """A field or a counter that cannot be trusted refuses the event; what was counted waits for the next one."""
    for tag, value in (("order", "77"), ("total", 120)):
        agent = lots(wait_s=0)
        agent.say(total=110)
        agent.send(change(tag, value, quality=quality), change("done", True))
        agent.commit()
        assert agent.stored == []
        assert agent.actions() == ["event_refused"]
        agent.say(order="77", total=120, done=False)
        assert [body["quantity"] for body in agent.say(done=True)] == [20]


def test_an_event_waits_for_a_value_that_is_late():
    """The values that were there when the trigger fired stay, the late one joins them."""
    agent = Agent([event(when={"rising": "done"}, fields={"order": "order", "batch": "batch"})])
    agent.say(done=False, order="77")

    assert agent.say(done=True) == []
    agent.now = 3
    agent.say(order="78")
    (body,) = agent.say(batch="B1", done=False)

    assert (body["order"], body["batch"], body["ts"]) == ("77", "B1", "2026-03-02T06:00:00.000Z")


def test_a_kill_while_an_event_waits_makes_it_later():
    """The edge is not on disk before it had its effect."""
    agent = Agent([event(when={"rising": "done"}, fields={"order": "order"}, counted={"quantity": TOTAL})])
    agent.say(done=False)
    agent.say(done=True)
    agent.say(total=100)  # the first reading is on disk, with all that is known

    agent.kill()

    assert len(agent.say(done=True, order="77", total=100)) == 1


def test_a_connection_that_is_lost_while_an_event_waits_makes_it_later():
    """The next connection shows the flag again: it is the edge that had no effect yet."""
    agent = Agent([event(when={"rising": "done"}, fields={"order": "order"})])
    agent.say(done=False)
    agent.say(done=True)

    agent.lose()
    agent.tick(60)

    assert len(agent.say(done=True, order="77")) == 1
    assert agent.actions() == []
