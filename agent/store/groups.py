"""Groups: postings of one decision that are sent strictly one after the other, over however many targets.

    first ──acknowledged──▶ second ──acknowledged──▶ third …
      │ refused · expired              │ dead: the rest waits for what a person does about it
      ▼                                ▼
    the rest is refused, too         replayed: it goes on · refused: the rest is refused, too

What comes behind the first is written in the same transaction, held for nothing but that (`FOLLOWS`). It goes by itself
when the one before it is booked (or was a dry run). Where a person must look, what is approved is the first: the hash
that is signed covers the whole group. What was booked before a member that is refused is taken back by nobody but a
person (`gatepost reverse`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

import apsw

from agent.errors import Conflict
from agent.store.encode import encode, readable
from agent.store.transaction import Transaction

FOLLOWS: Final = "waits for the posting before it in its group"
ONLY_FOLLOWS: Final = encode([FOLLOWS])  # the column `reasons` of what waits for nothing else
DONE: Final = ("acknowledged", "simulated")  # what lets the next one go
ENDED: Final = (*DONE, "refused", "superseded")
_MEMBERS: Final = (  # of the group of ?1, in their order; what has been archived was done
    "SELECT posting.id, kind, target, ordering_key, state, CAST(payload AS BLOB), payload_hash, value, document, "
    "member.place FROM member JOIN posting ON posting.id = member.posting_id "
    "WHERE member.first = (SELECT first FROM member WHERE posting_id = ?1) ORDER BY member.place"
)


class Member(NamedTuple):
    """One posting of a group, as its group shows it."""

    id: int
    kind: str
    target: str
    ordering_key: str
    state: str
    payload: Any
    payload_hash: bytes
    value: str
    document: str | None
    place: int


def add(tx: Transaction, members: Iterable[tuple[int, int, int]]) -> None:
    """Remember who follows whom: posting, first of its group, place in it."""
    tx.executemany("INSERT INTO member (posting_id, first, place) VALUES (?, ?, ?)", members)


def replace(tx: Transaction, old: int, new: int) -> None:
    """A corrected posting takes the place of the one that it replaces."""
    tx.execute("UPDATE member SET posting_id = ? WHERE posting_id = ?", (new, old))


def members(connection: apsw.Connection, posting_id: int) -> list[Member]:
    """The group of this posting in its order; empty: it stands alone."""
    rows: list[Any] = connection.execute(_MEMBERS, (posting_id,)).fetchall()
    return [Member(*row)._replace(payload=readable(row[5])) for row in rows]


def behind(connection: apsw.Connection, posting_id: int) -> list[Member]:
    """What follows this posting in its group and has not gone yet."""
    group = members(connection, posting_id)
    place = next((one.place for one in group if one.id == posting_id), None)
    return [one for one in group if place is not None and one.place > place and one.state == "held"]


def before(connection: apsw.Connection, posting_id: int) -> Member | None:
    """What this posting waits for: the first of its group that is not booked yet and stands before it."""
    for one in members(connection, posting_id):
        if one.id == posting_id:
            return None
        if one.state not in DONE:
            return one
    return None


def require_turn(tx: Transaction, posting_id: int) -> None:
    """A group is decided as one. Raises Conflict, naming what to decide about instead."""
    first = before(tx.connection, posting_id)
    if first is not None:
        raise Conflict(
            f"posting {posting_id} is one of a group and waits for posting {first.id}, which is {first.state}: "
            f"decide about posting {first.id}, what follows it goes with it",
            state="held",
        )


def documents(connection: apsw.Connection, first: int, posting_id: int) -> dict[str, str]:
    """Kind → document of what was booked before this posting in its group."""
    return dict(
        connection.execute(
            "SELECT kind, document FROM member JOIN posting ON id = posting_id WHERE first = ?1 "
            "AND document IS NOT NULL AND place < (SELECT place FROM member WHERE posting_id = ?2) ORDER BY place",
            (first, posting_id),
        )
    )


def record_hash(own: bytes, followers: Sequence[Member]) -> bytes:
    """What a signature is bound to: the payload's SHA-256, of a group that over all that goes with it."""
    if not followers:
        return own
    return sha256(b"".join((own, *(one.payload_hash for one in followers)))).digest()


def shown(connection: apsw.Connection, posting_id: int) -> dict[str, Any] | None:
    """The group as people see it, with what it is worth from this posting on; None: it stands alone."""
    group = members(connection, posting_id)
    if not group:
        return None
    waits_for = before(connection, posting_id)
    own = next(one.state for one in group if one.id == posting_id)
    goes = behind(connection, posting_id) if own not in ENDED else []
    return {
        "postings": [
            {
                "id": one.id, "kind": one.kind, "target": one.target, "state": one.state, "value": one.value,
                "document": one.document, "payload": one.payload,
            }
            for one in group
        ],
        "waits_for": waits_for.id if waits_for else None,
        "goes_with_it": [one.id for one in goes],
    }  # fmt: skip
