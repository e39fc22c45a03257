"""Tags for any course of things: totals are exact, no lot is reported twice or forgotten, no id is used again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.tags.config import TagEvent
from agent.tags.values import Quality
from tests.tag_bench import Agent, change, event

MODULUS, STEP = 100, 45
SEEN = ("good", "bad", "uncertain", "hidden", "twice")
AGENT = ("none", "commit", "commit_one", "kill", "kill_before_current", "reconnect", "lose", "order")

courses = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(SEEN), st.sampled_from(AGENT)), max_size=80)


class Plant:
    """A totaliser that turns over at its modulus, and the order that runs."""

    def __init__(self, start: int) -> None:
        self.start, self.true, self.order = start, start, 1

    @property
    def total(self) -> int:
        return self.true % MODULUS

    def current(self, agent: Agent) -> None:
        """What a birth or a new subscription shows: all tags as they are now, in one message."""
        agent.send(change("total", self.total, agent.now), change("order", str(self.order), agent.now))


def run(agent: Agent, plant: Plant, course: list[tuple[int, str, str]], report: Callable[[Agent], Any]) -> None:
    """Let the course happen, so that no kill can take back more than the totaliser shows as one step."""
    agent.say(total=plant.total, order=str(plant.order))
    settled = plant.true
    for grown, seen, what in course:
        agent.now += 1
        plant.true += grown
        qualities = {"bad": Quality.BAD, "uncertain": Quality.UNCERTAIN}
        if seen != "hidden":
            shown = 0 if seen in qualities else plant.total
            for _ in range(1 + (seen == "twice")):
                agent.send(change("total", shown, agent.now, qualities.get(seen, Quality.GOOD)))
        agent_does(agent, plant, what)
        report(agent)
        if plant.true - settled > STEP - 10:
            plant.current(agent)
            agent.lose()  # makes sure that what was counted is on disk
            agent.commit()
            plant.current(agent)
            agent.commit()
            settled = plant.true


def agent_does(agent: Agent, plant: Plant, what: str) -> None:
    if what == "commit":
        agent.commit()
    elif what == "commit_one":
        agent.commit(1)
    elif what.startswith("kill"):
        agent.kill()
        if what == "kill_before_current":
            agent.kill()
        plant.current(agent)
    elif what == "reconnect":
        agent.lose()
        plant.current(agent)
    elif what == "lose":
        agent.lose("order")
    elif what == "order":
        plant.order += 1
        agent.send(change("order", str(plant.order), agent.now))


def ids_are_new(agent: Agent) -> None:
    numbers = [body["seq"] for body in agent.stored]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({body["id"] for body in agent.stored}) == len(numbers)


@given(start=st.integers(0, MODULUS - 1), course=courses, every_s=st.sampled_from([0, 3]))
def test_what_is_counted_is_what_the_totaliser_grew(start: int, course: list[tuple[int, str, str]], every_s: int):
    """Through rollovers, bad readings, repetitions, reconnects and kills the reports add up to the true growth."""
    counter = {"tag": "total", "modulus": MODULUS, "max_step": STEP, "factor": "0.001"}
    agent = Agent(
        [
            event(
                when={"counts": {"least": "0.002", "every_s": every_s}},
                fields={"order": "order"},
                counted={"quantity": counter},
            )
        ]
    )
    plant = Plant(start)

    run(agent, plant, course, Agent.look_at_clock)
    plant.true += 2
    plant.current(agent)
    agent.commit()
    agent.tick(10)

    assert sum(body["quantity"] for body in agent.stored) == Decimal(plant.true - start) / 1000
    assert not set(agent.actions()) - {"event_waits"}
    ids_are_new(agent)


@given(start=st.integers(0, MODULUS - 1), course=courses)
def test_orders_share_exactly_what_was_counted(start: int, course: list[tuple[int, str, str]]):
    """With an order that closes its quantity, all orders together get the true growth, and none gets less than 0."""
    agent = Agent(
        [
            event(
                when={"rising": "done"},
                fields={"order": "order"},
                counted={"quantity": {"tag": "total", "modulus": MODULUS, "max_step": STEP}},
                closed_by=["order"],
            )
        ]
    )
    plant = Plant(start)
    agent.say(done=False)

    run(agent, plant, course, lambda agent: None)
    plant.current(agent)
    agent.say(done=True)

    assert sum(body["quantity"] for body in agent.stored) == plant.true - start
    assert all(body["quantity"] > 0 for body in agent.stored[:-1])
    assert [int(body["order"]) for body in agent.stored] == sorted(int(body["order"]) for body in agent.stored)
    ids_are_new(agent)


moves = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["none", "commit", "kill", "meter", "name"])), max_size=60
)


@given(course=moves)
def test_no_quantity_comes_from_a_change_of_the_configuration(course: list[tuple[int, str]]):
    """Whatever a tag is called and wherever it is read, nothing is reported that no meter grew while it was read."""
    meters = {"a": 100, "b": 120}
    grown, seen = 0, 100  # while it was read; what the agent was shown last
    at, name = "a", "total"
    agent = Agent([_of("total")], addresses={"total": "a"})
    agent.say(total=100)
    for step, change_to in course:
        agent.now += 1
        meters = {meter: reading + step for meter, reading in meters.items()}
        if change_to == "commit":
            agent.commit()
        elif change_to == "kill":
            agent.kill()
        elif change_to in ("meter", "name"):
            agent.commit()
            if change_to == "meter":
                at = "b" if at == "a" else "a"
                seen = meters[at]
            else:
                name = "pieces" if name == "total" else "total"
            agent.events, agent.addresses = [_of(name)], {name: at}
            agent.kill()
        agent.send(change(name, meters[at], agent.now))
        grown, seen = grown + meters[at] - seen, meters[at]
        if change_to == "meter":
            agent.commit()  # else a kill could forget where counting began
    agent.commit()

    assert sum(body["quantity"] for body in agent.stored) == grown
    assert agent.actions().count("counter_changed") == sum(what == "meter" for _, what in course)
    ids_are_new(agent)


def _of(tag: str) -> TagEvent:
    """An event that reports at once what a totaliser has grown."""
    return event(when={"counts": {"least": 1}}, counted={"quantity": {"tag": tag, "max_step": 10**6}})


CALM = ["commit", "plc"] * 4
lots = st.lists(st.sampled_from(["plc", "plc", "plc", "commit", "commit", "kill", "reconnect", "cut"]), max_size=120)


@given(course=lots, first=st.booleans())
def test_every_lot_of_a_handshake_is_one_event(course: list[str], first: bool):
    """A controller that waits for its answers gets one event for each request, whenever the agent is killed."""
    agent = Agent(
        [event(when={"rising": "request"}, fields={"lot": "lot"}, handshake={"ack": "ack", "error": "error"})]
    )
    lot, request, answered = int(first), first, 0

    def show() -> None:
        agent.send(change("request", request, agent.now), change("lot", lot, agent.now))

    show()
    before_the_calm = 0
    for step, what in enumerate([*course, *CALM]):
        agent.now += 1
        before_the_calm = answered if step == len(course) else before_the_calm
        if what == "commit":
            agent.commit()
        elif what == "kill":
            agent.kill()
            show()
        elif what in ("reconnect", "cut"):
            agent.cut = what == "cut"  # the writes of what is committed just now do not arrive
            agent.commit()
            agent.cut = False
            agent.lose()
            show()
        elif request and agent.pins.get("ack"):
            request, answered = False, answered + 1
            show()
        elif not request and agent.pins.get("ack") is False:
            request, lot = True, lot + 1
            show()

    assert [body["lot"] for body in agent.stored] == list(range(1, len(agent.stored) + 1))
    assert answered <= len(agent.stored) <= answered + 1
    assert answered > before_the_calm  # nobody waits for ever
    assert not agent.actions()
    ids_are_new(agent)


@given(course=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(AGENT)), max_size=60))
def test_a_change_is_reported_once(course: list[tuple[int, str]]):
    """A trigger on change never reports a value twice in a row, and the last value that is shown is reported."""
    agent = Agent([event(when={"change": "state"}, fields={"state": "state"})])
    agent.say(state=0)
    for state, what in course:
        agent.now += 1
        agent.send(change("state", state, agent.now))
        if what == "commit":
            agent.commit()
        elif what.startswith("kill"):
            agent.kill()
            agent.send(change("state", state, agent.now))
        elif what == "reconnect":
            agent.lose()
            agent.send(change("state", state, agent.now))
    agent.commit()

    states = [0, *(body["state"] for body in agent.stored)]
    assert all(one != other for one, other in itertools.pairwise(states))
    assert not course or states[-1] == course[-1][0]
    ids_are_new(agent)


@given(course=st.lists(st.tuples(st.booleans(), st.sampled_from(AGENT)), max_size=60))
def test_an_edge_is_reported_once(course: list[tuple[bool, str]]):
    """Without a kill, there are as many events as the flag rose, however often it is shown again."""
    agent = Agent([event(when={"rising": "done"})])
    agent.say(done=False)
    flag, rises = False, 0
    for up, what in course:
        rises += up and not flag
        flag = up
        agent.send(change("done", flag, agent.now))
        agent.commit()
        if what.startswith("kill"):
            agent.kill()
        elif what == "reconnect":
            agent.lose()
        agent.send(change("done", flag, agent.now))
    agent.commit()

    assert len(agent.stored) == rises
    ids_are_new(agent)


loads = st.lists(
    st.tuples(st.integers(1, 500), st.integers(0, 2), st.sampled_from(("none", "kill", "reconnect")), st.booleans()),
    max_size=20,
)


@given(course=loads)
def test_every_load_is_weighed_once(course: list[tuple[int, int, str, bool]]):
    """Each load is one event of its net weight, however it moves, is shown again, or the agent is killed beside it."""
    scale = {"gross": "gross", "tare": "tare", "stable": "stable", "least": "0.1"}
    agent = Agent([event(weighed={"quantity": scale})])
    agent.say(gross=Decimal("0.2"), tare=Decimal("0.2"), stable=True)

    def show(gross: Decimal, what: str, *, stable: bool) -> None:
        agent.say(gross=gross, tare=Decimal("0.2"), stable=stable)
        if what == "kill":
            agent.kill()
        elif what == "reconnect":
            agent.lose()
        agent.say(gross=gross, tare=Decimal("0.2"), stable=stable)

    for tenths, moves, what, rest in course:
        gross = Decimal(tenths).scaleb(-1) + Decimal("0.2")
        for move in range(moves):
            show(gross + move, "none", stable=False)
        show(gross, what, stable=True)
        show(Decimal("0.2"), what, stable=rest)

    assert [body["quantity"] for body in agent.stored] == [Decimal(load[0]).scaleb(-1) for load in course]
    assert agent.actions() == []
    ids_are_new(agent)
