"""The simulated edge node without a network: what it stores, numbers, resets, and when its work centres wait."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from simulators.line.tags import TagLot, Update, lots, tags
from simulators.scenario import load
from simulators.sparkplug.metrics import Quality
from simulators.sparkplug.node import EdgeNode, Packet
from simulators.sparkplug.production import Production
from simulators.sparkplug.schema import read_payload

AT = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)
SCENARIO = load()


def node(host: str = "") -> EdgeNode:
    made = EdgeNode("1710", "line", {center: tags(SCENARIO, center) for center in SCENARIO.work_centers}, host)
    made.connecting(AT)
    return made


def state(timestamp: int, *, online: bool) -> bytes:
    return json.dumps({"online": online, "timestamp": timestamp}).encode()


def kinds(packets: list[Packet]) -> list[str]:
    return [packet.topic.split("/")[2] for packet in packets]


def value(packet: Packet) -> Any:
    metric = read_payload(packet.payload).metrics[0]
    return getattr(metric, metric.WhichOneof("value"))


def test_each_connection_has_the_next_bdseq():
    """The will of each connection carries the number that its NBIRTH has, from 0 to 255 and again from 0."""
    made = node()
    for number in range(1, 300):
        will = made.connecting(AT)
        (birth, *_) = made.connected(AT)
        assert value(will) == value(birth) == number % 256


def test_what_is_stored_is_sent_once_as_history_with_its_own_time():
    """Scans of the time without a host follow the births in their order, marked, and are not sent again."""
    made = node("gatepost")
    made.connected(AT)
    later = AT + timedelta(seconds=5)
    for number in (1, 2, 3):
        assert made.changed("MIX-01", [Update("Lot/Number", number)], AT + timedelta(seconds=number)) == []
    packets = made.host_state(state(1, online=True), later)
    assert kinds(packets) == ["NBIRTH", "DBIRTH", "DBIRTH", "DBIRTH", "DDATA", "DDATA", "DDATA"]
    history = [read_payload(packet.payload).metrics[0] for packet in packets[4:]]
    assert [metric.int_value for metric in history] == [1, 2, 3]
    assert all(metric.is_historical for metric in history)
    assert [metric.timestamp for metric in history] == [(AT.timestamp() + number) * 1000 for number in (1, 2, 3)]
    assert [read_payload(packet.payload).seq for packet in packets] == list(range(7))
    made.lost()
    made.connecting(later)
    made.connected(later)
    assert kinds(made.host_state(state(2, online=True), later)) == ["NBIRTH", "DBIRTH", "DBIRTH", "DBIRTH"]


def test_an_old_or_strange_state_is_ignored():
    """A STATE older than the last one, without JSON or without a time, changes nothing."""
    made = node("gatepost")
    made.connected(AT)
    assert made.host_state(state(10, online=True), AT)
    for said in (b"OFFLINE", b"{}", b"[]", b'{"online": false, "timestamp": "soon"}', state(9, online=False)):
        assert made.host_state(said, AT) == []
        assert made.born
    assert kinds(made.host_state(state(10, online=False), AT)) == ["NDEATH"]


def test_a_reset_totaliser_counts_on_from_nothing():
    """After a reset, over the turn too, a totaliser shows what was counted since."""
    made = node()
    made.connected(AT)
    made.changed("MIX-01", [Update("Made/Good", 65530)], AT)
    made.reset_counters("MIX-01", AT)
    assert made.values["MIX-01"]["Made/Good"] == 0
    assert value(made.changed("MIX-01", [Update("Made/Good", 14)], AT)[0]) == 20
    made.reset_counters("MIX-01", AT)
    assert value(made.changed("MIX-01", [Update("Made/Good", 15)], AT)[0]) == 1


def test_a_quality_stays_until_it_is_good_again():
    """While a device is stale its births and data say so; good values carry no property."""
    made = node()
    made.connected(AT)
    made.quality("MIX-01", Quality.STALE, AT)
    births = made.births(AT)
    qualities = {
        packet.topic.rpartition("/")[2]: {
            each.int_value for metric in read_payload(packet.payload).metrics for each in metric.properties.values
        }
        for packet in births[1:]
    }
    assert qualities == {"MIX-01": {500}, "MOLD-02": set(), "ASSY-05": set()}
    (again,) = made.quality("MIX-01", Quality.GOOD, AT)
    assert not any(metric.HasField("properties") for metric in read_payload(again.payload).metrics)


def played(production: Production, until: float) -> list[TagLot]:
    """The lots that are complete when these seconds have passed, looked at every tenth."""
    moments = [tenth / 10 for tenth in range(round(until * 10))]
    return [due.completes for now in moments for due in production.scans(now) if due.completes]


def test_lots_come_at_the_rate_that_was_asked_for():
    """Ten reports per second are ten, whoever makes them."""
    reported = sum(len(lot.truths) for lot in played(Production(lots(SCENARIO, 1), 10.0, handshake=False), 20.0))
    assert 170 <= reported <= 200


def test_a_work_centre_waits_for_all_four_phases():
    """Taken, and released after that: only then comes the next lot; the other work centres do not wait for it."""
    production = Production(lots(SCENARIO, 1), 100.0, handshake=True)
    assert sorted(lot.work_center for lot in played(production, 5.0)) == ["ASSY-05", "MIX-01", "MOLD-02"]
    assert production.answered("MIX-01", {"Lot/Ack": False}) is None
    assert production.answered("MIX-01", {"Operator": "4711"}) is None
    assert played(production, 5.0) == []
    assert production.answered("MIX-01", {"Lot/Ack": True}) == (Update("Lot/Done", False),)
    assert production.answered("MIX-01", {"Lot/Ack": True}) is None, "an acknowledgement that came twice"
    assert played(production, 5.0) == []
    assert production.answered("MIX-01", {"Lot/Ack": False}) is None
    assert [(lot.work_center, lot.number) for lot in played(production, 10.0)] == [("MIX-01", 2)]
    assert production.answered("MIX-01", {"Lot/Error": 3}) == (Update("Lot/Done", False),), "refused is answered too"
