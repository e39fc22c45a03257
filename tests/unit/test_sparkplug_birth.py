"""What the agent says as an edge node, read by the bench's own reading of Sparkplug."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.configuration.face_settings import SparkplugNode
from agent.sparkplug.birth import Asked, Birth, Metric, Value, asked, next_number
from agent.sparkplug.commands import Command
from agent.sparkplug.names import Verb
from agent.sparkplug.payload import read
from agent.sparkplug.primary import PrimaryHost
from agent.sparkplug.schema import DataType
from simulators.sparkplug.schema import new_payload, read_payload

HOUSE = Path(__file__).parents[2]
AT = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)
MS = 1_795_176_000_250
METRICS = [
    Metric("Ready", DataType.BOOLEAN),
    Metric("Held", DataType.INT64),
    Metric("OldestWaitingSeconds", DataType.DOUBLE),
    Metric("Sources/line/Error", DataType.STRING),
    Metric("Sources/line/Since", DataType.DATETIME),
]
VALUES: dict[str, Value] = {
    "Ready": True, "Held": -2, "OldestWaitingSeconds": 1.5, "Sources/line/Error": "", "Sources/line/Since": AT,
}  # fmt: skip


def said(message: Command | None) -> Any:
    assert message is not None
    return read_payload(message.payload)


def born(bd_seq: int = 7) -> Birth:
    birth = Birth("1710/gatepost", bd_seq)
    birth.birth(METRICS, VALUES, AT)
    return birth


def test_a_birth_declares_everything():
    """Name, alias, type, time and value of each metric; bdSeq and the rebirth command without an alias; seq 0."""
    message = Birth("1710/gatepost", 7).birth(METRICS, VALUES, AT)
    payload = said(message)
    number, command, *metrics = payload.metrics
    assert message.topic == "spBv1.0/1710/NBIRTH/gatepost"
    assert (payload.timestamp, payload.seq) == (MS, 0)
    assert (number.name, number.datatype, number.long_value) == ("bdSeq", 4, 7)
    assert (command.name, command.datatype, command.boolean_value) == ("Node Control/Rebirth", 11, False)
    assert not number.HasField("alias")
    assert not command.HasField("alias")
    assert [(one.name, one.alias, one.datatype, one.timestamp) for one in metrics] == [
        (one.name, alias, int(one.datatype), MS) for alias, one in enumerate(METRICS, 1)
    ]
    ready, held, oldest, error, since = metrics
    assert (ready.boolean_value, held.long_value, oldest.double_value) == (True, 2**64 - 2, 1.5)
    assert (error.string_value, since.long_value) == ("", MS)


def test_our_own_host_can_read_it():
    """The source of this product takes the birth of this product for one."""
    message = Birth("1710/gatepost", 7).birth(METRICS, VALUES, AT)
    assert read(message.payload, Verb.NBIRTH).seq == 0


def test_data_hold_what_changed_by_alias_alone():
    """One metric of five has changed: it comes with its alias, a time and its value, without name and type."""
    payload = said(born().data({**VALUES, "Held": 3}, AT + timedelta(seconds=1)))
    (metric,) = payload.metrics
    assert (metric.alias, metric.long_value, metric.timestamp) == (2, 3, MS + 1000)
    assert not metric.HasField("name")
    assert not metric.HasField("datatype")
    assert payload.seq == 1


def test_what_did_not_change_is_not_said():
    """The same values again, and values that the birth did not declare, make no message and use up no number."""
    birth = born()
    assert birth.data({**VALUES, "Unknown": 1}, AT) is None
    assert said(birth.data({"Held": 1}, AT)).seq == 1


def test_a_value_that_is_gone_is_null():
    """What has no value yet is null in the birth, and becomes null in data when it is gone."""
    birth = Birth("1710/gatepost", 7)
    since = said(birth.birth(METRICS, {**VALUES, "Sources/line/Since": None}, AT)).metrics[-1]
    assert since.is_null
    assert since.WhichOneof("value") is None
    assert said(birth.data({"Held": None}, AT)).metrics[0].is_null


def test_seq_goes_round():
    """After 255 comes 0, and another birth begins at 0."""
    birth = born()
    numbers = [said(birth.data({"Held": count}, AT)).seq for count in range(257)]
    assert numbers == [*range(1, 256), 0, 1]
    assert said(birth.birth(METRICS, VALUES, AT)).seq == 0


def test_another_birth_of_a_connection_has_its_number():
    """A rebirth repeats bdSeq, so that the will of the connection still fits it."""
    birth = born(255)
    assert said(birth.birth(METRICS, VALUES, AT)).metrics[0].long_value == 255


def test_a_death_holds_the_number_alone():
    """NDEATH has bdSeq and no seq."""
    message = born(9).death(AT)
    payload = said(message)
    assert message.topic == "spBv1.0/1710/NDEATH/gatepost"
    assert [(one.name, one.long_value) for one in payload.metrics] == [("bdSeq", 9)]
    assert not payload.HasField("seq")


def test_other_metrics_need_another_birth():
    """A line that was not there at the birth."""
    birth = born()
    assert birth.fits(METRICS)
    assert not birth.fits([*METRICS, Metric("Lines/L/LastDecision/State", DataType.STRING)])


@pytest.mark.parametrize(
    ("kept", "number"),
    [(None, 0), (b"0", 1), (b"254\n", 255), (b"255", 0), (b"", 0), (b"\xff\xfe", 0), (b"-1", 0), (b"99999999", 0)],
)
def test_the_number_of_the_next_connection(kept: bytes | None, number: int):
    """One more than that of the last, 0 after 255, 0 where the file says nothing."""
    assert next_number(kept) == number


def command(*metrics: tuple[str, str, Any]) -> bytes:
    payload = new_payload()
    for name, field, value in metrics:
        metric = payload.metrics.add()
        metric.name = name
        setattr(metric, field, value)
    content: bytes = payload.SerializeToString()
    return content


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (command(("Node Control/Rebirth", "boolean_value", True)), Asked(rebirth=True, refused=0)),
        (command(("Node Control/Rebirth", "boolean_value", False)), Asked(rebirth=False, refused=1)),
        (command(("Node Control/Rebirth", "int_value", 1)), Asked(rebirth=False, refused=1)),
        (command(("Node Control/Reboot", "boolean_value", True)), Asked(rebirth=False, refused=1)),
        (
            command(("Held", "long_value", 0), ("Node Control/Rebirth", "boolean_value", True)),
            Asked(rebirth=True, refused=1),
        ),
        (b"", Asked(rebirth=False, refused=1)),
        (b"\xff" * 40, Asked(rebirth=False, refused=1)),
    ],
)
def test_nothing_but_a_rebirth_can_be_asked_for(payload: bytes, expected: Asked):
    """Whatever else a command says is refused and counted."""
    assert asked(payload) == expected


def test_a_late_will_of_the_primary_host_says_nothing():
    """Online since 20; offline since 10 is an older connection; offline since 20 is this one. Nonsense is nothing."""
    host = PrimaryHost("scada")
    heard = []
    for state in (
        b'{"online":true,"timestamp":20}', b'{"online":false,"timestamp":10}', b"OFFLINE", b'{"online":false}',
        b'{"online":false,"timestamp":20}',
    ):  # fmt: skip
        host.heard(state)
        heard.append(host.online)
    assert (host.topic, heard) == ("spBv1.0/STATE/scada", [True, True, True, True, False])


@pytest.mark.parametrize("ids", [{"group": "a/b"}, {"group": "STATE"}, {"group": "G", "node": "+"}, {"group": ""}])
def test_ids_are_single_levels_of_a_topic(ids: dict[str, str]):
    """What would be another topic, or that of host applications, is refused by the configuration."""
    with pytest.raises(ValueError, match=r"group|node"):
        SparkplugNode.model_validate({"brokers": ("mqtt://broker",), **ids})


def test_an_agent_that_is_no_edge_node_loads_nothing_of_it():
    """The command `run` and the configuration of the bench import neither the node nor protobuf."""
    code = """
import sys
from agent import assembly
from agent.configuration import config
from agent.commands.run import server
server(config.load("edge_config/agent.yaml", assembly.resolver()))
print([name for name in ("agent.edge_node.node", "agent.sparkplug", "google.protobuf") if name in sys.modules])
"""
    environ = {**os.environ, "GATEPOST_SECRET_ERP_PASSWORD": "bench"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, cwd=HOUSE)
    assert done.stdout.strip() == "[]", done.stderr
