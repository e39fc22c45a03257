"""The OPC UA source against real servers: exact totals through every outage."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient
from asyncua.server.internal_session import InternalSession
from asyncua.server.internal_subscription import InternalSubscription
from wait_for2 import CancelledWithResultError  # type: ignore[import-untyped]  # it comes without types

from agent.sources import handover
from agent.sources.opcua import OpcuaSource
from agent.tags.values import Quality
from tests.mqtt_bench import Shelf, until
from tests.opcua_bench import (
    NODES,
    QUICK,
    REQUEST,
    URI,
    child,
    config,
    free_port,
    numbers,
    put,
    running,
    serving,
    source,
    ua,
)

BAD = ua.StatusCodes.BadSensorFailure


async def test_what_a_counter_grows_is_reported_exactly():
    """The sum of the reports is the growth since the first reading."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, running(source(port), shelf):
        for total in range(0, 50, 7):
            await put(plc["good"], total)
        await until(lambda: sum(numbers(shelf)) == 49)


async def test_a_killed_agent_counts_on_from_what_is_on_disk():
    """What was not stored is counted again, by another source with the same checkpoint."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc:
        async with running(source(port), shelf):
            await put(plc["good"], 10)
            await until(lambda: sum(numbers(shelf)) == 10)
        await put(plc["good"], 25)
        async with running(source(port), shelf):
            await until(lambda: sum(numbers(shelf)) == 25)


async def test_while_the_store_takes_nothing_timers_are_skipped(monkeypatch: pytest.MonkeyPatch):
    """What waits stays within bounds, as another source with the same timer shows; then the timer goes on."""
    monkeypatch.setattr(handover, "ROOM", 4)
    port, stuck, free = free_port(), Shelf(), Shelf()
    beat = {"name": "beat", "topic": "plant/beat", "when": {"every_s": 1}}
    async with serving(port), running(source(port, events=(beat,)), stuck) as line:
        await until(lambda: stuck.deliveries)
        stuck.full = True
        async with running(source(port, events=(beat,)), free):
            await until(lambda: len(free.deliveries) > 10)
        assert 1 <= line.status()["waiting"] <= 5
        stuck.open()
        before = len(stuck.deliveries)
        await until(lambda: len(stuck.deliveries) > before + 5)


async def test_a_batch_that_is_not_stored_is_followed_by_none():
    """While the store keeps a batch to itself, no other one is handed over; then all of it arrives."""
    port, shelf = free_port(), Shelf(storing=False)
    async with serving(port) as plc, running(source(port), shelf):
        await put(plc["good"], 1)
        await until(lambda: shelf.batches)
        await put(plc["good"], 5)
        await put(plc["lot"], "LOT-2", "String")
        assert len(shelf.batches) == 1
        shelf.storing = True
        shelf.store()
        await until(lambda: sum(numbers(shelf)) == 5)


async def test_a_full_store_holds_the_source_back_and_nothing_is_lost():
    """While the intake takes nothing the loop goes on, status says so, and the total is exact afterwards."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, running(source(port), shelf) as opcua:
        shelf.full = True
        await put(plc["good"], 3)
        await until(lambda: opcua.status()["blocked_since"])
        await put(plc["good"], 9)
        shelf.open()
        await until(lambda: sum(numbers(shelf)) == 9)
        assert opcua.status()["blocked_since"] is None


async def test_a_server_that_answers_less_than_was_asked_is_lost_and_found_again(monkeypatch):
    """An answer without results ends the connection and nothing else; when the server is well again all is counted."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, running(source(port), shelf) as opcua:
        await put(plc["good"], 5)
        await until(lambda: sum(numbers(shelf)) == 5)
        with monkeypatch.context() as broken:
            broken.setattr(InternalSession, "read", _nothing)
            await until(lambda: "unexpected error" in (opcua.status()["error"] or ""))
        await put(plc["good"], 9)
        await until(lambda: sum(numbers(shelf)) == 9)


_read = InternalSession.read


async def _nothing(session, params):
    """To clients; the server goes on reading itself."""
    return [] if session.external else await _read(session, params)


async def test_a_server_that_was_killed_is_found_again():
    """After kill -9 and a restart the counter catches up, and the outage is noticed with its time."""
    port, shelf = free_port(), Shelf()
    async with child(port) as plc, running(source(port), shelf) as opcua:
        await plc.set(5)
        await until(lambda: sum(numbers(shelf)) == 5)
        plc.kill()
        await until(lambda: not opcua.status()["connected"])
        assert opcua.status()["error"]
        await plc.start()
        await plc.set(12)
        await until(lambda: sum(numbers(shelf)) == 12)
        assert opcua.status()["reconnects"] >= 1
        assert opcua.status()["troubles"][0]["what"] == "outage"
        assert shelf.notices("outage")[0].detail["seconds"] >= 0


async def test_another_namespace_index_after_a_restart_is_no_matter():
    """Nodes are looked for by URI at every connection."""
    port, shelf = free_port(), Shelf()
    path = {"lot": "/Objects/plc:Line5/plc:lot"}
    opcua = source(port, tags={"good": "ns=plc;s=good", **path})
    async with running(opcua, shelf, connected=False):
        for number, before in enumerate(([], ["urn:other", "urn:third"]), 1):
            async with serving(port, before=before) as plc:
                await put(plc["good"], number * 10)
                await until(lambda: opcua.status()["connected"])
                await put(plc["good"], number * 10 + 3)
                await until(lambda number=number: sum(numbers(shelf)) == number * 10 - 7)  # type: ignore[misc]
                assert opcua.status()["missing"] == {}
            await until(lambda: not opcua.status()["connected"])


async def test_a_server_that_falls_silent_is_noticed():
    """A stopped process keeps its connections open and says nothing: tags are stale until it goes on (row 47)."""
    port, shelf = free_port(), Shelf()
    opcua = source(port, silent_s=1)
    async with child(port) as plc, running(opcua, shelf):
        await plc.set(5)
        await until(lambda: sum(numbers(shelf)) == 5)
        began = time.monotonic()
        plc.signal(signal.SIGSTOP)
        await until(lambda: not opcua.status()["connected"])
        assert time.monotonic() - began < 30
        assert opcua._tags is not None
        assert opcua._tags.current()["good"].quality is Quality.STALE
        plc.signal(signal.SIGCONT)
        await until(lambda: opcua.status()["connected"])
        await plc.set(8)
        await until(lambda: sum(numbers(shelf)) == 8)


async def test_a_bad_value_counts_nothing():
    """A bad status and a value without one are shown with the reason; the counter goes on with the next good one."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, running(source(port), shelf) as opcua:
        await put(plc["good"], 4)
        await until(lambda: sum(numbers(shelf)) == 4)
        await put(plc["good"], 4000, status=BAD)
        await until(lambda: opcua.status()["bad"] == {"good": "BadSensorFailure"})
        await put(plc["good"], 6)
        await until(lambda: sum(numbers(shelf)) == 6)
        assert opcua.status()["bad"] == {}


async def test_a_missing_node_stops_no_other():
    """It is noticed with the reason, and found when it is there."""
    port, shelf = free_port(), Shelf()
    tags = {"good": "ns=plc;s=good", "lot": "ns=plc;s=nowhere", "far": "nsu=urn:nobody;i=1", "way": "/Objects/plc:No"}
    async with serving(port) as plc, running(source(port, tags=tags), shelf) as opcua:
        await put(plc["good"], 4)
        await until(lambda: sum(numbers(shelf)) == 4)
        assert opcua.status()["missing"] == {
            "lot": "BadNodeIdUnknown",
            "far": "the server has no namespace urn:nobody",
            "way": "no such path (BadNoMatch)",
        }
        assert shelf.notices("node_missing")[0].detail["count"] == 3
        index = await plc["server"].get_namespace_index(URI)
        await plc["server"].nodes.objects.add_variable(ua.NodeId("nowhere", index), "nowhere", 1)
        await until(lambda: shelf.notices("node_found"))
        assert set(opcua.status()["missing"]) == {"far", "way"}


async def test_a_search_that_finds_nothing_leaves_nothing_behind():
    """However often a tag is looked for: as many are known as are watched, and those that are there go on."""
    port, shelf, searches = free_port(), Shelf(), []
    tags = {"good": "ns=plc;s=good", "lot": "ns=plc;s=nowhere"}
    async with serving(port) as plc:
        service = plc["server"].iserver.subscription_service
        create = service.create_monitored_items

        async def counting(params, *others):
            searches.append(len(params.ItemsToCreate))
            return await create(params, *others)

        service.create_monitored_items = counting
        async with running(source(port, tags=tags), shelf) as opcua:
            await until(lambda: len(searches) > 4)
            assert opcua._session is not None
            assert len(opcua._session._tags) <= 2
            assert set(opcua._session.watched) == {"good"}
            await put(plc["good"], 4)
            await until(lambda: sum(numbers(shelf)) == 4)


async def test_keys_that_cannot_be_renewed_end_the_session_with_the_reason(monkeypatch):
    """Whatever the library raises: the session is replaced, status says why, and no quantity is missing."""
    port, shelf = free_port(), Shelf()
    opening, fails = Client.open_secure_channel, [True]

    async def short_lived(client, renew=False):
        if renew and fails:
            fails.clear()
            raise KeyError("token")
        await opening(client, renew)
        client.secure_channel_timeout = 1

    monkeypatch.setattr(Client, "open_secure_channel", short_lived)
    async with serving(port) as plc, running(source(port), shelf) as opcua:
        await put(plc["good"], 5)
        await until(lambda: opcua.status()["reconnects"])
        await put(plc["good"], 9)
        await until(lambda: sum(numbers(shelf)) == 9)
        assert "keys of the channel could not be renewed: KeyError" in opcua.status()["troubles"][0]["why"]


async def _too_late(*_arguments: object) -> None:
    """An answer that comes at the moment when nobody waits for it any more, as the library tells it."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise CancelledWithResultError("an answer", False) from None


async def test_an_answer_at_the_moment_of_the_end_is_no_error(monkeypatch):
    """Ended while it waits for the server, the source has ended and nothing else."""
    waits = asyncio.Event()

    async def asked(client):
        waits.set()
        await _too_late()

    monkeypatch.setattr(Client, "connect_and_get_server_endpoints", asked)
    task = asyncio.create_task(source(free_port()).run(Shelf()))
    await waits.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_an_answer_at_the_moment_of_its_deadline_is_late(monkeypatch):
    """The server is lost and found again; the agent does not end by it."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, running(source(port, silent_s=1), shelf) as opcua:
        await put(plc["good"], 5)
        await until(lambda: sum(numbers(shelf)) == 5)
        with monkeypatch.context() as broken:
            broken.setattr(UaClient, "read_attributes", _too_late)
            await until(lambda: "answers nothing" in (opcua.status()["error"] or ""))
        await put(plc["good"], 9)
        await until(lambda: sum(numbers(shelf)) == 9)


async def test_the_other_server_takes_over_and_its_counter_is_compared():
    """Where the first one is gone the second one serves, and what it says is counted from where the first one was."""
    first, second, shelf = free_port(), free_port(), Shelf()
    async with serving(second) as other, contextlib.AsyncExitStack() as stack:
        plc = await stack.enter_async_context(serving(first))
        one = await stack.enter_async_context(running(source(first, second), shelf))
        await put(plc["good"], 6)
        await until(lambda: sum(numbers(shelf)) == 6)
        await put(other["good"], 9)
        await plc["server"].stop()
        await until(lambda: one.status()["endpoint"] == f"opc.tcp://127.0.0.1:{second}/")
        await until(lambda: sum(numbers(shelf)) == 9)
        assert shelf.notices("failed_over")


async def test_the_standby_of_a_pair_is_left():
    """The server whose `active` node says no is not used, however well it answers."""
    first, second, shelf = free_port(), free_port(), Shelf()
    nodes = {**NODES, "active": (True, "Boolean")}
    async with serving(first, nodes=nodes) as one, serving(second, nodes=nodes) as two:
        await put(one["active"], False, "Boolean")
        opcua = source(first, second, active="ns=plc;s=active")
        async with running(opcua, shelf):
            assert opcua.status()["endpoint"] == f"opc.tcp://127.0.0.1:{second}/"
            await put(one["active"], True, "Boolean")
            await put(two["active"], False, "Boolean")
            await until(lambda: opcua.status()["endpoint"] == f"opc.tcp://127.0.0.1:{first}/")


async def test_a_message_that_is_missing_is_noticed_and_made_up_for():
    """A hole in the numbers of the subscription: all values are asked for anew."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, running(source(port), shelf) as opcua:
        await put(plc["good"], 4)
        await until(lambda: sum(numbers(shelf)) == 4)
        subscriptions = plc["server"].iserver.subscription_service.subscriptions
        (one,) = subscriptions.values()
        one._notification_seq += 1
        await put(plc["good"], 9)
        await until(lambda: sum(numbers(shelf)) == 9)
        assert opcua.status()["gaps"] == 1
        assert "is missing" in shelf.notices("sequence_gap")[0].detail["error"]
        (trouble,) = opcua.status()["troubles"]
        assert (trouble["what"], "is missing" in trouble["why"], trouble["seconds"] >= 0) == ("outage", True, True)


async def test_a_first_message_that_is_missing_is_noticed(monkeypatch):
    """It said what the tags are now: of one that stands still nothing else would ever come."""
    port, shelf, start, missing = free_port(), Shelf(), InternalSubscription.start, [1]

    async def begin(subscription):
        subscription._notification_seq += missing.pop() if missing else 0
        await start(subscription)

    monkeypatch.setattr(InternalSubscription, "start", begin)
    async with serving(port) as plc, running(source(port), shelf) as opcua:
        await until(lambda: opcua.status()["reconnects"] == 1 and opcua._tags and "good" in opcua._tags.current())
        await put(plc["good"], 4)
        await until(lambda: sum(numbers(shelf)) == 4)
        assert opcua.status()["gaps"] == 1
        assert "message 1 of the subscription is missing" in shelf.notices("sequence_gap")[0].detail["error"]


async def test_a_server_that_answers_less_than_it_was_asked_is_left():
    """No answer is taken for another node's (row 52)."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc:
        service = plc["server"].iserver.subscription_service
        whole = service.create_monitored_items

        async def less(params, *others):
            return (await whole(params, *others))[:-1]

        service.create_monitored_items = less
        async with running(source(port), shelf, connected=False) as opcua:
            await until(lambda: "answered 3 of 4" in (opcua.status()["error"] or ""))
            service.create_monitored_items = whole
            await until(lambda: opcua.status()["connected"])


async def test_an_overflow_of_a_queue_is_noticed():
    """The server says that it dropped values before this one; the total is none the worse."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, running(source(port), shelf):
        await put(plc["good"], 4, status=0x480)
        await until(lambda: sum(numbers(shelf)) == 4)
        assert shelf.notices("values_dropped")[0].detail["tags"] == ["good"]


async def test_a_huge_text_stops_no_other_tag():
    """16 MB in one tag (row 47): that tag is bad, the counter goes on."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, running(source(port), shelf) as opcua:
        await put(plc["lot"], "x" * (16 << 20), "String")
        await until(lambda: "limit is 4096" in opcua.status()["bad"].get("lot", ""))
        await put(plc["good"], 4)
        await until(lambda: sum(numbers(shelf)) == 4)


async def test_a_clock_that_differs_is_noticed_and_recovers():
    """An hour apart, values are uncertain and count nothing; when the clocks agree again, nothing is missing."""
    port, shelf = free_port(), Shelf()
    behind = [timedelta(hours=1)]
    opcua = OpcuaSource(config(port), clock=lambda: datetime.now(UTC) - behind[0], pace=QUICK)
    async with serving(port) as plc, running(opcua, shelf):
        await until(lambda: shelf.notices("clock_skew"))
        await put(plc["good"], 4)
        await until(lambda: "impossible" in opcua.status()["bad"].get("good", ""))
        behind[0] = timedelta(seconds=57)  # of 60: around the limit nothing is said again and again
        await until(lambda: opcua.status()["clock_skew_s"] < 60)
        assert not opcua.status()["troubles"]
        behind[0] = timedelta(0)
        await until(lambda: opcua.status()["troubles"])
        assert opcua.status()["troubles"][0]["what"] == "clock_skew"
        await until(lambda: opcua.status()["connected"] and opcua.status()["bad"] == {})
        await put(plc["good"], 7)
        await until(lambda: sum(numbers(shelf)) == 3)
        assert not shelf.notices("sequence_gap")
        assert [one.alarm for one in shelf.notices("outage")] == [False]


async def test_the_handshake_is_written_after_the_event_is_on_disk():
    """The controller hears of it neither before nor never, and its request may be repeated."""
    port, shelf = free_port(), Shelf(storing=False)
    async with serving(port) as plc, running(source(port, events=[REQUEST]), shelf):
        await until(lambda: shelf.batches or True)
        for number in (1, 2):
            await put(plc["lot"], f"LOT-{number}", "String")
            await put(plc["done"], True, "Boolean")
            await until(lambda number=number: len(shelf.deliveries) == number)  # type: ignore[misc]
            assert await plc["ack"].read_value() is False
            shelf.store()
            await _says(plc["ack"], expected=True, shelf=shelf)
            await put(plc["done"], False, "Boolean")
            await _says(plc["ack"], expected=False, shelf=shelf)
        assert [json.loads(one)["lot"] for one in shelf.payloads] == ["LOT-1", "LOT-2"]


async def test_a_handshake_that_the_server_refuses_is_tried_again():
    """It is noticed once, shown, and written when it may be."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, running(source(port, events=[REQUEST]), shelf) as opcua:
        await plc["ack"].set_writable(False)
        await put(plc["done"], True, "Boolean")
        await until(lambda: opcua.status()["writes_refused"])
        await until(lambda: shelf.notices("write_refused"))
        await plc["ack"].set_writable()
        await _says(plc["ack"], expected=True, shelf=shelf)
        await until(lambda: opcua.status()["writes_refused"] == {})
        assert len(shelf.notices("write_refused")) == 1


async def test_a_short_lot_between_two_messages_has_its_own_values():
    """Two requests in one message are two events, each with what was there at its time."""
    port, shelf = free_port(), Shelf()
    opcua = source(port, events=[REQUEST], publishing_ms=300)
    async with serving(port) as plc, running(opcua, shelf):
        await until(lambda: opcua._tags is not None and "done" in opcua._tags.current())
        start = datetime.now(UTC)
        said = [("lot", "A", "String"), ("done", True, "Boolean"), ("done", False, "Boolean")]
        said += [("lot", "B", "String"), ("done", True, "Boolean")]
        for number, (name, value, kind) in enumerate(said):
            await put(plc[name], value, kind, at=start + timedelta(milliseconds=number))
        await until(lambda: len(shelf.deliveries) == 2)
        assert [json.loads(one)["lot"] for one in shelf.payloads] == ["A", "B"]


async def _says(node, *, expected: bool, shelf: Shelf) -> None:
    end = time.monotonic() + 20
    while await node.read_value() is not expected:
        assert time.monotonic() < end
        shelf.store()
        await asyncio.sleep(0.01)
