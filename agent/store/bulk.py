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
    size = LARGEST
    while rows and size * len(_row(len(rows[0]))) > LONGEST:
        size >>= 1
    start = 0
    while start < len(rows):
        while size > len(rows) - start:
            size >>= 1
        part = rows[start : start + size]
        connection.execute(_of(statement, len(part[0]), size), list(chain.from_iterable(part)))
        start += size


@lru_cache(256)
def _of(statement: str, columns: int, rows: int) -> str:
    return statement.replace(ROWS, f"VALUES {(_row(columns) * rows)[:-1]}")


def _row(columns: int) -> str:
    return f"({','.join('?' * columns)}),"
