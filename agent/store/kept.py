"""Lots that are kept from use: the postings that keep them, and how much of each people have decided about."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import apsw

_NEWEST: Final = (  # a transfer to blocked stock or a restricted batch that was booked and not taken back
    "SELECT id FROM posting p INDEXED BY posting_keeps WHERE (kind = 'stock_transfer' OR kind = 'batch_status') "
    "AND state IN ('acknowledged', 'simulated') AND coalesce(json_extract(payload, '$.lot'), '') <> '' "
    "AND (json_extract(payload, '$.movement') = '344' OR json_extract(payload, '$.restricted') = 1) "
    "AND NOT EXISTS (SELECT 1 FROM posting r WHERE r.kind = 'reversal' AND r.state = 'acknowledged' "
    "AND json_extract(r.payload, '$.of_key') = p.idempotency_key) ORDER BY id DESC LIMIT ?"
)
_CHOSEN: Final = (  # what somebody chose counts until its draft is refused, or its report leads to nothing
    "SELECT json_extract(a.detail, '$.quantity') FROM audit a "
    "LEFT JOIN identity i ON i.message_key = 'follow_on:' || json_extract(a.detail, '$.report') "
    "LEFT JOIN event e ON e.id = i.event_id WHERE a.posting_id = ? AND a.action = 'follow_on_entered' "
    "AND coalesce(e.state, '') NOT IN ('quarantined', 'advised') AND (e.state = 'undecided' "
    "OR NOT EXISTS (SELECT 1 FROM posting p WHERE p.event_id = e.id) OR EXISTS (SELECT 1 FROM posting p "
    "WHERE p.event_id = e.id AND p.state NOT IN ('refused', 'superseded')))"
)


def newest(connection: apsw.Connection, limit: int) -> list[int]:
    """The postings that keep a lot from use now, the newest first."""
    return [id for (id,) in connection.execute(_NEWEST, (limit,))]


def chosen(connection: apsw.Connection, posting_id: int) -> list[Decimal]:
    """How much of what this posting keeps from use each choice is about that was not refused."""
    rows: Any = connection.execute(_CHOSEN, (posting_id,))
    return [Decimal(quantity) for (quantity,) in rows]


def entered(connection: apsw.Connection, posting_id: int) -> bool:
    """Whether anybody has ever chosen here, whatever became of it."""
    sql = "SELECT 1 FROM audit WHERE posting_id = ? AND action = 'follow_on_entered' LIMIT 1"
    return connection.execute(sql, (posting_id,)).fetchone() is not None
