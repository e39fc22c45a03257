"""A person's signature at a gateway: challenged, bound to what was shown, authorised by role, on record if refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, TypeVar

from agent.access.callers import Identity, NoRight
from agent.access.envelope import SignatureRefused
from agent.access.rights import Action, Right, why_not_this, with_it
from agent.errors import BadPayload, Conflict, GatepostError, NotFound, StoreError
from agent.judging import accounting
from agent.people import approving, scrap_reasons
from agent.people.approving import Asked
from agent.people.desk import Desk
from agent.people.shown import Around, Record, record
from agent.ports import Kind
from agent.store import approvals, challenges, corrections
from agent.store.approvals import Signature
from agent.store.challenges import Bound
from agent.store.corrections import Corrected
from agent.store.transaction import Transaction

T = TypeVar("T")
AGAIN: Final = "look at the posting, then challenge and sign again: it is decided once at most"
_CODES: Final = ((NotFound, "not_found"), (Conflict, "conflict"), (BadPayload, "bad_request"))
_BECAME: Final = {
    ("approve", "ready"): "posting {id} is approved by {who}: it goes to the ERP",
    ("refuse", "refused"): "posting {id} is refused by {who}: it is never posted",
    ("correct", "ready"): "posting {id} takes the place of posting {supersedes}, approved by {who}: it goes to the ERP",
    ("approve", "held"): "posting {id} is signed by {who}; it waits for a second person's signature",
    ("correct", "held"): "posting {id} takes the place of posting {supersedes}, signed by {who}; "
    "it waits for a second person's signature",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, as the identity provider knows them."""

    user: str
    full_name: str
    roles: tuple[str, ...]
    idp: str


@dataclass(frozen=True, slots=True)
class Signed:
    """What somebody signed, word for word."""

    posting_id: int
    nonce: str
    version: int
    decision: str  # "approve", "refuse" or "correct"
    shown_sha256: str
    meaning: str
    reason: str
    comment: str
    signer: Signer
    session_user: str
    gateway: str
    signed_at: str
    changes: Mapping[str, str] = field(default_factory=dict)  # of a correction
    proven: bool = False  # the agent itself has checked who it is: no gateway stands between, so no nonce is needed


@dataclass(frozen=True, slots=True)
class Signatures:
    """What counts now: rights, what a record is made of, and what the ERP would refuse."""

    desk: Desk
    rights: Sequence[Right]
    around: Around
    refusals: Callable[[str, Kind, Mapping[str, Any]], Sequence[str]]  # target, kind, payload

    # ── challenge ───────────────────────────────────────────────────────────────────────────────────────

    async def challenge(self, asked: Bound, caller: Identity) -> Mapping[str, Any]:
        """A nonce for this decision about the posting as it is. Raises NotFound, Conflict, SignatureRefused."""

        def job(tx: Transaction) -> Mapping[str, Any]:
            shown = self._record(tx, asked.posting_id, asked.version, caller)
            given = asked.shown_sha256 or shown.hashes[0]
            _require_shown(shown, given)
            return challenges.issue(tx, _with_hash(asked, given))

        try:
            return await self.committed(job)
        except GatepostError as error:
            detail = {"decision": asked.decision, "session_user": asked.session_user, "version": asked.version}
            await self.refused(error, caller, asked.posting_id, {"step": "challenge", **detail})
            raise

    # ── sign ────────────────────────────────────────────────────────────────────────────────────────────

    async def sign(self, asked: Signed, caller: Identity) -> Mapping[str, Any]:
        """Do what was signed. Raises NotFound, Conflict, BadPayload, SignatureRefused; each is on record."""
        try:
            return await self.committed(lambda tx: self._sign(tx, asked, caller))
        except StoreError:  # nobody knows whether it counts: it may come yet, so nobody calls it refused
            raise
        except GatepostError as error:
            await self.refused(error, caller, asked.posting_id, told(asked), asked.nonce)
            raise

    def _sign(self, tx: Transaction, asked: Signed, caller: Identity) -> Mapping[str, Any]:
        if not asked.proven:
            wanted = Bound(
                asked.posting_id, asked.version, asked.decision, asked.shown_sha256, asked.session_user, caller.name
            )
            spend(tx, asked.nonce, wanted)
        shown = self._record(tx, asked.posting_id, asked.version, caller)
        _require_shown(shown, asked.shown_sha256)
        posting = approvals.show(tx.connection, asked.posting_id)
        kind, value = Kind(posting["kind"]), Decimal(posting["value"])
        if asked.decision == "correct":
            first, *others = self._corrected(posting, asked.changes)
            self._require_right(posting, asked, Action.CORRECT, max(value, first.value))
        else:
            self._require_right(posting, asked, Action(asked.decision), value)
        self._require_another(posting, asked)
        signature = self._signature(asked, caller, shown)
        four_eyes = self.desk.four_eyes()
        if asked.decision == "correct":
            answer = corrections.correct(
                tx, asked.posting_id, asked.version, first.payload, first.value, signature, four_eyes, others
            )
        else:
            answer = approvals.decide(tx, asked.posting_id, asked.version, signature, four_eyes)
        now = approvals.show(tx.connection, answer["id"])
        said = _BECAME[asked.decision, answer["state"]].format(who=asked.signer.user, **{"supersedes": 0, **answer})
        return {"waits_for": None, **answer, "kind": kind.value, "version": now["version"], "message": said}

    def _record(self, tx: Transaction, posting_id: int, version: int, caller: Identity) -> Record:
        """What this posting shows, while it is held in this version. Raises NotFound, Conflict."""
        posting = approving.visible(tx.connection, posting_id, caller)
        approvals.require_held(tx, posting_id, version)
        return record(tx.connection, posting, self.around)

    def _require_right(self, posting: Mapping[str, Any], asked: Signed, action: Action, value: Decimal) -> None:
        if asked.proven and not self.rights:
            return  # the scope of the agent's own user was asked for at the door
        signer = asked.signer
        if why := why_not_this(self.rights, signer.roles, action, posting, value):
            raise SignatureRefused("no_right", f"{signer.user} may not do this: {why}", 403)

    def _require_another(self, posting: Mapping[str, Any], asked: Signed) -> None:
        """Where two people must sign, whoever reported it is none of them."""
        two = posting["signers"] > 1 or posting["workflow"] in self.desk.four_eyes()
        if two and asked.decision != "refuse" and approvals.reported(posting["payload"], asked.signer.user):
            raise SignatureRefused("same_person", f"{asked.signer.user} reported this: another person must sign", 403)

    def _corrected(self, posting: Mapping[str, Any], changes: Mapping[str, str]) -> list[Corrected]:
        """What takes its place, and that of what goes with it. Raises BadPayload, SignatureRefused."""
        together = with_it(posting)
        first, *others = corrections.corrected(posting, changes, together)
        meant = scrap_reasons.meant(first.payload, changes, self.around.facts)
        first = first._replace(payload={**first.payload, **meant})
        booked = accounting.corrected(first.payload, changes, self.around.facts)
        first = first._replace(payload={**first.payload, **booked})
        was = {one["id"]: one for one in (posting, *together)}
        for new in (first, *others):
            one = was[new.id]
            if said := self.refusals(one["target"], Kind(one["kind"]), new.payload):
                raise SignatureRefused("erp_would_refuse", "the ERP would refuse that: " + "; ".join(said), 422)
        return [first, *others]

    def _signature(self, asked: Signed, caller: Identity, shown: Record) -> Signature:
        """What is kept of it (21 CFR 11.50 and 11.70): who, as whom, meaning what, why, when, where, about what."""
        signer = asked.signer
        masked = shown.masked if asked.shown_sha256 == shown.hashes[1] else ()
        return Signature(
            signer.user if asked.proven else f"{signer.user} via {caller.name}",
            "refuse" if asked.decision == "refuse" else "approve",
            asked.reason,
            roles=signer.roles,
            session=caller.session,
            more={
                "full_name": signer.full_name, "said": asked.meaning, "comment": asked.comment, "idp": signer.idp,
                "session_user": asked.session_user, "gateway": asked.gateway, "signed_at": asked.signed_at,
                "shown_sha256": asked.shown_sha256, "not_shown": list(masked),
            },
        )  # fmt: skip

    # ── by a token ──────────────────────────────────────────────────────────────────────────────────────

    async def correct(self, asked: Asked, changes: Mapping[str, str], caller: Identity) -> Mapping[str, Any]:
        """A correction by whoever holds a token: it approves what takes the place of the posting.

        Raises Forbidden, NotFound, Conflict, BadPayload, SignatureRefused.
        """
        actor = caller.actor(asked.on_behalf_of)
        request = {
            "act": "correct", "id": asked.posting_id, "version": asked.expected_version, "changes": dict(changes),
            "reason": asked.reason, "by": actor,
        }  # fmt: skip

        def job(tx: Transaction) -> Mapping[str, Any]:
            posting = approving.visible(tx.connection, asked.posting_id, caller)
            approvals.require_held(tx, asked.posting_id, asked.expected_version)
            if asked.record_hash and asked.record_hash != posting["record_hash"]:
                raise Conflict(f"posting {asked.posting_id} is not what was shown: look at it again, then correct it")
            first, *others = self._corrected(posting, changes)
            value = max(Decimal(posting["value"]), first.value)
            if caller.roles and (why := why_not_this(self.rights, caller.roles, Action.CORRECT, posting, value)):
                raise NoRight(f"{caller.name} may not do this: {why}")
            roles = tuple(sorted(caller.roles or (scope.value for scope in caller.scopes)))
            more = {"corrected_sha256": posting["record_hash"]}  # what was shown; what takes its place has its own
            signature = Signature(actor, "approve", asked.reason, roles, caller.session, more=more)
            return corrections.correct(
                tx,
                asked.posting_id,
                asked.expected_version,
                first.payload,
                first.value,
                signature,
                self.desk.four_eyes(),
                others,
            )

        key = f"{caller.name}:{asked.key}" if asked.key else ""
        try:
            return await self.committed(
                lambda tx: approvals.once(tx, key, request, lambda: job(tx)) if key else job(tx)
            )
        except NoRight as error:
            detail = {"error": "no_right", "why": str(error), "decision": "correct", "roles": sorted(caller.roles)}
            await self.refused(error, caller, asked.posting_id, detail)
            raise

    # ── what was refused ────────────────────────────────────────────────────────────────────────────────

    async def refused(
        self, error: GatepostError, caller: Identity, posting_id: int, detail: Mapping[str, Any], nonce: str = ""
    ) -> None:
        """On record, as an alarm; a nonce of this caller's that was signed with is used by it."""

        def job(tx: Transaction) -> None:
            known = challenges.find(tx.connection, nonce) if nonce else None
            if known is not None and known.bound.bearer == caller.name and known.used_us is None:
                challenges.use(tx, nonce)
            why = {"error": code_of(error), "why": str(error), **detail}
            tx.audit("signature_refused", why, actor=caller.name, posting_id=posting_id, alarm=True)

        await self.committed(job)

    async def committed(self, job: Callable[[Transaction], T]) -> T:
        """The answer of an act once it is on disk. Raises StoreError where nobody knows."""
        return await approving.committed(self.desk.writer, self.desk.act(job), AGAIN)


def spend(tx: Transaction, nonce: str, wanted: Bound) -> None:
    """Use a nonce for exactly what it was given for. Raises SignatureRefused."""
    known = challenges.find(tx.connection, nonce)
    if known is None or known.bound.bearer != wanted.bearer:
        raise SignatureRefused("nonce_unknown", "this nonce was not given to this gateway: challenge again")
    if known.used_us is not None:
        raise _as_it_is(tx, wanted.posting_id, "nonce_used", "this nonce was used: what is replayed counts for nothing")
    if known.expires_us < tx.now_us:
        raise SignatureRefused("nonce_expired", "more than five minutes have passed: look at it and challenge again")
    if known.bound != wanted:
        raise SignatureRefused(
            "nonce_mismatch",
            "this nonce was given for another posting, version, decision, session user or content: challenge again",
        )
    challenges.use(tx, nonce)


def code_of(error: GatepostError) -> str:
    """The code of a refusal, as the API tells it."""
    if isinstance(error, SignatureRefused):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), "refused")


def told(asked: Signed) -> dict[str, Any]:
    """What a refused signature said of itself."""
    return {
        "step": "sign", "decision": asked.decision, "version": asked.version, "signer": asked.signer.user,
        "roles": list(asked.signer.roles), "idp": asked.signer.idp, "session_user": asked.session_user,
        "gateway": asked.gateway, "signed_at": asked.signed_at, "reason": asked.reason,
        "shown_sha256": asked.shown_sha256,
    }  # fmt: skip


def _require_shown(shown: Record, given: str) -> None:
    if given not in shown.hashes:
        raise SignatureRefused("record_changed", "it is not what was shown any more: look at it again, then sign")


def _with_hash(asked: Bound, shown_sha256: str) -> Bound:
    return Bound(asked.posting_id, asked.version, asked.decision, shown_sha256, asked.session_user, asked.bearer)


def _as_it_is(tx: Transaction, posting_id: int, code: str, message: str) -> SignatureRefused:
    """A refusal that says what has become of the posting."""
    try:
        posting = approvals.show(tx.connection, posting_id)
    except NotFound:
        return SignatureRefused(code, message)
    return SignatureRefused(
        code, message, by=tx.last_actor(posting_id), state=posting["state"], version=posting["version"]
    )
