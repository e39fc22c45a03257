"""What an answer of the ERP, or its silence, means for a posting: which change of the outbox is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agent.ports import Acknowledgement, Posting
from agent.store import outbox
from agent.store.transaction import Transaction

EMPTY_LOOKUPS = 2  # before a posting is sent again, or given to a person
MOST_TRIES = 5  # without a clear answer, before a person must look why the ERP fails at this posting

Outcome = Callable[[Transaction], Posting | None]
"""Written to disk; a posting comes back to be sent again."""


def told(write: Callable[..., Posting | None], one: Posting, *args: Any, **kwargs: Any) -> Outcome:
    """The outcome that writes `write(tx, one, …)`, under its name in the metrics."""

    def outcome(tx: Transaction) -> Posting | None:
        return write(tx, one, *args, **kwargs)

    outcome.__name__ = write.__name__
    return outcome


def silence(one: Posting, later_us: int, why: str, details: Mapping[str, str] | None = None) -> Outcome:
    """Nobody knows what became of it: its key is looked for after `later_us`."""
    if one.state == "in_doubt":  # it was the lookup that failed
        return told(outbox.look_later, one, later_us, why, found_nothing=False)
    return told(outbox.in_doubt, one, later_us, why, details=details)


def looked(one: Posting, ack: Acknowledgement | None, later_us: int, *, reliable: bool) -> Outcome:
    """After a lookup. Absence is no proof: it counts from the second time on, and only where lookups are reliable."""
    if ack is not None:
        return told(outbox.acknowledged, one, ack)
    if one.lookups + 1 < EMPTY_LOOKUPS:
        return told(outbox.look_later, one, later_us, "no document carries the key", found_nothing=True)
    if not reliable:
        return told(outbox.doubtful, one, "two lookups found nothing, and this target's lookup is no proof")
    if one.attempts >= MOST_TRIES:
        why = f"sent {one.attempts} times: no clear answer, and no document came of it"
        return told(outbox.doubtful, one, why)
    return told(outbox.send_again, one)
