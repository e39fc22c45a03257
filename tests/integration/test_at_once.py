"""Decided in the commit that stores it: what arrives where nothing waits, and what is stored first all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from agent import own_events, pipeline
from agent.dispatch import ALL_FREE, Dispatch
from agent.isa95 import SegmentResponse
from agent.judging import waiting
from agent.judging.judgement import Verdict
from agent.pipeline import Intake, Process
from agent.ports import Acknowledgement, Batch, Delivery, Event, Posting
from agent.store import awaited, file, inbox, outbox, postings
from agent.store.keys import idempotency_key
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from tests.integration.test_process import report, rules
from tests.plant import plant, until
from tests.stores import Clock, opened, posting, send
from tests.unit.test_judge import Narrow


@asynccontextmanager
async def busy(writer: Writer) -> AsyncIterator[None]:
    """The writer is at a job that ends with the block; what is put meanwhile shares the next commit."""
    gate, begun = threading.Event(), threading.Event()

    def job(tx: Transaction) -> None:
        begun.set()
        gate.wait(60)

    running = asyncio.ensure_future(writer.run(job))
    await until(begun.is_set, "the writer is at it")
    yield
    gate.set()
    await running


@dataclass
class Desk:
    """A store with a process that has nothing to do."""

    writer: Writer
    reader: apsw.Connection
    process: Process

    def put(self, *deliveries: Delivery) -> None:
        """They arrive together."""
        Intake(self.writer).put(Batch("line", deliveries, Clock()(), lambda: None))

    def ask(self, number: int = 0) -> asyncio.Future[Verdict]:
        """A question arrives; its answer."""
        asked = SegmentResponse("order_release", f"Q-{number}", "1000100", "", Clock()())
        answer = self.process.waiters.expect(f"order_release:Q-{number}")
        Intake(self.writer).put(Batch(own_events.SOURCE, (own_events.event_of(asked),), Clock()(), lambda: None), 0)
        return answer

    def states(self) -> list[str]:
        """Of all events, in order of arrival."""
        return [state for (state,) in self.reader.execute("SELECT state FROM event ORDER BY id")]

    def commits(self) -> int:
        """How many there were, as the file says."""
        found: int | None = self.reader.execute("SELECT n FROM tally WHERE name = 'commit'").get
        return found or 0

    async def settled(self, count: int) -> list[str]:
        """Their states, once so many have arrived and all are decided."""
        await until(lambda: len(self.states()) >= count and "undecided" not in self.states(), "all is decided")
        return self.states()


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    clock = Clock()
    with opened(folder / "gp.db", clock) as writer, closing(file.reader(folder / "gp.db")) as reader:
        process = Process(writer, reader, rules(), clock, {})
        process.orders_read.set()
        running = asyncio.create_task(process.run())
        await until(lambda: not process._has_turn and process.busy_since == 0, "the process waits")
        await asyncio.sleep(0)
        yield Desk(writer, reader, process)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Watched(Dispatch):
    """Notes for how many places it was asked."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.reserved: list[int] = []

    def reserve(self, most: int = ALL_FREE) -> int:
        self.reserved.append(most)
        return super().reserve(most)


@dataclass
class Served(Desk):
    """A desk with a target."""

    dispatch: Watched
    running: list[asyncio.Task[None]]

    async def end(self) -> None:
        """As at a calm stop, before what is in the air may come back."""
        for one in self.running:
            one.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)


@asynccontextmanager
async def served(folder: Path, admit: outbox.Admit = send) -> AsyncIterator[Served]:
    clock = Clock()
    with opened(folder / "gp.db", clock) as writer, closing(file.reader(folder / "gp.db")) as reader:
        dispatch = Watched(Narrow(), writer, reader, clock, window=4, admit=admit)
        process = Process(writer, reader, rules(), clock, {"narrow": dispatch})
        process.orders_read.set()
        running = [asyncio.create_task(one.run()) for one in (process, dispatch)]
        await until(lambda: dispatch.opened.is_set() and not process._has_turn, "the process waits")
        made = Served(writer, reader, process, dispatch, running)
        yield made
        await made.end()
        await dispatch.drain(60)


async def test_a_report_that_arrives_alone_is_decided_in_the_commit_that_stores_it(tmp_path: Path):
    """One commit: no moment in which it is on disk and undecided."""
    async with desk(tmp_path) as one:
        before = one.commits()
        one.put(report(1))
        assert await one.settled(1) == ["posted"]
        assert one.commits() == before + 1


async def test_reports_that_share_a_commit_are_decided_in_it_together(tmp_path: Path):
    """Two batches queued up behind a busy writer: stored and decided by one commit, one total on top of the other."""
    async with desk(tmp_path) as one:
        async with busy(one.writer):
            before = one.commits()
            for number in (1, 2):
                one.put(report(number))
        assert await one.settled(2) == ["posted"] * 2
        assert one.commits() == before + 2, "the one that held them up, and theirs"
        assert '"count":2' in one.reader.execute("SELECT value FROM state WHERE key LIKE 'consumption/%'").get


async def test_a_repeat_in_the_same_commit_is_a_duplicate(tmp_path: Path):
    """What this very commit has written is known to what is decided after it."""
    async with desk(tmp_path) as one:
        one.put(report(1))
        await one.settled(1)
        one.put(report(1), report(2), report(2))
        assert await one.settled(4) == ["posted", "duplicate", "posted", "duplicate"]


async def test_what_is_delivered_again_is_on_disk_before_anybody_looks_at_it(tmp_path: Path):
    """It may be what killed the agent when it was decided: it is stored and acknowledged first."""
    async with desk(tmp_path) as one:
        before = one.commits()
        one.put(report(1)._replace(properties={"dup": "1"}))
        assert await one.settled(1) == ["posted"]
        assert one.commits() == before + 2


async def test_what_the_store_refuses_to_decide_is_stored_all_the_same(tmp_path: Path):
    """The key of a posting is taken: the arrivals are kept, the culprit is quarantined alone, the others are posted."""
    async with desk(tmp_path) as one:
        taken = idempotency_key("consumption:M-2", "consumption", "narrow", 0)
        await one.writer.run(lambda tx: tx.execute("INSERT INTO idempotency VALUES (?, 4711)", (taken,)).fetchall())
        one.put(report(1), report(2), report(3))
        assert await one.settled(3) == ["posted", "quarantined", "posted"]
        assert "the store refused it" in one.reader.execute("SELECT reason FROM event WHERE id = 2").get
        assert awaited.in_quarantine(one.reader, ["1000100"]) == {("1000100", 2)}, "its order is not closed unseen"
        assert one.reader.execute("SELECT message_key FROM event WHERE id = 2").get == "consumption:M-2"


async def test_nothing_overtakes_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """More than is decided at once waits for the process; what comes one by one meanwhile is decided after it."""
    monkeypatch.setattr(pipeline, "FEW", 2)
    async with desk(tmp_path) as one:
        one.put(*(report(number) for number in range(1, 6)))
        for number in range(6, 9):
            one.put(report(number))
        assert await one.settled(8) == ["posted"] * 8
        told = "SELECT event_id FROM audit WHERE action = 'decided' ORDER BY seq"
        assert [event for (event,) in one.reader.execute(told)] == list(range(1, 9))


async def test_what_is_asked_is_decided_in_the_commit_that_stores_it_though_others_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two full batches share its commit, and nothing takes what waits from disk: the question has its answer."""
    monkeypatch.setattr(pipeline, "FEW", 2)

    async def nothing() -> bool:
        return False

    async with desk(tmp_path) as one:
        monkeypatch.setattr(one.process, "_next", lambda: ())
        monkeypatch.setattr(one.process, "_slice", nothing)
        async with busy(one.writer):
            one.put(*(report(number) for number in range(1, 5)))
            one.put(*(report(number) for number in range(5, 9)))
            answer = one.ask()
        assert (await asyncio.wait_for(answer, 60)).state == "quarantined", "no workflow reads what was asked"
        assert one.states() == ["quarantined"] + ["undecided"] * 8


async def test_what_shares_the_commit_of_a_question_is_decided_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The question is decided at once; the process hears that more has come."""
    monkeypatch.setattr(pipeline, "FEW", 2)
    async with desk(tmp_path) as one:
        async with busy(one.writer):
            one.put(*(report(number) for number in range(1, 5)))
            one.ask()
        assert await one.settled(5) == ["quarantined"] + ["posted"] * 4


async def test_a_slice_lets_a_question_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A backlog is worked off while questions follow each other: they are decided in the commits that store them."""
    monkeypatch.setattr(pipeline, "SLICE", 2)
    monkeypatch.setattr(pipeline, "BATCH", 2)
    async with desk(tmp_path) as one:
        look, waited = inbox.undecided_own, list[int]()

        def looked(connection: apsw.Connection, *rest: Any) -> list[Event]:
            found = look(connection, *rest)
            if connection is one.reader:  # what is committed
                waited.extend(event.id for event in found)
            return found

        monkeypatch.setattr(inbox, "undecided_own", looked)
        one.put(*(report(number) for number in range(1, 41)))
        for number in range(10):
            await asyncio.wait_for(one.ask(number), 60)
        assert len(await one.settled(50)) == 50
        assert len(set(waited)) < 5, "now and then one comes in the moment in which the process looks"


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_a_stop_that_comes_with_an_arrival_or_an_answer_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
):
    """Woken, and cancelled in the same moment or so many steps of the loop later: who rests or waits does not go on."""
    async with served(tmp_path) as one:
        waits = asyncio.create_task(one.dispatch._wait())
        for _ in range(20):
            await asyncio.sleep(0)
        one.process.arrived.set()
        one.dispatch.wake()
        for _ in range(steps):
            await asyncio.sleep(0)
        waits.cancel()
        one.running[0].cancel()
        await asyncio.wait({waits, one.running[0]}, timeout=5)
        assert waits.done()
        assert one.running[0].done()


async def test_what_cannot_be_decided_at_once_keeps_no_place_at_the_target(tmp_path: Path):
    """The store refuses one report as it is decided: the next one is booked, and all places are free."""
    async with plant(tmp_path) as line:
        poison, good = line.report(), line.report()
        taken = idempotency_key(f"consumption:{poison['id']}", "consumption", "s4", 0)
        await line.agent.writer.run(lambda tx: tx.execute("INSERT INTO idempotency VALUES (?, 4711)", (taken,)).get)
        line.publish(poison)
        await until(lambda: line.rows("SELECT 1 FROM event WHERE state = 'quarantined'"), "it is put aside")
        line.publish(good)
        await line.settled(good["id"], "acknowledged")
        (dispatch,) = line.agent.dispatches.values()
        await until(lambda: not dispatch.in_the_air, "nothing is in the air")
        assert dispatch._taken == 0
        assert len(line.booked()) == 1


async def test_a_commit_that_runs_twice_keeps_no_place_at_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The disk is full when a report and its claim are committed: both are written again, in the places they had."""
    async with served(tmp_path) as one:
        write, refused = one.writer._write_tally, list[int]()

        def full(counts: dict[str, int], sequence: int) -> None:
            if one.dispatch._taken and not refused:
                refused.append(one.dispatch._taken)
                raise apsw.FullError
            write(counts, sequence)

        monkeypatch.setattr(one.writer, "_write_tally", full)
        one.put(report(1))
        assert await one.settled(1) == ["posted"]
        await until(lambda: one.reader.execute("SELECT state FROM posting").get == "acknowledged", "it is posted")
        await until(lambda: not one.dispatch.in_the_air, "nothing is in the air")
        assert refused == [2]
        assert one.dispatch._taken == 0


async def test_a_slice_that_is_written_again_sends_only_what_is_claimed_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The disk is full when a slice, its claims and arrivals are committed: what that attempt claimed is not sent."""
    monkeypatch.setattr(pipeline, "FEW", 0)  # the process decides, in slices
    monkeypatch.setattr(waiting, "ASKED_S", 60.0)
    async with served(tmp_path) as one:
        submit, write, post = one.writer.submit, one.writer._write_tally, one.dispatch.target.post
        refused, sent = list[int](), list[str | None]()
        shared = list[asyncio.Future[None]]()

        def with_an_arrival(job: Any, *, gives_way: bool = False) -> asyncio.Future[Any]:
            if isinstance(job, partial) and not shared:
                gate, begun = threading.Event(), threading.Event()

                def hold(tx: Transaction) -> None:
                    begun.set()
                    gate.wait(60)

                shared.append(submit(hold))
                begun.wait(60)
                one.put(report(2))
                found = submit(job, gives_way=gives_way)
                gate.set()
                return found
            return submit(job, gives_way=gives_way)

        def full(counts: dict[str, int], sequence: int) -> None:
            if one.dispatch._taken and not refused:
                refused.append(one.dispatch._taken)
                raise apsw.FullError
            write(counts, sequence)

        async def posted(posting: Posting) -> Acknowledgement:
            sent.append(one.reader.execute("SELECT state FROM posting WHERE id = ?", (posting.id,)).get)
            return await post(posting)

        monkeypatch.setattr(one.writer, "submit", with_an_arrival)
        monkeypatch.setattr(one.writer, "_write_tally", full)
        monkeypatch.setattr(one.dispatch.target, "post", posted)
        one.process.waiters.foresee()
        one.put(report(1))
        assert await one.settled(2) == ["posted"] * 2
        booked = "SELECT count(*) FROM posting WHERE state = 'acknowledged'"
        await until(lambda: one.reader.execute(booked).get == 2, "both are booked")
        await until(lambda: not one.dispatch.in_the_air, "nothing is in the air")
        assert refused
        assert sent == ["sending"] * 2
        assert one.dispatch._taken == 0


@pytest.mark.parametrize("claimed_by", ["the commit that stores it", "a slice", "the process", "the dispatch"])
async def test_a_calm_stop_waits_for_what_is_claimed_by_the_commit_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed_by: str
):
    """Told to stop while a posting is claimed: it is sent and its answer on disk, not in doubt at the next start."""
    gate, begun = threading.Event(), threading.Event()

    def admit(waiting: object) -> outbox.Admission:
        begun.set()
        gate.wait(60)
        return outbox.Send(b"{}")

    if claimed_by in ("a slice", "the process"):
        monkeypatch.setattr(pipeline, "FEW", 0)
        monkeypatch.setattr(waiting, "ASKED_S", 1e9 if claimed_by == "a slice" else 0)
    async with served(tmp_path, admit=admit) as one:
        if claimed_by == "the dispatch":
            await one.writer.run(lambda tx: postings.add(tx, posting(1, target="narrow")))
            one.dispatch.wake()
        else:
            one.put(report(1))
        await until(begun.is_set, "a posting is claimed")
        await one.end()
        draining = asyncio.create_task(one.dispatch.drain(60))
        await asyncio.sleep(0)
        gate.set()
        await draining
        assert one.reader.execute("SELECT state FROM posting").get == "acknowledged"
        assert one.dispatch._taken == 0


async def test_places_at_the_target_are_taken_only_for_what_is_decided_at_once(tmp_path: Path):
    """What is stored first takes none; what is decided in its commit one more than there are events, not all."""
    async with served(tmp_path) as one:
        one.put(report(1)._replace(properties={"dup": "1"}))
        assert await one.settled(1) == ["posted"]
        assert set(one.dispatch.reserved) == {ALL_FREE}, "by the process, behind the commit that stored it"
        await until(lambda: not one.process._has_turn, "the process waits")
        one.dispatch.reserved.clear()
        one.put(report(2), report(3))
        assert await one.settled(3) == ["posted"] * 3
        assert one.dispatch.reserved[0] == 3


async def test_much_to_read_is_stored_before_it_is_decided(tmp_path: Path):
    """Few reports, but larger together than the writer's thread has time for."""
    async with desk(tmp_path) as one:
        before = one.commits()
        one.put(report(1, note="x" * pipeline.FEW_BYTES))
        assert await one.settled(1) == ["posted"]
        assert one.commits() == before + 2
