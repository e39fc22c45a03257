"""Which posting takes a document back: told with what it takes back, and none is taken back twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, Final

import apsw

from agent.store.keys import idempotency_key

_TAKES_BACK: Final = (
    "SELECT id FROM posting WHERE kind = 'reversal' AND json_extract(payload, '$.of_key') = ? "
    "AND state NOT IN ('held', 'refused', 'superseded', 'simulated') ORDER BY id LIMIT 1"
)

_REVERSALS: Final = (
    "SELECT original.id, original.document, back.id, back.state, back.document FROM posting back "
    "JOIN idempotency i ON i.idempotency_key = json_extract(back.payload, '$.of_key') "
    "JOIN posting original ON original.id = i.posting_id "
    "WHERE back.kind = 'reversal' AND json_extract(back.payload, '$.of_key') = ? ORDER BY back.id"
)


def of(connection: apsw.Connection, key: str) -> int | None:
    """The posting that took back, or is about to take back, what was booked under this idempotency key."""
    row: Any = connection.execute(_TAKES_BACK, (key,)).fetchone()
    return int(row[0]) if row else None


def key_of_next(connection: apsw.Connection, key: str, target: str) -> str:
    """The idempotency key under which a person asks for it: of the first ask, or anew after those that came to nothing.

    That none of these is booked says `of`, and the database (schema.VERSION_10) refuses a second one that is.
    """
    keys = (idempotency_key(f"reversal:{key}", "reverse", target, number) for number in count())
    known = "SELECT 1 FROM idempotency WHERE idempotency_key = ?"
    return next(one for one in keys if connection.execute(known, (one,)).fetchone() is None)


def of_postings(connection: apsw.Connection, postings: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Which posting each reversal takes back, also where another event made the reversal (a finding, a report)."""
    keys = dict.fromkeys(one["payload"].get("of_key") or one["idempotency_key"] for one in postings)
    for key in keys:
        for original, document, id, state, own in connection.execute(_REVERSALS, (key,)):
            yield {"posting": original, "document": document, "by": id, "state": state, "by_document": own}
