"""A configuration that reads a totaliser from elsewhere, or no longer: nothing is invented, and nothing goes unsaid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from agent.tags.config import TagEvent
from agent.tags.engine import NO_ADDRESSES
from agent.tags.event import AT_ONCE
from tests.tag_bench import Agent, event

HERE: Mapping[str, str] = {"total": "Line/Press:Total", "done": "Line/Press:Done"}
THERE: Mapping[str, str] = {**HERE, "total": "Line/New:Total"}


def lot(tag: str = "total", field: str = "quantity", **keys: Any) -> TagEvent:
    """An event that reports a totaliser when a flag rises."""
    return event(when={"rising": "done"}, counted={field: {"tag": tag, "max_step": 50, **keys}})


def begun(addresses: Mapping[str, str] = HERE, **keys: Any) -> Agent:
    """An agent that has reported 10 and counted 5 more, up to 115; all of it is in the store."""
    agent = Agent([lot(**keys)], addresses=addresses)
    agent.say(done=False, total=100)
    agent.say(done=True, total=110)
    agent.say(done=False, total=115)
    agent.noticed.clear()
    return agent


def started(agent: Agent, *events: TagEvent, addresses: Mapping[str, str] = NO_ADDRESSES) -> Agent:
    """The agent again, with this configuration."""
    agent.events, agent.addresses = list(events), addresses
    agent.kill()
    return agent


def reported(agent: Agent, **values: Any) -> Decimal:
    """What the next lot reports."""
    (body,) = agent.say(done=True, **values)
    quantity = body["quantity"]
    agent.say(done=False)
    return Decimal(quantity)


@pytest.mark.parametrize("reading", [20, 116, 130, 9000])
def test_a_tag_at_another_address_is_another_totaliser(reading: int):
    """The difference between two meters is no quantity: counting begins with the first reading of the new one."""
    agent = started(begun(), lot(), addresses=THERE)
    agent.say(done=False, total=reading)
    agent.say(total=reading + 3)

    assert reported(agent) == 5 + 3
    assert agent.actions() == ["counter_changed"]


def test_the_notice_says_what_changed_and_how_far_it_had_come():
    """Whoever has to book something by hand finds both addresses and the last reading; it is said once."""
    agent = started(begun(), lot(), addresses=THERE)
    assert agent.engine.due() == AT_ONCE  # also where the controller never answers
    agent.tick()
    started(agent, lot(), addresses=THERE).tick()

    ((action, detail),) = agent.noticed
    assert (action, detail["event"], detail["field"]) == ("counter_changed", "lot", "quantity")
    assert (detail["was"], detail["now"]) == (
        "total at Line/Press:Total, factor 1", "total at Line/New:Total, factor 1",
    )  # fmt: skip
    assert (detail["last"], detail["unreported"]) == ("115", "5")
    assert "book by hand" in detail["why"]


def test_nothing_of_what_the_configuration_changed_is_lost_by_a_kill():
    """Until the notice is on disk the next start says it, also where tags came that no event looks at."""
    agent = started(begun(), lot(), addresses=THERE)
    agent.send()
    assert agent.engine.due() != AT_ONCE
    started(agent, lot(), addresses=THERE).tick()

    assert agent.actions() == ["counter_changed"]


def test_a_renamed_tag_counts_on():
    """A name is nothing: at the same address it is the same totaliser, and the same flag."""
    addresses = {"pieces": HERE["total"], "done": HERE["done"]}
    agent = started(begun(), lot("pieces"), addresses=addresses)
    agent.say(done=False, pieces=130)

    assert reported(agent) == 20
    assert agent.noticed == []


def test_two_tags_that_change_places_each_count_on():
    """What was swapped in the configuration is still counted from where it was."""
    both = {"quantity": {"tag": "left", "max_step": 50}, "more": {"tag": "right", "max_step": 50}}
    agent = Agent([event(when={"rising": "done"}, counted=both)], addresses={"left": "a", "right": "b"})
    agent.say(done=False, left=100, right=500)
    agent.say(done=True, left=110, right=520)

    both["quantity"]["tag"], both["more"]["tag"] = "right", "left"
    started(agent, event(when={"rising": "done"}, counted=both), addresses={"right": "a", "left": "b"})
    agent.say(done=False, right=111, left=522)
    agent.say(done=True)

    assert [(body["quantity"], body["more"]) for body in agent.stored] == [(10, 20), (1, 2)]
    assert agent.actions() == []


def test_a_checkpoint_without_addresses_is_taken_as_it_is():
    """After an update of the agent the totalisers count on by the names of their tags, and their addresses are kept."""
    agent = begun(NO_ADDRESSES)
    assert agent.committed is not None
    old = json.loads(agent.committed)
    for kept in old["events"]["lot"]["counted"].values():
        del kept["address"], kept["factor"]
    del old["events"]["lot"]["trigger_at"]
    agent.committed = json.dumps(old).encode()

    started(agent, lot(), addresses=HERE).say(done=False, total=130)
    assert reported(agent) == 20
    assert agent.noticed == []
    started(agent, lot(), addresses=THERE).tick()
    assert agent.actions() == ["counter_changed"]


def test_another_factor_is_another_totaliser_and_what_was_counted_keeps_its_quantity():
    """500 g that were counted stay 0.5 kg when the controller counts in kg from now on."""
    agent = begun(factor="0.001")
    started(agent, lot(factor="1"), addresses=HERE)
    agent.say(done=False, total=116)
    agent.say(total=118)

    assert reported(agent) == Decimal("2.005")
    assert agent.actions() == ["counter_changed"]


def test_factors_that_are_no_multiples_make_a_quantity_that_can_be_posted():
    """A third of a count has no end: the quantity is right to 12 places of a count, within the digits of a report."""
    agent = begun(factor="0.001")
    started(agent, lot(factor="0.003"), addresses=HERE)
    agent.say(done=False, total=116)
    agent.say(total=126)

    quantity = Decimal(reported(agent))
    assert abs(quantity - Decimal("0.035")) < Decimal("1e-12")
    assert len(quantity.as_tuple().digits) < 20


def test_a_factor_that_is_written_otherwise_changes_nothing():
    """1 and 1.0 are the same to a person."""
    agent = started(begun(), lot(factor="1.0"), addresses=HERE)
    agent.say(done=False, total=120)

    assert reported(agent) == 10
    assert agent.noticed == []


@pytest.mark.parametrize(
    "events",
    [
        [],
        [event(name="renamed", when={"rising": "done"}, counted={"quantity": {"tag": "total", "max_step": 50}})],
        [lot(field="pieces")],
        [event(when={"rising": "done"})],
    ],
    ids=["event removed", "event renamed", "field renamed", "counter removed"],
)
def test_a_totaliser_that_is_gone_is_told_once(events: list[TagEvent]):
    """Nobody counts it any more: the trail says so at the start, with its last reading and what nobody reported."""
    agent = started(begun(), *events, addresses=HERE)
    agent.tick()
    started(agent, *events, addresses=HERE).tick()

    ((action, detail),) = agent.noticed
    assert (action, detail["event"], detail["field"]) == ("counter_gone", "lot", "quantity")
    assert detail["was"] == "total at Line/Press:Total, factor 1"
    assert (detail["last"], detail["unreported"]) == ("115", "5")


def test_a_totaliser_that_came_back_and_goes_again_is_told_again():
    """It counts on from where it was, and the next time it is missed anew."""
    agent = started(begun(), addresses=HERE)
    agent.tick()
    started(agent, lot(), addresses=HERE).say(done=False, total=130)
    assert reported(agent) == 20
    started(agent, addresses=HERE).tick()

    assert agent.actions() == ["counter_gone", "counter_gone"]


def test_a_totaliser_that_was_never_read_is_not_missed():
    """Where nothing was counted, nothing is lost."""
    agent = Agent([lot()], addresses=HERE)
    agent.say(done=False)
    agent.say(done=True)
    agent.tick(10)
    agent.noticed.clear()
    started(agent, addresses=HERE).tick()

    assert agent.noticed == []


def test_a_request_at_another_address_is_answered_anew():
    """That the old controller's lot is on disk acknowledges nothing to the new one: its lot becomes an event."""
    declared = event(when={"rising": "done"}, fields={"lot": "lot"}, handshake={"ack": "ack"})
    agent = Agent([declared], addresses={"done": "a", "lot": "b"})
    agent.say(done=True, lot=1)
    assert agent.pins == {"ack": True}
    agent.pins.clear()
    started(agent, declared, addresses={"done": "c", "lot": "d"}).say(done=True, lot=2)

    assert [body["lot"] for body in agent.stored] == [1, 2]
