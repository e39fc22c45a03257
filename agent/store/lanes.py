"""The queue per ordering key: one row a lane keeps its head, so that claiming costs the same with any backlog.

A posting joins its lane when it becomes ready, at the end; only the head may be sent. A dead or doubtful head blocks
its lane and no other. Lanes are kept in the transactions that change postings.
"""

from __future__ import annotations

from typing import Any

import apsw

from agent.ports import Posting
from agent.store.transaction import Transaction

BLOCKING = ("dead", "doubtful")  # what stays at the head of its lane until a person decides
LONGEST_WAIT_US = 3_600_000_000  # no ERP is waited for longer than an hour
JOIN = (  # the first of a lane becomes its head, the others wait behind it
    "INSERT INTO lane (target, ordering_key, head, head_seq, line, state) VALUES (?, ?, ?, ?, ?, 'ready') "
    "ON CONFLICT (target, ordering_key) DO NOTHING"
)
OPEN = "FROM posting WHERE target = ?1 AND ordering_key = ?2 AND lane_seq IS NOT NULL"  # what is in a lane
CLOSE = f"DELETE FROM lane WHERE target = ?1 AND ordering_key = ?2 AND NOT EXISTS (SELECT 1 {OPEN})"  # noqa: S608
ADVANCE = (
    "UPDATE lane SET (head, head_seq, line, state, next_us) = (SELECT id, lane_seq, line, CASE state "  # noqa: S608
    "WHEN 'ready' THEN 'ready' WHEN 'in_doubt' THEN 'ready' WHEN 'sending' THEN 'busy' ELSE 'blocked' END, next_us "
    f"{OPEN} ORDER BY lane_seq LIMIT 1) WHERE target = ?1 AND ordering_key = ?2"
)
CLAIMABLE = (  # ?1 target, ?2 now
    "lane.target = ?1 AND lane.state = 'ready' AND lane.next_us <= ?2 "
    "AND NOT EXISTS (SELECT 1 FROM pause WHERE scope = 'target' AND key = ?1) "
    "AND NOT EXISTS (SELECT 1 FROM pause WHERE scope = 'target' AND key = '*') "
    "AND NOT EXISTS (SELECT 1 FROM pause WHERE scope = 'line' AND key = lane.line) "
    "AND NOT EXISTS (SELECT 1 FROM pause WHERE scope = 'order' AND key = lane.ordering_key)"
)


def join(tx: Transaction, target: str, ordering_key: str, posting_id: int, lane_seq: int, line: str) -> None:
    """Put a posting that became ready in line: first in a new lane, last in one that is there."""
    tx.execute(JOIN, (target, ordering_key, posting_id, lane_seq, line))


def advance(tx: Transaction, target: str, ordering_key: str) -> None:
    """Give the lane its next head, or close it; the head's state is the lane's."""
    tx.execute(CLOSE, (target, ordering_key))
    if tx.connection.changes() == 0:  # something waits: the usual end of a lone posting is one statement
        tx.execute(ADVANCE, (target, ordering_key))


def is_head(tx: Transaction, one: Posting) -> bool:
    """What leaves from behind the head must not touch the lane: its head may be under way."""
    row = tx.execute(
        "SELECT 1 FROM lane WHERE target = ? AND ordering_key = ? AND head = ?", (one.target, one.ordering_key, one.id)
    )
    return row.fetchone() is not None


def blocked_by(connection: apsw.Connection, target: str, ordering_key: str) -> tuple[int, str] | None:
    """Posting and state of the head that blocks this lane until a person decides; None: it is not blocked."""
    row: Any = connection.execute(
        "SELECT head, posting.state FROM lane JOIN posting ON posting.id = head "
        "WHERE lane.target = ? AND lane.ordering_key = ? AND lane.state = 'blocked'", (target, ordering_key)
    ).fetchone()  # fmt: skip
    return (row[0], row[1]) if row else None


def hold(tx: Transaction, target: str, ordering_key: str) -> None:
    """The head is under way: nobody else claims it."""
    tx.execute("UPDATE lane SET state = 'busy' WHERE target = ? AND ordering_key = ?", (target, ordering_key))


def can_claim(connection: apsw.Connection, target: str, now_us: int) -> bool:
    """Whether a claim would find something: asked first, because a claim is a commit."""
    row = connection.execute(f"SELECT 1 FROM lane WHERE {CLAIMABLE} LIMIT 1", (target, now_us)).fetchone()  # noqa: S608
    return row is not None


def next_due(connection: apsw.Connection, target: str, now_us: int) -> int | None:
    """When the next lane that waits for its time may go on, in microseconds since 1970 UTC."""
    row: Any = connection.execute(
        "SELECT min(next_us) FROM lane WHERE target = ? AND state = 'ready' AND next_us > ?", (target, now_us)
    ).fetchone()
    return row[0] if row else None


def cap_timers(tx: Transaction, longest_us: int) -> None:
    """A clock that was ahead when a wait began must not make it last for weeks."""
    tx.execute(
        "UPDATE posting SET next_us = min(next_us, ?) WHERE id IN (SELECT head FROM lane WHERE next_us > 0)",
        (tx.now_us + longest_us,),
    )
    tx.execute("UPDATE lane SET next_us = ?1 WHERE next_us > ?1", (tx.now_us + longest_us,))


def shift_timers(tx: Transaction, by_us: int) -> None:
    """The wall clock jumped by this much: waits last as long as they were meant to."""
    tx.execute(  # only the head of a lane has a time to wait for
        "UPDATE posting SET next_us = max(1, next_us + ?) WHERE id IN (SELECT head FROM lane WHERE next_us > 0)",
        (by_us,),
    )
    tx.execute("UPDATE lane SET next_us = max(1, next_us + ?1) WHERE next_us > 0", (by_us,))
