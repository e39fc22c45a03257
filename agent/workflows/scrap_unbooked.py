"""What the histories of scrap go on without: a quantity that a person corrected, what is not booked after all. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from agent.isa95 import SegmentResponse
from agent.ports import Kind, Proposal
from agent.workflows.scrap_report import fingerprint, scrapped, teller, text

_DID: Final[Mapping[str, str]] = {
    "refused": "refused", "expired": "not decided about in time", "superseded": "corrected", "reversed": "taken back",
}  # fmt: skip


def unbooked(report: SegmentResponse, states: Sequence[Any]) -> tuple[Proposal, Sequence[Any]]:
    """The histories of the work centre and of the lot without it; nothing is posted.

    `report` is that of the defect; its data say what of it is not so, and how much it was `before` and is `now`. A
    person who corrects, refuses or takes back says what was scrapped. What the ERP refused, or nobody signed, was
    scrapped all the same, but nothing of its lot is kept from use.
    """
    data, (place, *lots) = report.data, [dict(one) for one in states]
    of, lot = str(data["of"]), scrapped(report).lot
    before, now = Decimal(str(data.get("before", 0))), Decimal(str(data.get("now", 0)))
    numbers = f"{before:f} is {now:f}"
    if of == Kind.BATCH_STATUS:
        what, lots = f"the batch of lot {lot} is not restricted", [{**one, "restricted": False} for one in lots]
    elif of == Kind.STOCK_TRANSFER:
        what = f"what is kept from use of lot {lot} is other: {numbers}"
        lots = [{**one, "blocked": str(max(Decimal(one.get("blocked", 0)) + now - before, Decimal(0)))} for one in lots]
    elif data.get("was_sent") or data["action"] == "expired":
        what = f"{before:f} were scrapped all the same"
    else:
        what = f"what was scrapped is other: {numbers}"
        place, *lots = [_as_said(one, report, before, now) for one in (place, *lots)]
    who = f" by {data['by']}" if data.get("by") else ""
    reason = f"{_DID.get(str(data['action']), data['action'])}{who}: {what}"
    return Proposal((), reasons=(reason,), subject={"order": report.order}, scored=False), [place, *lots]


def _as_said(state: Mapping[str, Any], report: SegmentResponse, before: Decimal, now: Decimal) -> dict[str, Any]:
    """A history with the number of this report as a person said it; of 0 nothing is remembered.

    A second report of one defect is in no history, nor is one that has been forgotten.
    """
    defect, at, who, material = (
        text(report, "defect"), report.occurred_at.timestamp(), teller(report), text(report, "material"),
    )  # fmt: skip
    if [at, defect] not in map(list, state.get("seen", ())):
        return dict(state)
    old, new = (fingerprint(report, material, quantity) for quantity in (before, now))
    told = [defect, at, who]
    after = {
        **state,
        "scrapped": max(state.get("scrapped", 0.0) + float(now - before), 0.0),
        "last": _instead(state.get("last", ()), [old, at], [new, at] if now else None),
    }
    if not now:
        after["seen"] = _instead(state["seen"], [at, defect], None)
    if "tellers" in state:
        after["tellers"] = _instead(state["tellers"], [*told, str(before)], [*told, str(now)] if now else None)
    return after


def _instead(rows: Sequence[Sequence[Any]], old: list[Any], new: list[Any] | None) -> list[list[Any]]:
    """The rows with another, or none, in the place of one."""
    found = [list(one) for one in rows]
    if old in found:
        at = found.index(old)
        found[at : at + 1] = [new] if new is not None else []
    return found
