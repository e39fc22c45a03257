"""Arrivals on disk: what a source hands over comes back as it was."""

import json
from pathlib import Path
from types import MappingProxyType

import apsw
import pytest

from agent.ports import Batch, Delivery, Notice
from agent.store import inbox
from tests.stores import START, opened, reading


def test_a_redelivered_message_is_stored_with_the_facts_of_its_transport(tmp_path: Path):
    """Read-only mappings of facts, as the MQTT source shares them between messages, are written like any other."""
    facts = MappingProxyType({"dup": "1"})
    with opened(tmp_path / "gatepost.db") as writer:
        batch = Batch("line", [Delivery("plant/x", b"{}", facts)], START, lambda: None)
        writer.call(lambda tx: inbox.store(tx, batch))
        (event,) = writer.call(lambda tx: inbox.undecided(tx.connection, 10))
        (written,) = writer.call(lambda tx: tx.execute("SELECT properties FROM event").fetchone())  # type: ignore[misc]  # one row was just written
    assert dict(event.properties) == {"dup": "1"}
    assert json.loads(written) == {"dup": "1"}


def test_what_no_column_can_keep_does_not_hold_up_its_batch(tmp_path: Path):
    """A topic that is no text is stored escaped, its neighbours as they are: the batch is not held up."""
    bad = Delivery("plant/\udcff/consumption", b"1", {"user": "x"})
    worse = Delivery("plant/a/consumption", b"2", {"user": object()})  # type: ignore[dict-item]  # on purpose
    batch = Batch("line", [bad, Delivery("plant/b/consumption", b"3"), worse], START, lambda: None)
    with opened(tmp_path / "gp.db") as writer:
        writer.call(lambda tx: inbox.store(tx, batch))
        with reading(tmp_path / "gp.db") as connection:
            kept = inbox.undecided(connection, 10)
    assert [one.payload for one in kept] == [b"1", b"3", b"2"]
    assert kept[0].topic == "plant/\\udcff/consumption"
    assert "unreadable" in kept[2].properties


@pytest.mark.parametrize("foreign", ["M\udcfcller", float("nan"), object()])
def test_a_notice_that_the_trail_cannot_keep_does_not_hold_up_its_batch(tmp_path: Path, foreign: object):
    """A source whose batch is refused hands over nothing more: the notice is kept escaped, all else as it is."""
    batch = Batch(
        "line", [Delivery("plant/a", b"1")], START, lambda: None, [("k", b"2")], [Notice("x", {"said": foreign})]
    )
    with opened(tmp_path / "gp.db") as writer:
        writer.call(lambda tx: inbox.store(tx, batch))
        with reading(tmp_path / "gp.db") as connection:
            assert [one.payload for one in inbox.undecided(connection, 10)] == [b"1"]
            assert inbox.checkpoint(connection, "k") == b"2"
            ((detail,),) = connection.execute("SELECT detail FROM audit WHERE action = 'x'")
    assert "said" in json.loads(detail)


@pytest.mark.parametrize("payload", ["text", None, 7, b"x" * (3 << 20)], ids=["text", "none", "number", "too large"])
def test_a_message_that_the_store_refuses_is_set_aside_alone(tmp_path: Path, payload: bytes):
    """Its neighbours and the checkpoint are stored, and of itself what can be, with the reason: it is quarantined."""
    bad = Delivery("plant/bad", payload, {"qos": "1"})
    arrived = [Delivery("plant/a", b"1"), bad, bad, Delivery("plant/b", b"2"), bad]
    with opened(tmp_path / "gp.db") as writer:
        writer.call(lambda tx: tx.connection.limit(apsw.SQLITE_LIMIT_LENGTH, 2 << 20))
        writer.call(lambda tx: inbox.store(tx, Batch("line", arrived, START, lambda: None, [("k", b"2")])))
        with reading(tmp_path / "gp.db") as connection:
            kept = inbox.undecided(connection, 10)
            assert inbox.checkpoint(connection, "k") == b"2"
    assert [one.topic for one in kept] == [one.topic for one in arrived]
    assert [one.payload for one in kept if one.topic != "plant/bad"] == [b"1", b"2"]
    for one in (kept[1], kept[2], kept[4]):
        assert one.payload[:4] in (b"'tex", b"None", b"7", b"xxxx")
        assert one.properties["refused"].startswith("store_refused: the store cannot keep it as it arrived: ")
