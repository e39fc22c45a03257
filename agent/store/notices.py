"""What people were told about which cause, when, and who is next where nobody reacts.

A row per target and cause. The same cause within its time is told once. A notification that waits for a reaction has
`due_us`; a person who acts on its event, or says that they have seen it, ends that, and so does the end of what was
held of it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import apsw

from agent.errors import Conflict, NotFound
from agent.ports import Kind
from agent.store import postings
from agent.store.postings import NewPosting
from agent.store.transaction import Transaction

PIECE: Final = 100  # per commit
KEPT_US: Final = 8 * 24 * 3_600_000_000  # longer than the longest time in which a cause is told once


class Due(NamedTuple):
    """A notification that nobody has reacted to in its time."""

    target: str
    cause: str
    posting_id: int
    at_us: int


def unsaid(tx: Transaction, news: list[NewPosting], fresh: set[tuple[str, str]]) -> list[NewPosting]:
    """Without notifications whose cause was told a moment ago; `fresh` grows by those that stay.

    One beside a group is no member of it (see `agent.judging.judge`): it goes at once, and is told,
    or not, like any other.
    """
    kept = []
    for new in news:
        if new.tells is not None:
            told = (new.target, new.tells.cause)
            if new.tells.within_us and (told in fresh or _told(tx, new)):
                continue
            fresh.add(told)
        kept.append(new)
    return kept


def _told(tx: Transaction, new: NewPosting) -> bool:
    if new.tells is None:
        return False
    row: Any = tx.execute(
        "SELECT at_us FROM notice WHERE target = ? AND cause = ?", (new.target, new.tells.cause)
    ).fetchone()
    return row is not None and 0 <= tx.now_us - row[0] < new.tells.within_us


def remember(tx: Transaction, posting_id: int, new: NewPosting) -> None:
    """It is told from now on; after its time without a reaction somebody else is."""
    if new.tells is None:
        return
    due = tx.now_us + new.tells.escalate_us if new.tells.escalate_us else None
    tx.execute(
        "INSERT OR REPLACE INTO notice (target, cause, posting_id, at_us, due_us) VALUES (?, ?, ?, ?, ?)",
        (new.target, new.tells.cause, posting_id, tx.now_us, due),
    )


def tell(tx: Transaction, new: NewPosting) -> int | None:
    """Write one notification, unless its cause was told a moment ago; returns its posting."""
    known = tx.execute("SELECT 1 FROM idempotency WHERE idempotency_key = ?", (new.idempotency_key,)).fetchone()
    if known or _told(tx, new):
        return None
    posting_id, _ = postings.add(tx, new)
    remember(tx, posting_id, new)
    return posting_id


def due(connection: apsw.Connection, now_us: int) -> list[Due]:
    """Notifications whose time is over, the longest first; whether somebody reacted is asked in the commit."""
    rows: list[Any] = connection.execute(
        "SELECT target, cause, posting_id, at_us FROM notice INDEXED BY notice_due "
        "WHERE due_us IS NOT NULL AND due_us <= ? ORDER BY due_us LIMIT ?",
        (now_us, PIECE),
    ).fetchall()
    return [Due(*row) for row in rows]


def reacted(tx: Transaction, one: Due) -> bool:
    """Whether a person acted on its event, or on a posting of it, since; or nothing of it waits for one any more."""
    found: Any = tx.execute("SELECT event_id FROM posting WHERE id = ?", (one.posting_id,)).fetchone()
    if found is None or found[0] is None:
        return found is None  # archived: long over
    (event,) = found
    acts: Any = tx.execute(
        "SELECT EXISTS (SELECT 1 FROM audit WHERE event_id = ?1 AND actor <> 'agent' AND at_us >= ?2) OR EXISTS ("
        "SELECT 1 FROM audit WHERE posting_id IN (SELECT id FROM posting WHERE event_id = ?1) "
        "AND actor <> 'agent' AND at_us >= ?2)",
        (event, one.at_us),
    ).get
    held: Any = tx.execute(
        "SELECT count(*) FILTER (WHERE state IN ('held', 'dead', 'doubtful')), "
        "EXISTS (SELECT 1 FROM audit WHERE event_id = ?1 AND action = 'decided' "
        "AND json_extract(detail, '$.route') = 'held') "
        "FROM posting WHERE event_id = ?1 AND kind <> ?2",
        (event, Kind.NOTIFICATION.value),
    ).fetchone()
    still, was_held = held
    return bool(acts) or (bool(was_held) and not still)


def over(tx: Transaction, target: str, cause: str) -> None:
    """It is no more so: nobody else need be told, whether somebody reacted or not."""
    tx.execute("UPDATE notice SET due_us = NULL WHERE target = ? AND cause = ?", (target, cause))


def settle(tx: Transaction, one: Due) -> None:
    """Nobody else need be told about it."""
    tx.execute(
        "UPDATE notice SET due_us = NULL WHERE target = ? AND cause = ? AND posting_id = ?",
        (one.target, one.cause, one.posting_id),
    )


def seen(tx: Transaction, posting_id: int, *, by: str, reason: str) -> None:
    """A person says that they have seen a notification: nobody else is told. Raises NotFound, Conflict."""
    row: Any = tx.execute("SELECT kind, state, version, event_id FROM posting WHERE id = ?", (posting_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no posting {posting_id}")
    kind, state, version, event = row
    if kind != Kind.NOTIFICATION:
        what = kind.replace("_", " ")
        raise Conflict(f"posting {posting_id} is a {what}, no notification", state=state, version=version)
    tx.execute("UPDATE notice SET due_us = NULL WHERE posting_id = ?", (posting_id,))
    tx.audit("seen", {"reason": reason}, actor=by, event_id=event, posting_id=posting_id)


def forget(tx: Transaction) -> None:
    """Causes that were told so long ago that they would be told anew."""
    tx.execute("DELETE FROM notice WHERE due_us IS NULL AND at_us < ?", (tx.now_us - KEPT_US,))
