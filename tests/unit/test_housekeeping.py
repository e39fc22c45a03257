"""The jobs beside the work: when a checkpoint leaves the box, and what a job that fails leaves behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import apsw

from agent import checkpoints
from agent.configuration.settings import Audit, Document, Plant, Store
from agent.health import Health
from agent.housekeeping import Housekeeping
from agent.people.desk import Desk
from agent.store.writer import Writer
from tests import stores

DEADLINE_S = 60.0
PLANT = Plant(site="1710", time_zone="Europe/Berlin", currency="EUR")


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def rows(writer: Writer, count: int) -> None:
    for _ in range(count):
        writer.call(lambda tx: tx.audit("noted", {}))


@asynccontextmanager
async def housekeeping(folder: Path, audit: Audit) -> AsyncIterator[tuple[Writer, Health]]:
    """Housekeeping at work on a store with one audit row."""
    clock = stores.Clock()
    health = Health(clock(), ready=True)
    with stores.opened(folder / "gatepost.db", clock) as writer:
        rows(writer, 1)
        settings = Document(plant=PLANT, store=Store(path=folder / "gatepost.db"), audit=audit)
        task = asyncio.create_task(Housekeeping(settings, Desk(writer, clock), clock, health).run())
        try:
            yield writer, health
        finally:
            task.cancel()
            await asyncio.wait({task})


def left(file: Path) -> list[checkpoints.Checkpoint]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [checkpoints.read("\n".join(lines[at : at + 6])) for at in range(0, len(lines), 6)]


async def test_a_checkpoint_leaves_after_so_many_rows(tmp_path):
    """The first at once, the next when `checkpoint_every_rows` more are there, long before the time is up."""
    out = tmp_path / "out.txt"
    audit = Audit(checkpoint_files=(out,), checkpoint_every_rows=5, checkpoint_every_seconds=3600)
    async with housekeeping(tmp_path, audit) as (writer, _):
        await until(lambda: len(left(out)) == 1)
        first = left(out)[0].seq
        rows(writer, 5)
        await until(lambda: len(left(out)) == 2)
        assert left(out)[1].seq == first + 5


async def test_without_rows_no_checkpoint_leaves(tmp_path):
    """The time alone makes no checkpoint: it would say again what the last one said."""
    out = tmp_path / "out.txt"
    audit = Audit(checkpoint_files=(out,), checkpoint_every_rows=1000, checkpoint_every_seconds=1)
    async with housekeeping(tmp_path, audit) as (writer, health):
        await until(lambda: len(left(out)) == 1 and "checkpoint" in health.progress)
        looked = health.progress["checkpoint"]
        await until(lambda: health.progress["checkpoint"] > looked + 2)
        assert len(left(out)) == 1
        rows(writer, 1)
        await until(lambda: len(left(out)) == 2)


async def test_what_fails_is_shown_and_the_other_jobs_go_on(tmp_path):
    """A key that is none and a place that is none end no loop: each is a problem in words, the chain is checked."""
    (tmp_path / "key.pem").write_text("garbage")
    audit = Audit(checkpoint_files=(tmp_path / "none" / "out.txt",), key_file=tmp_path / "key.pem")
    async with housekeeping(tmp_path, audit) as (_, health):
        await until(lambda: bool(health.problems) and "archive" in health.progress)
        assert "key.pem is no Ed25519 private key" in health.problems[0]
        assert health.chain_checked_at is not None


def damage(path: Path, table: str) -> None:
    """Overwrite a leaf page in the middle of a table: only who reads all of it meets that."""
    with closing(apsw.Connection(str(path))) as connection:
        pages: list[Any] = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,)
        ).fetchall()
        size = connection.pragma("page_size")
    with path.open("r+b") as stream:
        stream.seek((pages[len(pages) // 2][0] - 1) * size)
        stream.write(b"\x55" * size)


def alarms(writer: Writer) -> list[Any]:
    return writer.call(
        lambda tx: tx.execute("SELECT action, json_extract(detail, '$.why') FROM audit WHERE alarm = 1").fetchall()
    )


async def test_a_damaged_page_that_a_check_meets_is_an_alarm(tmp_path):
    """The agent works on; the damage stands in the audit trail as one alarm, and is shown until the next start."""
    with stores.opened(tmp_path / "gatepost.db") as writer:
        rows(writer, 200)
    damage(tmp_path / "gatepost.db", "audit")
    async with housekeeping(tmp_path, Audit()) as (writer, health):
        await until(lambda: bool(health.damage) and "balance" in health.progress)
        await until(lambda: bool(alarms(writer)))
        assert "checking chain met a damaged page" in health.damage
        assert alarms(writer) == [("damaged_page", health.damage)]


async def test_a_broken_trail_is_an_alarm(tmp_path):
    """A row that was changed by hand is found by the daily check, and rings with its number."""
    with stores.opened(tmp_path / "gatepost.db") as writer:
        rows(writer, 5)
    with closing(apsw.Connection(str(tmp_path / "gatepost.db"))) as connection:
        connection.execute("DROP TRIGGER audit_is_append_only; UPDATE audit SET actor = 'nobody' WHERE seq = 3")
    async with housekeeping(tmp_path, Audit()) as (writer, health):
        await until(lambda: bool(alarms(writer)))
        assert not health.chain_ok
        assert alarms(writer) == [("chain_broken", "row 3 was changed after it was written")]
