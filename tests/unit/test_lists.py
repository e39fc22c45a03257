"""What people look at costs the same with a million finished rows beside it: each list walks an index of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from agent.store import balance, inbox, lists, outbox, postings, trace
from agent.store.became import became
from agent.store.writer import Writer
from tests.stores import arrive, claim, drain, opened, posting, reading


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gp.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with opened(path) as writer:
        yield writer


def _reported(writer: Writer, *lines: str) -> None:
    """One decided event with a posting for each of these lines, in order; their ids are 1, 2, …"""
    arrive(writer, *(str(number).encode() for number, _ in enumerate(lines, 1)))

    def job(tx: Any) -> None:
        inbox.settle(
            tx, [inbox.Settlement(number, "posted", f"consumption:{number}") for number, _ in enumerate(lines, 1)]
        )
        for number, line in enumerate(lines, 1):
            postings.add(tx, posting(number, f"order/{number}", event_id=number, line=line))

    writer.call(job)


def _plans(connection: apsw.Connection, look: Any) -> list[str]:
    """How SQLite finds the rows of each statement that `look` runs on tables that grow."""
    asked: list[tuple[str, Any]] = []
    connection.exec_trace = lambda _, sql, bindings: asked.append((sql, bindings)) or True  # type: ignore[func-returns-value]
    look(connection)
    connection.exec_trace = None
    found = [row[3] for sql, bindings in asked for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)]
    return [step for step in found if " posting" in step or " event" in step]


@pytest.mark.parametrize("state", sorted({*balance.POSTING_STATES} - {"acknowledged"}))
def test_a_list_of_one_state_walks_no_other(writer: Writer, path: Path, state: str):
    """Also of what is ready, refused, simulated or superseded."""
    _reported(writer, "mixing")
    with reading(path) as connection:
        for lines in ((), ("mixing",)):
            plan = _plans(connection, lambda at, lines=lines: lists.postings(at, state, lines=lines))
            assert [step for step in plan if "posting" in step] == [
                "SEARCH posting USING INDEX posting_state (state=? AND rowid>?)"
            ]


def test_each_list_has_its_postings(writer: Writer, path: Path):
    """Oldest first, behind the last one seen, of the lines that are asked for."""
    _reported(writer, "mixing", "filling", "mixing", "filling")
    held = writer.call(lambda tx: postings.add(tx, posting(9, "order/9", line="mixing", reasons=("look",))))[0]
    assert drain(writer, 1) == 1
    writer.call(lambda tx: outbox.refuse(tx, 2, by="Ann", reason="no"))
    with reading(path) as connection:
        found = {state: [one["id"] for one in lists.postings(connection, state)] for state in balance.POSTING_STATES}
        assert {state: ids for state, ids in found.items() if ids} == {
            "held": [held], "acknowledged": [1], "refused": [2], "ready": [3, 4],
        }  # fmt: skip
        assert [one["id"] for one in lists.postings(connection, "ready", lines=["filling"])] == [4]
        assert [one["id"] for one in lists.postings(connection, "ready", after=3)] == [4]


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"limit": 2}, [4, 5]),
        ({"after": 1, "limit": 2}, [2, 3]),
        ({"lines": ["quiet"]}, [1]),
        ({"lines": ["quiet"], "after": 1}, []),
        ({"lines": ["busy"], "limit": 2}, [4, 5]),
        ({"lines": ["busy", "quiet"]}, [1, 2, 3, 4, 5]),
        ({"lines": ["busy", "quiet"], "limit": 3}, [3, 4, 5]),
        ({"lines": ["busy", "quiet"], "after": 2, "limit": 2}, [3, 4]),
        ({"lines": ["unknown"]}, []),
    ],
)
def test_recent_events_of_lines(writer: Writer, path: Path, asked: dict[str, Any], ids: list[int]):
    """The newest, or what came behind the last one seen; a quiet line's events are not pushed out by a busy one's."""
    _reported(writer, "quiet", "busy", "busy", "busy", "busy")
    with reading(path) as connection:
        assert [one["id"] for one in lists.recent_events(connection, **asked)] == ids


@pytest.mark.parametrize("after", [0, 1])
def test_a_quiet_line_costs_no_more_than_a_busy_one(writer: Writer, path: Path, after: int):
    """Its events are found by its postings, not by walking everybody's."""
    _reported(writer, "quiet", "busy")
    claim(writer)
    with reading(path) as connection:
        plan = _plans(connection, lambda at: lists.recent_events(at, after=after, lines=["quiet"]))
    assert plan[0] == "SEARCH posting USING COVERING INDEX posting_line (line=? AND event_id>?)"
    assert plan[1].startswith("SEARCH event USING INTEGER PRIMARY KEY")


def test_an_event_becomes_what_its_postings_are(writer: Writer, path: Path):
    """It stays as it was decided; what still stands open says more than what is booked, and of a group the worst."""
    _reported(writer, "mixing", "filling")
    writer.call(lambda tx: postings.add(tx, posting(9, "order/9", event_id=1, line="mixing", reasons=("look",))))
    arrive(writer, b"nothing to post")
    writer.call(lambda tx: inbox.settle(tx, [inbox.Settlement(3, "ignored", "consumption:3")]))

    def seen() -> list[tuple[str, str]]:
        with reading(path) as connection:
            told = [(one["state"], one["became"]) for one in lists.recent_events(connection)]
            assert trace.trace(connection, "1")["event"]["became"] == told[0][1]
            return told

    assert seen() == [("posted", "held"), ("posted", "ready"), ("ignored", "ignored")]
    writer.call(lambda tx: outbox.refuse(tx, 3, by="Ann", reason="no"))
    assert drain(writer, 2) == 2
    assert seen() == [("posted", "acknowledged"), ("posted", "acknowledged"), ("ignored", "ignored")]


def test_what_became_of_events_is_found_by_them(writer: Writer, path: Path):
    """Not by walking all postings."""
    _reported(writer, "mixing")
    with reading(path) as connection:
        plan = _plans(connection, lambda at: became(at, [1]))
    assert plan == ["SEARCH posting USING INDEX posting_event (event_id=?)"]
