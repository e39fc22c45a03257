"""A correction: a new posting with other figures takes the place of a held one, which is kept as superseded.

A quantity that stands in a whole group of scrap is corrected in all of it: in the record of the defect, and what is
left of the lot to be blocked is so much more or less.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.errors import BadPayload
from agent.ports import Kind
from agent.store import approvals, groups, outbox, postings
from agent.store.approvals import Signature
from agent.store.keys import idempotency_key
from agent.store.transaction import Transaction

CORRECTABLE: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.GOODS_ISSUE: ("quantity",),
    Kind.CONFIRMATION: ("yield", "scrap", "rework", "scrap_reason"),
    Kind.SCRAP: ("cause", "account", "quantity"),
}
_WHERE_DECIDED: Final = ("account",)  # only where the agent says it to the ERP
_COUNTS: Final = {  # towards the value
    Kind.GOODS_ISSUE: ("quantity",),
    Kind.CONFIRMATION: ("yield", "scrap"),
    Kind.SCRAP: ("quantity",),
}
_SCRAPPED: Final = {Kind.SCRAP: "quantity", Kind.CONFIRMATION: "scrap"}  # of the first of a group of scrap
_TO_BLOCKED: Final = "344"
_WORDS: Final = ("scrap_reason", "cause", "account")  # all others are quantities
_CENT: Final = Decimal("0.01")
_QUANTITY: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")  # as it is sent: nothing else that Decimal would read
Shown = Mapping[str, Any]


class Corrected(NamedTuple):
    """A posting as it shall be: what it says, and what that is worth."""

    id: int
    payload: Mapping[str, Any]
    value: Decimal


def correctable(posting: Shown, with_it: Sequence[Shown] = ()) -> tuple[str, ...]:
    """The fields of a posting, as it is shown, that may be corrected; `with_it` goes with it in its group.

    Words always; a quantity where it stands alone, or where it is known what it means for the rest of its group.
    """
    payload, known = posting["payload"], CORRECTABLE.get(posting["kind"], ())
    known = tuple(name for name in known if name not in _WHERE_DECIDED or name in payload)
    if not with_it:
        return known
    scrapped = _scrapped(posting, with_it)
    return tuple(name for name in known if name in _WORDS or name == scrapped)


def corrected(posting: Shown, changes: Mapping[str, str], with_it: Sequence[Shown] = ()) -> list[Corrected]:
    """The posting with these changes, and whatever else of its group is not the same then. Raises BadPayload.

    What each is worth is in proportion to its quantity.
    """
    kind, payload, known = posting["kind"], posting["payload"], correctable(posting, with_it)
    for name, text in changes.items():
        if name not in known:
            told = ", ".join(known) or "nothing"
            group = ", the rest stands in its whole group: refuse it, and report it anew" if with_it else ""
            raise BadPayload(f"cannot be corrected in a {kind}; {told} can{group}", field=f"changes.{name}")
        if name not in _WORDS:
            _quantity(name, text)
    new = {**payload, **changes}
    if all(new[name] == payload.get(name) for name in changes):
        raise BadPayload("nothing is different: name what shall be, or approve it as it is", field="changes")
    return [_worth(posting, new), *_rest(posting, new, with_it)]


def _worth(posting: Shown, new: Mapping[str, Any]) -> Corrected:
    value = Decimal(posting["value"])
    before, after = _counted(posting["kind"], posting["payload"]), _counted(posting["kind"], new)
    if after and not before:
        raise BadPayload("nobody knows what that is worth: refuse it, and report it anew", field="changes")
    return Corrected(posting["id"], new, (value * after / before).quantize(_CENT) if before else value)


def _scrapped(first: Shown, with_it: Sequence[Shown]) -> str:
    """The field of the first of a group of scrap that says how much; "" where it is another group."""
    field = _SCRAPPED.get(first["kind"], "")
    makes = Decimal(first["payload"].get("yield") or 0) or Decimal(first["payload"].get("rework") or 0)
    follow = all(
        one["kind"] in (Kind.DEFECT, Kind.BATCH_STATUS)
        or (one["kind"] == Kind.STOCK_TRANSFER and one["payload"].get("movement") == _TO_BLOCKED)
        for one in with_it
    )
    return field if follow and not makes else ""


def _rest(first: Shown, new: Mapping[str, Any], with_it: Sequence[Shown]) -> list[Corrected]:
    """What of the group says the quantity, too, or what is left of the lot."""
    field = _scrapped(first, with_it)
    if not field or new[field] == first["payload"][field]:
        return []
    more, found = Decimal(new[field]) - Decimal(first["payload"][field]), []
    for one in with_it:
        if one["kind"] == Kind.DEFECT:
            found.append(Corrected(one["id"], {**one["payload"], "quantity": new[field]}, Decimal(one["value"])))
        elif one["kind"] == Kind.STOCK_TRANSFER and first["kind"] == Kind.SCRAP:
            found.append(_left(one, more, f"changes.{field}"))
    return found


def _left(block: Shown, more: Decimal, field: str) -> Corrected:
    """The transfer of what is left of the lot, where so much more of it is scrapped."""
    before = Decimal(block["payload"]["quantity"])
    after = before - more
    if after <= 0:
        raise BadPayload(
            f"{before:f} would be blocked beside it, so there is not that much: refuse it, and report it anew",
            field=field,
        )
    value = (Decimal(block["value"]) * after / before).quantize(_CENT)
    return Corrected(block["id"], {**block["payload"], "quantity": f"{after:f}"}, value)


def _quantity(name: str, text: str) -> None:
    if not _QUANTITY.fullmatch(text):
        raise BadPayload(f'{text[:40]!r} is no quantity: write it like "12.500"', field=f"changes.{name}")
    if name == "quantity" and not Decimal(text):
        raise BadPayload("0 is nothing to post: refuse it instead", field="changes.quantity")


def _counted(kind: str, payload: Mapping[str, Any]) -> Decimal:
    return sum((Decimal(payload.get(name) or 0) for name in _COUNTS.get(Kind(kind), ())), Decimal(0))


def correct(
    tx: Transaction, posting_id: int, version: int, payload: Mapping[str, Any], value: Decimal, signature: Signature,
    four_eyes: Collection[str] = (), also: Sequence[Corrected] = (),
) -> Mapping[str, Any]:  # fmt: skip
    """Put a posting with this payload in the place of a held one, approved by whoever corrects; `also` what follows it.

    The signature is the first of two where two people must sign; whatever waited for the old one waits for the new one.
    Raises Conflict.
    """
    approvals.require_held(tx, posting_id, version)
    why = f"corrected by {signature.by}: {signature.reason}"
    first = _replaced(tx, Corrected(posting_id, payload, value), why, signature)
    for new in also:
        _replaced(tx, new, "", signature)
    return {**approvals.decide(tx, first, 1, signature, four_eyes), "supersedes": posting_id}


def _same_case(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a table of accounts, and the model that looks it over, would be asked the same again."""
    return before.get("movement") == now.get("movement") and bool(before.get("cost_center")) == bool(
        now.get("cost_center")
    )


def _replaced(tx: Transaction, new: Corrected, reason: str, signature: Signature) -> int:
    """The number of the posting that takes the place of the old one; without a reason it follows in its group."""
    old = postings.read(tx.connection, new.id)
    one = old.posting
    signers: Any = tx.execute("SELECT signers FROM posting WHERE id = ?", (new.id,)).get
    new_id, _ = postings.add(tx, postings.NewPosting(
        event_id=one.event_id, workflow=old.workflow, kind=one.kind, target=one.target, ordering_key=one.ordering_key,
        line=old.line, idempotency_key=idempotency_key(f"correction:{one.idempotency_key}", old.workflow, one.target),
        payload=new.payload, value=new.value, policy="signed",
        reasons=(reason or groups.FOLLOWS,), waits=old.waits, check_first=old.check_first, supersedes=new.id,
        signers=signers,
    ))  # fmt: skip
    tx.execute(
        "INSERT INTO correction (posting_id, place) "
        "SELECT ?1, coalesce((SELECT place FROM correction WHERE posting_id = ?2), ?2)",
        (new_id, new.id),
    )
    before, now = one.payload, new.payload
    changes = {name: [before.get(name), text] for name, text in now.items() if before.get(name) != text}
    detail = {"supersedes": new.id, "changes": changes, "value": f"{new.value:f}", "reason": signature.reason}
    detail |= {"cause": now["cause"]} if now.get("cause") else {}  # who leaves it has said that it is so
    detail |= {"account": now["account"]} if now.get("account") and _same_case(before, now) else {}
    tx.audit("corrected", detail, actor=signature.by, event_id=one.event_id, posting_id=new_id)
    outbox.supersede(tx, new.id, new_id, by=signature.by, reason=signature.reason)
    return new_id
