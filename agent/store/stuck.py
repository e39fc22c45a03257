"""Postings that block their lane until a person acts: the ERP refused them, or nobody knows whether it booked them."""

from __future__ import annotations

from typing import Final

import apsw

from agent.ports import Kind
from agent.store.overdue import NOT_TOLD, PIECE
from agent.store.transaction import Transaction

UNTOLD: Final = (  # a notification that could not be told is not told about
    "SELECT id FROM posting INDEXED BY posting_state "  # noqa: S608  # own columns
    "WHERE state <> 'acknowledged' AND state IN ('dead', 'doubtful') AND workflow = ? "
    f"AND kind <> '{Kind.NOTIFICATION.value}' AND {NOT_TOLD} ORDER BY id LIMIT {PIECE}"
)


def untold(connection: apsw.Connection, workflow: str) -> list[int]:
    """Dead and doubtful postings of a workflow that nobody was told about since they are so, the oldest first."""
    return [row[0] for row in connection.execute(UNTOLD, (workflow,))]


def told(tx: Transaction, posting_id: int) -> None:
    """Somebody is told about it; once, also by a clock that was set back since it became so."""
    tx.execute(
        "INSERT OR REPLACE INTO escalation (posting_id, at_us) "
        "SELECT id, max(changed_us, ?) FROM posting WHERE id = ?", (tx.now_us, posting_id)
    )  # fmt: skip
