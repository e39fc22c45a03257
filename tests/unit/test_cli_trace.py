"""What `gatepost trace` finds by the names that people know, and what it says first."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.store import inbox, outbox
from tests import stores
from tests.command_line import filled, folder, gatepost_


def test_a_message_in_quarantine_is_found_by_what_its_sender_calls_it(tmp_path):
    """It has no id before it can be read; whoever looks for it knows no other name."""
    config = folder(tmp_path)
    with stores.opened(tmp_path / "data" / "gatepost.db", stores.Clock(datetime.now(UTC))) as writer:
        stores.arrive(writer, b'{"id": "S-1", "quantity": -4}', b'{"id": "S-10", "quantity": -4}')
        why = [inbox.Settlement(number, "quarantined", reason="$.quantity: -4 is below 0") for number in (1, 2)]
        writer.call(lambda tx: inbox.settle(tx, why))
    out = gatepost_(config, "trace", "S-1").out
    assert out.startswith("S-1 is in the message of event 1, which is in quarantine\n")
    assert "event 1: in quarantine, nothing was posted: $.quantity: -4 is below 0" in out


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (lambda tx: outbox.refuse(tx, 3, by="anna", reason="weighed again"), "a person decided so"),
        (lambda tx: outbox.withdraw(tx, "consumption", "s4", "order/3", 9), "decided otherwise since"),
        (lambda tx: outbox.expire(tx, 3, "nobody signed in 24 h"), "nobody decided about it in time"),
    ],
)
def test_who_ended_a_posting_that_never_will_be_booked_is_told(tmp_path, ends, told):
    """No person is said to have refused what the agent withdrew, or what nobody looked at."""
    config = filled(tmp_path)
    with stores.opened(tmp_path / "data" / "gatepost.db", stores.Clock(datetime.now(UTC))) as writer:
        writer.call(lambda tx: tx.execute("UPDATE posting SET event_id = 1 WHERE id = 3"))
        writer.call(ends)
    out = gatepost_(config, "trace", "event:1").out
    (at,) = (number for number, one in enumerate(out.splitlines()) if one.startswith("posting 3 is"))
    said = " ".join(" ".join(out.splitlines()[at : at + 3]).split())  # however wide the terminal is
    assert said.startswith("posting 3 is NOT booked and never will be (refused): ")
    assert told in said
