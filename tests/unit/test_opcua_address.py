"""OPC UA addresses: every way to write a node, and a sentence for every mistake."""

from __future__ import annotations

import contextlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.opcua_address import OPC_UA, NodeAddress, PathAddress, Step, alias_refusal, namespaces, parse

PLC = "urn:plc:line5"
ALIASES = {"plc": PLC}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nsu=urn:plc:line5;s=Line5.Good", NodeAddress(PLC, "Line5.Good")),
        ("ns=plc;s=Line5.Good", NodeAddress(PLC, "Line5.Good")),
        ("ns=plc;s=a;i=7", NodeAddress(PLC, "a;i=7")),
        ("ns=plc;s=[default]Line 5/Good", NodeAddress(PLC, "[default]Line 5/Good")),
        ("ns=plc;i=4294967295", NodeAddress(PLC, 4294967295)),
        ("i=2258", NodeAddress(OPC_UA, 2258)),
        ("ns=0;i=2258", NodeAddress(OPC_UA, 2258)),
        ("ns=plc;b=AQI=", NodeAddress(PLC, b"\x01\x02")),
        (
            "ns=plc;g=09087e75-8e5e-499b-954f-f2a9603db28a",
            NodeAddress(PLC, UUID("09087e75-8e5e-499b-954f-f2a9603db28a")),
        ),
        ("nsu=http://a.b/x%3By%25;i=1", NodeAddress("http://a.b/x;y%", 1)),
        ("/Objects/plc:Line5/plc:Good", PathAddress((Step(OPC_UA, "Objects"), Step(PLC, "Line5"), Step(PLC, "Good")))),
        ("/Objects/plc:Temp&/Min&:Max:x", PathAddress((Step(OPC_UA, "Objects"), Step(PLC, "Temp/Min:Max:x")))),
    ],
)
def test_every_way_to_write_a_node(text, expected):
    """Node ids of all four kinds by URI or alias, namespace 0 without one, and browse paths."""
    assert parse(text, ALIASES) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ns=2;s=Line5.Good", "namespace index changes"),
        ("/Objects/2:Line5", "namespace index changes"),
        ("nsu=2;s=x", "takes the namespace's URI"),
        ("ns=plx;s=x", "known: plc"),
        ("s=Line5.Good", "write nsu=URI;s=Line5.Good"),
        ("Line5.Good", "is no OPC UA address"),
        ("ns=plc;i=-1", "whole number"),
        ("ns=plc;i=4294967296", "whole number"),
        ("ns=plc;i=Good", "names are s="),
        ("ns=plc;s=", "nothing after s="),
        ("ns=plc;g=42", "no GUID"),
        ("ns=plc;b=%", "no base64"),
        ("/Objects//plc:Good", "empty browse name"),
        ("/Objects/plc:", "empty browse name"),
        ("/", "empty browse name"),
        ("/Objects/plc:a&", "ends in &"),
        ("", "0 characters"),
        ("ns=plc;s=" + "x" * 5000, "characters long"),
    ],
)
def test_every_mistake_has_its_sentence(text, said):
    """A refused address says what is wrong and how to write it."""
    with pytest.raises(ValueError, match=said):
        parse(text, ALIASES)


def test_the_namespaces_of_an_address_are_known():
    """What the server must have for this tag to exist."""
    assert namespaces(parse("ns=plc;s=x", ALIASES)) == {PLC}
    assert namespaces(parse("/Objects/plc:x", ALIASES)) == {PLC, OPC_UA}


def test_an_alias_is_a_name_for_a_uri():
    """Numbers on either side are refused: they would be indexes."""
    assert alias_refusal("plc", PLC) == ""
    assert "is no alias" in alias_refusal("2", PLC)
    assert "needs the namespace's URI" in alias_refusal("plc", "2")
    assert "needs the namespace's URI" in alias_refusal("plc", "")


@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse_or_be_refused(text):
    """Whatever is written is an address or a ValueError."""
    with contextlib.suppress(ValueError):
        assert parse(text, ALIASES)
