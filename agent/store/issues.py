"""Goods issues that are booked or on their way to the books, added up by place and quarter of an hour.

What is held, refused, replaced, only simulated or taken back is not among them. Sums are floats: they are for
statistics, nothing is posted from them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import apsw

SLOT_US: Final = 15 * 60 * 1_000_000
PIECE: Final = 20_000  # rows of one look
_COUNTS: Final = (
    "p.kind = 'goods_issue' AND (p.state = 'acknowledged' OR p.state = 'ready' OR p.state = 'sending' "
    "OR p.state = 'in_doubt' OR p.state = 'doubtful' OR p.state = 'dead')"
)
_PLACE: Final = (
    "json_extract(p.payload, '$.material'), coalesce(json_extract(p.payload, '$.storage_location'), ''), "
    "coalesce(json_extract(p.payload, '$.unit'), '')"
)
_SUM: Final = (  # movement 262 gives back
    "sum(iif(json_extract(p.payload, '$.movement') = '262', -1, 1) "
    "* CAST(json_extract(p.payload, '$.quantity') AS REAL))"
)
_BETWEEN: Final = (
    f"SELECT {_PLACE}, p.created_us / {SLOT_US}, {_SUM} FROM posting p "  # noqa: S608  # our own words
    f"WHERE p.id > ? AND p.id <= ? AND p.created_us >= {SLOT_US} * ? AND {_COUNTS} "
    "AND NOT EXISTS (SELECT 1 FROM posting r WHERE r.kind = 'reversal' AND r.state = 'acknowledged' "
    "AND json_extract(r.payload, '$.of_key') = +p.idempotency_key) GROUP BY 1, 2, 3, 4"  # +: else no index is used
)
_OPEN: Final = (
    f"SELECT {_PLACE}, p.created_us / {SLOT_US}, {_SUM} FROM posting p "  # noqa: S608  # our own words
    "WHERE p.lane_seq IS NOT NULL AND p.kind = 'goods_issue' GROUP BY 1, 2, 3, 4"
)


class Issued(NamedTuple):
    """What was issued of a material at a place within one quarter of an hour, counted from 1970 UTC."""

    material: str
    storage_location: str
    unit: str
    slot: int
    quantity: float


def between(connection: apsw.Connection, after: int, until: int, since: int) -> list[Issued]:
    """What postings behind the id `after` up to the id `until` issue, of slots from `since` on."""
    return [Issued(*row) for row in connection.execute(_BETWEEN, (after, until, since))]


def unbooked(connection: apsw.Connection) -> list[Issued]:
    """What is on its way to the books: the ERP's stock has it still."""
    return [Issued(*row) for row in connection.execute(_OPEN)]


def begun(connection: apsw.Connection) -> int | None:
    """The quarter of an hour of the first goods issue that the store still has; None: there is none."""
    row: Any = connection.execute(
        f"SELECT p.created_us / {SLOT_US} FROM posting p WHERE {_COUNTS} ORDER BY p.id LIMIT 1"  # noqa: S608  # our own words
    ).fetchone()
    return int(row[0]) if row else None


def last(connection: apsw.Connection) -> int:
    """The id of the newest posting."""
    row: Any = connection.execute("SELECT max(id) FROM posting").fetchone()
    return int(row[0] or 0)


def before(connection: apsw.Connection, slot: int) -> int:
    """An id behind which all postings from `slot` on are: by halves, for ids rise with the time."""
    low, high = 0, last(connection)
    while low < high:
        middle = (low + high) // 2
        row: Any = connection.execute(
            "SELECT id, created_us FROM posting WHERE id > ? ORDER BY id LIMIT 1", (middle,)
        ).fetchone()
        if row is None or row[1] >= slot * SLOT_US:
            high = middle
        else:
            low = row[0]
    return low
