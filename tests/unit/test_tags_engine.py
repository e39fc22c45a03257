"""The engine: what messages of tags become, from checkpoint to checkpoint."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from agent.configuration import config
from agent.errors import StoreUnfit
from agent.isa95 import MaterialUse
from agent.mapping import load
from agent.ports import Event
from agent.tags.engine import TagEvents
from agent.tags.values import Quality, Scalar
from agent.units import UnitsFile, UnitTable
from tests.tag_bench import LOT, START, TOPIC, TOTAL, Agent, at, change, event, lots, read

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
