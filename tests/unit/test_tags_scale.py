"""A weigh scale: one weighing per load, net of its tare, only at rest."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agent.tags.values import Quality, Scalar
from tests.tag_bench import Agent, change, event

SCALE = {"gross": "gross", "tare": "tare", "stable": "stable", "least": "0.05"}


def scale(**keys: Any) -> Agent:
    agent = Agent([event(weighed={"quantity": {**SCALE, **keys}}, fields={"order": "order"})])
    assert agent.say(gross=Decimal(0), tare=Decimal("0.2"), stable=True, order="77") == []
    return agent


def net(agent: Agent, gross: str, *, stable: bool = True) -> list[Decimal]:
    agent.now += 1
    return [body["quantity"] for body in agent.say(gross=Decimal(gross), stable=stable)]


def test_a_load_is_weighed_once_when_it_stands_still():
    """Gross less tare, once, when it is stable; what moves, repeats or is put on top makes no second weighing."""
    agent = scale()

    assert net(agent, "8.1", stable=False) == []
    assert net(agent, "12.6") == [Decimal("12.4")]
    assert net(agent, "12.6") == []
    assert net(agent, "15.0", stable=False) == []
    assert net(agent, "15.0") == []


def test_the_next_load_counts_when_the_last_has_gone():
    """Less than half of `least`, at rest or not, arms the scale again; a little less than a load does not."""
    agent = scale()

    assert net(agent, "12.6") == [Decimal("12.4")]
    assert net(agent, "0.24", stable=False) == []  # net 0.04: a load that trembles about `least` has not gone
    assert net(agent, "12.7") == []
    assert net(agent, "0.22", stable=False) == []
    assert net(agent, "12.7") == [Decimal("12.5")]


def test_a_scale_that_drifts_can_say_when_its_load_is_gone():
    """`gone` replaces the half of `least`."""
    agent = scale(gone="0.04")

    assert net(agent, "12.6") == [Decimal("12.4")]
    assert net(agent, "0.24") == []
    assert net(agent, "12.7") == [Decimal("12.5")]


def test_too_little_is_no_load():
    """Below `least` nothing is weighed."""
    agent = scale()

    assert net(agent, "0.24") == []
    assert net(agent, "0.25") == [Decimal("0.05")]


def test_the_factor_turns_grams_into_kilograms():
    """What is reported is net times factor, exactly."""
    agent = Agent([event(weighed={"quantity": {"gross": "gross", "stable": "stable", "least": 5, "factor": "0.001"}})])

    assert [body["quantity"] for body in agent.say(gross=12345, stable=True)] == [Decimal("12.345")]


def test_a_restart_does_not_weigh_a_load_again():
    """What lies on the scale when the agent comes back was weighed, and the next load is weighed."""
    agent = scale()
    net(agent, "12.6")

    agent.kill()

    assert agent.say(gross=Decimal("12.6"), tare=Decimal("0.2"), stable=True, order="77") == []
    assert net(agent, "0.2") == []
    agent.kill()
    assert len(agent.say(gross=Decimal("9.2"), tare=Decimal("0.2"), stable=True, order="77")) == 1


def test_another_load_after_an_outage_is_told():
    """Nobody saw the first one go: a person hears of the other weight, once, and nothing is reported twice."""
    agent = scale()
    net(agent, "12.6")

    agent.lose()
    assert net(agent, "12.61") == []
    agent.say(tare=Decimal("0.2"), order="77")
    assert agent.actions() == []
    agent.kill()
    for _ in range(2):
        assert agent.say(gross=Decimal("9.2"), tare=Decimal("0.2"), stable=True, order="77") == []

    assert [one for one in agent.noticed if one[0] != "counter_started"] == [
        ("load_changed", {"event": "lot", "before": "12.4", "now": "9.0"})
    ]


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.UNCERTAIN, Quality.STALE])
@pytest.mark.parametrize("tag", ["gross", "tare", "stable"])
def test_one_tag_that_cannot_be_trusted_makes_no_weighing(tag: str, quality: Quality):
    """Nothing is weighed, and nothing arms the scale, while a tag of it is not good."""
    agent = scale()
    values: dict[str, Scalar] = {"gross": Decimal("12.6"), "tare": Decimal("0.2"), "stable": True}
    agent.send(*(change(name, one, 1, quality if name == tag else Quality.GOOD) for name, one in values.items()))
    agent.commit()

    assert agent.stored == []
    agent.send(*(change(name, one, 2) for name, one in values.items()))
    agent.commit()
    assert len(agent.stored) == 1


def test_a_wrong_type_is_told_once():
    """A text where the weight should be is a notice, not an event, and not one for each time."""
    agent = scale()

    for _ in range(3):
        agent.say(gross="heavy", stable=True)

    assert agent.stored == []
    assert agent.actions() == ["tag_refused"]


def test_the_net_weight_of_a_triggered_event_is_part_of_its_moment():
    """With a trigger the weighing is taken when it fires; a scale that moves makes it wait, then refuse."""
    agent = Agent([event(when={"rising": "done"}, weighed={"quantity": SCALE})])
    agent.say(gross=Decimal("12.6"), tare=Decimal("0.2"), stable=False, done=False)

    assert agent.say(done=True) == []
    assert [body["quantity"] for body in agent.say(stable=True)] == [Decimal("12.4")]
    agent.say(done=False, stable=False)
    agent.say(done=True)
    agent.tick(6)
    assert len(agent.stored) == 1
    assert agent.noticed[-1][0] == "event_refused"
    assert "stable says that the scale is not stable" in agent.noticed[-1][1]["why"]
