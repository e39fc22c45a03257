"""Dispatch with a target that answers what a test wants; the store and the loop are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from agent.dispatch import Claimed, Dispatch
from agent.errors import ErpUnavailable
from agent.ports import Acknowledgement, Kind, Posting
from agent.store import file, outbox, postings
from agent.store.encode import to_us
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from tests.stores import Clock, add, opened, posting, send, state


class Told:
    """A target that answers with the next of its answers."""

    name = "s4"
    settle_seconds = 60.0
    lookup_reliable = True

    def __init__(self, *answers: Acknowledgement) -> None:
        self.answers = list(answers)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def check(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[str]:
        return ()

    def freeze(self, posting: Posting) -> bytes:
        return b"wire"

    async def post(self, posting: Posting) -> Acknowledgement:
        return self.answers.pop(0)

    async def find(self, posting: Posting) -> Acknowledgement | None:
        return self.answers.pop(0) if self.answers else None

    def status(self) -> Mapping[str, Any]:
        return {}


class Booked(Told):
    """A target that has the document already."""

    posted = 0

    async def post(self, posting: Posting) -> Acknowledgement:
        self.posted += 1
        return Acknowledgement("2026/2")


class Repeating(Told):
    """A target that finds nothing and takes everything; its lookup is no proof, but some kinds may be sent again."""

    lookup_reliable = False
    repeatable = frozenset({Kind.ORDER_RELEASE})

    async def post(self, posting: Posting) -> Acknowledgement:
        return Acknowledgement("1000100")


class Locked(Told):
    """A target whose order somebody has open."""

    async def post(self, posting: Posting) -> Acknowledgement:
        raise ErpUnavailable("order 1 is locked by ANN", scope="lane")


async def _until(done) -> None:
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110  a condition on disk, with a deadline
            await asyncio.sleep(0.01)


async def _dispatched(writer: Writer, path: Path, clock: Clock, target: Told, done) -> None:
    with closing(file.reader(path)) as reader:
        dispatch = Dispatch(target, writer, reader, clock, window=4, admit=send)
        running = asyncio.create_task(dispatch.run())
        await _until(done)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await dispatch.drain(5)


async def test_an_answer_that_cannot_be_kept_becomes_a_question(tmp_path: Path):
    """What the ERP said may be unwritable; the posting is then looked up, not lost in the air."""
    clock = Clock()
    with opened(tmp_path / "gp.db", clock) as writer:
        (one,) = add(writer, posting(1))
        odd = Told(Acknowledgement("2026/1", details={"text": "\udcff"}))
        await _dispatched(writer, writer.path, clock, odd, lambda: state(writer, one) == "in_doubt")
        clock.forward(seconds=61)
        found = Told(Acknowledgement("2026/1", found=True))
        await _dispatched(writer, writer.path, clock, found, lambda: state(writer, one) == "acknowledged")


@pytest.mark.parametrize(("kind", "end"), [(Kind.ORDER_RELEASE, "acknowledged"), (Kind.GOODS_ISSUE, "doubtful")])
async def test_what_may_be_repeated_is_sent_again_where_a_lookup_is_no_proof(tmp_path: Path, kind: Kind, end: str):
    """Absent twice: a kind that is done once however often it is sent goes again, of any other a person decides."""
    clock = Clock()
    with opened(tmp_path / "gp.db", clock) as writer:
        (one,) = add(writer, posting(1, kind=kind))
        (claimed,) = writer.call(lambda tx: outbox.claim(tx, "s4", 1, send))
        writer.call(lambda tx: outbox.in_doubt(tx, claimed.posting, 0, "no answer"))
        writer.call(lambda tx: tx.execute("UPDATE posting SET lookups = 1"))
        await _dispatched(writer, writer.path, clock, Repeating(), lambda: state(writer, one) == end)


async def test_bytes_that_are_frozen_do_not_pass_a_tightened_authority(tmp_path: Path):
    """A posting that was tried before is held when its workflow may no longer post; its bytes stay as they were."""
    with opened(tmp_path / "gp.db") as writer:
        (one,) = add(writer, posting(1))
        (claimed,) = writer.call(lambda tx: outbox.claim(tx, "s4", 1, send))
        writer.call(lambda tx: outbox.unsent(tx, claimed.posting, 0, "connection refused"))
        assert writer.call(lambda tx: outbox.claim(tx, "s4", 1, lambda _: outbox.HoldBack(("mode is assist",)))) == []
        assert state(writer, one) == "held"
        assert writer.call(lambda tx: postings.read(tx.connection, one)).posting.wire == b"wire"


async def test_what_was_restored_is_looked_up_before_every_try(tmp_path: Path):
    """A dead letter of a backup may have been replayed and booked since: its key is looked for, whatever was tried."""
    with opened(tmp_path / "gp.db") as writer:
        (one,) = add(writer, posting(1, check_first=True))
        (claimed,) = writer.call(lambda tx: outbox.claim(tx, "s4", 1, send))
        writer.call(lambda tx: outbox.dead(tx, claimed.posting, "no stock"))
        writer.call(lambda tx: outbox.replay(tx, one, by="ann", reason="stock is there"))
        booked = Booked(Acknowledgement("2026/1", found=True))
        await _dispatched(writer, writer.path, Clock(), booked, lambda: state(writer, one) != "ready")
        assert (state(writer, one), booked.posted) == ("acknowledged", 0)


async def test_an_order_that_is_locked_for_days_is_tried_all_the_same(tmp_path: Path):
    """The wait between tries grows to a minute and no further, however often the ERP said locked."""
    with opened(tmp_path / "gp.db") as writer, closing(file.reader(tmp_path / "gp.db")) as reader:
        (one,) = add(writer, posting(1))
        dispatch = Dispatch(Locked(), writer, reader, Clock(), window=4, admit=send)
        dispatch.availability._lane_waits["order/1"] = 10_000  # a week of tries
        running = asyncio.create_task(dispatch.run())
        await _until(lambda: writer.call(lambda tx: tx.execute("SELECT next_us FROM posting").get))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert state(writer, one) == "ready"


async def test_what_is_due_while_all_places_are_reserved_is_not_forgotten(tmp_path: Path):
    """A commit of the process loop holds the places for a moment; giving them back makes the dispatcher look again."""
    clock = Clock()
    with opened(tmp_path / "gp.db", clock) as writer, closing(file.reader(tmp_path / "gp.db")) as reader:
        (one,) = add(writer, posting(1))
        (claimed,) = writer.call(lambda tx: outbox.claim(tx, "s4", 1, send))
        due = to_us(clock()) + 60_000_000
        writer.call(lambda tx: outbox.in_doubt(tx, claimed.posting, due, "timed out"))
        dispatch = Dispatch(Told(Acknowledgement("2026/1", found=True)), writer, reader, clock, window=4, admit=send)
        running = asyncio.create_task(dispatch.run())
        await dispatch.opened.wait()
        places = dispatch.reserve()
        clock.forward(seconds=61)
        dispatch.wake()  # as its timer does
        for _ in range(20):
            await asyncio.sleep(0)
        dispatch.launch(Claimed(), places)
        await _until(lambda: state(writer, one) == "acknowledged")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await dispatch.drain(5)


@asynccontextmanager
async def _idle(writer: Writer, target: Told, admit: outbox.Admit = send) -> AsyncIterator[Dispatch]:
    """A dispatch with an open target and nothing to do."""
    with closing(file.reader(writer.path)) as reader:
        dispatch = Dispatch(target, writer, reader, Clock(), window=4, admit=admit)
        running = asyncio.create_task(dispatch.run())
        await dispatch.opened.wait()
        await _settled()
        yield dispatch
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await dispatch.drain(5)


async def _settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_becomes_ready_while_no_place_was_free_is_not_forgotten(tmp_path: Path):
    """The window was full when events were judged and is empty when their postings are on disk: they are sent."""
    with opened(tmp_path / "gp.db") as writer:
        async with _idle(writer, Booked()) as dispatch:
            others, places = dispatch.reserve(), dispatch.reserve()  # the second as the process loop does
            dispatch.launch(Claimed(), others)  # what was in the air has come back, and found nothing more to do
            await _settled()
            (one,) = add(writer, posting(1))
            dispatch.launch(writer.call(lambda tx: dispatch.claim(tx, places)), places)
            assert places == 0
            await _until(lambda: state(writer, one) == "acknowledged")


async def test_what_stands_behind_a_posting_that_was_kept_back_is_not_forgotten(tmp_path: Path):
    """Whoever looks for more while the claim is not committed yet sees nothing; after the commit it is looked again."""
    with opened(tmp_path / "gp.db") as writer:
        first: list[int] = []

        def admit(waiting: postings.Waiting) -> outbox.Admission:
            return outbox.HoldBack(("mode is assist",)) if waiting.posting.id in first else send(waiting)

        async with _idle(writer, Booked(), admit) as dispatch:
            places, claimed = dispatch.reserve(), list[Claimed]()

            def commit(tx: Transaction) -> None:
                made = postings.add_all(tx, [posting(1), posting(2)])
                first.append(made[0][0])
                claimed.append(dispatch.claim(tx, places - 1))
                asyncio.run_coroutine_threadsafe(_gives_back(dispatch), loop).result(10)

            loop = asyncio.get_running_loop()
            await writer.run(commit)
            dispatch.launch(claimed[0], places - 1)
            await _until(lambda: state(writer, first[0] + 1) == "acknowledged")
            assert state(writer, first[0]) == "held"


async def _gives_back(dispatch: Dispatch) -> None:
    """Somebody's place comes back, and the dispatcher looks for more, before the commit."""
    dispatch.launch(Claimed(), 1)
    await _settled()
