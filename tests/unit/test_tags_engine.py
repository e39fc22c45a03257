"""The engine: what messages of tags become, from checkpoint to checkpoint."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.errors import StoreUnfit
from agent.isa95 import MaterialUse
from agent.mapping import load
from agent.ports import Event
from agent.tags.engine import KEEP_AFTER, TagEvents
from agent.tags.values import Quality, Scalar
from agent.units import UnitsFile, UnitTable
from tests.tag_bench import START, TOPIC, Agent, at, change, event, read

TOTAL = {"tag": "total", "max_step": 50}
LOT = {"when": {"rising": "done"}, "fields": {"order": "order"}, "counted": {"quantity": TOTAL}}


def lots(**keys: Any) -> Agent:
    agent = Agent([event(**{**LOT, **keys})])
    agent.say(done=False, order="77", total=100)
    return agent


# ── the event ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_payload_is_exact_json_in_a_stable_order():
    """Identity, number, source time, then fields, constants, counted and weighed; numbers as they are."""
    agent = Agent(
        [
            event(
                when={"rising": "done"},
                fields={"order": "order", "temperature": "temperature", "empty": "empty", "count": "count"},
                counted={"quantity": {**TOTAL, "factor": "0.001"}},
                constants={"unit": "KG", "final": True},
            )
        ]
    )
    agent.say(done=False, total=100)

    made = agent.engine.changed(
        [
            change("order", 'A"1'), change("temperature", Decimal("21.50")), change("empty", None),
            change("count", 2**40), change("total", 112), change("done", True, 1.5),
        ],
        at(2),
    )  # fmt: skip

    assert made.deliveries[0].topic == TOPIC
    assert made.deliveries[0].payload == (
        b'{"id":"plc/lot/1","seq":1,"ts":"2026-03-02T06:00:01.500Z","order":"A\\"1","temperature":21.50,"empty":null,'
        b'"count":1099511627776,"unit":"KG","final":true,"quantity":0.012}'
    )


def test_the_mappings_of_the_bench_read_it():
    """An event out of tags is a consumption report like one that came by MQTT."""
    agent = Agent(
        [
            event(
                name="assy05-seal",
                when={"rising": "done"},
                fields={"order": "order", "operation": "operation", "operator": "operator", "batch": "batch"},
                counted={"quantity": TOTAL, "lot_quantity": {"tag": "made", "max_step": 10}},
                constants={"material": "PT-SEAL-20", "unit": "PC", "location": "171A"},
            )
        ]
    )
    agent.say(done=False, order="1000120", operation="0010", operator="4711", batch="B1", total=100, made=7)
    made = agent.engine.changed([change("total", 110), change("made", 12), change("done", True)], at(0))
    units = UnitTable.of(config.parse("edge_config/units.yaml", UnitsFile))

    report = load(Path("edge_config/mappings"), units).read(Event(1, "plc", TOPIC, made.deliveries[0].payload, START))

    used = {one.use: one.quantity.value for one in report.material_actuals}
    assert used == {MaterialUse.CONSUMED: 10, MaterialUse.PRODUCED: 5}
    assert (report.order, report.id, report.sequence) == ("1000120", "plc/assy05-seal/1", 1)


def test_reports_of_one_place_share_one_numbering():
    """A mapping that takes the work centre for the sender sees no gap where two events report from it."""
    agent = Agent(
        [
            event(name="seal", when={"rising": "done"}),
            event(name="lot", when={"rising": "done"}, topic="plant/1710/ASSY-05/ASSY-05/confirmation"),
            event(name="other", when={"rising": "done"}, topic="plant/1710/ASSY-06/ASSY-06/confirmation"),
        ]
    )
    for _ in range(2):
        agent.say(done=False)
        agent.say(done=True)
        agent.kill()

    assert [(body["id"], body["seq"]) for body in agent.stored] == [
        ("plc/seal/1", 1), ("plc/lot/1", 2), ("plc/other/1", 1),
        ("plc/seal/2", 3), ("plc/lot/2", 4), ("plc/other/2", 2),
    ]  # fmt: skip


# ── moments ─────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── triggers ────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── counters ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rollover_a_reset_a_jump_and_a_replacement():
    """Each is counted as documented, and all but the rollover are in the trail with both values."""
    agent = lots(counted={"quantity": {**TOTAL, "modulus": 1000}})
    agent.say(total=990)  # a jump
    agent.say(total=5)  # over the turn: 15
    agent.say(total=55)
    agent.say(total=20)  # a reset: 20
    agent.say(total=70)
    agent.say(total=60)  # replaced

    (body,) = agent.say(done=True)

    assert body["quantity"] == 15 + 50 + 20 + 50
    assert [(action, detail["before"], detail["now"]) for action, detail in agent.noticed[1:]] == [
        ("counter_jump", "100", "990"), ("counter_reset", "55", "20"), ("counter_replaced", "70", "60"),
    ]  # fmt: skip


def test_readings_that_are_not_good_are_skipped_and_lose_nothing():
    """The next good reading counts the whole difference."""
    agent = lots()
    agent.say(Quality.BAD, total=0)
    agent.say(Quality.UNCERTAIN, total=10**9)
    agent.say(Quality.STALE, total=5)
    agent.say(total=120)

    assert [body["quantity"] for body in agent.say(done=True)] == [20]
    assert agent.actions() == []


@pytest.mark.parametrize("value", [None, "112", True, Decimal("NaN"), -3])
def test_what_is_no_reading_is_told_once_and_counts_nothing(value: Scalar):
    """NaN, null, a text, a flag or a negative number on a totaliser is one notice until it is good again."""
    agent = lots()

    for _ in range(3):
        agent.say(total=value)
    agent.say(total=110)
    agent.say(total=value)
    agent.say(total=120)

    assert [body["quantity"] for body in agent.say(done=True)] == [20]
    assert agent.actions() == ["counter_refused", "counter_refused"]


def test_historical_values_count_but_are_no_current_state():
    """What an edge node stored while nobody listened is counted once, and neither shown nor taken for fresh."""
    agent = lots()
    agent.lose()
    agent.send(change("total", 110, 1, historical=True), change("order", "99", 1, historical=True))
    agent.send(change("done", True, 1, historical=True))
    agent.commit()
    assert agent.stored == []
    assert agent.engine.current()["total"].quality is Quality.STALE
    assert agent.engine.current()["order"].value == "77"

    agent.now = 10
    agent.say(total=150, order="77")
    agent.send(change("total", 120, 2, historical=True), change("total", 130, 3, historical=True))
    agent.commit()

    assert [body["quantity"] for body in agent.say(done=True)] == [50]
    assert agent.actions() == []


def test_a_growth_with_no_event_is_counted_again_after_a_kill():
    """Nothing needs to be stored for a reading: the totaliser itself remembers."""
    agent = lots()

    assert not agent.send(change("total", 110)).to_store
    agent.kill()
    agent.say(done=False, order="77", total=120)

    assert [body["quantity"] for body in agent.say(done=True)] == [20]


def test_the_first_reading_is_on_disk_at_once():
    """Else a kill would forget where counting began."""
    agent = Agent([event(**LOT)])

    assert agent.send(change("total", 100)).to_store


# ── the checkpoint ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_may_come_and_go_in_the_configuration():
    """An event that is removed keeps its number and its counts, for the day it comes back; a new one begins."""
    agent = lots()
    agent.say(total=110, done=True)
    agent.say(total=115, done=False)
    lot, other = agent.events[0], event(name="other", when={"change": "order"})

    agent.events = [other]
    agent.kill()
    agent.say(order="77")
    agent.say(order="78")
    agent.events = [other, lot]
    agent.kill()
    agent.say(total=120, done=False, order="78")
    agent.say(done=True)

    assert [(body["id"], body.get("quantity")) for body in agent.stored] == [
        ("plc/lot/1", 10), ("plc/other/1", None), ("plc/lot/2", 10),
    ]  # fmt: skip


def test_another_tag_is_another_totaliser():
    """A field that is pointed to another tag begins anew there, and still reports what it had counted."""
    agent = lots(wait_s=0)
    agent.say(Quality.BAD, order="77")
    agent.say(total=110, done=True)  # refused, and with that on disk

    agent.events = [event(**{**LOT, "counted": {"quantity": {**TOTAL, "tag": "new_total"}}})]
    agent.kill()
    agent.say(new_total=9000, order="78", done=False)
    agent.say(new_total=9003)
    bodies = agent.say(done=True)

    assert [body["quantity"] for body in bodies] == [13]
    assert "counter_jump" not in agent.actions()


def test_a_trigger_on_another_tag_begins_anew():
    """What the old tag said last is no edge on the new one."""
    agent = Agent([event(when={"change": "state"})])
    agent.say(state=1)

    agent.events = [event(when={"change": "other"})]
    agent.kill()

    assert agent.say(other=2) == []
    assert len(agent.say(other=3)) == 1


@pytest.mark.parametrize(
    "checkpoint",
    [b"{", b"[]", b"{}", b'{"version":1}', b'{"version":2,"events":{},"numbers":{}}',
     b'{"version":1,"numbers":{},"events":{"lot":{"n":"x"}}}',
     b'{"version":1,"numbers":{},"events":{"lot":{"counted":{"quantity":{"tag":"total","total":["x",1,2]}}}}}'],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_read_stops_the_agent(checkpoint: bytes):
    """Beginning anew would forget what was counted, so the agent says what is wrong and does not start."""
    with pytest.raises(StoreUnfit, match="source plc: the checkpoint of its tags cannot be read"):
        TagEvents([event(**LOT)], "plc", checkpoint)


def test_the_checkpoint_is_compact_and_says_its_version():
    """It is JSON without blanks."""
    agent = lots()

    assert agent.committed is not None
    assert json.loads(agent.committed)["version"] == 1
    assert b" " not in agent.committed


# ── what sources ask ────────────────────────────────────────────────────────────────────────────────────────


def test_the_engine_names_what_it_reads_and_writes():
    """Sources subscribe to `tags` and may write `written`."""
    engine = TagEvents([event(**LOT, handshake={"ack": "ack", "error": "error"})], "plc", None)

    assert engine.tags == {"done", "order", "total"}
    assert engine.written == {"ack", "error"}


def test_tags_that_no_event_looks_at_are_current_state_only():
    """They are known with their quality, go stale with the rest, and make nothing."""
    agent = lots()

    made = agent.send(change("oee", 7))
    assert (made.to_store, made.writes) == (False, ())
    assert agent.engine.current()["oee"].value == 7
    agent.lose("oee")
    assert agent.engine.current()["oee"].quality is Quality.STALE
    assert agent.engine.current()["order"].quality is Quality.GOOD
    agent.lose()
    assert {one.quality for one in agent.engine.current().values()} == {Quality.STALE}


def test_every_delivery_is_an_object():
    """What is delivered is read by the agent's own strict reader."""
    agent = lots()
    made = agent.send(change("done", True))

    assert set(read(made.deliveries[0].payload)) == {"id", "seq", "ts", "order", "quantity"}
