"""What people decide about held postings: compare-and-set on the version they saw, signed, told apart from a repeat."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import apsw

from agent.access.signing import known_as
from agent.errors import Conflict, NotFound
from agent.ports import Kind
from agent.store import groups, outbox, reversals
from agent.store.encode import encode, from_us, readable
from agent.store.postings import held_before
from agent.store.transaction import Act, Transaction

AGENT = "agent"  # the actor of what nobody did
_SAID = {"signed": "signed for the first time", "superseded": "replaced by a correction"}


@dataclass(frozen=True, slots=True)
class Signature:
    """Who decided, meaning what, and why (21 CFR 11.50); bound to the SHA-256 of the record that was shown."""

    by: str
    meaning: str  # "approve" or "refuse"
    reason: str
    roles: tuple[str, ...] = ()
    session: str = ""
    record_hash: str = ""  # SHA-256 of the payload that was shown; empty: the caller did not say
    more: Mapping[str, Any] = field(default_factory=dict)  # what else is kept of it, as a gateway tells it


def decide(
    tx: Transaction, posting_id: int, expected_version: int, signature: Signature, four_eyes: Collection[str] = ()
) -> Mapping[str, Any]:
    """Approve or refuse one held posting. Raises NotFound, and Conflict naming who was first.

    `four_eyes` are the workflows whose postings two people must approve by the rule of today: that counts also for
    what was held before the rule, and what was held under it keeps it.
    """
    require_held(tx, posting_id, expected_version)
    row: Any = tx.execute(
        "SELECT state, version, payload_hash, ordering_key, waits, signers, signed_by, workflow, kind, "
        "CAST(payload AS BLOB) FROM posting WHERE id = ?",
        (posting_id,),
    ).fetchone()
    state, version, payload_hash, ordering_key, waits, signers, signed_by, workflow, kind, payload = row
    signers = max(signers, 2 if workflow in four_eyes else 1)
    bound = groups.record_hash(payload_hash, groups.behind(tx.connection, posting_id)).hex()
    if signature.record_hash and signature.record_hash != bound:
        raise Conflict(
            f"posting {posting_id} is not what was shown when it was signed; look at it again",
            version=version,
            state=state,
        )
    detail = {
        "meaning": signature.meaning, "reason": signature.reason, "roles": list(signature.roles),
        "session": signature.session, "record_sha256": bound, "version": version, **signature.more,
    }  # fmt: skip
    if signature.meaning == "refuse":
        outbox.refuse(tx, posting_id, by=signature.by, reason=signature.reason, detail=detail)
        return {"id": posting_id, "state": "refused", "by": signature.by}
    _refuse_out_of_turn(tx, posting_id, ordering_key, waits=bool(waits))
    _refuse_taken_back(tx, posting_id, kind, readable(payload))
    if signers > 1 and reported(readable(payload), signature.by):
        raise Conflict(f"{signature.by} reported posting {posting_id}: another person must sign")
    signed = [*json.loads(signed_by), signature.by]
    if person(signature.by) in map(person, signed[:-1]):
        raise Conflict(f"{signature.by} has signed posting {posting_id} already; another person must", by=signature.by)
    tx.execute("UPDATE posting SET signed_by = ? WHERE id = ?", (encode(signed), posting_id))
    if len(signed) < signers:
        return _signed_once(tx, posting_id, signers, signature.by, detail)
    outbox.approved(tx, posting_id, detail, by=signature.by)
    outbox.release_waiting(tx, ordering_key)
    return {"id": posting_id, "state": "ready", "by": signature.by}


def require_held(tx: Transaction, posting_id: int, expected_version: int) -> None:
    """It waits for a person, as it was shown. Raises NotFound, and Conflict naming who was first."""
    row: Any = tx.execute("SELECT state, version FROM posting WHERE id = ?", (posting_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no posting {posting_id}; `gatepost approvals list` shows those that are held")
    state, version = row
    if state != "held":
        raise _decided(tx, posting_id, state, version)
    if version != expected_version:
        raise _changed(tx, posting_id, version, expected_version)
    groups.require_turn(tx, posting_id)


def person(actor: str) -> str:
    """Who signs: the same person, whether with a token of their own or through a gateway ("NAME via TOKEN")."""
    return known_as(actor.partition(" via ")[0])


def reported(payload: Mapping[str, Any], actor: str) -> bool:
    """Whether this person reported what the posting is about."""
    reporter = str(payload.get("personnel") or "")
    return bool(reporter) and known_as(reporter) == person(actor)


def _signed_once(
    tx: Transaction, posting_id: int, signers: int, by: str, detail: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Four eyes: the first signature is kept, the posting waits for another person's, whatever the rule is then."""
    tx.execute(
        "UPDATE posting SET version = version + 1, signers = ?, changed_us = ? WHERE id = ?",
        (signers, tx.now_us, posting_id),
    )
    tx.audit("signed", detail, actor=by, posting_id=posting_id)
    return {"id": posting_id, "state": "held", "by": by, "waits_for": "a second person's signature"}


def _decided(tx: Transaction, posting_id: int, state: str, version: int) -> Conflict:
    """Somebody was first: who, when, and what became of it."""
    act = tx.last_act(posting_id, of_a_person=True)
    about: Any = tx.execute("SELECT document, error FROM posting WHERE id = ?", (posting_id,)).fetchone()
    document, error = about
    now = f"it is {state} now" + (f", document {document}" if document else "")
    now += f": {error}" if state == "refused" and error else ""  # why the agent withdrew it
    told = f"posting {posting_id} waits for nobody"
    if act and act.actor != AGENT:
        told = f"posting {posting_id} was already decided by {act.actor}: {_what(act)} on {_when(act)}"
    return Conflict(
        f"nothing was changed: {told}, and {now}", by=act.actor if act else "", version=version, state=state
    )


def _changed(tx: Transaction, posting_id: int, version: int, expected: int) -> Conflict:
    """Still held, but not as it was shown: who did what meanwhile."""
    act = tx.last_act(posting_id)
    meanwhile = f"{_told(posting_id, act)}, after it was shown to you; it" if act else f"posting {posting_id}"
    return Conflict(
        f"nothing was changed: {meanwhile} is still held, now in version {version} ({expected} was shown). "
        f"Look at it again (gatepost approvals show {posting_id}), then decide",
        by=act.actor if act else "", version=version, state="held",
    )  # fmt: skip


def _told(posting_id: int, act: Act) -> str:
    who = "the agent" if act.actor == AGENT else act.actor
    return f"posting {posting_id} was {_what(act)} by {who} on {_when(act)}"


def _what(act: Act) -> str:
    return _SAID.get(act.action, act.action.replace("_", " "))


def _when(act: Act) -> str:
    return f"{from_us(act.at_us):%Y-%m-%d at %H:%M:%S} UTC"


def _refuse_out_of_turn(tx: Transaction, posting_id: int, ordering_key: str, *, waits: bool) -> None:
    """A final confirmation may not overtake the held consumption of its order."""
    if not waits:
        return
    first = held_before(tx, ordering_key, posting_id)
    if first is not None:
        raise Conflict(f"posting {posting_id} closes its operation: approve or refuse posting {first} first")


def _refuse_taken_back(tx: Transaction, posting_id: int, kind: str, payload: Mapping[str, Any]) -> None:
    """What somebody takes back already is not taken back a second time."""
    other = reversals.of(tx.connection, payload.get("of_key", "")) if kind == Kind.REVERSAL else None
    if other is not None:
        raise Conflict(
            f"posting {other} takes back {payload['document']} already: refuse posting {posting_id}, or look with "
            f"gatepost trace posting:{other}",
            by=tx.last_actor(other),
        )  # fmt: skip


def show(connection: apsw.Connection, posting_id: int) -> dict[str, Any]:
    """One posting as a person decides about it. Raises NotFound."""
    row = connection.execute(f"SELECT {SHOWN} FROM posting WHERE id = ?", (posting_id,)).fetchone()  # noqa: S608  # own columns
    if row is None:
        raise NotFound(f"there is no posting {posting_id}; `gatepost approvals list` shows those that are held")
    return with_group(connection, shown(row))


def with_group(connection: apsw.Connection, one: dict[str, Any]) -> dict[str, Any]:
    """With what belongs to it, where it is one of a group: what is signed is all that goes with it."""
    if one["group"] is None:
        return one
    followers = groups.behind(connection, one["id"])
    bound = groups.record_hash(bytes.fromhex(one["record_hash"]), followers).hex()
    return {**one, "group": groups.shown(connection, one["id"]), "record_hash": bound}


SHOWN = (
    "id, event_id, workflow, kind, target, ordering_key, line, CAST(payload AS BLOB), payload_hash, value, confidence, "
    "reasons, state, version, created_us, changed_us, attempts, document, error, idempotency_key, supersedes, waits, "
    "signers, signed_by, (SELECT first FROM member WHERE posting_id = id)"
)


def shown(row: tuple[Any, ...]) -> dict[str, Any]:
    """One row of SHOWN as a person reads it; of a group its number, see `with_group`."""
    (id, event_id, workflow, kind, target, ordering_key, line, payload, payload_hash, value, confidence, reasons,
     state, version, created, changed, attempts, document, error, key, supersedes, waits, signers,
     signed_by, group) = row  # fmt: skip
    return {
        "id": id, "event_id": event_id, "workflow": workflow, "kind": kind, "target": target,
        "ordering_key": ordering_key, "line": line, "payload": readable(payload), "record_hash": payload_hash.hex(),
        "value": value, "confidence": confidence, "reasons": json.loads(reasons), "state": state, "version": version,
        "created_at": from_us(created).isoformat(), "changed_at": from_us(changed).isoformat(), "attempts": attempts,
        "document": document, "error": error, "idempotency_key": key, "supersedes": supersedes, "waits": bool(waits),
        "signers": signers, "signed_by": json.loads(signed_by), "group": group,
    }  # fmt: skip


def first_reason(reasons: str) -> str:
    """What a posting is held for first, of the column's JSON."""
    return next(iter(json.loads(reasons)), "")


def once(tx: Transaction, key: str, request: Mapping[str, Any], act: Any) -> Any:
    """Do `act` once per `key`; the same request again gets the same answer. Raises Conflict for another request."""
    asked = sha256(encode(request).encode()).digest()
    row = tx.execute("SELECT request_hash, answer FROM command WHERE key = ?", (key,)).fetchone()
    if row is not None:
        if row[0] != asked:
            raise Conflict(f"the idempotency key {key!r} was used for another request; take a new one")
        return json.loads(row[1])
    answer = act()
    tx.execute(
        "INSERT INTO command (key, request_hash, answer, at_us) VALUES (?, ?, ?, ?)",
        (key, asked, encode(answer), tx.now_us),
    )
    return answer
