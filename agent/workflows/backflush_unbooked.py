"""What an account goes on without: an issue that is not booked after all, or was taken back, counts as none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from agent.facts import Facts
from agent.isa95 import SegmentResponse
from agent.ports import Proposal
from agent.workflows import account as accounts
from agent.workflows.orders import shown

_DID: Final[Mapping[str, str]] = {
    "refused": "refused", "expired": "not decided about in time", "superseded": "corrected", "reversed": "taken back",
}  # fmt: skip


def unbooked(report: SegmentResponse, kept: Any, facts: Facts, *, totals: bool) -> tuple[Proposal, Sequence[Any]]:
    """The operation's state without it. Nothing is posted: what is due goes with the next report.

    What the ERP refused is due again. What a person did not let be booked is not issued because it is expected, but
    when its pieces are measured; where they are, a person lets it be issued.
    """
    data, first = report.data, report.material_actuals[0]
    amount = shown(first.quantity.value, first.quantity.unit, facts.units)
    who = f" by {data['by']}" if data.get("by") else ""
    what = f"{amount} of {first.material} were {_DID.get(str(data['action']), data['action'])}{who}"
    state = kept.get("of", {}).get(first.material)
    if data.get("apart") or state is None:
        return Proposal((), reasons=(f"{what}: the account counts it neither way",), subject={"order": report.order}), [
            kept
        ]
    made, account = accounts.made_restored(kept["made"], totals=totals), accounts.restored(state)
    known = facts.materials.get(first.material)
    total = Fraction(0)
    for one in report.material_actuals:
        quantity, batch = Fraction(one.quantity.value), one.lot if known is None or known.batch_managed else ""
        account, total = account.without(batch, quantity), total + quantity
    refused = total > 0 and not data.get("was_sent")
    if refused:
        account = account.refused(total, made)
    then = "a person lets it be issued again" if account.asks else "it is issued when it is measured"
    reason = f"{what}: {then if refused else 'what is due goes with the next issue'}"
    after = {**kept, "of": {**kept["of"], first.material: accounts.written(account)}}
    return Proposal((), reasons=(reason,), subject={"order": report.order}), [after]
