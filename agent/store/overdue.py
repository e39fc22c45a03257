"""Held postings that nobody decides about: first somebody else is told, in the end they are refused, both on record."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import apsw

from agent.errors import Conflict
from agent.store import outbox
from agent.store.encode import encode, to_us
from agent.store.groups import ONLY_FOLLOWS
from agent.store.postings import WAITS
from agent.store.transaction import Transaction

PIECE: Final = 100  # postings per commit
WAITING: Final = (  # what only waits for others is theirs
    "posting INDEXED BY posting_held WHERE state = 'held' AND workflow = ? AND changed_us < ? AND reasons NOT IN (?, ?)"
)
NOT_TOLD: Final = "NOT EXISTS (SELECT 1 FROM escalation WHERE posting_id = posting.id AND at_us >= posting.changed_us)"


def overdue(connection: apsw.Connection, workflow: str, now: datetime, hours: float, *, told: bool) -> list[int]:
    """Postings of a workflow that nobody has touched for so many hours; without `told` those not escalated yet."""
    before = to_us(now - timedelta(hours=hours))
    which = WAITING if told else f"{WAITING} AND {NOT_TOLD}"
    rows: list[Any] = list(
        connection.execute(
            f"SELECT id FROM {which} ORDER BY id LIMIT {PIECE}",  # noqa: S608  # own columns
            (workflow, before, encode([WAITS]), ONLY_FOLLOWS),
        )
    )
    return [row[0] for row in rows]


def escalate(tx: Transaction, postings: list[int], hours: float) -> None:
    """Tell somebody else: an alarm for each, and a mark on the board."""
    for posting_id in postings:
        tx.execute("INSERT OR REPLACE INTO escalation (posting_id, at_us) VALUES (?, ?)", (posting_id, tx.now_us))
        why = {"why": f"nobody has decided about it for {hours:g} hours"}
        tx.audit("escalated", why, posting_id=posting_id, alarm=True)


def expire(tx: Transaction, postings: list[int], hours: float) -> list[int]:
    """Never post them: nobody decided in time. Returns which; what somebody decided meanwhile stays as it is."""
    expired = []
    for posting_id in postings:
        try:
            outbox.expire(tx, posting_id, f"nobody has decided about it for {hours:g} hours: it is never posted")
        except Conflict:  # a person was faster
            continue
        expired.append(posting_id)
    return expired
