"""What happened while the agent was cut off, out of the history of real asyncua servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agent.sources import handover, opcua_gap
from agent.sources.opcua import OpcuaSource
from tests.mqtt_bench import Shelf, until
from tests.opcua_bench import EVENT, QUICK, config, free_port, put, running, serving, source

LOT: dict[str, Any] = {
    "name": "lot",
    "topic": "plant/lot",
    "when": {"rising": "done"},
    "fields": {"lot": "lot"},
    "counted": {"quantity": {"tag": "good", "max_step": "1000"}},
}
TAGS: dict[str, Any] = {name: f"ns=plc;s={name}" for name in ("good", "lot", "done")}
MADE = [("LOT-1", 10), ("LOT-2", 20), ("LOT-3", 30)]


class Wire:
    """A way to the server that can be cut: what is open breaks, what is new is refused at once."""

    def __init__(self, port: int) -> None:
        self.cut_off = False
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if not self.cut_off:
                there, here = await asyncio.open_connection("127.0.0.1", self._port)
                self._open |= {writer, here}
                await asyncio.gather(self._carry(reader, here), self._carry(there, writer))
        writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        self.cut_off = True
        for one in self._open:
            one.transport.abort()
        self._open.clear()


@contextlib.asynccontextmanager
async def wire(port: int) -> AsyncIterator[tuple[Wire, int]]:
    one = Wire(port)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    async with server:
        yield one, server.sockets[0].getsockname()[1]
        one.cut()


async def historize(plc: dict[str, Any], *names: str) -> Any:
    """The server keeps what these nodes say; returns its storage."""
    for name in names:
        await plc["server"].historize_node_data_change(plc[name], count=1000)
    return plc["server"].iserver.history_manager.storage


async def make(plc: dict[str, Any], lot: str, total: int, at: datetime) -> None:
    """One lot, as a controller makes it; its flag falls before the next one."""
    await put(plc["lot"], lot, "String", at=at)
    await put(plc["good"], total, at=at + timedelta(milliseconds=1))
    await put(plc["done"], True, "Boolean", at=at + timedelta(milliseconds=2))
    await put(plc["done"], False, "Boolean", at=at + timedelta(milliseconds=9))


async def first_values(plc: dict[str, Any]) -> None:
    """Before the historian begins: it keeps no value that is only said again."""
    await put(plc["lot"], "LOT-0", "String")
    await put(plc["good"], 0)
    await put(plc["done"], False, "Boolean")


def made(shelf: Shelf) -> list[tuple[str, Any]]:
    events = [json.loads(one, parse_float=Decimal) for one in shelf.payloads]
    return [(one["lot"], one["quantity"]) for one in events if "quantity" in one]


async def outage(shelf: Shelf, opcua: Any, plc: dict[str, Any], line: Wire) -> None:
    """Three lots while the line is cut, one more when it is back."""
    await until(lambda: opcua._tags is not None and set(TAGS) <= set(opcua._tags.current()))
    line.cut()
    await until(lambda: not opcua.status()["connected"])
    began = datetime.now(UTC)
    for number, (lot, total) in enumerate(MADE):
        await make(plc, lot, total, began + number * timedelta(milliseconds=200))


async def after(shelf: Shelf, opcua: Any, plc: dict[str, Any], line: Wire) -> None:
    line.cut_off = False
    await until(lambda: opcua._tags.current()["lot"].value == "LOT-3" and opcua.status()["connected"])
    await until(lambda: all(one.quality == "good" for one in opcua._tags.current().values()))
    await put(plc["lot"], "LOT-4", "String")
    await put(plc["good"], 45)
    await put(plc["done"], True, "Boolean")
    await until(lambda: made(shelf) and made(shelf)[-1][0] == "LOT-4")


async def test_what_a_trigger_did_during_an_outage_is_made_up_for():
    """Each lot has its event, once and with its own values; the quantities add up to the totaliser."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, wire(port) as (line, way):
        await first_values(plc)
        await historize(plc, *TAGS)
        async with running(source(way, tags=TAGS, events=[LOT], history=True), shelf) as opcua:
            await outage(shelf, opcua, plc, line)
            await after(shelf, opcua, plc, line)
            assert made(shelf) == [("LOT-1", 10), ("LOT-2", 10), ("LOT-3", 10), ("LOT-4", 15)]
            (filled,) = shelf.notices("history_filled")
            assert filled.detail["values"] == 12
            assert not filled.alarm
            assert not shelf.notices("history_missing")


async def test_a_second_outage_begins_where_the_first_one_ended():
    """Nothing is made twice."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, wire(port) as (line, way):
        await first_values(plc)
        await historize(plc, *TAGS)
        async with running(source(way, tags=TAGS, events=[LOT], history=True), shelf) as opcua:
            await outage(shelf, opcua, plc, line)
            line.cut_off = False
            await until(lambda: len(made(shelf)) == 3)
            line.cut()
            await until(lambda: not opcua.status()["connected"])
            await after(shelf, opcua, plc, line)
            assert made(shelf) == [("LOT-1", 10), ("LOT-2", 10), ("LOT-3", 10), ("LOT-4", 15)]


async def test_a_timer_reports_nothing_of_an_outage():
    """It becomes due while the outage is made up for, and reports what is true after it."""
    port, shelf, ahead = free_port(), Shelf(), [timedelta(0)]
    beat = {"name": "beat", "topic": "plant/beat", "when": {"every_s": 30}, "fields": {"lot": "lot", "done": "done"}}
    async with serving(port) as plc, wire(port) as (line, way):
        await first_values(plc)
        storage = await historize(plc, *TAGS)
        reads = storage.read_node_history

        async def later(*arguments: Any) -> Any:
            ahead[0] = timedelta(seconds=40)
            return await reads(*arguments)

        storage.read_node_history = later
        settings = config(way, tags=TAGS, events=[LOT, beat], history=True)
        opcua = OpcuaSource(settings, clock=lambda: datetime.now(UTC) + ahead[0], pace=QUICK)
        async with running(opcua, shelf):
            await outage(shelf, opcua, plc, line)
            await after(shelf, opcua, plc, line)
        events = [json.loads(one) for one in shelf.payloads]
        assert [one["lot"] for one in events if "quantity" in one] == ["LOT-1", "LOT-2", "LOT-3", "LOT-4"]
        assert [one["lot"] for one in events if "quantity" not in one] == ["LOT-3"]


async def lots_while(plc: dict[str, Any], *lots: tuple[str, int]) -> None:
    began = datetime.now(UTC)
    for number, (lot, total) in enumerate(lots):
        await make(plc, lot, total, began + number * timedelta(milliseconds=200))


async def test_a_restart_of_the_agent_is_made_up_for():
    """It begins at what the last agent had on disk: each lot has its event, once and with its own values."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc:
        await first_values(plc)
        await historize(plc, *TAGS)
        async with running(source(port, tags=TAGS, events=[LOT], history=True), shelf):
            await lots_while(plc, ("LOT-0", 5))
            await until(lambda: made(shelf) == [("LOT-0", 5)])
        await lots_while(plc, *MADE)
        async with running(source(port, tags=TAGS, events=[LOT], history=True), shelf) as opcua:
            await until(lambda: len(made(shelf)) == 4)
            await lots_while(plc, ("LOT-4", 45))
            await until(lambda: made(shelf)[-1][0] == "LOT-4")
            assert made(shelf) == [("LOT-0", 5), ("LOT-1", 5), ("LOT-2", 10), ("LOT-3", 10), ("LOT-4", 15)]
            assert shelf.notices("history_filled")
            assert not shelf.notices("history_missing")
            assert opcua.status()["connected"]


@pytest.mark.parametrize("on_disk", range(5))
async def test_a_kill_while_a_gap_is_made_up_for_neither_doubles_nor_loses(monkeypatch, on_disk: int):
    """Whatever was on disk when it was killed: the next agent goes on there, with the same ids for the same lots."""
    monkeypatch.setattr(handover, "AT_ONCE", 1)  # each event is a commit of its own, so that a kill falls between them
    port, before = free_port(), Shelf()
    async with serving(port) as plc:
        await first_values(plc)
        await historize(plc, *TAGS)
        async with running(source(port, tags=TAGS, events=[LOT], history=True), before):
            await lots_while(plc, ("LOT-0", 5))
            await until(lambda: made(before))
        await lots_while(plc, *MADE, ("LOT-4", 45))
        killed, after_it = Shelf(storing=False), Shelf()
        killed.kept.update(before.kept)
        async with running(source(port, tags=TAGS, events=[LOT], history=True), killed):
            for count in range(on_disk):
                await until(lambda count=count: len(killed.batches) > count)  # type: ignore[misc]
                killed.store(1)
            await until(lambda: len(killed.batches) > on_disk)
        after_it.kept.update(killed.kept)
        stored = [one for batch in killed.batches[:on_disk] for one in batch.deliveries]
        async with running(source(port, tags=TAGS, events=[LOT], history=True), after_it):
            await until(lambda: len(stored) + len(after_it.deliveries) == 4)
            await lots_while(plc, ("LOT-5", 60))
            await until(lambda: any(b"LOT-5" in one for one in after_it.payloads))
        events = [json.loads(one.payload) for one in [*stored, *after_it.deliveries]]
        assert [(one["id"], one["lot"], one["quantity"]) for one in events] == [
            ("plc/lot/2", "LOT-1", 5), ("plc/lot/3", "LOT-2", 10), ("plc/lot/4", "LOT-3", 10),
            ("plc/lot/5", "LOT-4", 15), ("plc/lot/6", "LOT-5", 15),
        ]  # fmt: skip


WITH_ACK = {**TAGS, "ack": "ns=plc;s=ack"}
JOINS = {**LOT, "name": "joins", "fields": {"lot": "lot", "more": "more"}}
DECLARED: Mapping[str, dict[str, Any]] = {
    "another event": {"events": [{**LOT, "constants": {"unit": "PC"}}]},
    "another address": {"tags": {**WITH_ACK, "lot": "/Objects/plc:Line5/plc:lot"}},
    "one that joins": {"tags": {**WITH_ACK, "more": "ns=plc;s=done"}, "events": [LOT, JOINS]},
}


@pytest.mark.parametrize("declared", DECLARED.values(), ids=DECLARED)
async def test_what_is_declared_otherwise_after_a_restart_is_not_made_up_for(declared):
    """What was taken then is no beginning for what is declared now: totals alone catch up, and somebody is told."""
    port, shelf = free_port(), Shelf()
    alone = {**LOT, "name": "alone", "when": {"rising": "ack"}, "fields": {}, "counted": {}}
    settings: dict[str, Any] = {"tags": WITH_ACK, "events": [LOT], "history": True, **declared}
    settings["events"] = [*settings["events"], alone]
    async with serving(port) as plc:
        await first_values(plc)
        await put(plc["ack"], False, "Boolean")
        await historize(plc, *TAGS, "ack")
        async with running(source(port, tags=WITH_ACK, events=[LOT, alone], history=True), shelf):
            await lots_while(plc, ("LOT-0", 5))
            await until(lambda: made(shelf) == [("LOT-0", 5)])
        await lots_while(plc, *MADE)
        async with running(source(port, **settings), shelf):
            await until(lambda: shelf.notices("history_missing"))
            await lots_while(plc, ("LOT-4", 45))
            await until(lambda: ("LOT-4", 40) in made(shelf))
            assert ("LOT-1", 5) not in made(shelf)


async def test_a_queue_that_overflowed_is_made_up_for():
    """What the server dropped, and said so, comes out of its history; a server that drops on is listened to."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc:
        await first_values(plc)
        await historize(plc, *TAGS)
        slow = source(port, tags=TAGS, events=[LOT], history=True, queue_size=1, publishing_ms=2000)
        async with running(slow, shelf) as opcua:
            await until(lambda: opcua._tags is not None and set(TAGS) <= set(opcua._tags.current()))
            await lots_while(plc, *MADE)
            later = datetime.now(UTC) + timedelta(seconds=1)
            await put(plc["done"], False, "Boolean", status=0x480, at=later)
            await until(lambda: shelf.notices("history_filled"))
            assert made(shelf) == [("LOT-1", 10), ("LOT-2", 10), ("LOT-3", 10)]
            (ours,) = shelf.notices("outage")
            assert "the server dropped values of done" in ours.detail["why"]
            assert not ours.alarm
            assert not shelf.notices("sequence_gap")
            for number in range(2, 5):
                later += timedelta(seconds=1)
                await put(plc["done"], False, "Boolean", status=0x480, at=later)
                await put(plc["good"], 20 + 10 * number, at=later)
            await put(plc["done"], True, "Boolean", status=0x480, at=later + timedelta(seconds=1))
            await until(lambda: sum(quantity for _, quantity in made(shelf)) == 60)
            assert opcua.status()["reconnects"] == 1
            assert len(shelf.notices("values_dropped")) == 1


def grown(shelf: Shelf) -> int:
    return sum(int(json.loads(one).get("quantity", 0)) for one in shelf.payloads)


async def test_a_queue_that_overflowed_costs_no_other_event(monkeypatch):
    """A trigger that came and went beside the overflow makes its event; a history that is none is asked for once."""
    monkeypatch.setattr(opcua_gap, "AGAIN_S", 0.0)
    port, shelf = free_port(), Shelf()
    other = {"name": "beside", "topic": "plant/beside", "when": {"rising": "done"}, "fields": {"beside": "lot"}}
    async with serving(port) as plc:
        await first_values(plc)
        slow = source(port, tags=TAGS, events=[EVENT, other], history=True, publishing_ms=1000)
        async with running(slow, shelf) as opcua:
            await until(lambda: opcua._tags is not None and set(TAGS) <= set(opcua._tags.current()))
            await make(plc, "LOT-1", 10, datetime.now(UTC))
            await put(plc["good"], 20, status=0x480, at=datetime.now(UTC) + timedelta(seconds=1))
            await until(lambda: shelf.notices("history_missing") and grown(shelf) == 20)
            assert [json.loads(one)["beside"] for one in shelf.payloads if b"beside" in one] == ["LOT-1"]
            await put(plc["good"], 30, status=0x480, at=datetime.now(UTC) + timedelta(seconds=2))
            await until(lambda: grown(shelf) == 30)
            assert opcua.status()["reconnects"] == 1


async def all_kept(storage: Any) -> None:
    """Until the historian has all of the outage: a value of each tag before it, and the changes since."""
    sizes = {"done": 7, "good": 4, "lot": 4}
    await until(lambda: {node.Identifier: len(ones) for node, ones in storage._datachanges.items()} == sizes)


def _one_value_less(storage: Any) -> None:
    """The history of the flag has lost the value that was taken last."""
    for node, values in storage._datachanges.items():
        if node.Identifier == "done":
            del values[:-3]


def _a_wrong_total(storage: Any) -> None:
    """The history of the totaliser has a value that it never had."""
    for node, values in storage._datachanges.items():
        if node.Identifier == "good":
            wrong = values[-2]
            values[-2:-1] = [_said(wrong, 5)]


def _all_twice_and_mixed(storage: Any) -> None:
    """The history is told backwards, each value twice."""
    for node in storage._datachanges:
        storage._datachanges[node] = list(reversed(storage._datachanges[node])) * 2


def _said(one: Any, value: int) -> Any:
    import asyncua

    other = asyncua.ua.DataValue(asyncua.ua.Variant(value, asyncua.ua.VariantType.UInt32), one.StatusCode)
    return type(other)(other.Value, other.StatusCode, one.SourceTimestamp, one.ServerTimestamp)


@pytest.mark.parametrize("harm", [_one_value_less, _a_wrong_total], ids=["partial", "wrong"])
async def test_a_history_that_cannot_be_believed_changes_nothing(harm):
    """Where it is partial or wrong, all events and totals are those without history, and somebody is told why."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, wire(port) as (line, way):
        await first_values(plc)
        storage = await historize(plc, *TAGS)
        async with running(source(way, tags=TAGS, events=[LOT], history=True), shelf) as opcua:
            await outage(shelf, opcua, plc, line)
            await all_kept(storage)
            harm(storage)
            await after(shelf, opcua, plc, line)
            assert made(shelf) == [("LOT-4", 45)]
            assert shelf.notices("history_missing")[0].detail["tags"]
            assert not shelf.notices("history_filled")


async def test_a_history_in_any_order_with_duplicates_is_put_in_order():
    """Values come by their time, and those of one time once."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, wire(port) as (line, way):
        await first_values(plc)
        storage = await historize(plc, *TAGS)
        async with running(source(way, tags=TAGS, events=[LOT], history=True), shelf) as opcua:
            await outage(shelf, opcua, plc, line)
            await all_kept(storage)
            _all_twice_and_mixed(storage)
            await after(shelf, opcua, plc, line)
            assert made(shelf) == [("LOT-1", 10), ("LOT-2", 10), ("LOT-3", 10), ("LOT-4", 15)]


@pytest.mark.parametrize(
    ("kept", "options"),
    [(tuple(TAGS), {}), (("good", "lot"), {"history": True}), (tuple(TAGS), {"history": True, "history_values": 4})],
    ids=["off", "the flag has none", "too many values"],
)
async def test_without_history_the_total_is_the_same(kept, options):
    """Switched off, not kept of one tag, or longer than the limit: the next event has all that was counted."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, wire(port) as (line, way):
        await first_values(plc)
        await historize(plc, *kept)
        async with running(source(way, tags=TAGS, events=[LOT], **options), shelf) as opcua:
            await outage(shelf, opcua, plc, line)
            await after(shelf, opcua, plc, line)
            assert made(shelf) == [("LOT-4", 45)]
            assert bool(shelf.notices("history_missing")) == bool(options)


async def test_a_server_whose_clock_was_set_back_is_not_believed():
    """Its time stamps are older than what was taken: totals alone catch up."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, wire(port) as (line, way):
        await first_values(plc)
        await historize(plc, *TAGS)
        async with running(source(way, tags=TAGS, events=[LOT], history=True), shelf) as opcua:
            await until(lambda: opcua._tags is not None and set(TAGS) <= set(opcua._tags.current()))
            line.cut()
            await until(lambda: not opcua.status()["connected"])
            early = datetime.now(UTC) - timedelta(hours=1)
            await put(plc["lot"], "LOT-3", "String", at=early)
            await put(plc["good"], 30, at=early + timedelta(seconds=1))
            await after(shelf, opcua, plc, line)
            assert made(shelf) == [("LOT-4", 45)]
            assert "went back" in str(shelf.notices("history_missing")[0].detail)


async def test_pages_of_a_long_history_are_put_together():
    """A server that tells a few values at a time is asked on until it has told all."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, wire(port) as (line, way):
        await first_values(plc)
        storage = await historize(plc, *TAGS)
        storage.max_history_data_response_size = 2
        async with running(source(way, tags=TAGS, events=[LOT], history=True), shelf) as opcua:
            await outage(shelf, opcua, plc, line)
            await after(shelf, opcua, plc, line)
            assert made(shelf) == [("LOT-1", 10), ("LOT-2", 10), ("LOT-3", 10), ("LOT-4", 15)]


async def test_what_happens_while_history_is_read_comes_once():
    """A lot that is made meanwhile is told by the subscription, after those of the outage."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc, wire(port) as (line, way):
        await first_values(plc)
        storage = await historize(plc, *TAGS)
        reads = storage.read_node_history

        async def meanwhile(*arguments: Any) -> Any:
            storage.read_node_history = reads
            await make(plc, "LOT-M", 35, datetime.now(UTC) + timedelta(seconds=1))
            return await reads(*arguments)

        async with running(source(way, tags=TAGS, events=[LOT], history=True), shelf) as opcua:
            await outage(shelf, opcua, plc, line)
            await all_kept(storage)
            storage.read_node_history = meanwhile
            line.cut_off = False
            await until(lambda: len(made(shelf)) >= 4)
            await put(plc["good"], 45)
            await put(plc["done"], True, "Boolean")
            await until(lambda: sum(quantity for _, quantity in made(shelf)) == 45)
            assert made(shelf) == [("LOT-1", 10), ("LOT-2", 10), ("LOT-3", 10), ("LOT-M", 5), ("LOT-M", 10)]


async def test_a_message_that_is_missing_is_made_up_for():
    """A flag that rose and fell in a message that never arrived makes its event."""
    port, shelf = free_port(), Shelf()
    async with serving(port) as plc:
        await first_values(plc)
        await historize(plc, *TAGS)
        async with running(source(port, tags=TAGS, events=[LOT], history=True), shelf) as opcua:
            await until(lambda: opcua._tags is not None and set(TAGS) <= set(opcua._tags.current()))
            (mine,) = [
                one
                for one in plc["server"].iserver.subscription_service.subscriptions.values()
                if one.data.RevisedPublishingInterval == 50
            ]
            mine._notification_seq += 1
            await make(plc, "LOT-1", 10, datetime.now(UTC))
            await until(lambda: shelf.notices("history_filled"))
            assert made(shelf) == [("LOT-1", 10)]
            assert opcua.status()["gaps"] == 1


def test_history_is_off_unless_somebody_wants_it():
    """The default asks nothing of a server's historian."""
    assert config(4840).history is False
