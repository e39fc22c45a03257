"""Which causes of scrap are suggested to a person: what the model takes for likely, or what is usual on a line.

And what follows from the one that the person chooses: who bears it, and what the ERP calls it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import apsw

from agent.errors import BadPayload
from agent.facts import Facts
from agent.ports import Kind
from agent.store import decisions

FIELD: Final = "scrap_reason"
CAUSE: Final = "cause"
MOST: Final = 3  # what fits beside each other on a panel, and is read before it is pressed
LOOKED_AT: Final = 500  # postings of the line, newest first


def suggested(connection: apsw.Connection, posting: Mapping[str, Any], facts: Facts) -> list[dict[str, Any]]:
    """What may have caused it, the likeliest first, each with its `text`.

    For scrap that a model has classified its three likeliest causes, each with its `share`. For a confirmation that has
    scrap without a reason those that others of this line told most often lately: `times` of the `of` confirmations with
    a reason told this one; what was refused or replaced does not count.
    """
    payload = posting["payload"]
    if posting["kind"] == Kind.SCRAP and posting["state"] == "held":
        likely = _likely(connection, posting["event_id"])
        return [
            {**one, "text": _cause_text(one["value"], str(payload.get("work_center", "")), facts)} for one in likely
        ]
    if posting["kind"] != Kind.CONFIRMATION or payload.get(FIELD) or not Decimal(payload.get("scrap") or 0):
        return []
    rows = connection.execute(
        "SELECT reason FROM (SELECT kind, state, json_extract(payload, '$.scrap_reason') AS reason FROM posting "
        "INDEXED BY posting_line WHERE line = ? ORDER BY event_id DESC LIMIT ?) "
        "WHERE kind = ? AND state NOT IN ('refused', 'superseded', 'dead') AND reason <> ''",
        (posting["line"], LOOKED_AT, Kind.CONFIRMATION.value),
    )
    told = Counter(reason for (reason,) in rows)
    return [
        {"field": FIELD, "value": reason, "text": variance_text(reason, facts), "times": times, "of": told.total()}
        for reason, times in told.most_common(MOST)
    ]


def variance_text(reason: str, facts: Facts) -> str:
    """What a variance reason of the ERP stands for: the causes that the master data book by it; empty: none does."""
    causes = [one for one in facts.scrap_reasons.values() if reason and one.variance_reason == reason]
    return ", ".join(dict.fromkeys(one.text or one.cause for one in causes))


def _cause_text(cause: str, work_center: str, facts: Facts) -> str:
    """What people call a cause, where that is more than its name."""
    found = facts.scrap_reason(cause, work_center)
    return found.text if found is not None else ""


def _likely(connection: apsw.Connection, event_id: int | None) -> list[dict[str, Any]]:
    decided = decisions.of_event(connection, event_id) if event_id is not None else None
    top = decided.detail.get("score", {}).get("top", ()) if decided is not None else ()
    return [{"field": CAUSE, "value": cause, "share": round(share, 3)} for cause, share in top]


def meant(payload: Mapping[str, Any], changes: Mapping[str, str], facts: Facts) -> dict[str, str]:
    """What else changes with a cause: reason, movement and cost centre of the table. Raises BadPayload."""
    cause = changes.get(CAUSE)
    if cause is None:
        return {}
    found = facts.scrap_reason(cause, str(payload.get("work_center", "")))
    if found is None:
        known = ", ".join(sorted({one.cause for one in facts.scrap_reasons.values()})) or "none"
        raise BadPayload(f"{cause[:40]!r} is no cause of scrap here; known: {known}", field=f"changes.{CAUSE}")
    return {"reason": found.reason, "movement": found.movement, "cost_center": found.cost_center}
