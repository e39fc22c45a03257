"""What the OPC UA source keeps of what it took: it survives a restart, and nothing else that was declared then does."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from agent.sources.opcua_address import parse
from agent.sources.opcua_history import groups
from agent.sources.opcua_taken import Taken
from agent.tags.engine import TagEvents, kept_besides
from agent.tags.values import Quality
from tests.tag_bench import at, change, event

LOT = event(when={"rising": "done"}, fields={"order": "order", "weight": "weight"})
OTHER = event(name="other", when={"change": "state"})
URIS = {"plc": "urn:plc", "renamed": "urn:plc"}


def taken(*events: Any, alias: str = "plc", **addresses: str) -> Taken:
    of = {tag: f"ns={alias};s={tag}" for one in events for _, tag in one.reads()} | addresses
    return Taken(groups(events), {tag: parse(text, URIS) for tag, text in of.items()})


def full() -> Taken:
    one = taken(LOT, OTHER)
    one.session = 3
    one.note([change("done", True, 1), change("order", "0077", 2), change("weight", Decimal("12.40"), 3)])
    one.note([change("state", None, 4, Quality.BAD), change("unasked", 1, 4)])
    return one


def test_what_was_taken_is_recalled_exactly():
    """Each value with its type, quality and time, and the session it was told in; other tags are not kept."""
    before, after = full(), taken(LOT, OTHER, alias="renamed")
    after.recall(json.loads(before.kept()))
    assert "unasked" not in before
    assert [after[tag] for tag in ("done", "order", "weight", "state")] == [
        before[tag] for tag in ("done", "order", "weight", "state")
    ]
    assert str(after["weight"].value.value) == "12.40"
    assert after.session == 3
    assert json.loads(after.kept()) == json.loads(before.kept())


@pytest.mark.parametrize(
    "after",
    [
        lambda: taken(event(when={"rising": "done"}, fields={"order": "order"}), OTHER),
        lambda: taken(LOT, OTHER, order="ns=plc;s=another"),
        lambda: taken(LOT, event(name="joins", when={"change": "order"}), OTHER),
    ],
    ids=["event", "address", "group"],
)
def test_what_is_declared_otherwise_is_not_recalled(after):
    """What was taken for other events, or from another node, is no beginning; the others keep theirs."""
    one = after()
    one.recall(json.loads(full().kept()))
    assert "order" not in one
    assert "state" in one


@pytest.mark.parametrize("kept", [[], 7, {}, {"groups": 1}, {"groups": [], "tags": None}])
def test_what_cannot_be_read_is_told(kept: Any):
    """A checkpoint of another version changes nothing."""
    one = full()
    with pytest.raises(ValueError, match="Error: "):
        one.recall(kept)
    assert one["order"].value.value == "0077"


def test_a_checkpoint_has_what_was_taken_until_then():
    """It is written with the events of the same moment, and at the latest ten seconds after a change."""
    one = taken(LOT)
    engine = TagEvents([LOT], "plc", None, {}, one.kept)
    one.note(moment := [change("done", False), change("order", "77"), change("weight", 1)])
    assert engine.changed(moment, at(0)).keep  # the trigger's baseline
    one.note(moment := [change("order", "78", 1)])
    assert not engine.changed(moment, at(1)).to_store
    assert engine.due() == at(10)
    assert engine.tick(at(10)).keep
    one.note(moment := [change("done", True, 11)])
    made = engine.changed(moment, at(11))
    assert len(made.deliveries) == 1
    kept = kept_besides(made.checkpoint, "plc")
    assert kept["tags"]["done"][0] is True
    assert TagEvents([LOT], "plc", made.checkpoint).lost(None, at(12)).checkpoint.find(b"besides") < 0
