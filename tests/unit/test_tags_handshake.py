"""The handshake: request, event on disk, acknowledgement, release, and a kill between any two of them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.tags.handshake import Code
from agent.tags.values import Quality, Scalar, Write
from tests.tag_bench import Agent, at, change, event

ACK, NO_ACK, NO_ERROR = Write("ack", True), Write("ack", False), Write("error", 0)


def lots(**keys: Any) -> Agent:
    agent = Agent(
        [event(when={"rising": "request"}, fields={"lot": "lot"}, handshake={"ack": "ack", "error": "error"}, **keys)]
    )
    agent.say(request=False, lot=1)
    return agent


def shown(agent: Agent, *, request: bool, lot: int = 1) -> Any:
    """The controller shows both tags, as after a connection was made; nothing is committed yet."""
    return agent.send(change("request", request), change("lot", lot))


def test_the_four_phases():
    """Request, event stored, ack true, request gone, ack false: and then the next lot."""
    agent = lots()

    for lot in (1, 2):
        agent.send(change("request", True), change("lot", lot))
        assert agent.pins.get("ack") is False  # not before it is on disk
        agent.commit()
        assert agent.pins["ack"] is True
        agent.say(request=False)
        assert agent.pins == {"ack": False, "error": 0}

    assert [body["lot"] for body in agent.stored] == [1, 2]


def test_the_acknowledgement_waits_for_the_commit():
    """What is written belongs to a batch that is to be stored."""
    made = shown(lots(), request=True)

    assert made.to_store
    assert len(made.deliveries) == 1
    assert made.writes == [ACK]


def test_killed_before_the_commit_the_event_is_made_again():
    """Nothing was stored, so nothing was acknowledged, and the request that still stands makes the same event."""
    agent = lots()
    shown(agent, request=True)

    agent.kill()
    shown(agent, request=True)
    agent.commit()

    assert [body["id"] for body in agent.stored] == ["plc/lot/1"]
    assert agent.pins["ack"] is True


def test_killed_after_the_commit_only_the_acknowledgement_is_written_again():
    """The event is on disk: the request that still stands is answered, and makes no second event."""
    agent = lots()
    agent.cut = True
    agent.say(request=True)

    agent.kill()
    made = shown(agent, request=True)

    assert made.writes == [ACK]
    assert not made.to_store
    assert len(agent.stored) == 1


def test_a_request_that_is_now_another_tag_is_no_answered_one():
    """The configuration names another request: that one stands for a lot of its own, which is stored before its ack."""
    agent = lots()
    agent.say(request=True)

    agent.events = [event(when={"rising": "ready"}, fields={"lot": "lot"}, handshake={"ack": "ack", "error": "error"})]
    agent.kill()
    agent.send(change("ready", True), change("lot", 2))
    agent.commit()

    assert [body["lot"] for body in agent.stored] == [1, 2]
    assert agent.pins["ack"] is True


def test_a_request_that_fell_while_the_agent_was_away_is_released():
    """The controller took the acknowledgement back by itself: ack false is written, and the next request counts."""
    agent = lots()
    agent.say(request=True)

    agent.kill()
    made = shown(agent, request=False)
    assert (made.to_store, made.writes) == (True, (NO_ACK, NO_ERROR)) or made.writes == [NO_ACK, NO_ERROR]
    agent.commit()
    agent.say(request=True, lot=2)

    assert [body["lot"] for body in agent.stored] == [1, 2]


def test_the_release_is_on_disk_before_it_is_written():
    """Else a kill would take the next request for the old one, and acknowledge a lot that was never stored."""
    agent = lots()
    agent.say(request=True)
    agent.send(change("request", False))
    assert agent.pins["ack"] is True  # the controller must not go on yet

    agent.kill()
    shown(agent, request=False)
    agent.commit()

    assert agent.pins["ack"] is False


def test_a_release_that_did_not_arrive_is_written_again():
    """After a reconnect a request that is down gets its ack false once more, so that no controller waits for ever."""
    agent = lots()
    agent.say(request=True)
    agent.cut = True
    agent.say(request=False)
    agent.cut = False

    agent.lose()
    assert list(shown(agent, request=False).writes) == [NO_ACK, NO_ERROR]
    assert list(shown(agent, request=False).writes) == []


@pytest.mark.parametrize(
    ("quality", "value", "code"),
    [(Quality.BAD, 1, Code.BAD), (Quality.UNCERTAIN, 1, Code.BAD), (Quality.STALE, 1, Code.STALE)],
)
def test_a_member_that_is_not_good_refuses_the_event(quality: Quality, value: Scalar, code: Code):
    """After `wait_s` the controller gets a code instead of an ack, the trail says why, and nothing is made."""
    agent = lots()
    agent.send(change("request", True), change("lot", value, quality=quality))
    agent.commit()
    assert "error" not in agent.pins or agent.pins["error"] == 0

    agent.tick(5)

    assert agent.stored == []
    assert (agent.pins["ack"], agent.pins["error"]) == (False, code)
    assert agent.noticed[-1][0] == "event_refused"
    assert agent.noticed[-1][1]["why"].startswith("lot is ")


def test_a_member_that_was_never_heard_of_refuses_the_event():
    """A tag that the controller does not offer is named, with its own code."""
    agent = Agent(
        [event(when={"rising": "request"}, fields={"lot": "lot"}, handshake={"ack": "ack", "error": "error"})]
    )

    agent.say(request=True)
    agent.tick(5)

    assert agent.pins["error"] == Code.MISSING
    assert agent.noticed[-1][1]["why"] == "lot has not been heard of yet"


def test_a_refused_request_is_refused_once_and_then_free():
    """The code stays until the request falls, through a kill too; the next request is a new one."""
    agent = lots(wait_s=0)
    agent.say(Quality.BAD, lot=1)
    agent.say(request=True)
    assert agent.pins["error"] == Code.BAD

    agent.kill()
    assert list(shown(agent, request=True).writes) == [Write("error", Code.BAD)]
    assert agent.stored == []
    agent.say(request=False)
    assert agent.pins["error"] == 0
    agent.say(request=True, lot=2)

    assert [body["lot"] for body in agent.stored] == [2]
    assert agent.actions() == ["event_refused"]


def test_a_member_that_comes_in_time_makes_the_event():
    """Values of a new connection come in several messages: the request waits for its members."""
    agent = Agent(
        [event(when={"rising": "request"}, fields={"lot": "lot"}, handshake={"ack": "ack", "error": "error"})]
    )

    agent.say(request=True)
    assert agent.engine.due() == at(5)
    agent.now = 4
    assert [body["lot"] for body in agent.say(lot=7)] == [7]

    assert agent.pins == {"ack": True}
    assert agent.engine.due() == at(9)  # to say it again


def test_a_request_that_is_taken_back_while_it_waits_makes_nothing():
    """The controller gave up: no event, a notice, and it is free for the next request."""
    agent = Agent(
        [event(when={"rising": "request"}, fields={"lot": "lot"}, handshake={"ack": "ack", "error": "error"})]
    )
    agent.say(request=True)

    agent.say(request=False, lot=1)

    assert agent.stored == []
    assert agent.actions() == ["event_refused"]
    assert agent.pins == {"ack": False, "error": 0}
    assert len(agent.say(request=True)) == 1


def test_a_connection_lost_while_the_request_waits_asks_again():
    """The request is judged anew by the next connection, and refused by nobody meanwhile."""
    agent = Agent(
        [event(when={"rising": "request"}, fields={"lot": "lot"}, handshake={"ack": "ack", "error": "error"})]
    )
    agent.say(request=True)

    agent.lose()
    agent.tick(60)
    shown(agent, request=True)
    agent.commit()

    assert len(agent.stored) == 1
    assert agent.actions() == []


def test_a_request_that_stands_at_the_very_first_look_is_answered():
    """A controller that waited before the agent was ever there is not left waiting."""
    agent = Agent([event(when={"rising": "request"}, handshake={"ack": "ack"})])

    assert len(agent.say(request=1)) == 1
    assert agent.pins == {"ack": True}


def test_without_an_error_tag_a_refusal_is_silent_towards_the_controller():
    """Where there is no tag for it nothing is written, and the trail has the refusal."""
    agent = Agent([event(when={"rising": "request"}, fields={"lot": "lot"}, handshake={"ack": "ack"}, wait_s=0)])

    agent.say(request=True)

    assert agent.pins == {}
    assert agent.actions() == ["event_refused"]


def test_an_answer_is_said_again_while_the_request_stands():
    """A command that was lost on its way (Sparkplug knows no receipt) keeps no controller waiting for ever."""
    agent = lots()
    agent.cut = True
    agent.say(request=True)
    agent.tick(5)
    agent.cut = False
    assert "ack" not in agent.pins or agent.pins["ack"] is False

    assert agent.engine.due() == at(10)
    agent.tick(5)
    assert agent.pins["ack"] is True
    agent.say(request=False)
    assert agent.pins["ack"] is False

    assert len(agent.stored) == 1


def test_a_release_is_said_again_for_a_while():
    """Nothing shows that a release arrived, so it is written three times, and no more."""
    agent = lots()
    agent.tick(60)
    agent.tick(60)
    agent.say(request=True)
    agent.cut = True
    agent.say(request=False)
    agent.cut = False

    agent.tick(5)
    assert agent.pins["ack"] is False
    agent.tick(5)
    assert agent.engine.due() is None


def test_a_new_request_ends_what_was_said_before():
    """After the next request no release of the last one is written, and after a lost connection nothing is."""
    agent = lots(wait_s=60)
    agent.say(Quality.BAD, lot=1)
    assert agent.engine.due() == at(5)
    agent.say(request=True)
    assert agent.engine.due() == at(60)

    agent = lots()
    agent.say(request=True)
    agent.lose()
    assert agent.engine.due() is None
