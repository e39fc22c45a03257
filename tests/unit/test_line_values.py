"""What an order says becomes what a node wants, exactly, or it is said why it cannot."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.line.target import LineConfig
from agent.line.values import variant

KINDS = ua.VariantType


@given(st.integers(-(2**15), 2**15 - 1))
def test_whole_numbers_fit_whole_nodes(number: int):
    """With or without zeros behind the point."""
    for text in (str(number), f"{number}.000"):
        assert variant(text, KINDS.Int16).Value == number


@given(st.decimals(min_value=-(10**6), max_value=10**6, places=3))
def test_a_real_node_gets_the_nearest_number(number: Decimal):
    """The double that is nearest to what was decided."""
    assert variant(str(number), KINDS.Double).Value == float(number)


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("0.5", KINDS.Int32, "does not fit"),
        ("-1", KINDS.UInt16, "does not fit"),
        ("70000", KINDS.UInt16, "does not fit"),
        ("twelve", KINDS.Double, "is no number"),
        ("12", KINDS.Boolean, "can be written"),
    ],
)
def test_what_does_not_fit_is_said(text: str, kind: ua.VariantType, why: str):
    """Nothing is rounded, cut or wrapped around on its way to a machine."""
    with pytest.raises(ValueError, match=why):
        variant(text, kind)


def test_a_time_is_written_in_utc():
    """Whatever its offset."""
    assert variant("2026-11-20T15:00:00+01:00", KINDS.DateTime).Value.isoformat() == "2026-11-20T14:00:00"


MQTT = {"brokers": ["mqtt://broker.test"], "topic": "a/{work_center}", "answers": "b/{work_center}"}
OPCUA = {"endpoints": ["opc.tcp://plc.test:4840"], "request": "i=1", "policy": "none"}
METHOD = {"object": "i=1", "method": "i=2", "arguments": ["id"]}


@pytest.mark.parametrize(
    ("ways", "why"),
    [
        ({}, "either mqtt or opcua"),
        ({"mqtt": MQTT, "opcua": OPCUA}, "either mqtt or opcua"),
        ({"mqtt": MQTT | {"topic": "a/+"}}, "no topic to publish on"),
        ({"mqtt": MQTT | {"acknowledged_by": "broker"}}, "answers: needed where"),
        ({"mqtt": MQTT | {"answers": "b/{order}"}}, "only {work_center}"),
        ({"opcua": OPCUA | {"method": METHOD}}, "either a method, or nodes"),
        ({"opcua": OPCUA | {"nodes": {"colour": "i=3"}}}, "is nothing that is sent"),
        ({"opcua": OPCUA | {"refused": "i=3"}}, "refused needs answer"),
        ({"opcua": OPCUA | {"answer": "somewhere"}}, "no OPC UA address"),
    ],
)
def test_a_line_that_could_not_be_reached_is_refused_before_anything_runs(ways: dict[str, Any], why: str):
    """The error says what to write."""
    with pytest.raises(ValidationError, match=why):
        LineConfig.model_validate({"name": "line", **ways})
