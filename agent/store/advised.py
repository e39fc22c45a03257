"""What workflows that only advise would have posted: read out of their decisions in the audit trail."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any

import apsw

from agent.store.encode import from_us, to_us

WOULD_HAVE = """
SELECT event.id, event.source, event.message_key, event.received_us, audit.detail
FROM event JOIN audit ON audit.event_id = event.id AND audit.action = 'decided'
WHERE event.state = 'advised' AND event.id > ?1 AND event.received_us >= ?2 AND event.received_us < ?3
AND (?4 = '' OR json_extract(audit.detail, '$.workflow') = ?4)
AND (?5 IS NULL OR json_extract(audit.detail, '$.subject.line') IN (SELECT value FROM json_each(?5)))
ORDER BY event.id {} LIMIT ?6
"""
EVER = 2**63 - 1


def advised(
    connection: apsw.Connection,
    *,
    workflow: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    after: int = 0,
    limit: int = 100,
    lines: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Advice behind event `after`, oldest first; without `after` the newest, oldest first, too.

    `since` (inclusive) and `until` (exclusive) are times of arrival; `lines`: those only, where any are given.
    """
    first, last = to_us(since) if since else 0, to_us(until) if until else EVER
    ours = json.dumps(sorted(lines)) if lines else None
    rows: list[Any] = connection.execute(
        WOULD_HAVE.format("" if after else "DESC"), (after, first, last, workflow, ours, limit)
    ).fetchall()
    found = [_advice(*row) for row in rows]
    return found if after else found[::-1]


def _advice(event: int, source: str, message: str | None, received_us: int, detail: str) -> dict[str, Any]:
    told = json.loads(detail)
    subject = told["subject"]
    return {
        "event_id": event, "source": source, "message": message, "received_at": from_us(received_us).isoformat(),
        "workflow": told["workflow"], "line": subject.get("line", ""), "order": subject.get("order", ""),
        "in_auto": told["in_auto"], "confidence": told["confidence"], "reasons": told["reasons"],
        "would_post": told["would_post"],
    }  # fmt: skip
