"""The HTTP source answers when the commit is done, and only then."""

from __future__ import annotations

import asyncio

import pytest

from agent.ports import Delivery
from agent.sources.http import HttpConfig, HttpSource, IntakeFull
from tests.mqtt_bench import Shelf, until

REPORTS = (Delivery("consumption", b"{}"), Delivery("consumption", b"[]"))


async def test_submit_returns_after_the_commit():
    """The waiter waits while the batch is not stored, and a commit on another thread releases it."""
    shelf, http = Shelf(storing=False), HttpSource(HttpConfig(name="http"))
    waiting = asyncio.create_task(http.submit(shelf, REPORTS))
    await until(lambda: shelf.deliveries)
    assert not waiting.done()
    assert http.status()["last_delivery_at"] is None
    await asyncio.to_thread(shelf.store)
    await waiting
    assert shelf.batches[0].deliveries == REPORTS
    assert http.status()["last_delivery_at"] == shelf.batches[0].received_at


async def test_a_full_intake_is_told_at_once():
    """No request waits for room: the sender keeps its report and comes again."""
    shelf = Shelf()
    shelf.full = True
    with pytest.raises(IntakeFull, match="send it again"):
        await HttpSource(HttpConfig(name="http")).submit(shelf, REPORTS)


async def test_a_commit_after_the_client_hung_up_harms_nobody():
    """A waiter that was cancelled is not woken, and the writer's thread sees no error."""
    shelf = Shelf(storing=False)
    waiting = asyncio.create_task(HttpSource(HttpConfig(name="http")).submit(shelf, REPORTS))
    await until(lambda: shelf.deliveries)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.to_thread(shelf.store)
    await asyncio.sleep(0)
