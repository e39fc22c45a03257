"""Readiness: a commit that came back, room on the disk, and a clock that runs as time does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.configuration.settings import Store
from agent.health import Health, Readiness, free_bytes
from agent.store.writer import Writer
from tests.stores import Clock, opened


@dataclass
class Watched:
    """A store and what looks at it."""

    writer: Writer
    clock: Clock
    health: Health
    readiness: Readiness
    woken: list[str]
    store: Store


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    clock = Clock()
    with opened(tmp_path / "gp.db", clock) as writer:
        health, woken = Health(clock()), list[str]()
        readiness = Readiness(writer, clock, health, lambda: one.store, lambda: woken.append(""), lambda: 0.0)
        one = Watched(writer, clock, health, readiness, woken, Store(path=tmp_path / "gp.db"))
        yield one


async def test_it_is_ready_when_a_commit_has_come_back(watched: Watched):
    """Until then it is starting; the commit is made for it where nobody else makes one."""
    before = watched.writer.figures.commits
    assert (watched.health.ready, watched.health.code) == (False, "starting")
    await watched.readiness.look()
    assert (watched.health.ready, watched.health.code) == (True, "")
    assert watched.writer.figures.commits == before + 1


async def test_below_the_reserve_it_is_not_ready_and_says_how_much_is_free(watched: Watched):
    """The reason names the disk, what is free and what must be; with room it is ready again."""
    await watched.readiness.look()
    free = free_bytes(watched.store.path)
    assert free is not None
    roomy, watched.store = watched.store, watched.store.model_copy(update={"reserve_mb": (free >> 20) + 10_000})
    await watched.readiness.look()
    assert (watched.health.ready, watched.health.code) == (False, "disk_reserve")
    assert str(watched.store.path) in watched.health.why_not
    assert f"the reserve is {watched.store.reserve_mb} MiB" in watched.health.why_not
    watched.store = roomy
    await watched.readiness.look()
    assert watched.health.ready


async def test_a_jump_of_the_clock_is_on_record_and_wakes_who_waits(watched: Watched):
    """Five minutes forward in no time: an alarm with the seconds, once, and the loops look at their times again."""
    await watched.readiness.look()
    watched.clock.forward(hours=1 / 12)
    await watched.readiness.look()
    await watched.readiness.look()
    sql = "SELECT alarm, json_extract(detail, '$.seconds') FROM audit WHERE action = 'clock_step'"
    ((alarm, seconds),) = watched.writer.call(lambda tx: list(tx.execute(sql)))
    assert (alarm, round(seconds), watched.health.clock_steps, len(watched.woken)) == (1, 300, 1, 1)
