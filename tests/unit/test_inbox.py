"""Arrivals on disk: what a source hands over comes back as it was."""

import json
from pathlib import Path
from types import MappingProxyType

from agent.ports import Batch, Delivery
from agent.store import inbox
from tests.stores import START, opened


def test_a_redelivered_message_is_stored_with_the_facts_of_its_transport(tmp_path: Path):
    """Read-only mappings of facts, as the MQTT source shares them between messages, are written like any other."""
    facts = MappingProxyType({"dup": "1"})
    with opened(tmp_path / "gatepost.db") as writer:
        batch = Batch("line", [Delivery("plant/x", b"{}", facts)], START, lambda: None)
        writer.call(lambda tx: inbox.store(tx, batch))
        (event,) = writer.call(lambda tx: inbox.undecided(tx.connection, 0, 10))
        (written,) = writer.call(lambda tx: tx.execute("SELECT properties FROM event").fetchone())
    assert dict(event.properties) == {"dup": "1"}
    assert json.loads(written) == {"dup": "1"}
