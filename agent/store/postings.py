"""What a posting is to the store: how it is made, and its row read back at its claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

import apsw
from pydantic_core import to_json

from agent.errors import NotFound
from agent.ports import Draft, Kind, Posting
from agent.store import bulk, groups, lanes
from agent.store.encode import encode, from_us, readable
from agent.store.keys import request_id
from agent.store.transaction import Transaction

COLUMNS = (
    "id, event_id, kind, posting.target, posting.ordering_key, idempotency_key, CAST(payload AS BLOB), posting.state, "
    "version, created_us, attempts, lookups, first_sent_us, last_sent_us, request_id, wire, workflow, posting.line, "
    "value, check_first, approved, waits, payload_hash, (SELECT first FROM member WHERE posting_id = posting.id)"
)
HEADS = (
    f"SELECT {COLUMNS} FROM lane JOIN posting ON posting.id = lane.head "  # noqa: S608  # column names of our own
    f"WHERE {lanes.CLAIMABLE} ORDER BY lane.head_seq LIMIT ?3"
)
WAITS = "waits for the held postings of its order"


class Tells(NamedTuple):
    """What a notification tells: its cause, for how long that is told once, and when who is next is told (0: never)."""

    cause: str
    within_us: int
    escalate_us: int


class NewPosting(NamedTuple):
    """A posting as the decision made it. `reasons` say why it is held; empty: it goes to its lane."""

    event_id: int | None
    workflow: str
    kind: Kind
    target: str
    ordering_key: str
    line: str
    idempotency_key: str
    payload: Mapping[str, Any]
    value: Decimal
    policy: str
    confidence: float | None = None
    reasons: tuple[str, ...] = ()
    waits: bool = False
    check_first: bool = False
    supersedes: int | None = None
    signers: int = 1  # how many different people must approve it while it is held
    follows: bool = False  # the posting before it, in its group: then it is held, whatever its reasons
    tells: Tells | None = None  # of a notification


class Waiting(NamedTuple):
    """A posting at the moment of its claim, with what authority must look at again."""

    posting: Posting
    workflow: str
    line: str
    value: Decimal
    check_first: bool
    approved: bool
    waits: bool  # not before what is held of its order
    intact: bool  # the payload is what was decided and signed, byte for byte
    together: Sequence[Draft] = ()  # what is decided as one: itself, or all of its group


def add(tx: Transaction, new: NewPosting) -> tuple[int, str]:
    """Write one posting; see `add_all`."""
    return add_all(tx, [new])[0]


def add_all(tx: Transaction, news: Sequence[NewPosting]) -> list[tuple[int, str]]:
    """Write postings, each held or ready; returns their ids and states. A known key violates a constraint.

    What follows the posting before it stands behind it in the list.
    """
    rows: list[tuple[Any, ...]] = []
    made: list[tuple[int, str]] = []
    joining: dict[tuple[str, str], tuple[Any, ...]] = {}  # the first of each lane: the others wait behind it
    held_keys: set[str] = set()
    members: list[tuple[int, int, int]] = []
    for next_id, new in enumerate(news, _last_id(tx) + 1):
        state, reasons, lane_seq = "ready", new.reasons, None
        if new.follows:
            state, reasons = "held", (groups.FOLLOWS,)
            members += _joined(next_id, members)
        elif reasons:
            state = "held"
        elif new.waits and (new.ordering_key in held_keys or held_before(tx, new.ordering_key, None) is not None):
            state, reasons = "held", (WAITS,)
        if state == "held":
            held_keys.add(new.ordering_key)
        else:
            lane_seq = tx.next_lane_seq()
            lane = new.target, new.ordering_key
            if lane not in joining:
                joining[lane] = (*lane, next_id, lane_seq, new.line)
        rows.append(_row(next_id, new, state, reasons, lane_seq, tx.now_us))
        made.append((next_id, state))
    bulk.run(tx.connection, INSERT, rows)
    bulk.run(
        tx.connection,
        "INSERT INTO idempotency (idempotency_key, posting_id) VALUES *",
        sorted([(new.idempotency_key, posting_id) for new, (posting_id, _) in zip(news, made, strict=True)]),
    )
    tx.executemany(lanes.JOIN, joining.values())
    if members:
        groups.add(tx, members)
    tx.count("postings created", len(news))
    for state, n in Counter([state for _, state in made]).items():
        tx.count(f"postings {state}", n)
    return made


def _joined(posting_id: int, members: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The rows that put a posting behind the one before it: posting, first of its group, place."""
    if members and members[-1][0] == posting_id - 1:
        _, first, place = members[-1]
        return [(posting_id, first, place + 1)]
    return [(posting_id - 1, posting_id - 1, 0), (posting_id, posting_id - 1, 1)]


INSERT = (
    "INSERT INTO posting (id, event_id, workflow, kind, target, ordering_key, line, idempotency_key, payload, "
    "payload_hash, value, confidence, reasons, policy, state, waits, check_first, lane_seq, supersedes, signers, "
    "created_us, changed_us) VALUES *"
)


def _row(
    posting_id: int, new: NewPosting, state: str, reasons: tuple[str, ...], lane_seq: int | None, now: int
) -> tuple[Any, ...]:
    (event_id, workflow, kind, target, ordering_key, line, key, payload, value, policy, confidence, _, waits,
     check_first, supersedes, signers, _, _) = new  # fmt: skip  # one by one by name takes three times as long
    text = to_json(payload)  # NaN and Infinity are refused by the column
    return (
        posting_id, event_id, workflow, kind, target, ordering_key, line, key, text.decode(), sha256(text).digest(),
        f"{value:f}", confidence, encode(reasons) if reasons else "[]", policy, state, waits, check_first, lane_seq,
        supersedes, signers, now, now,
    )  # fmt: skip


def _last_id(tx: Transaction) -> int:
    row: Any = tx.execute("SELECT seq FROM sqlite_sequence WHERE name = 'posting'").fetchone()
    return row[0] if row else 0


def held_before(tx: Transaction, ordering_key: str, posting_id: int | None) -> int | None:
    """The first of this ordering key that is held and stands before `posting_id` (None: anywhere).

    A correction stands where what it replaced stood.
    """
    row: Any = tx.execute(
        "SELECT posting.id, coalesce(mine.place, posting.id) AS place FROM posting "
        "LEFT JOIN correction AS mine ON mine.posting_id = posting.id WHERE state = 'held' AND ordering_key = ?1 AND "
        "coalesce(mine.place, posting.id) < coalesce((SELECT place FROM correction WHERE posting_id = ?2), ?2) "
        "ORDER BY 2 LIMIT 1",
        (ordering_key, posting_id if posting_id is not None else 1 << 62),
    ).fetchone()
    return row[0] if row else None


def read(connection: apsw.Connection, posting_id: int) -> Waiting:
    """One posting. Raises NotFound."""
    row = connection.execute(f"SELECT {COLUMNS} FROM posting WHERE id = ?", (posting_id,)).fetchone()  # noqa: S608  # column names of our own
    if row is None:
        raise NotFound(f"there is no posting {posting_id}")
    return _waiting(row)


def heads(tx: Transaction, target: str, limit: int) -> list[Waiting]:
    """The heads of lanes that may go now, in order of their places, each as it will be sent.

    What was never sent has its request id and time already: they are part of the bytes that are frozen next.
    """
    rows: list[Any] = tx.execute(HEADS, (target, tx.now_us, limit)).fetchall()
    return [_with_group(tx, _waiting(row, tx.now_us)) for row in rows]


def _with_group(tx: Transaction, one: Waiting) -> Waiting:
    """With what is decided as one with it, and the documents that were booked before it, where it is in a group."""
    posting = one.posting
    if posting.group is None:
        return one._replace(together=(Draft(posting.kind, posting.ordering_key, posting.payload, one.value),))
    members = groups.members(tx.connection, posting.id)
    together = [Draft(Kind(each.kind), each.ordering_key, each.payload, Decimal(each.value)) for each in members]
    known = groups.documents(tx.connection, posting.group, posting.id)
    return one._replace(posting=posting._replace(documents=known), together=together)


def _waiting(row: tuple[Any, ...], now_us: int | None = None) -> Waiting:
    (id, event_id, kind, target, key, idempotency_key, payload, state, version, created, attempts, lookups,
     first, last, request, wire, workflow, line, value, check_first, approved, waits, payload_hash,
     group) = row  # fmt: skip
    if now_us is not None:
        first, request = first or now_us, request or request_id(idempotency_key)
    posting = Posting(
        id, event_id, Kind(kind), target, key, idempotency_key, readable(payload), state, version, from_us(created),
        attempts, lookups, from_us(first) if first else None, from_us(last) if last else None, request or "", wire,
        group,
    )  # fmt: skip
    intact = sha256(payload).digest() == payload_hash
    return Waiting(posting, workflow, line, Decimal(value), bool(check_first), bool(approved), bool(waits), intact)
