"""Which posting takes a document back: none is taken back twice."""

from __future__ import annotations

from typing import Any, Final

import apsw

_TAKES_BACK: Final = (
    "SELECT id FROM posting WHERE kind = 'reversal' AND json_extract(payload, '$.of_key') = ? "
    "AND state NOT IN ('held', 'refused', 'superseded', 'simulated') ORDER BY id LIMIT 1"
)


def of(connection: apsw.Connection, key: str) -> int | None:
    """The posting that took back, or is about to take back, what was booked under this idempotency key."""
    row: Any = connection.execute(_TAKES_BACK, (key,)).fetchone()
    return int(row[0]) if row else None
