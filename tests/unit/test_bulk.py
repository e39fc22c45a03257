"""Many rows by few statements: nothing is left out, doubled or out of order, whatever their number."""

from __future__ import annotations

import apsw
import pytest

from agent.store import bulk


@pytest.mark.parametrize("number", [0, 1, 2, 3, 511, 512, 513, 1300])
def test_each_row_is_written_once_and_in_order(number: int) -> None:
    """Slices of powers of two add up to all rows, in the order given."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, a, b)")
    rows = [(n, f"row {n}") for n in range(number)]
    bulk.run(connection, "INSERT INTO kept (a, b) VALUES *", rows)
    assert connection.execute("SELECT a, b FROM kept ORDER BY id").fetchall() == rows


@pytest.mark.parametrize("columns", [1, 2, 10, 22, 200])
def test_a_statement_is_never_too_long_to_be_kept_planned(columns: int) -> None:
    """However many rows and columns, a statement stays below what is planned anew each time, and is one of few."""
    connection = apsw.Connection(":memory:")
    names = ", ".join(f"c{n}" for n in range(columns))
    connection.execute(f"CREATE TABLE kept ({names})")
    told: set[str] = set()
    connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: told.add(event["sql"]))
    for number in range(1, 140):
        bulk.run(connection, f"INSERT INTO kept ({names}) VALUES *", [(0,) * columns] * number)
    assert max(map(len, told)) < bulk.LONGEST + len(f"INSERT INTO kept ({names})") + 10
    assert len(told) <= bulk.LARGEST.bit_length()
