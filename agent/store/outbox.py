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

What moves a posting also moves its lane (`lanes.py`), the running totals and the audit trail, in one tx.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from agent.errors import Conflict
from agent.ports import Acknowledgement, Posting
from agent.store import groups, lanes
from agent.store.encode import encode, from_us
from agent.store.postings import WAITS, Waiting, heads, held_before, read
from agent.store.transaction import Transaction


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


# ── into the lane ──────────────────────────────────────────────────────────────────────────────────────────────


def approved(tx: Transaction, posting_id: int, detail: Mapping[str, Any], *, by: str) -> None:
    """Enough people have signed a held posting: it joins its lane, and limits do not hold it again.

    What follows it in its group was signed with it.
    """
    followers = [one.id for one in groups.behind(tx.connection, posting_id)]
    tx.executemany("UPDATE posting SET approved = 1 WHERE id = ?", [(one,) for one in (posting_id, *followers)])
    told = {**detail, "goes_with_it": followers} if followers else detail
    _make_ready(tx, posting_id, "approved", told, actor=by)


def _make_ready(tx: Transaction, posting_id: int, action: str, detail: Any, *, actor: str) -> None:
    """Move a held posting to the end of its lane."""
    lane_seq = tx.next_lane_seq()
    row = tx.execute(
        "UPDATE posting SET state = 'ready', lane_seq = ?, version = version + 1, changed_us = ?, "
        "next_us = 0 WHERE id = ? AND state = 'held' RETURNING target, ordering_key, line, event_id",
        (lane_seq, tx.now_us, posting_id),
    ).fetchone()
    if row is None:
        raise Conflict(f"posting {posting_id} is no longer held")
    target, ordering_key, line, event_id = row
    _moved(tx, posting_id, event_id, "held", "ready", action, detail, actor=actor)
    lanes.join(tx, target, ordering_key, posting_id, lane_seq, line)


def release_waiting(tx: Transaction, ordering_key: str) -> None:
    """Let go of what only waited for the held postings before it."""
    held: list[Any] = tx.execute(
        "SELECT id, reasons FROM posting LEFT JOIN correction ON correction.posting_id = posting.id "
        "WHERE state = 'held' AND ordering_key = ? AND waits = 1 ORDER BY coalesce(place, id)",
        (ordering_key,),
    ).fetchall()
    for posting_id, reasons in held:
        only_waited = json.loads(reasons) == [WAITS]
        if only_waited and held_before(tx, ordering_key, posting_id) is None:
            _make_ready(tx, posting_id, "released", {"why": "nothing before it is held"}, actor="agent")


def _go_on(tx: Transaction, one: Posting) -> None:
    """What follows a posting in its group goes, now that it is booked (or was a dry run)."""
    if one.group is None:
        return
    follower = next(iter(groups.behind(tx.connection, one.id)), None)
    if follower is None:
        return
    waits: Any = tx.execute("SELECT waits FROM posting WHERE id = ?", (follower.id,)).get
    if waits and held_before(tx, follower.ordering_key, follower.id) is not None:
        tx.execute("UPDATE posting SET reasons = ? WHERE id = ?", (encode([WAITS]), follower.id))
        return
    _make_ready(tx, follower.id, "released", {"why": f"posting {one.id} before it in its group is done"}, actor="agent")
    release_waiting(tx, follower.ordering_key)


def _stop(tx: Transaction, one: Posting, action: str, why: str, *, by: str) -> None:
    """What follows a posting in its group is never posted: that posting is not."""
    if one.group is None:
        return
    for follower in groups.behind(tx.connection, one.id):
        detail = {"reason": why, "why": f"posting {one.id} before it in its group is never posted"}
        _end(tx, read(tx.connection, follower.id).posting, "held", "refused", action, detail, actor=by)
        release_waiting(tx, follower.ordering_key)


# ── claims ─────────────────────────────────────────────────────────────────────────────────────────────────────


def claim(tx: Transaction, target: str, limit: int, admit: Admit) -> list[Waiting]:
    """The heads that go to the ERP now, on disk as `sending` before a byte leaves (or `in_doubt`: to be looked up).

    `admit` is asked for each head that was never sent: it freezes the bytes, or holds the posting back.
    """
    claimed: list[Waiting] = []
    for waiting in heads(tx, target, limit):
        if waiting.posting.state == "in_doubt":
            lanes.hold(tx, target, waiting.posting.ordering_key)
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
    if waiting.waits and held_before(tx, waiting.posting.ordering_key, waiting.posting.id) is not None:
        return HoldBack((WAITS,))  # what it depends on was held back after this was ready
    admission = admit(waiting)  # authority may have become tighter since; bytes that were frozen stay what they were
    frozen = waiting.posting.wire
    return Send(frozen) if frozen is not None and isinstance(admission, Send) else admission


def _send(tx: Transaction, waiting: Waiting, admission: Send) -> Waiting:
    one, now = waiting.posting, from_us(tx.now_us)
    sent = one._replace(state="sending", version=one.version + 1, wire=admission.wire, last_sent_at=now)
    tx.execute(
        "UPDATE posting SET state = 'sending', wire = ?, request_id = ?, first_sent_us = coalesce(first_sent_us, ?), "
        "last_sent_us = ?, version = version + 1, changed_us = ? WHERE id = ? AND state = 'ready'",
        (sent.wire, sent.request_id, tx.now_us, tx.now_us, tx.now_us, one.id),
    )
    lanes.hold(tx, one.target, one.ordering_key)
    detail = {
        "request_id": sent.request_id,
        "try": one.attempts + 1,
        "wire_sha256": sha256(admission.wire).hexdigest(),
    }
    _moved(tx, one.id, one.event_id, "ready", "sending", "sending", detail)
    return waiting._replace(posting=sent)


def _keep_back(tx: Transaction, waiting: Waiting, admission: Simulate | HoldBack) -> None:
    one = waiting.posting
    if isinstance(admission, Simulate):
        _end(tx, one, "ready", "simulated", "simulated", {"why": "the posting kind is in dry-run"})
        _go_on(tx, one)
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
    _go_on(tx, one)


def unsent(tx: Transaction, one: Posting, next_us: int, why: str) -> None:
    """Nothing left the box: wait until `next_us` and try again; waiting counts no attempt."""
    _change(tx, one, "sending", "ready", next_us)
    _moved(tx, one.id, one.event_id, "sending", "ready", "unsent", {"why": why, "not_before_us": next_us})
    lanes.advance(tx, one.target, one.ordering_key)


def in_doubt(
    tx: Transaction, one: Posting, next_us: int, why: str, *, details: Mapping[str, Any] | None = None
) -> None:
    """Sent, no answer: look for the document after `next_us`."""
    _change(tx, one, "sending", "in_doubt", next_us, attempts=one.attempts + 1)
    detail = {"why": why, "look_not_before_us": next_us, **(details or {})}
    _moved(tx, one.id, one.event_id, "sending", "in_doubt", "in_doubt", detail)
    lanes.advance(tx, one.target, one.ordering_key)


def look_later(tx: Transaction, one: Posting, next_us: int, why: str, *, found_nothing: bool) -> None:
    """The lookup found nothing, or could not be made: look again after `next_us`."""
    lookups = one.lookups + int(found_nothing)
    tx.execute(
        "UPDATE posting SET lookups = ?, next_us = ?, changed_us = ? WHERE id = ? AND state = 'in_doubt'",
        (lookups, next_us, tx.now_us, one.id),
    )
    action = "looked_in_vain" if found_nothing else "lookup_failed"
    tx.audit(action, {"why": why, "lookups": lookups}, event_id=one.event_id, posting_id=one.id)
    lanes.advance(tx, one.target, one.ordering_key)


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
    _end(tx, one, one.state, "dead", "dead", detail, error=_in_its_words(why, code), alarm=True)


def _in_its_words(why: str, code: str) -> str:
    """What the ERP said, with its code once."""
    return why if not code or why.startswith(f"{code}:") else f"{code}: {why}"


SENDING = (  # by the index of what is not acknowledged, named by its own condition: the finished rows are not walked
    "SELECT id FROM posting INDEXED BY posting_state WHERE state <> 'acknowledged' AND state = 'sending' ORDER BY id"
)


def recover_sending(tx: Transaction, settle_us: Mapping[str, int]) -> int:
    """At start-up nobody knows what became of `sending`: look it up, after the target's settle time."""
    rows: list[Any] = tx.execute(SENDING).fetchall()
    for (posting_id,) in rows:
        one = read(tx.connection, posting_id).posting
        in_doubt(tx, one, tx.now_us + settle_us.get(one.target, 120_000_000), "the agent was stopped while it was sent")
    tx.execute("UPDATE lane SET state = 'ready' WHERE state = 'busy'")
    lanes.cap_timers(tx, max(lanes.LONGEST_WAIT_US, *settle_us.values(), 0))
    return len(rows)


_WHOLE: Final = (  # it stands alone, or is the first of its group; and no byte of it has left
    "attempts = 0 AND NOT EXISTS (SELECT 1 FROM member WHERE posting_id = posting.id AND place > 0)"
)
_OF_IT: Final = f"workflow = ?1 AND target = ?2 AND ordering_key = ?3 AND event_id < ?4 AND {_WHOLE}"
_UNSENT: Final = (  # each state by its own index
    f"SELECT id FROM posting WHERE state = 'held' AND {_OF_IT} UNION "  # noqa: S608  # own text
    f"SELECT id FROM posting WHERE lane_seq IS NOT NULL AND state = 'ready' AND {_OF_IT} ORDER BY id"
)

_UNSENT_OF_EVENT: Final = (
    f"SELECT id FROM posting WHERE event_id = ? AND kind <> 'notification' AND state IN ('held', 'ready') "  # noqa: S608  # own text
    f"AND {_WHOLE} ORDER BY id"
)


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────────


def replay(tx: Transaction, posting_id: int, *, by: str, reason: str) -> None:
    """A named person sends a dead letter again, unchanged. Raises NotFound, Conflict."""
    one = _expect(tx, posting_id, ("dead",), "replayed")
    _change(tx, one, "dead", "ready", 0)
    _moved(tx, one.id, one.event_id, "dead", "ready", "replayed", {"reason": reason}, actor=by)
    lanes.advance(tx, one.target, one.ordering_key)


def refuse(
    tx: Transaction, posting_id: int, *, by: str, reason: str, detail: Mapping[str, Any] | None = None,
    only: tuple[str, ...] = ("held", "ready", "dead", "doubtful"),
) -> None:  # fmt: skip
    """A person decides that this is never posted, nor what follows it in its group; the lane goes on.

    Raises NotFound, Conflict.
    """
    one = _expect(tx, posting_id, only, "refused")
    groups.require_turn(tx, posting_id)
    _end(tx, one, one.state, "refused", "refused", {"reason": reason, **(detail or {})}, actor=by)
    release_waiting(tx, one.ordering_key)
    _stop(tx, one, "refused", reason, by=by)


def expire(tx: Transaction, posting_id: int, why: str) -> None:
    """Nobody decided about a held posting in time: it is never posted. Raises NotFound, Conflict."""
    one = _expect(tx, posting_id, ("held",), "expired")
    _end(tx, one, "held", "refused", "expired", {"why": why}, error=why, alarm=True)
    release_waiting(tx, one.ordering_key)
    _stop(tx, one, "expired", why, by="agent")


def withdraw(tx: Transaction, workflow: str, target: str, ordering_key: str, event_id: int) -> None:
    """What this workflow proposed there by an earlier event, and nothing of it was sent, is never posted.

    Its event was decided again with another end: nobody shall sign, and nothing shall send, what is not so any more.
    """
    rows: list[Any] = tx.execute(_UNSENT, (workflow, target, ordering_key, event_id)).fetchall()
    why = f"event {event_id} is about the same and was decided otherwise"
    for (one,) in rows:
        _withdraw(tx, one, why, {"by_event": event_id})


def withdraw_proposed(tx: Transaction, event_id: int, why: str) -> None:
    """What was proposed by this event, and nothing of it was sent, is never posted: nothing of it is left to do."""
    rows: list[Any] = tx.execute(_UNSENT_OF_EVENT, (event_id,)).fetchall()
    for (one,) in rows:
        _withdraw(tx, one, why, {})


def _withdraw(tx: Transaction, posting_id: int, why: str, detail: Mapping[str, Any]) -> None:
    one = read(tx.connection, posting_id).posting
    _end(tx, one, one.state, "refused", "withdrawn", {"why": why, **detail}, error=why)
    release_waiting(tx, one.ordering_key)
    _stop(tx, one, "withdrawn", why, by="agent")


def name_document(tx: Transaction, posting_id: int, document: str, *, by: str, reason: str) -> None:
    """A person found the document of a doubtful posting in the ERP. Raises NotFound, Conflict."""
    one = _expect(tx, posting_id, ("doubtful",), "given a document")
    acknowledged(tx, one, Acknowledgement(document, found=True, details={"reason": reason}), actor=by)


def not_booked(tx: Transaction, posting_id: int, *, by: str, reason: str) -> None:
    """A person made sure that a doubtful posting is not in the ERP: send it. Raises NotFound, Conflict."""
    one = _expect(tx, posting_id, ("doubtful",), "sent again")
    _change(tx, one, "doubtful", "ready", 0)
    _moved(tx, one.id, one.event_id, "doubtful", "ready", "not_booked", {"reason": reason}, actor=by)
    lanes.advance(tx, one.target, one.ordering_key)


def supersede(tx: Transaction, posting_id: int, by_posting: int, *, by: str, reason: str) -> None:
    """A corrected posting takes the place of a held one. Raises NotFound, Conflict."""
    one = _expect(tx, posting_id, ("held",), "corrected")
    groups.replace(tx, posting_id, by_posting)
    _end(tx, one, "held", "superseded", "superseded", {"by_posting": by_posting, "reason": reason}, actor=by)
    release_waiting(tx, one.ordering_key)


def _expect(tx: Transaction, posting_id: int, states: tuple[str, ...], what: str) -> Posting:
    one = read(tx.connection, posting_id).posting
    if one.state not in states:
        raise Conflict(
            f"posting {posting_id} is {one.state}; only {' or '.join(states)} can be {what}",
            by=tx.last_actor(posting_id), version=one.version, state=one.state,
        )  # fmt: skip
    return one


# ── moves ──────────────────────────────────────────────────────────────────────────────────────────────────────


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
    sent = int(old == "sending")  # what is in doubt was counted when it was
    said = encode(reasons) if reasons is not None else None
    tx.execute(
        "UPDATE posting SET state = ?, document = ?, error = coalesce(?, error), reasons = coalesce(?, reasons), "
        "attempts = attempts + ?, lane_seq = iif(?, lane_seq, NULL), version = version + 1, changed_us = ? "
        "WHERE id = ? AND state = ?",
        (new, document, error, said, sent, new in lanes.BLOCKING, tx.now_us, one.id, old),
    )
    _require_change(tx, one.id, old)
    _moved(tx, one.id, one.event_id, old, new, action, detail, actor=actor, alarm=alarm)
    if old != "held" and (old != "ready" or lanes.is_head(tx, one)):
        lanes.advance(tx, one.target, one.ordering_key)


def _require_change(tx: Transaction, posting_id: int, old: str) -> None:
    if tx.connection.changes() != 1:
        raise Conflict(f"posting {posting_id} is no longer {old}", by=tx.last_actor(posting_id))


def _moved(
    tx: Transaction, posting_id: int, event_id: int | None, old: str, new: str, action: str, detail: Any, *,
    actor: str = "agent", alarm: bool = False,
) -> None:  # fmt: skip
    tx.count(f"postings {old}", -1)
    tx.count(f"postings {new}")
    tx.audit(action, detail, actor=actor, event_id=event_id, posting_id=posting_id, alarm=alarm)
