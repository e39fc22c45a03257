"""Postings: what the ERP shall do, each exactly once, in order per ordering key.

        ┌──────────────────── held ───▶ refused · superseded
        │  approve             ▲
        ▼                      │ authority tightened
  ┌▶ ready ────────────────────┴──▶ refused · simulated (dry-run)
  │     │ claim: on disk before the first byte leaves
  │     ▼
  ├─ sending ─────────▶ acknowledged          (nothing was sent: back to ready)
  │     │    └────────▶ dead ──▶ ready (replayed by a named person) · refused
  │     ▼
  │  in_doubt ────────▶ acknowledged · sending (after two empty lookups, where the lookup is reliable)
  │     ▼
  └─ doubtful ────────▶ acknowledged (a person names the document) · refused

A lane is the queue of one ordering key at one target; only its head may be sent. A posting joins its lane when it
becomes ready. `lane` keeps the head of each, in the same transactions, so that claiming costs the same with a
million postings waiting. A dead or doubtful head blocks its lane and no other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import sha256
from typing import Any

import apsw

from agent.errors import Conflict, NotFound
from agent.ports import Acknowledgement, Kind, Posting
from agent.store.encode import encode, from_us, readable
from agent.store.keys import request_id
from agent.store.writer import Transaction

COLUMNS = (
    "id, event_id, kind, target, ordering_key, idempotency_key, CAST(payload AS BLOB), state, version, created_us, "
    "attempts, lookups, first_sent_us, last_sent_us, request_id, wire, workflow, line, value, check_first, approved, "
    "waits, payload_hash"
)


LONGEST_WAIT_US = 3_600_000_000  # no ERP is waited for longer than an hour
WAITS = "waits for the held postings of its order"


@dataclass(slots=True)
class NewPosting:
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


@dataclass(frozen=True, slots=True)
class Waiting:
    """A posting at the moment of its claim, with what authority must look at again."""

    posting: Posting
    workflow: str
    line: str
    value: Decimal
    check_first: bool
    approved: bool
    waits: bool  # not before what is held of its order
    intact: bool  # the payload is what was decided and signed, byte for byte


@dataclass(frozen=True, slots=True)
class Send:
    """Admit: send these bytes, the same at every retry."""

    wire: bytes


@dataclass(frozen=True, slots=True)
class Simulate:
    """Admit as a dry run: nothing leaves the box."""


@dataclass(frozen=True, slots=True)
class HoldBack:
    """Do not admit: authority has become tighter since the decision."""

    reasons: tuple[str, ...]


Admission = Send | Simulate | HoldBack
Admit = Callable[[Waiting], Admission]


# ── creation ────────────────────────────────────────────────────────────────────────────────────────────────


def add(tx: Transaction, new: NewPosting) -> tuple[int, str]:
    """Write one posting; see `add_all`."""
    return add_all(tx, [new])[0]


def add_all(tx: Transaction, news: Sequence[NewPosting]) -> list[tuple[int, str]]:
    """Write postings, each held or ready; returns their ids and states. A known key violates a constraint."""
    rows, lanes, made = [], [], []
    next_id = _last_id(tx)
    held_keys: set[str] = set()
    for new in news:
        next_id += 1
        state, reasons, lane_seq = "ready", new.reasons, None
        if reasons:
            state = "held"
        elif new.waits and (new.ordering_key in held_keys or _held_before(tx, new.ordering_key, None)):
            state, reasons = "held", (WAITS,)
        if state == "held":
            held_keys.add(new.ordering_key)
        else:
            lane_seq = tx.next_lane_seq()
            lanes.append((new.target, new.ordering_key, next_id, lane_seq, new.line))
        rows.append(_row(next_id, new, state, reasons, lane_seq, tx.now_us))
        made.append((next_id, state))
    tx.executemany(INSERT, rows)
    tx.executemany(
        "INSERT INTO idempotency (idempotency_key, posting_id) VALUES (?, ?)",
        [(new.idempotency_key, posting_id) for new, (posting_id, _) in zip(news, made, strict=True)],
    )
    tx.executemany(JOIN_LANE, lanes)
    tx.count("postings created", len(news))
    tx.count("postings ready", len(lanes))
    tx.count("postings held", len(news) - len(lanes))
    return made


INSERT = (
    "INSERT INTO posting (id, event_id, workflow, kind, target, ordering_key, line, idempotency_key, payload, "
    "payload_hash, value, confidence, reasons, policy, state, waits, check_first, lane_seq, supersedes, signers, "
    "created_us, changed_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
JOIN_LANE = (  # the first of a lane becomes its head, the others wait behind it
    "INSERT INTO lane (target, ordering_key, head, head_seq, line, state) VALUES (?, ?, ?, ?, ?, 'ready') "
    "ON CONFLICT (target, ordering_key) DO NOTHING"
)


def _row(
    posting_id: int, new: NewPosting, state: str, reasons: tuple[str, ...], lane_seq: int | None, now: int
) -> tuple[Any, ...]:
    payload = encode(new.payload)
    return (
        posting_id, new.event_id, new.workflow, new.kind, new.target, new.ordering_key, new.line,
        new.idempotency_key, payload, sha256(payload.encode()).digest(), f"{new.value:f}", new.confidence,
        encode(reasons) if reasons else "[]", new.policy, state, int(new.waits), int(new.check_first), lane_seq,
        new.supersedes, new.signers, now, now,
    )  # fmt: skip


def _last_id(tx: Transaction) -> int:
    row: Any = tx.execute("SELECT seq FROM sqlite_sequence WHERE name = 'posting'").fetchone()
    return row[0] if row else 0


def approved(tx: Transaction, posting_id: int, detail: Mapping[str, Any], *, by: str) -> None:
    """Enough people have signed a held posting: it joins its lane, and limits do not hold it again."""
    tx.execute("UPDATE posting SET approved = 1 WHERE id = ?", (posting_id,))
    _make_ready(tx, posting_id, "approved", detail, actor=by)


def _make_ready(transaction: Transaction, posting_id: int, action: str, detail: Any, *, actor: str) -> None:
    """Move a held posting to the end of its lane."""
    lane_seq = transaction.next_lane_seq()
    row = transaction.execute(
        "UPDATE posting SET state = 'ready', lane_seq = ?, version = version + 1, changed_us = ?, "
        "next_us = 0 WHERE id = ? AND state = 'held' RETURNING target, ordering_key, line, event_id",
        (lane_seq, transaction.now_us, posting_id),
    ).fetchone()
    if row is None:
        raise Conflict(f"posting {posting_id} is no longer held")
    target, ordering_key, line, event_id = row
    _moved(transaction, posting_id, event_id, "held", "ready", action, detail, actor=actor)
    _join_lane(transaction, target, ordering_key, posting_id, lane_seq, line)


def release_waiting(transaction: Transaction, ordering_key: str) -> None:
    """Let go of what only waited for the held postings before it."""
    held: list[Any] = transaction.execute(
        "SELECT id, reasons FROM posting WHERE state = 'held' AND ordering_key = ? AND waits = 1 ORDER BY id",
        (ordering_key,),
    ).fetchall()
    for posting_id, reasons in held:
        only_waited = json.loads(reasons) == [WAITS]
        if only_waited and not _held_before(transaction, ordering_key, posting_id):
            _make_ready(transaction, posting_id, "released", {"why": "nothing before it is held"}, actor="agent")


def _held_before(transaction: Transaction, ordering_key: str, posting_id: int | None) -> bool:
    return (
        transaction.execute(
            "SELECT 1 FROM posting WHERE state = 'held' AND ordering_key = ? AND id < ? LIMIT 1",
            (ordering_key, posting_id if posting_id is not None else 1 << 62),
        ).fetchone()
        is not None
    )


# ── lanes ───────────────────────────────────────────────────────────────────────────────────────────────────


def _join_lane(tx: Transaction, target: str, ordering_key: str, posting_id: int, lane_seq: int, line: str) -> None:
    tx.execute(JOIN_LANE, (target, ordering_key, posting_id, lane_seq, line))


def _advance_lane(tx: Transaction, target: str, ordering_key: str) -> None:
    """Give the lane its next head, or close it; the head's state is the lane's."""
    row = tx.execute(
        "SELECT id, lane_seq, line, state, next_us FROM posting WHERE target = ? AND ordering_key = ? "
        "AND state IN ('ready', 'sending', 'in_doubt', 'doubtful', 'dead') ORDER BY lane_seq LIMIT 1",
        (target, ordering_key),
    ).fetchone()
    if row is None:
        tx.execute("DELETE FROM lane WHERE target = ? AND ordering_key = ?", (target, ordering_key))
        return
    head, lane_seq, line, state, next_us = row
    lane = {"ready": "ready", "sending": "busy", "in_doubt": "ready"}.get(state, "blocked")
    tx.execute(
        "UPDATE lane SET head = ?, head_seq = ?, line = ?, state = ?, next_us = ? "
        "WHERE target = ? AND ordering_key = ?",
        (head, lane_seq, line, lane, next_us, target, ordering_key),
    )


def claim(tx: Transaction, target: str, limit: int, admit: Admit) -> list[Waiting]:
    """The heads that go to the ERP now, on disk as `sending` before a byte leaves (or `in_doubt`: to be looked up).

    `admit` is asked for each head that was never sent: it freezes the bytes, or holds the posting back.
    """
    claimed: list[Waiting] = []
    for posting_id, ordering_key in _heads(tx, target, limit):
        waiting = read(tx.connection, posting_id)
        if waiting.posting.state == "in_doubt":
            tx.execute("UPDATE lane SET state = 'busy' WHERE target = ? AND ordering_key = ?", (target, ordering_key))
            claimed.append(waiting)
            continue
        admission = _admission(tx, waiting, admit)
        if isinstance(admission, Send):
            claimed.append(_send(tx, waiting, admission))
        else:
            _keep_back(tx, waiting, admission)
    return claimed


def _admission(tx: Transaction, waiting: Waiting, admit: Admit) -> Admission:
    if not waiting.intact:
        return HoldBack(("its content is not what was decided: the file was changed or damaged; refuse it",))
    if waiting.waits and _held_before(tx, waiting.posting.ordering_key, waiting.posting.id):
        return HoldBack((WAITS,))  # what it depends on was held back after this was ready
    if waiting.posting.wire is None:
        return admit(_first(tx, waiting))
    admission = admit(waiting)  # authority may have become tighter since; the bytes stay what they were
    return Send(waiting.posting.wire) if isinstance(admission, Send) else admission


def _first(tx: Transaction, waiting: Waiting) -> Waiting:
    """The posting as it will be sent for the first time: its request id and time are part of the frozen bytes."""
    one = waiting.posting
    first = replace(one, request_id=request_id(one.idempotency_key), first_sent_at=from_us(tx.now_us))
    return replace(waiting, posting=first)


CLAIMABLE = (  # ?1 target, ?2 now
    "target = ?1 AND state = 'ready' AND next_us <= ?2 "
    "AND NOT EXISTS (SELECT 1 FROM pause WHERE (scope = 'target' AND key IN (?1, '*')) "
    "OR (scope = 'line' AND key = lane.line) OR (scope = 'order' AND key = lane.ordering_key))"
)


def _heads(tx: Transaction, target: str, limit: int) -> list[tuple[int, str]]:
    heads: list[Any] = tx.execute(
        f"SELECT head, ordering_key FROM lane WHERE {CLAIMABLE} ORDER BY head_seq LIMIT ?3",  # noqa: S608
        (target, tx.now_us, limit),
    ).fetchall()
    return heads


def _send(tx: Transaction, waiting: Waiting, admission: Send) -> Waiting:
    one, now = waiting.posting, from_us(tx.now_us)
    sent = replace(
        one,
        state="sending",
        version=one.version + 1,
        wire=admission.wire,
        request_id=one.request_id or request_id(one.idempotency_key),
        first_sent_at=one.first_sent_at or now,
        last_sent_at=now,
    )
    tx.execute(
        "UPDATE posting SET state = 'sending', wire = ?, request_id = ?, first_sent_us = coalesce(first_sent_us, ?), "
        "last_sent_us = ?, version = version + 1, changed_us = ? WHERE id = ? AND state = 'ready'",
        (sent.wire, sent.request_id, tx.now_us, tx.now_us, tx.now_us, one.id),
    )
    tx.execute("UPDATE lane SET state = 'busy' WHERE target = ? AND ordering_key = ?", (one.target, one.ordering_key))
    detail = {
        "request_id": sent.request_id,
        "try": one.attempts + 1,
        "wire_sha256": sha256(admission.wire).hexdigest(),
    }
    _moved(tx, one.id, one.event_id, "ready", "sending", "sending", detail)
    return replace(waiting, posting=sent)


def _keep_back(tx: Transaction, waiting: Waiting, admission: Simulate | HoldBack) -> None:
    one = waiting.posting
    if isinstance(admission, Simulate):
        _end(tx, one, "ready", "simulated", "simulated", {"why": "the posting kind is in dry-run"})
    else:
        _end(tx, one, "ready", "held", "held_back", {"reasons": admission.reasons}, reasons=admission.reasons)
        if admission.reasons != (WAITS,):  # to be signed anew
            tx.execute("UPDATE posting SET approved = 0, signed_by = '[]' WHERE id = ?", (one.id,))


# ── outcomes ────────────────────────────────────────────────────────────────────────────────────────────────


def acknowledged(tx: Transaction, one: Posting, ack: Acknowledgement, *, actor: str = "agent") -> None:
    """The ERP has it: keep the document and let the lane go on."""
    detail = {"document": ack.document, "found": ack.found, "warnings": list(ack.warnings), **dict(ack.details)}
    _end(tx, one, one.state, "acknowledged", "acknowledged", detail, document=ack.document, actor=actor,
         alarm=bool(ack.warnings))  # fmt: skip


def unsent(tx: Transaction, one: Posting, next_us: int, why: str) -> None:
    """Nothing left the box: wait until `next_us` and try again; waiting counts no attempt."""
    _change(tx, one, "sending", "ready", next_us)
    _moved(tx, one.id, one.event_id, "sending", "ready", "unsent", {"why": why, "not_before_us": next_us})
    _advance_lane(tx, one.target, one.ordering_key)


def in_doubt(
    tx: Transaction, one: Posting, next_us: int, why: str, *, details: Mapping[str, Any] | None = None
) -> None:
    """Sent, no answer: look for the document after `next_us`."""
    _change(tx, one, "sending", "in_doubt", next_us, attempts=one.attempts + 1)
    detail = {"why": why, "look_not_before_us": next_us, **(details or {})}
    _moved(tx, one.id, one.event_id, "sending", "in_doubt", "in_doubt", detail)
    _advance_lane(tx, one.target, one.ordering_key)


def look_later(tx: Transaction, one: Posting, next_us: int, why: str, *, found_nothing: bool) -> None:
    """The lookup found nothing, or could not be made: look again after `next_us`."""
    lookups = one.lookups + int(found_nothing)
    tx.execute(
        "UPDATE posting SET lookups = ?, next_us = ?, changed_us = ? WHERE id = ? AND state = 'in_doubt'",
        (lookups, next_us, tx.now_us, one.id),
    )
    action = "looked_in_vain" if found_nothing else "lookup_failed"
    tx.audit(action, {"why": why, "lookups": lookups}, event_id=one.event_id, posting_id=one.id)
    _advance_lane(tx, one.target, one.ordering_key)


def send_again(tx: Transaction, one: Posting) -> Posting:
    """Two empty lookups at a target whose lookup is reliable: the same bytes once more."""
    tx.execute(
        "UPDATE posting SET state = 'sending', lookups = 0, last_sent_us = ?, version = version + 1, changed_us = ? "
        "WHERE id = ? AND state = 'in_doubt'",
        (tx.now_us, tx.now_us, one.id),
    )
    _require_change(tx, one.id, "in_doubt")
    detail = {"request_id": one.request_id, "try": one.attempts + 1, "why": "two lookups found nothing"}
    _moved(tx, one.id, one.event_id, "in_doubt", "sending", "sending", detail)
    return read(tx.connection, one.id).posting


def doubtful(tx: Transaction, one: Posting, why: str) -> None:
    """Nobody but a person can tell: the lane waits."""
    _end(tx, one, "in_doubt", "doubtful", "doubtful", {"why": why}, error=why, alarm=True)


def dead(tx: Transaction, one: Posting, why: str, *, code: str = "", details: Mapping[str, Any] | None = None) -> None:
    """A real refusal in the ERP's own words: dead letter, the lane waits for a person."""
    detail = {"why": why, "code": code, **(details or {})}
    _end(tx, one, one.state, "dead", "dead", detail, error=f"{code}: {why}" if code else why, alarm=True)


def recover_sending(tx: Transaction, settle_us: Mapping[str, int]) -> int:
    """At start-up nobody knows what became of `sending`: look it up, after the target's settle time."""
    rows: list[Any] = tx.execute("SELECT id FROM posting WHERE state = 'sending' ORDER BY id").fetchall()
    for (posting_id,) in rows:
        one = read(tx.connection, posting_id).posting
        in_doubt(tx, one, tx.now_us + settle_us.get(one.target, 120_000_000), "the agent was stopped while it was sent")
    tx.execute("UPDATE lane SET state = 'ready' WHERE state = 'busy'")
    _cap_timers(tx, max(LONGEST_WAIT_US, *settle_us.values(), 0))
    return len(rows)


def _cap_timers(tx: Transaction, longest_us: int) -> None:
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


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────────


def replay(tx: Transaction, posting_id: int, *, by: str, reason: str) -> None:
    """A named person sends a dead letter again, unchanged. Raises NotFound, Conflict."""
    one = _expect(tx, posting_id, ("dead",), "replayed")
    _change(tx, one, "dead", "ready", 0)
    _moved(tx, one.id, one.event_id, "dead", "ready", "replayed", {"reason": reason}, actor=by)
    _advance_lane(tx, one.target, one.ordering_key)


def refuse(
    tx: Transaction, posting_id: int, *, by: str, reason: str, detail: Mapping[str, Any] | None = None,
    only: tuple[str, ...] = ("held", "ready", "dead", "doubtful"),
) -> None:  # fmt: skip
    """A person decides that this is never posted; the lane goes on. Raises NotFound, Conflict."""
    one = _expect(tx, posting_id, only, "refused")
    _end(tx, one, one.state, "refused", "refused", {"reason": reason, **(detail or {})}, actor=by)
    release_waiting(tx, one.ordering_key)


def name_document(tx: Transaction, posting_id: int, document: str, *, by: str, reason: str) -> None:
    """A person found the document of a doubtful posting in the ERP. Raises NotFound, Conflict."""
    one = _expect(tx, posting_id, ("doubtful",), "given a document")
    acknowledged(tx, one, Acknowledgement(document, found=True, details={"reason": reason}), actor=by)


def not_booked(tx: Transaction, posting_id: int, *, by: str, reason: str) -> None:
    """A person made sure that a doubtful posting is not in the ERP: send it. Raises NotFound, Conflict."""
    one = _expect(tx, posting_id, ("doubtful",), "sent again")
    _change(tx, one, "doubtful", "ready", 0)
    _moved(tx, one.id, one.event_id, "doubtful", "ready", "not_booked", {"reason": reason}, actor=by)
    _advance_lane(tx, one.target, one.ordering_key)


def supersede(tx: Transaction, posting_id: int, by_posting: int, *, by: str, reason: str) -> None:
    """A corrected posting takes the place of a held one. Raises NotFound, Conflict."""
    one = _expect(tx, posting_id, ("held",), "corrected")
    _end(tx, one, "held", "superseded", "superseded", {"by_posting": by_posting, "reason": reason}, actor=by)
    release_waiting(tx, one.ordering_key)


def _expect(tx: Transaction, posting_id: int, states: tuple[str, ...], what: str) -> Posting:
    one = read(tx.connection, posting_id).posting
    if one.state not in states:
        raise Conflict(
            f"posting {posting_id} is {one.state}; only {' or '.join(states)} can be {what}",
            by=last_actor(tx.connection, posting_id), version=one.version, state=one.state,
        )  # fmt: skip
    return one


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────


def read(connection: apsw.Connection, posting_id: int) -> Waiting:
    """One posting. Raises NotFound."""
    row = connection.execute(f"SELECT {COLUMNS} FROM posting WHERE id = ?", (posting_id,)).fetchone()  # noqa: S608  # column names of our own
    if row is None:
        raise NotFound(f"there is no posting {posting_id}")
    return _waiting(row)


def _waiting(row: tuple[Any, ...]) -> Waiting:
    (id, event_id, kind, target, key, idempotency_key, payload, state, version, created, attempts, lookups,
     first, last, request, wire, workflow, line, value, check_first, approved, waits, payload_hash) = row  # fmt: skip
    posting = Posting(
        id, event_id, Kind(kind), target, key, idempotency_key, readable(payload), state, version, from_us(created),
        attempts, lookups, from_us(first) if first else None, from_us(last) if last else None, request or "", wire,
    )  # fmt: skip
    intact = sha256(payload).digest() == payload_hash
    return Waiting(posting, workflow, line, Decimal(value), bool(check_first), bool(approved), bool(waits), intact)


def last_actor(connection: apsw.Connection, posting_id: int) -> str:
    """Who changed this posting last, by the audit trail."""
    row = connection.execute(
        "SELECT actor FROM audit WHERE posting_id = ? ORDER BY seq DESC LIMIT 1", (posting_id,)
    ).fetchone()
    return row[0] if row else ""


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


def _change(tx: Transaction, one: Posting, old: str, new: str, next_us: int, *, attempts: int | None = None) -> None:
    tx.execute(
        "UPDATE posting SET state = ?, next_us = ?, attempts = ?, lookups = 0, version = version + 1, changed_us = ? "
        "WHERE id = ? AND state = ?",
        (new, next_us, one.attempts if attempts is None else attempts, tx.now_us, one.id, old),
    )
    _require_change(tx, one.id, old)


def _end(
    tx: Transaction, one: Posting, old: str, new: str, action: str, detail: Mapping[str, Any], *,
    document: str | None = None, error: str | None = None, reasons: tuple[str, ...] | None = None,
    actor: str = "agent", alarm: bool = False,
) -> None:  # fmt: skip
    """Move a posting out of the way of its lane (or to its head's blocked state) and let the lane see it."""
    sent = int(old in ("sending", "in_doubt"))
    tx.execute(
        "UPDATE posting SET state = ?, document = ?, error = coalesce(?, error), reasons = coalesce(?, reasons), "
        "attempts = attempts + ?, version = version + 1, changed_us = ? WHERE id = ? AND state = ?",
        (new, document, error, encode(reasons) if reasons is not None else None, sent, tx.now_us, one.id, old),
    )
    _require_change(tx, one.id, old)
    _moved(tx, one.id, one.event_id, old, new, action, detail, actor=actor, alarm=alarm)
    if old != "held" and (old != "ready" or _is_head(tx, one)):
        _advance_lane(tx, one.target, one.ordering_key)


def _is_head(tx: Transaction, one: Posting) -> bool:
    """What leaves from behind the head must not touch the lane: its head may be under way."""
    row = tx.execute(
        "SELECT 1 FROM lane WHERE target = ? AND ordering_key = ? AND head = ?", (one.target, one.ordering_key, one.id)
    )
    return row.fetchone() is not None


def _require_change(tx: Transaction, posting_id: int, old: str) -> None:
    if tx.connection.changes() != 1:
        raise Conflict(f"posting {posting_id} is no longer {old}", by=last_actor(tx.connection, posting_id))


def _moved(
    tx: Transaction, posting_id: int, event_id: int | None, old: str, new: str, action: str, detail: Any, *,
    actor: str = "agent", alarm: bool = False,
) -> None:  # fmt: skip
    tx.count(f"postings {old}", -1)
    tx.count(f"postings {new}")
    tx.audit(action, detail, actor=actor, event_id=event_id, posting_id=posting_id, alarm=alarm)
