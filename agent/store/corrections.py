"""A correction: a new posting with other figures takes the place of a held one, which is kept as superseded."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Final

from agent.errors import BadPayload
from agent.ports import Kind
from agent.store import approvals, outbox, postings
from agent.store.approvals import Signature
from agent.store.keys import idempotency_key
from agent.store.transaction import Transaction

CORRECTABLE: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.GOODS_ISSUE: ("quantity",),
    Kind.CONFIRMATION: ("yield", "scrap", "rework", "scrap_reason"),
    Kind.SCRAP: ("cause",),
}
_COUNTS: Final = {Kind.GOODS_ISSUE: ("quantity",), Kind.CONFIRMATION: ("yield", "scrap")}  # towards the value
_WORDS: Final = ("scrap_reason", "cause")  # all others are quantities
_CENT: Final = Decimal("0.01")
_QUANTITY: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")  # as it is sent: nothing else that Decimal would read


def correctable(kind: Kind, *, alone: bool = True) -> tuple[str, ...]:
    """The fields that may be corrected; not `alone`: words only, a quantity stands in all that goes with it."""
    return tuple(name for name in CORRECTABLE.get(kind, ()) if alone or name in _WORDS)


def corrected(
    kind: Kind, payload: Mapping[str, Any], value: Decimal, changes: Mapping[str, str], *, alone: bool = True
) -> tuple[dict[str, Any], Decimal]:
    """The payload with these changes, and what it is worth: in proportion to the quantity. Raises BadPayload."""
    known = correctable(kind, alone=alone)
    for name, text in changes.items():
        if name not in known:
            told = ", ".join(known) or "nothing"
            group = "" if alone else ", the rest stands in its whole group: refuse it, and report it anew"
            raise BadPayload(f"cannot be corrected in a {kind}; {told} can{group}", field=f"changes.{name}")
        if name not in _WORDS:
            _quantity(name, text)
    new = {**payload, **changes}
    if all(new[name] == payload.get(name) for name in changes):
        raise BadPayload("nothing is different: name what shall be, or approve it as it is", field="changes")
    before, after = _counted(kind, payload), _counted(kind, new)
    if after and not before:
        raise BadPayload("nobody knows what that is worth: refuse it, and report it anew", field="changes")
    return new, (value * after / before).quantize(_CENT) if before else value


def _quantity(name: str, text: str) -> None:
    if not _QUANTITY.fullmatch(text):
        raise BadPayload(f'{text[:40]!r} is no quantity: write it like "12.500"', field=f"changes.{name}")
    if name == "quantity" and not Decimal(text):
        raise BadPayload("0 is nothing to post: refuse it instead", field="changes.quantity")


def _counted(kind: Kind, payload: Mapping[str, Any]) -> Decimal:
    return sum((Decimal(payload.get(name) or 0) for name in _COUNTS.get(kind, ())), Decimal(0))


def correct(
    tx: Transaction, posting_id: int, version: int, payload: Mapping[str, Any], value: Decimal, signature: Signature,
    four_eyes: Collection[str] = (),
) -> Mapping[str, Any]:  # fmt: skip
    """Put a posting with this payload in the place of a held one, approved by whoever corrects. Raises Conflict.

    The signature is the first of two where two people must sign; whatever waited for the old one waits for the new one.
    """
    approvals.require_held(tx, posting_id, version)
    old = postings.read(tx.connection, posting_id)
    one, reason = old.posting, f"corrected by {signature.by}: {signature.reason}"
    signers: Any = tx.execute("SELECT signers FROM posting WHERE id = ?", (posting_id,)).get
    new = postings.NewPosting(
        event_id=one.event_id, workflow=old.workflow, kind=one.kind, target=one.target, ordering_key=one.ordering_key,
        line=old.line, idempotency_key=idempotency_key(f"correction:{one.idempotency_key}", old.workflow, one.target),
        payload=payload, value=value, policy="signed", reasons=(reason,), waits=old.waits, check_first=old.check_first,
        supersedes=posting_id, signers=signers,
    )  # fmt: skip
    new_id, _ = postings.add(tx, new)
    tx.execute(
        "INSERT INTO correction (posting_id, place) "
        "SELECT ?1, coalesce((SELECT place FROM correction WHERE posting_id = ?2), ?2)",
        (new_id, posting_id),
    )
    changes = {name: [one.payload.get(name), text] for name, text in payload.items() if one.payload.get(name) != text}
    detail = {"supersedes": posting_id, "changes": changes, "value": f"{value:f}", "reason": signature.reason}
    tx.audit("corrected", detail, actor=signature.by, event_id=one.event_id, posting_id=new_id)
    outbox.supersede(tx, posting_id, new_id, by=signature.by, reason=signature.reason)
    answer = approvals.decide(tx, new_id, 1, signature, four_eyes)
    return {**answer, "supersedes": posting_id}
