"""What becomes of a lot that is kept from use, signed at a gateway by a person who may approve what keeps it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from agent import follow_ons
from agent.access.callers import Identity
from agent.access.envelope import SignatureRefused
from agent.access.masking import veiled
from agent.access.rights import Action, why_not_this
from agent.errors import GatepostError, StoreError
from agent.follow_ons import Kept
from agent.people import approving
from agent.people.desk import Act
from agent.people.shown import hashed
from agent.people.signatures import Signatures, Signer, spend
from agent.store import challenges
from agent.store.challenges import Bound
from agent.store.transaction import Transaction

_SAID: Final = "{choice} is chosen by {who} for {much} of lot {lot}: its draft waits for a signature"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody is about to choose. `quantity`: None for all that is left."""

    posting_id: int
    choice: str
    quantity: str | None
    shown_sha256: str
    session_user: str

    @property
    def content(self) -> str:
        """The hash that a nonce is bound to: what was shown, and what is chosen of it."""
        return hashed({"shown": self.shown_sha256, "choice": self.choice, "quantity": self.quantity})


@dataclass(frozen=True, slots=True)
class Signed:
    """A choice as it was signed, word for word."""

    wanted: Wanted
    nonce: str
    meaning: str
    reason: str
    comment: str
    signer: Signer
    gateway: str
    signed_at: str

    @property
    def told(self) -> dict[str, Any]:
        """What is kept of it beside who and why."""
        return {
            "full_name": self.signer.full_name, "roles": list(self.signer.roles), "idp": self.signer.idp,
            "said": self.meaning, "comment": self.comment, "session_user": self.wanted.session_user,
            "gateway": self.gateway, "signed_at": self.signed_at, "shown_sha256": self.wanted.shown_sha256,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choosing:
    """The door for choices: signatures as they count now, and what rework costs of the price."""

    door: Signatures
    rework_share: Decimal

    def shown(self, one: Kept, fields: Collection[str]) -> tuple[Mapping[str, Any], str]:
        """What is shown of a lot to whoever may not read these fields, and its hash."""
        content: dict[str, Any] = veiled(follow_ons.shown(one, self.door.around.facts, self.rework_share), fields)
        return content, hashed(content)

    async def challenge(self, wanted: Wanted, caller: Identity) -> Mapping[str, Any]:
        """A nonce for this choice about the lot as it is. Raises NotFound, Conflict, BadPayload, SignatureRefused."""

        def job(tx: Transaction) -> Mapping[str, Any]:
            bound = self._bound(tx, wanted, caller)
            return {**challenges.issue(tx, bound), "shown_sha256": wanted.shown_sha256}

        try:
            return await self.door.committed(job)
        except GatepostError as error:
            detail = {"step": "challenge", "decision": wanted.choice, "session_user": wanted.session_user}
            await self.door.refused(error, caller, wanted.posting_id, detail)
            raise

    async def sign(self, asked: Signed, caller: Identity) -> Mapping[str, Any]:
        """Choose it. Raises NotFound, Conflict, BadPayload, SignatureRefused; each is on record."""
        try:
            return await self.door.committed(lambda tx: self._sign(tx, asked, caller))
        except StoreError:  # nobody knows whether it counts: nobody calls it refused
            raise
        except GatepostError as error:
            await self.door.refused(error, caller, asked.wanted.posting_id, self.refusal(asked), asked.nonce)
            raise

    @staticmethod
    def refusal(asked: Signed) -> dict[str, Any]:
        """What a refused choice said of itself."""
        who = {"step": "sign", "decision": asked.wanted.choice, "signer": asked.signer.user, "reason": asked.reason}
        return {**who, **asked.told}

    def _sign(self, tx: Transaction, asked: Signed, caller: Identity) -> Mapping[str, Any]:
        wanted, signer = asked.wanted, asked.signer
        posting = approving.visible(tx.connection, wanted.posting_id, caller)
        spend(tx, asked.nonce, self._binding(posting["version"], wanted, caller))
        self._bound(tx, wanted, caller)
        if why := why_not_this(self.door.rights, signer.roles, Action.APPROVE, posting):
            raise SignatureRefused("no_right", f"{signer.user} may not do this: {why}", 403)
        quantity = Decimal(wanted.quantity) if wanted.quantity is not None else None
        chosen = follow_ons.chosen(follow_ons.kept(tx.connection, wanted.posting_id), wanted.choice, quantity)
        act = Act(f"{signer.user} via {caller.name}", asked.reason, session=caller.session)
        done = follow_ons.store(tx, chosen, act, self.door.desk.now(), asked.told)
        unit = self.door.around.facts.units.shown(chosen.kept.unit)
        choice, much = wanted.choice.replace("_", " "), f"{chosen.quantity:f} {unit}"
        return {**done, "message": _SAID.format(choice=choice, who=signer.user, much=much, lot=chosen.kept.lot)}

    def _bound(self, tx: Transaction, wanted: Wanted, caller: Identity) -> Bound:
        """What its nonce is for, while the lot is as it was shown. Raises NotFound, Conflict, SignatureRefused."""
        posting = approving.visible(tx.connection, wanted.posting_id, caller)
        one = follow_ons.kept(tx.connection, wanted.posting_id)
        hashes = [self.shown(one, fields)[1] for fields in ((), self.door.around.sensitive)]
        if wanted.shown_sha256 not in hashes:
            raise SignatureRefused("record_changed", "it is not what was shown any more: look at it again, then choose")
        return self._binding(posting["version"], wanted, caller)

    @staticmethod
    def _binding(version: int, wanted: Wanted, caller: Identity) -> Bound:
        return Bound(wanted.posting_id, version, "approve", wanted.content, wanted.session_user, caller.name)
