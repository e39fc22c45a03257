"""A report that ends the agent while it is decided ends it a few times, not for ever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.pipeline import GIVEN_UP
from agent.store import postings
from agent.store.transaction import Transaction
from tests.integration.test_at_once import desk
from tests.integration.test_process import report
from tests.stores import arrive, assert_sound, opened, reading

LONGEST = 120.0  # s for one life, on a machine that is very busy


def life(store: Path, deadly: str = "", *numbers: int) -> int:
    """How one life ended; reports of these numbers arrive in it."""
    asked = [sys.executable, "-m", "tests.mortal", str(store), deadly, *map(str, numbers)]
    return subprocess.run(asked, check=False, timeout=LONGEST).returncode


def lives(store: Path, deadly: str, at_most: int) -> int:
    """How many lives ended before one went well."""
    for ended in range(at_most + 1):
        if life(store, deadly) == 0:
            return ended
    raise AssertionError(f"it ended {at_most + 1} times")


def ends(store: Path) -> list[Any]:
    """States of all events, and the reason of what is in quarantine."""
    with reading(store) as connection:
        assert_sound(connection)
        return connection.execute(
            "SELECT state FROM event WHERE state <> 'quarantined' "
            "UNION ALL SELECT reason FROM event WHERE state = 'quarantined'"
        ).fetchall()


def stored(store: Path, numbers: Sequence[int]) -> None:
    """These reports wait for a decision."""
    with opened(store) as writer:
        arrive(writer, *(report(n).payload for n in numbers), topic=report(1).topic)


def test_a_stored_report_that_ends_the_agent_is_found_and_put_aside(tmp_path: Path):
    """In the middle of its batch: after a few lives it alone is in quarantine, and the others are posted."""
    store = tmp_path / "gp.db"
    stored(store, range(1, 6))
    ended = lives(store, "M-3", at_most=5)
    assert ended >= GIVEN_UP
    assert ends(store) == [("posted",)] * 4 + [(f"the agent ended {GIVEN_UP} times while it decided about this",)]


def test_a_report_that_ends_the_agent_as_it_arrives_is_stored_when_it_comes_again(tmp_path: Path):
    """Its sender repeats it without saying so, as over HTTP: it is acknowledged in the second life, and put aside."""
    store = tmp_path / "gp.db"
    assert life(store, "M-1", 1) != 0
    assert ends(store) == [], "it was on no disk"
    assert life(store, "M-1", 1) != 0
    with reading(store) as connection:
        assert connection.execute("SELECT state FROM event").fetchall() == [("undecided",)]
    assert lives(store, "M-1", at_most=3) == GIVEN_UP - 1
    assert life(store, "M-1", 2) == 0
    assert ends(store) == [("posted",), (f"the agent ended {GIVEN_UP} times while it decided about this",)]


async def test_a_report_that_cannot_be_judged_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An error that nobody foresaw, in a batch or alone: the agent lives on, the culprit is shown with its reason."""
    async with desk(tmp_path) as one:
        rules = one.process.rules
        target = rules.assignments["consumption"].target

        def check(kind: object, payload: dict[str, Any]) -> list[str]:
            if payload["text"] == "M-2":
                raise KeyError("nobody foresaw it")
            return []

        monkeypatch.setattr(target, "check", check)
        one.put(report(1), report(2), report(3))
        assert await one.settled(3) == ["posted", "quarantined", "posted"]
        one.put(report(4))
        assert await one.settled(4) == ["posted", "quarantined", "posted", "posted"]
        reason, key = one.reader.execute("SELECT reason, message_key FROM event WHERE id = 2").fetchall()[0]
        assert reason == "it could not be judged: KeyError: 'nobody foresaw it'"
        assert key == "consumption:M-2"


async def test_a_decision_that_cannot_be_written_costs_only_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An error that nobody foresaw, in the commit: the agent lives on, the culprit is shown with its reason."""
    add_all = postings.add_all

    def fail(tx: Transaction, news: Sequence[postings.NewPosting]) -> list[tuple[int, str]]:
        if any(new.event_id == 2 for new in news):
            raise KeyError("nobody foresaw it")
        return add_all(tx, news)

    monkeypatch.setattr(postings, "add_all", fail)
    async with desk(tmp_path) as one:
        one.put(report(1), report(2), report(3))
        assert await one.settled(3) == ["posted", "quarantined", "posted"]
        reason = one.reader.execute("SELECT reason FROM event WHERE id = 2").get
        assert reason == "the store refused it: KeyError: 'nobody foresaw it'"
