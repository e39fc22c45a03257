"""Reports that wait in quarantine for an order: let in once, in order, in time, and never against a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Conflict, NotFound
from agent.store import awaited, inbox
from agent.store.awaited import Key
from agent.store.encode import to_us
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from tests.stores import START, Clock, arrive, assert_sound, opened, reading

ORDER: Key = ("order", "1000123")
CAUSE: Key = ("scrap_reason", "gremlins@MOLD-02")
OF_ORDER: Key = (awaited.OF_ORDER, "1000123")
WHY = "order: order '1000123' is not known"
SINCE = to_us(START - timedelta(hours=24))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(tmp_path: Path, clock: Clock) -> Iterator[Writer]:
    with opened(tmp_path / "gp.db", clock) as made:
        yield made


def quarantine(writer: Writer, event_id: int, key: Key | None = ORDER, message: str | None = None) -> None:
    """Settle one event as the process loop does."""

    def job(tx: Transaction) -> None:
        inbox.settle(tx, [inbox.Settlement(event_id, "quarantined", message, reason=WHY)])
        awaited.wait(tx, [(key, event_id)] if key else [])

    writer.call(job)


def let_in(writer: Writer, *known: Key, since: int = SINCE) -> int:
    return writer.call(lambda tx: awaited.let_in(tx, known, since))


def undecided(writer: Writer) -> list[int]:
    return [one.id for one in writer.call(lambda tx: inbox.undecided(tx.connection, 100))]


def replays(writer: Writer) -> list[tuple[Any, ...]]:
    return writer.call(
        lambda tx: tx.execute("SELECT event_id, actor, detail FROM audit WHERE action = 'replayed'").fetchall()
    )


def clean(writer: Writer, before_us: int) -> None:
    """Forget as housekeeping does."""
    with reading(writer.path) as connection:
        while rows := awaited.expired(connection, before_us):
            writer.call(lambda tx, rows=rows: awaited.forget(tx, rows))  # type: ignore[misc]


def in_quarantine(writer: Writer) -> set[int]:
    """What the final confirmation of the order would overtake."""
    return {event for _, event in writer.call(lambda tx: awaited.in_quarantine(tx.connection, [OF_ORDER[1]]))}


def test_a_known_order_lets_in_what_waited_for_it_once_and_in_order(writer: Writer):
    """Each waiting report becomes undecided in the order of arrival, audited with the reason, and nothing else does."""
    arrive(writer, *(b"%d" % n for n in range(4)))
    for event_id, key in ((3, ORDER), (1, ORDER), (2, ("order", "1000124")), (4, None)):
        quarantine(writer, event_id, key)
    assert let_in(writer, ("material", "1000123"), ORDER) == 2
    assert undecided(writer) == [1, 3]
    assert let_in(writer, ORDER) == 0
    assert [(event, actor) for event, actor, _ in replays(writer)] == [(1, "agent"), (3, "agent")]
    assert json.loads(replays(writer)[0][2]) == {"was": WHY, "reason": "order 1000123 became known"}
    with reading(writer.path) as connection:
        assert list(awaited.keys(connection)) == [("order", "1000124")]
        assert_sound(connection)


def test_a_defect_or_a_cause_lets_in_what_waited_for_it(writer: Writer):
    """As orders and materials do."""
    arrive(writer, b"0", b"1")
    quarantine(writer, 1, CAUSE)
    quarantine(writer, 2, ("defect_code", "0815"))
    with reading(writer.path) as connection:
        assert awaited.anything(connection)
        assert set(awaited.keys(connection)) == {CAUSE, ("defect_code", "0815")}
    assert let_in(writer, CAUSE, ("defect_code", "0815")) == 2
    assert undecided(writer) == [1, 2]


def test_what_a_person_keeps_waits_no_more(writer: Writer):
    """A person ends the wait of one report, once; the other one of its order is let in, and a replay still works."""
    arrive(writer, b"1", b"2", b"3")
    quarantine(writer, 1)
    quarantine(writer, 2)
    quarantine(writer, 3, None)

    def keep(event_id: int) -> None:
        writer.call(lambda tx: awaited.keep(tx, event_id, by="Jo", reason="booked by hand"))

    keep(1)
    for event_id in (1, 3):
        with pytest.raises(Conflict, match="waits for nothing"):
            keep(event_id)
    with pytest.raises(NotFound):
        keep(9)
    assert let_in(writer, ORDER) == 1
    assert undecided(writer) == [2]
    with pytest.raises(Conflict, match="undecided"):
        keep(2)
    writer.call(lambda tx: inbox.replay(tx, 1, by="Jo", reason="not booked after all"))
    assert undecided(writer) == [1, 2]


def test_what_is_kept_is_known_by_its_message_key_until_it_is_replayed(writer: Writer):
    """Also without a wait its repeats are recognised; a repeat cannot be kept beside it; its replay forgets it."""

    def known() -> dict[str, tuple[bytes, int]]:
        return writer.call(lambda tx: inbox.known(tx.connection, ["consumption:1"]))

    arrive(writer, b"1", b"1")
    quarantine(writer, 1, None, message="consumption:1")
    quarantine(writer, 2, message="consumption:1")
    assert known() == {}
    writer.call(lambda tx: awaited.keep(tx, 1, by="Jo", reason="booked by hand"))
    assert known() == {"consumption:1": (sha256(b"1").digest(), 1)}
    with pytest.raises(Conflict, match="event 1 is the same message"):
        writer.call(lambda tx: awaited.keep(tx, 2, by="Jo", reason="booked by hand"))
    writer.call(lambda tx: inbox.replay(tx, 2, by="Jo", reason="try"))
    assert known() != {}
    writer.call(lambda tx: inbox.replay(tx, 1, by="Jo", reason="not booked after all"))
    assert known() == {}
    with reading(writer.path) as connection:
        assert_sound(connection)


def test_what_arrived_too_long_ago_is_left_to_a_person(writer: Writer):
    """A report older than the limit stays quarantined when its order becomes known, and does not wait any more."""
    arrive(writer, b"1")
    quarantine(writer, 1)
    assert let_in(writer, ORDER, since=to_us(START) + 1) == 0
    assert undecided(writer) == []
    with reading(writer.path) as connection:
        assert not awaited.anything(connection)


def test_the_waits_of_old_reports_are_forgotten(writer: Writer):
    """Housekeeping drops waits by the age of the report, and keeps the younger."""
    arrive(writer, b"1")
    quarantine(writer, 1)
    clean(writer, to_us(START))
    with reading(writer.path) as connection:
        assert awaited.anything(connection)
    clean(writer, to_us(START) + 1)
    with reading(writer.path) as connection:
        assert not awaited.anything(connection)


def test_a_report_holds_its_order_s_final_confirmation_as_long_as_it_is_in_quarantine(writer: Writer, clock: Clock):
    """However old it is: until it is replayed, or a person keeps it there."""
    arrive(writer, b"1", b"2", b"3")
    for event_id in (1, 2, 3):
        quarantine(writer, event_id, OF_ORDER)
    clock.forward(days=400)
    clean(writer, to_us(clock()))
    assert in_quarantine(writer) == {1, 2, 3}
    writer.call(lambda tx: inbox.replay(tx, 1, by="Erika", reason="mapping mended"))
    writer.call(lambda tx: awaited.keep(tx, 2, by="Erika", reason="booked by hand"))
    assert in_quarantine(writer) == {3}


def test_rows_of_reports_that_left_the_quarantine_are_dropped(writer: Writer, clock: Clock):
    """Housekeeping leaves one row for each report in quarantine, also where one came back into it."""
    arrive(writer, b"1", b"2")
    for _ in range(3):
        clock.forward(seconds=1)
        quarantine(writer, 1, OF_ORDER)
        writer.call(lambda tx: inbox.replay(tx, 1, by="Erika", reason="try"))
    quarantine(writer, 2, OF_ORDER)
    clean(writer, 0)
    with reading(writer.path) as connection:
        assert connection.execute("SELECT event_id FROM awaited").fetchall() == [(2,)]
        assert not awaited.anything(connection)


def test_a_person_who_replays_ends_the_wait(writer: Writer, clock: Clock):
    """A report that a person replayed, and that ended elsewhere, is not let in a second time."""
    arrive(writer, b"1")
    quarantine(writer, 1)
    clock.forward(seconds=1)
    writer.call(lambda tx: inbox.replay(tx, 1, by="Erika", reason="mapping mended"))
    assert let_in(writer, ORDER) == 0
    assert [actor for _, actor, _ in replays(writer)] == ["Erika"]


def test_a_wait_counts_only_for_the_quarantine_that_wrote_it(writer: Writer, clock: Clock):
    """A report that is in quarantine again for another reason stays there."""
    arrive(writer, b"1")
    quarantine(writer, 1)
    clock.forward(seconds=1)
    writer.call(lambda tx: inbox.replay(tx, 1, by="Erika", reason="try"))
    quarantine(writer, 1, key=None)
    assert let_in(writer, ORDER) == 0
    assert undecided(writer) == []


def test_garbage_does_not_become_a_key(writer: Writer):
    """A number that no ERP can have is not waited for."""
    arrive(writer, b"1")
    quarantine(writer, 1, ("order", "9" * 200))
    with reading(writer.path) as connection:
        assert not awaited.anything(connection)


def test_what_was_quarantined_again_meanwhile_is_not_forgotten(writer: Writer, clock: Clock):
    """Found expired, and in quarantine anew before it is dropped: the new row stays."""
    arrive(writer, b"1")
    quarantine(writer, 1, OF_ORDER)
    writer.call(lambda tx: inbox.replay(tx, 1, by="Erika", reason="try"))
    with reading(writer.path) as connection:
        rows = awaited.expired(connection, 0)
    clock.forward(seconds=1)
    quarantine(writer, 1, OF_ORDER)
    writer.call(lambda tx: awaited.forget(tx, rows))
    assert len(rows) == 1
    assert in_quarantine(writer) == {1}


def test_letting_in_looks_up_by_key(writer: Writer):
    """Waiting reports are found by the key of the lookup table, their events by number: no table is walked."""
    with reading(writer.path) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {awaited.WAITING}", ORDER)]
    assert plan[0] == "SEARCH awaited USING PRIMARY KEY (kind=? AND key=?)", plan
    assert not [step for step in plan if "SCAN" in step], plan
