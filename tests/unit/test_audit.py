"""The audit trail: every change to a written row is found, and at which row."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import apsw
import pytest

from agent.store import audit
from agent.store.encode import encode
from agent.store.writer import Writer
from tests.stores import opened, reading


def _write(writer: Writer, rows: int) -> None:
    def job(tx):
        for n in range(rows):
            tx.audit("decided", {"n": n}, event_id=n)

    writer.call(job)


def _tampered(path: Path, sql: str) -> audit.Verdict:
    connection = apsw.Connection(str(path))
    connection.execute("DROP TRIGGER audit_is_append_only; DROP TRIGGER audit_is_kept")
    connection.execute(sql)
    connection.close()
    with reading(path) as reader:
        return audit.verify_file(reader)


def test_an_untouched_chain_verifies(tmp_path: Path):
    """Every row carries the hash of the one before it."""
    with opened(tmp_path / "gp.db") as writer:
        _write(writer, 30)
    with reading(tmp_path / "gp.db") as reader:
        verdict = audit.verify_file(reader)
    assert (verdict.rows, verdict.broken_at) == (30, None)


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("UPDATE audit SET detail = '{\"n\":99}' WHERE seq = 7", 7),
        ("UPDATE audit SET actor = 'somebody else' WHERE seq = 7", 7),
        ("UPDATE audit SET at_us = at_us + 1 WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 12", 12),
        ("UPDATE audit SET seq = seq + 100 WHERE seq = 30", 30),
        ("UPDATE audit SET event_id = NULL WHERE seq = 9", 9),
        ("UPDATE audit SET actor = CAST(x'ff61' AS TEXT) WHERE seq = 8", 8),
    ],
)
def test_the_first_changed_row_is_named(tmp_path: Path, sql: str, row: int):
    """Editing, removing or moving a row breaks the chain there."""
    with opened(tmp_path / "gp.db") as writer:
        _write(writer, 30)
    assert _tampered(tmp_path / "gp.db", sql).broken_at == row


@pytest.mark.parametrize("sql", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"])
def test_the_database_refuses_to_change_the_trail(tmp_path: Path, sql: str):
    """Triggers stop what would change or remove a row by accident."""
    with opened(tmp_path / "gp.db") as writer:
        _write(writer, 3)
        with pytest.raises(apsw.ConstraintError):
            writer.call(lambda tx: tx.execute(sql))


def test_a_failed_job_leaves_no_audit_row(tmp_path: Path):
    """What was rolled back was not done, so the trail does not tell it."""

    def job(tx):
        tx.audit("decided", {})
        raise ValueError("no")

    with opened(tmp_path / "gp.db") as writer:
        with pytest.raises(ValueError, match="no"):
            writer.call(job)
        assert writer.call(lambda tx: tx.execute("SELECT count(*) FROM audit").fetchone()) == (0,)


def test_not_a_number_cannot_enter(tmp_path: Path):
    """NaN, which SQLite would keep as NULL, is refused by the one encoder."""
    with opened(tmp_path / "gp.db") as writer, pytest.raises(ValueError, match="NaN cannot be kept"):
        writer.call(lambda tx: tx.audit("decided", {"score": float("nan")}))


@pytest.mark.parametrize("value", [float("inf"), [-float("inf")], {"a": {"b": float("nan")}}, "\ud800", object()])
def test_what_json_cannot_say_is_refused(value: object):
    """Numbers that are none, half characters and foreign things raise, however deep they lie."""
    with pytest.raises(ValueError):  # noqa: PT011  # in the words of whichever refused it
        encode({"value": value})


def test_json_says_exactly_what_it_was_given():
    """Words that look like such a number are words, a Decimal keeps every digit, and text is not escaped."""
    said = {"why": "NaN: -Infinity", "value": Decimal("12.400000000000000000010"), "unit": "µm", "n": [1, 0.1, None]}
    text = encode(said)
    assert text == '{"why":"NaN: -Infinity","value":"12.400000000000000000010","unit":"µm","n":[1,0.1,null]}'
    assert json.loads(text) == {**said, "value": "12.400000000000000000010"}
