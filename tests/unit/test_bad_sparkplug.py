"""Bad Sparkplug input: each gets its reason in quarantine or its notice, and the good messages after it go through.

The numbers are those of the list of abuses; what a line says is what was done to the node.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from datetime import timedelta

import pytest

from agent.authority import Mode, Rule
from agent.judging.judge import judge
from agent.judging.rules import OWN, Assignment, Door, Rules
from agent.mapping import Mappings
from agent.ports import Delivery, Event
from agent.sparkplug.host import Host
from agent.sparkplug.session import Effects, Lost
from agent.tags.values import Quality
from agent.workflows.consumption import Config, Consumption
from tests.sparkplug_bench import (
    BOOLEAN,
    INT32,
    INT64,
    MS,
    NOW,
    STRING,
    UINT32,
    chunk,
    message,
    metric,
    nbirth,
    own_metrics,
    payload,
    template,
)
from tests.sparkplug_nodes import Plant, actions, data, lost, said
from tests.unit.test_judge import Narrow, Nothing
from tests.unit.test_workflow_consumption import AT, FACTS

Bad = Sequence[Delivery]


def deep(levels: int) -> bytes:
    raw = metric("leaf", 1, INT32)
    for _ in range(levels):
        raw = metric("t", template(raw), 19)
    return raw


def nan_bytes() -> bytes:
    return struct.pack("<f", float("nan"))


def good_after(plant: Plant) -> None:
    """Births and data as they should be: every tag is good again, and nothing is refused."""
    births = plant.born(200)
    assert said(births)["total"] == 200
    heard = plant.hear(data(2, metric(value=205, alias=1)))
    assert said(heard) == {"total": 205}
    assert not heard.refusals


def reasons(effects: Effects) -> list[str]:
    return [refusal.error.reason for refusal in effects.refusals]


REFUSED = [
    pytest.param(
        [message("NBIRTH", payload(seq=None, at=None, extra=chunk(4, "SPBV1.0_COMPRESSED") + chunk(5, b"x")))],
        "not_sparkplug",
        id="compressed",
    ),
    pytest.param([message("DDATA", b"\xff\xff\xff", "D")], "not_sparkplug", id="24 random bytes"),
    pytest.param([message("DDATA", b"", "D")], "incomplete", id="25 empty payload"),
    pytest.param([message("NBIRTH", b"")], "incomplete", id="25 empty birth"),
    pytest.param([message("NDEATH", b"")], "incomplete", id="25 empty death"),
    pytest.param([data(2, deep(60))], "not_sparkplug", id="26 templates 60 deep"),
    pytest.param([data(2, metric(b"\xff\xfe", 5, INT32))], "bad_name", id="29 name is not UTF-8"),
    pytest.param(
        [message("NBIRTH", nbirth(metric(b"\xff", 5, INT32)))], "bad_name", id="29 in a birth, of a node's metric"
    ),
    pytest.param([data(2, metric(value=1.5, alias=1, field=13))], "type_mismatch", id="30 whole number as double"),
    pytest.param([data(2, metric(value="5", alias=1, field=15))], "type_mismatch", id="30 whole number as text"),
    pytest.param([data(2, metric(value=1, alias=2, field=10))], "type_mismatch", id="30 boolean as number"),
    pytest.param([data(2, metric("Total", 1.5, 10, alias=1))], "type_mismatch", id="30 data declare another type"),
    pytest.param(
        [data(2, metric("Total", None, alias=1, extra=chunk(16, b"ab")))], "type_mismatch", id="30 bytes for a number"
    ),
    pytest.param([data(2, metric(value=2**32, alias=1, field=11))], "bad_value", id="31 UInt32 of 33 bits"),
    pytest.param([data(2, metric(value=b"\xff", alias=3, field=15))], "bad_value", id="31 text is not UTF-8"),
    pytest.param([message("DDATA", payload(metric(value=1, alias=1), seq=300), "D")], "bad_seq", id="32 seq 300"),
    pytest.param([message("DDATA", payload(metric(value=1, alias=1), seq=None), "D")], "incomplete", id="32 no seq"),
    pytest.param([message("NBIRTH", payload(*own_metrics(), seq=None))], "incomplete", id="32 birth without seq"),
    pytest.param([message("NBIRTH", payload(*own_metrics(), seq=2**63))], "bad_seq", id="32 birth with seq 2^63"),
    pytest.param(
        [message("DDATA", payload(metric(value=1, alias=1), seq=2, at=None), "D")], "incomplete", id="no time"
    ),
    pytest.param([message("DDATA", payload(seq=2, at=2**62), "D")], "bad_time", id="time after the year 9999"),
    pytest.param([data(2, metric(value=5, alias=1, at=2**63))], "bad_time", id="metric's time after the year 9999"),
    pytest.param([data(2, metric(value=5, at=MS))], "bad_name", id="34 neither name nor alias"),
    pytest.param([data(2, metric("Order", "x", STRING, alias=1))], "bad_alias", id="34 alias of another name"),
    pytest.param([data(2, metric(value=5, alias=1, null=True))], "bad_value", id="37 null with a value"),
    pytest.param([data(2, metric(alias=1))], "bad_value", id="37 neither null nor a value"),
    pytest.param(
        [data(2, metric(value=5, alias=1, extra=chunk(9, chunk(1, "Quality"))))],
        "bad_value",
        id="property names without values",
    ),
    pytest.param([message("FOO", payload(seq=2))], "bad_topic", id="a topic of no message type"),
    pytest.param([Delivery("spBv1.0/G/DDATA/N", payload(seq=2))], "bad_topic", id="DDATA without a device"),
    pytest.param([Delivery("spBv1.0/G/NDATA/N/D/E", payload(seq=2))], "bad_topic", id="topic too long"),
    pytest.param(
        [message("DBIRTH", payload(metric("Total", 1, alias=1), seq=2), "D")], "type_mismatch", id="birth without types"
    ),
    pytest.param(
        [message("DBIRTH", payload(metric(value=1, datatype=7, alias=1), seq=2), "D")],
        "bad_name",
        id="birth without names",
    ),
    pytest.param(
        [message("DBIRTH", payload(metric("Total", b"x", 17), seq=2), "D")],
        "type_mismatch",
        id="counter is of type Bytes",
    ),
    pytest.param(
        [message("DBIRTH", payload(metric("Total", b"x", 18), seq=2), "D")], "type_mismatch", id="counter is a File"
    ),
    pytest.param(
        [message("DBIRTH", payload(metric("Total", 1, 99, field=10), seq=2), "D")], "type_mismatch", id="type 99"
    ),
    pytest.param(
        [message("DBIRTH", payload(metric("Total", b"\1", 22), seq=2), "D")], "type_mismatch", id="counter is an array"
    ),
    pytest.param(
        [message("DBIRTH", payload(metric("A", 1, 3, alias=1), metric("Total", 1, 7, alias=1), seq=2), "D")],
        "bad_alias",
        id="34 alias given twice",
    ),
]


@pytest.mark.parametrize(("bad", "reason"), REFUSED)
def test_what_cannot_be_read_is_refused_with_its_reason(bad: Bad, reason: str):
    """One refusal with the raw bytes and a sentence; nothing of it becomes a good value; the good ones follow."""
    plant = Plant()
    plant.born(100)
    heard = plant.hear(*bad)
    assert reasons(heard)[0] == reason
    (kept, *_) = plant.nodes.quarantined(heard.refusals, plant.now())
    assert (kept.topic, kept.payload) == (bad[0].topic, bad[0].payload)
    assert kept.properties is not None
    assert kept.properties["refused"].startswith(f"{reason}: ")
    assert len(kept.properties["refused"]) > len(reason) + 10
    values = [one.now for step in heard.steps if not isinstance(step, Lost) for one in step]
    assert all(value.quality is not Quality.GOOD for value in values)
    good_after(plant)


def test_30_a_bad_metric_beside_a_good_one_costs_only_itself():
    """The good one counts, the bad one has no value."""
    plant = Plant()
    plant.born(100)
    heard = plant.hear(data(2, metric(value=105, alias=1), metric(value=1.5, alias=2, field=13)))
    assert said(heard) == {"total": 105, "done": None}
    good_after(plant)


def test_24_random_bytes_never_do_more_than_be_refused():
    """Twenty thousand random payloads under every type: refused, or without effect on any good value."""
    chance = random.Random(7)
    plant = Plant(rebirth_s=3600)
    plant.born(100)
    for _ in range(20_000):
        verb, device = chance.choice([("NBIRTH", ""), ("NDATA", ""), ("NDEATH", ""), ("DDATA", "D"), ("DBIRTH", "D")])
        heard = plant.hear(message(verb, chance.randbytes(chance.randrange(1, 40)), device))
        assert not said(heard)
    good_after(plant)


def test_26_templates_deeper_than_eight_are_refused():
    """Nine levels, of a tag that reads one of them."""
    plant = Plant({"speed": "G/N:t/t/leaf"})
    heard = plant.hear(message("NBIRTH", nbirth(deep(9))))
    assert reasons(heard) == ["too_deep"]
    assert said(plant.hear(message("NBIRTH", nbirth(deep(2))))) == {"speed": 1}


def test_28_a_payload_over_the_limit_is_not_looked_at():
    """The network has kept its head only: refused as too large, whatever its head says."""
    plant = Plant()
    plant.born(100)
    head = payload(metric(value=105, alias=1), seq=2)
    large = Delivery("spBv1.0/G/DDATA/N/D", head, {"oversize": "1048576 bytes, sha256 ab"})
    heard = plant.hear(large)
    assert reasons(heard) == ["too_large"]
    assert not said(heard)
    good_after(plant)


def test_28_unknown_fields_within_the_limit_are_ignored():
    """Extensions of third parties are none of our business."""
    plant = Plant()
    plant.born(100)
    raw = payload(metric(value=105, alias=1, extra=chunk(99, b"x" * 1000)), seq=2, extra=chunk(77, b"y" * 100_000))
    assert said(plant.hear(message("DDATA", raw, "D"))) == {"total": 105}


def test_31_negative_numbers_are_read_as_they_were_meant():
    """Int32 -5 travels as 4294967291."""
    plant = Plant({"total": "G/N:T"})
    plant.hear(message("NBIRTH", nbirth(metric("T", 0, INT32, alias=1))))
    assert said(plant.hear(message("NDATA", payload(metric(value=4294967291, alias=1), seq=1)))) == {"total": -5}


def test_31_no_number_is_a_bad_value():
    """NaN is no refusal: the message is right, the sensor is not."""
    plant = Plant()
    plant.born(100)
    nan = metric(alias=9, extra=bytes([12 << 3 | 5]) + nan_bytes())
    heard = plant.hear(message("NDATA", payload(nan, seq=2)))
    ((change,),) = (step for step in heard.steps if not isinstance(step, Lost))
    assert (change.now.value, change.now.quality) == (None, Quality.BAD)
    assert not heard.refusals


def test_32_a_seq_in_a_death_does_not_matter():
    """The death is one: stale is the safe side."""
    plant = Plant()
    plant.born(100, bd=3)
    heard = plant.hear(message("NDEATH", payload(metric("bdSeq", 3, INT64), seq=9)))
    assert "total" in lost(heard)
    good_after(plant)


def test_33_a_gap_is_noticed():
    """After the reorder timeout, with what is missing."""
    plant = Plant()
    plant.born(100)
    plant.hear(data(9))
    assert actions(plant.later(3)) == ["sequence_gap"]
    good_after(plant)


def test_34_an_alias_without_a_birth_asks_for_one():
    """The tags are stale, the node is asked, the alias is named."""
    plant = Plant()
    plant.born(100)
    heard = plant.hear(data(2, metric(value=5, alias=4711)))
    assert heard.rebirths == ["G/N"]
    assert heard.notices[0].detail["metrics"] == ["alias 4711"]
    good_after(plant)


def test_34_an_alias_reused_after_a_rebirth_means_the_new_metric():
    """Not a moment longer the old one."""
    plant = Plant()
    plant.born(100)
    plant.hear(
        message("NBIRTH", nbirth()),
        message(
            "DBIRTH", payload(metric("Order", "A", STRING, alias=1), metric("Total", 1, UINT32, alias=3), seq=1), "D"
        ),
    )
    assert said(plant.hear(data(2, metric(value="B", alias=1, field=15)))) == {"order": "B"}
    good_after(plant)


@pytest.mark.parametrize(("verb", "device"), [("DDATA", "D"), ("NDATA", ""), ("DBIRTH", "D"), ("DDEATH", "D")])
def test_35_anything_before_the_birth_asks_for_it(verb: str, device: str):
    """No value, no quarantine; one request."""
    plant = Plant()
    heard = plant.hear(message(verb, payload(metric("Total", 5, UINT32), seq=7), device))
    assert heard.rebirths == ["G/N"]
    assert not heard.steps
    assert not heard.refusals
    good_after(plant)


@pytest.mark.parametrize(
    ("raw", "lacks"),
    [
        (payload(metric("Node Control/Rebirth", 0, BOOLEAN), seq=0), ["bdSeq"]),
        (payload(metric("bdSeq", 0, INT64), seq=0), ["Node Control/Rebirth"]),
        (payload(seq=0), ["bdSeq", "Node Control/Rebirth"]),
    ],
)
def test_36_a_birth_that_lacks_something_is_noted(raw: bytes, lacks: list[str]):
    """It counts all the same, and what it lacks is named once."""
    plant = Plant()
    (notice,) = (one for one in plant.hear(message("NBIRTH", raw)).notices if one.action == "birth_incomplete")
    assert notice.detail["lacks"] == lacks
    good_after(plant)


def test_38_a_birth_that_says_its_own_alias_for_rebirth_is_fine():
    """Our request goes by name, so an alias for it does no harm."""
    plant = Plant()
    raw = payload(metric("bdSeq", 0, INT64), metric("Node Control/Rebirth", 0, BOOLEAN, alias=70), seq=0)
    assert actions(plant.hear(message("NBIRTH", raw))) == ["metrics_missing"]
    good_after(plant)


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\xff",
        b"null",
        b"[1]",
        b"ONLINE",
        b'{"online": "yes"}',
        b'{"timestamp": 5}',
        b'{"online": false, "timestamp": 5}',
    ],
)
def test_39_a_state_that_is_none_is_contradicted(state: bytes):
    """Whatever stands at our topic and is not that we are online is said again."""
    host = Host("gatepost")
    host.connecting(NOW)
    host.say(online=True)
    host.heard(state)
    assert host.say(online=True) is not None


def test_39_the_state_of_another_host_is_none_of_ours():
    """It is not subscribed; were it to come, it is no message of a node."""
    plant = Plant()
    heard = plant.hear(Delivery("spBv1.0/STATE/other", b'{"online": false, "timestamp": 5}'))
    assert reasons(heard) == ["bad_topic"]
    assert not heard.steps


@pytest.mark.parametrize(("verb", "device"), [("NCMD", ""), ("DCMD", "D")])
@pytest.mark.parametrize("raw", [payload(metric("Node Control/Reboot", 1, BOOLEAN), seq=None), b"\xff\xff"])
def test_40_commands_are_never_executed(verb: str, device: str, raw: bytes):
    """Whoever sends them, to whomever: no effect at all."""
    plant = Plant()
    plant.born(100)
    assert plant.hear(message(verb, raw, device)) == Effects()
    good_after(plant)


def test_a_refused_message_is_quarantined_with_its_reason():
    """What the source could not read ends where people look, and never reaches a mapping."""
    assignment = Assignment(Consumption(Config()), {OWN: Door(Narrow(), {"goods_issue": "live"})}, Rule(mode=Mode.AUTO))
    rules = Rules("1", Mappings((), ""), FACTS, {"consumption": assignment}, timedelta(hours=1))
    plant = Plant()
    (kept,) = plant.nodes.quarantined(plant.hear(message("NDATA", b"\xff")).refusals, plant.now())
    event = Event(1, "line", kept.topic, kept.payload, AT, dict(kept.properties or {}))
    (verdict,) = judge([event], rules, Nothing(), AT.date()).verdicts
    assert (verdict.state, verdict.detail["code"]) == ("quarantined", "not_sparkplug")
    assert verdict.reason is not None
    assert "no Sparkplug B payload" in verdict.reason
