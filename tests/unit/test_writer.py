"""The one writer: what it hands out is on disk, what fails fails alone."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import apsw
import pytest

from agent.errors import StoreCorrupt, StoreError, StoreLocked
from agent.store import audit
from agent.store import queue as queue_module
from agent.store import writer as writer_module
from agent.store.writer import LOOK_EVERY_S, Writer
from tests.stores import Clock, arrive, opened, reading


def _count(path: Path) -> int:
    with reading(path) as connection:
        return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])  # type: ignore[index]


def test_a_result_is_on_disk_when_it_is_handed_out(tmp_path: Path):
    """A job's result comes after COMMIT: another connection sees its rows."""
    path = tmp_path / "gp.db"
    with opened(path) as writer:
        arrive(writer, b"{}", b"{}")
        assert _count(path) == 2


def test_the_pragmas_the_promise_rests_on_are_set(tmp_path: Path):
    """The connection that writes uses WAL and synchronous=FULL."""
    with opened(tmp_path / "gp.db") as writer:
        found = writer.call(lambda tx: (tx.connection.pragma("journal_mode"), tx.connection.pragma("synchronous")))
    assert found == ("wal", 2)


def test_one_failing_job_costs_the_others_nothing(tmp_path: Path):
    """Jobs of one commit fail alone: the failing one is rolled back and its caller gets the error."""
    path = tmp_path / "gp.db"

    async def together(writer: Writer) -> list[object]:
        def bad(tx):
            tx.execute("INSERT INTO tally (name, n) VALUES ('bad', 1)")
            raise ValueError("no")

        def good(name: str):
            return lambda tx: tx.execute("INSERT INTO tally VALUES (?, 1)", (name,))

        jobs = [writer.run(one) for one in (good("good a"), bad, good("good b"))]
        return list(await asyncio.gather(*jobs, return_exceptions=True))

    with opened(path) as writer:
        answers = asyncio.run(together(writer))
    assert [type(one) for one in answers].count(ValueError) == 1
    with reading(path) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM tally")}
    assert {"good a", "good b"} <= names
    assert "bad" not in names


def test_a_failing_job_leaves_no_record_count_or_place(tmp_path: Path):
    """Audit rows, running totals and places in lanes are those of the jobs that ended well, without a hole."""

    def job(number: int):
        def work(tx):
            tx.audit("tried", {"number": number})
            tx.count("tried")
            place = tx.next_lane_seq()
            if number % 3 == 1:
                raise ValueError("no")
            if number % 3 == 2:
                tx.audit("odd", "\ud800")
            return place

        return work

    async def together(writer: Writer) -> list[object]:
        return list(await asyncio.gather(*(writer.run(job(n)) for n in range(30)), return_exceptions=True))

    with opened(tmp_path / "gp.db") as writer:
        answers = asyncio.run(together(writer))
    assert [one for one in answers if isinstance(one, int)] == list(range(1, 11))
    with reading(tmp_path / "gp.db") as connection:
        actions = [row[3] for row in audit.rows(connection)]
        totals = dict(connection.execute("SELECT name, n FROM tally"))
        assert audit.verify_file(connection).broken_at is None
    assert (actions.count("tried"), actions.count("odd")) == (10, 0)
    assert (totals["tried"], totals["lane_seq"]) == (10, 10)


def test_jobs_that_queue_up_share_a_commit(tmp_path: Path):
    """Whatever queued up during one commit shares the next."""
    with opened(tmp_path / "gp.db") as writer:
        gate = threading.Event()
        done = threading.Event()
        writer.put(lambda tx: gate.wait(60), 1, lambda _: None)
        before = writer.figures.commits
        for n in range(50):
            writer.put(lambda tx: None, 1, (lambda _: done.set()) if n == 49 else (lambda _: None))
        gate.set()
        assert done.wait(60)
        assert writer.figures.commits - before <= 3


def test_a_full_queue_blocks_and_says_so(tmp_path: Path):
    """A queue that is full refuses after the timeout and takes again when the writer has caught up."""
    writer = Writer(tmp_path / "gp.db", Clock(), queue_bytes=1000)
    writer.start()
    gate = threading.Event()
    started = threading.Event()

    def slow(tx):
        started.set()
        gate.wait(60)

    writer.put(slow, 1, lambda _: None)
    assert started.wait(60)
    assert writer.put(lambda tx: None, 900, lambda _: None, timeout=0)
    assert not writer.put(lambda tx: None, 900, lambda _: None, timeout=0)
    gate.set()
    assert writer.put(lambda tx: None, 900, lambda _: None, timeout=60)
    writer.stop()


class Watched(threading.Condition):
    """Tells when somebody of another thread begins to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def wait_for(self, predicate, timeout=None):
        if threading.current_thread().name == "sender":
            self.waits.set()
        return super().wait_for(predicate, timeout)


def test_a_sender_that_can_wait_leaves_the_next_commit_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """While a commit's worth is queued, a sender that can wait comes into a later one; who cannot is let in."""
    monkeypatch.setattr(writer_module, "ENOUGH", 1000)
    monkeypatch.setattr(writer_module, "ENOUGH_S", 60)
    gate, started = threading.Event(), threading.Event()
    commits: dict[str, int] = {}

    def slow(tx):
        started.set()
        gate.wait(60)

    writer = Writer(tmp_path / "gp.db", Clock())
    writer._changed = door = Watched()
    writer.start()

    def put(name: str, timeout: float) -> None:
        job = lambda tx: commits.setdefault(name, writer.figures.commits)  # noqa: E731
        assert writer.put(job, 1000, lambda _: None, timeout)

    writer.put(slow, 1, lambda _: None)
    assert started.wait(60)
    put("line", 0)
    sender = threading.Thread(target=put, args=("backlog", 60), name="sender")
    sender.start()
    assert door.waits.wait(60)
    put("question", 0)
    gate.set()
    sender.join(60)
    writer.stop()
    assert commits["line"] == commits["question"] < commits["backlog"]


def test_an_answer_of_the_erp_does_not_stand_behind_a_session_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """While somebody asks, a sender that can wait holds back where one commit's worth of that time is queued."""
    monkeypatch.setattr(writer_module, "HELD_BACK_S", 60)
    written: list[str] = []
    writer = Writer(tmp_path / "gp.db", Clock())
    writer._changed = door = Watched()
    writer.give_way_while(lambda: True)

    def put(name: str) -> None:
        assert writer.put(lambda tx: written.append(name), queue_module.LITTLE, lambda _: None, 60)

    async def answer() -> None:
        waits = writer.submit(lambda tx: written.append("answer"), gives_way=True)
        writer.start()
        await waits

    put("session")
    sender = threading.Thread(target=put, args=("more of it",), name="sender")
    sender.start()
    assert door.waits.wait(60)
    asyncio.run(answer())
    sender.join(60)
    writer.stop()
    assert written == ["session", "answer", "more of it"]


def test_what_gives_way_is_written_behind_what_is_asked_and_lost_by_no_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It rests after its like was written, questions do not; told to stop, the writer writes it all the same."""
    monkeypatch.setattr(queue_module, "LONGEST_S", 60)
    monkeypatch.setattr(queue_module, "GIVES_WAY", 1e9)
    commits: dict[str, int] = {}
    with opened(tmp_path / "gp.db") as writer:
        writer.give_way_while(lambda: True)

        def put(name: str, timeout: float) -> threading.Event:
            done = threading.Event()
            job = lambda tx: commits.setdefault(name, writer.figures.commits)  # noqa: E731
            assert writer.put(job, 1, lambda _: done.set(), timeout)
            return done

        assert put("backlog", 60).wait(60)
        rests = put("more of it", 60)
        for number in range(3):
            assert put(f"question {number}", 0).wait(60)
        assert not rests.is_set()
    assert rests.is_set()
    assert commits["backlog"] < commits["question 2"] < commits["more of it"]


def test_a_job_that_was_refused_is_not_acknowledged(tmp_path: Path):
    """`then` hears the error of its own job, so that a source does not acknowledge what was not stored."""
    heard: list[BaseException | None] = []
    done = threading.Event()

    def refuse(tx):
        raise ValueError("no")

    def then(error: BaseException | None) -> None:
        heard.append(error)
        done.set()

    with opened(tmp_path / "gp.db") as writer:
        writer.put(refuse, 1, then)
        assert done.wait(60)
    assert isinstance(heard[0], ValueError)


def test_a_second_agent_on_the_same_store_is_refused(tmp_path: Path):
    """Two agents cannot own one store; the message names the process and what to do."""
    path = tmp_path / "gp.db"
    with opened(path), pytest.raises(StoreLocked, match=r"in use by another agent \(process \d+\); stop that one"):
        Writer(path, Clock()).start()


@pytest.mark.parametrize(
    "damage",
    [b"", b"this is no database at all, not even close", b"SQLite format 3\0" + bytes(84)],
    ids=["empty", "foreign", "header only"],
)
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, damage: bytes):
    """A file that is no store any more is refused with what to do, and its bytes stay as they are."""
    path = tmp_path / "gp.db"
    with opened(path) as writer:
        arrive(writer, b"{}")
    path.write_bytes(damage)
    with pytest.raises((StoreCorrupt, StoreError), match=r"gatepost (recover|restore)|not a Gatepost"):
        Writer(path, Clock()).start()
    assert path.read_bytes() == damage


def test_a_store_that_has_vanished_is_not_replaced_by_an_empty_one(tmp_path: Path):
    """Without its file but with its mark there was a store: beginning anew would forget what was posted."""
    path = tmp_path / "gp.db"
    with opened(path) as writer:
        arrive(writer, b"{}")
    path.unlink()
    with pytest.raises(StoreCorrupt, match="put the store back"):
        Writer(path, Clock()).start()
    assert not path.exists()


def test_a_folder_that_is_away_is_waited_for(tmp_path: Path):
    """The disk was unmounted or moved: nothing is acknowledged meanwhile, and it goes on when the folder is back."""
    folder, away = tmp_path / "data", tmp_path / "away"
    folder.mkdir()
    with opened(folder / "gp.db") as writer:
        folder.rename(away)
        answers: list[BaseException | None] = []
        _until(lambda: time.monotonic() - writer._looked_at > LOOK_EVERY_S)  # it looks around at the next job
        writer.put(lambda tx: tx.execute("INSERT INTO tally VALUES ('late', 1)"), 1, answers.append)
        _until(lambda: "Vanished" in writer.figures.trouble)
        assert answers == []
        away.rename(folder)
        _until(lambda: answers == [None])


def test_a_restored_copy_starts_with_posting_off(tmp_path: Path):
    """A file that is older than the mark beside it is a time machine: every target is paused until a person says so."""
    path = tmp_path / "gp.db"
    with opened(path) as writer:
        arrive(writer, b"{}")
    old = path.read_bytes()
    with opened(path) as writer:
        arrive(writer, b"{}")
        assert writer.findings == []
    path.write_bytes(old)
    with opened(path) as writer:
        assert "RECONCILE" in writer.findings[0]
        paused = writer.call(lambda tx: tx.execute("SELECT scope, key FROM pause").fetchall())
    assert paused == [("target", "*")]


def test_a_locked_file_is_waited_for_and_loses_nothing(tmp_path: Path):
    """A foreign lock on the file delays the commit; the job is there once the lock is gone."""
    path = tmp_path / "gp.db"
    with opened(path) as writer:
        writer.call(lambda tx: tx.connection.pragma("busy_timeout", 10))
        foreign = apsw.Connection(str(path))
        foreign.execute("BEGIN IMMEDIATE")
        stored = threading.Event()

        def then(error: BaseException | None) -> None:
            if error is None:
                stored.set()

        writer.put(lambda tx: tx.execute("INSERT INTO tally VALUES ('late', 1)"), 1, then)
        _until(lambda: writer.figures.trouble != "")
        assert not stored.is_set()
        foreign.execute("ROLLBACK")
        foreign.close()
        assert stored.wait(60)
        assert writer.figures.trouble == ""
        assert writer.figures.errors["BusyError"] >= 1


def _until(condition) -> None:
    waiter = threading.Event()
    for _ in range(1000):
        if condition():
            return
        waiter.wait(0.01)
    raise AssertionError("the condition did not become true within 10 s")
