"""Many rows by few statements: row by row, a writer hands the interpreter over and waits for it at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import apsw

LARGEST = 512  # rows of one statement; slices are powers of two, so that few different statements are ever planned
LONGEST = 16_000  # characters: what is longer is planned anew each time
ROWS = "VALUES *"


def run(connection: apsw.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a statement for all rows, which it names as ``VALUES *``. Raises what SQLite raises, at the first bad row."""
    start, left = 0, len(rows)
    while left:
        columns = len(rows[start])
        size = min(1 << left.bit_length() - 1, _most(columns))
        flat = rows[start] if size == 1 else list(chain.from_iterable(rows[start : start + size]))
        connection.execute(_of(statement, columns, size), flat)
        start, left = start + size, left - size


@lru_cache
def _most(columns: int) -> int:
    """How many rows of so many columns one statement takes."""
    fit = LONGEST // len(_row(columns))
    return min(LARGEST, 1 << fit.bit_length() - 1)


@lru_cache(256)
def _of(statement: str, columns: int, rows: int) -> str:
    return statement.replace(ROWS, f"VALUES {(_row(columns) * rows)[:-1]}")


def _row(columns: int) -> str:
    return f"({','.join('?' * columns)}),"
