"""The order source against the simulated ERP: what it hands to the intake, and that it forgets and repeats nothing."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from agent.access.secrets import Secret
from agent.erp.sap_s4 import UNITS, SapS4, SapS4Config
from agent.errors import ConfigError
from agent.masterdata.documents import from_document
from agent.masterdata.entities import Order, Stock
from agent.ports import Batch, Surroundings
from agent.sap.connection import BasicAuth, SapConnection
from agent.sap.session import SapSession
from agent.sources.erp_orders import ErpOrders, ErpOrdersConfig, Watermark, order_payload
from simulators.erp.faults import read_rules
from simulators.erp.server import Running, running
from simulators.erp.state import new_erp
from simulators.erp.views import operation_row
from tests.integration.erp_calls import CONFIRMATIONS, confirmation, connected

START = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
DAY = "/Date(1796083200000)/"  # the first of December


class Shelf:
    """An intake in memory that stores on a thread of its own, as the writer does."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.kept: dict[str, bytes] = {}

    def put(self, batch: Batch, timeout: float | None = None) -> bool:
        def store() -> None:
            self.batches.append(batch)
            self.kept.update(batch.checkpoints)
            batch.stored()

        threading.Thread(target=store).start()
        return True

    def checkpoint(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def documents(self, kind: str) -> list[dict[str, Any]]:
        return [
            json.loads(delivery.payload)
            for batch in self.batches
            for delivery in batch.deliveries
            if delivery.properties == {"masterdata": kind}
        ]


@contextlib.asynccontextmanager
async def source_of(sap: Running, shelf: Shelf, **changes: Any) -> AsyncIterator[ErpOrders]:
    auth = BasicAuth(user="GATEPOST", password=Secret("erp", "s3cret"))
    session = SapSession(SapConnection(url=sap.base_url, auth=auth))
    options: dict[str, Any] = {"name": "orders", "target": "s4", "plant": "1710", "poll_s": 0.05}
    config = ErpOrdersConfig(**(options | changes))
    source = ErpOrders(config, session, UNITS, lambda: START)
    task = asyncio.create_task(source.run(shelf))
    try:
        yield source
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await session.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - a condition with a deadline, on a thread that knows no asyncio
            await asyncio.sleep(0.01)


def heard(source: ErpOrders) -> Callable[[], bool]:
    return lambda: source.status()["heard_at"] is not None


async def test_all_orders_and_stock_arrive_once_and_are_read_as_master_data():
    """Thirty orders in pages of seven and all stock arrive once, in words that the master data accept."""
    shelf = Shelf()
    async with running(user="GATEPOST", password="s3cret") as sap, source_of(sap, shelf, page=7) as source:
        await until(heard(source))
        orders = {document["order"]: document for document in shelf.documents("order")}
        assert len(shelf.documents("order")) == len(orders) == len(sap.erp.ledger.orders)
        order = from_document("order", orders["1000100"])
        assert isinstance(order, Order)
        assert (order.status, order.unit, order.operations[0].operation) == ("released", "KGM", "0010")
        component = order.component("RM-RESIN")
        assert component is not None
        assert (component.unit, component.item) == ("KGM", "1")
        stocks = [from_document("stock", document) for document in shelf.documents("stock")]
        assert all(isinstance(stock, Stock) for stock in stocks)
        assert len(stocks) == len({stock.key for stock in stocks}) > 5
        assert shelf.batches[0].deliveries[0].topic.startswith("erp/order/")
        assert source.status()["connected"]


async def test_only_what_changed_arrives_again():
    """Later polls deliver the changed order and the changed stock, nothing else."""
    shelf = Shelf()
    now = [START]
    async with (
        running(user="GATEPOST", password="s3cret", clock=lambda: now[0]) as sap,
        source_of(sap, shelf) as source,
    ):
        await until(heard(source))
        shelf.batches.clear()
        now[0] += timedelta(minutes=1)
        headers = {"content-type": "application/json"}
        body = json.dumps({"order": "1000101", "closed": True}).encode()
        await control(sap, "order", body, headers)
        await until(lambda: bool(shelf.documents("order")))
        assert [(one["order"], one["status"]) for one in shelf.documents("order")] == [("1000101", "closed")]
        assert shelf.documents("stock") == []
        await control(sap, "stock", b'{"material": "RM-RESIN", "quantity": "17.5"}', headers)
        await until(lambda: bool(shelf.documents("stock")))
        assert [(one["material"], one["quantity"]) for one in shelf.documents("stock")] == [("RM-RESIN", "17.5")]


async def control(sap: Running, action: str, body: bytes, headers: dict[str, str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sap.port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"POST /_sim/{action} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}".encode())
    writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert b" 200 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_restart_goes_on_from_the_checkpoint():
    """A new source on the same store delivers no order a second time."""
    shelf = Shelf()
    async with running(user="GATEPOST", password="s3cret") as sap:
        async with source_of(sap, shelf) as source:
            await until(heard(source))
        before = len(shelf.documents("order"))
        async with source_of(sap, shelf) as source:
            await until(heard(source))
        assert len(shelf.documents("order")) == before


async def test_an_outage_is_said_once_and_ends_by_itself(caplog):
    """SAP away: one line when lost, one when back, and the orders arrive."""
    shelf = Shelf()
    caplog.set_level("INFO", "gatepost.sources.erp_orders")
    async with running(user="GATEPOST", password="s3cret") as sap:
        sap.erp.faults.replace(read_rules([{"fault": "html", "count": 1}]))
        async with source_of(sap, shelf) as source:
            await until(heard(source))
            assert source.status()["error"] == ""
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert shelf.documents("order")


async def test_an_order_tells_when_it_was_made():
    """A final confirmation in SAP: the operation arrives with its beginning and its end, by the plant's clock."""
    shelf = Shelf()
    day = {f"ConfirmedExecution{which}Date": DAY for which in ("Start", "End")}
    times = {"ConfirmedExecutionStartTime": "PT06H00M00S", "ConfirmedExecutionEndTime": "PT09H30M00S"}
    async with running(user="GATEPOST", password="s3cret") as sap, connected(sap) as client:
        async with source_of(sap, shelf) as source:
            await until(heard(source))
            shelf.batches.clear()
            payload = confirmation("K1", str(uuid4()), IsFinalConfirmation=True, **day, **times)
            await client.post(CONFIRMATIONS, "ProdnOrdConf2", payload)
            await until(lambda: bool(shelf.documents("order")))
        (order,) = (from_document("order", one) for one in shelf.documents("order"))
        assert isinstance(order, Order)
        (operation,) = order.operations
        assert operation.started == datetime(2026, 12, 1, 6, 0, tzinfo=UTC)
        assert operation.finished == datetime(2026, 12, 1, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("confirmed", ["X", ""])
def test_an_end_counts_with_the_final_confirmation_only(confirmed):
    """SAP may tell an end of work that is not finished: the operation is begun, and no more."""
    told = {"OpActualExecutionStartDate": DAY, "OpActualExecutionEndDate": DAY, "OperationIsConfirmed": confirmed}
    payload = order_payload({"to_ProductionOrderOperation": [told]}, {})
    assert ("finished" in payload["operations"][0]) is bool(confirmed)
    assert payload["operations"][0]["started"] == "2026-12-01T00:00:00+00:00"


def test_the_source_shares_the_session_of_the_target_it_names():
    """One identity, one token, one set of connections for both; a target that is no SAP system is refused."""
    kept: dict[str, bytes] = {}
    around = Surroundings(lambda: START, "1710", UTC, kept.__setitem__, kept.get)
    auth = BasicAuth(user="U", password=Secret("erp", "p"))
    target = SapS4.of(SapS4Config(name="s4", url="https://s4.example", time_zone="UTC", auth=auth), around)
    config = ErpOrdersConfig(name="orders", target="s4", plant="1710")
    source = ErpOrders.of(config, replace(around, targets={"s4": target}))
    assert source._session is target.session
    with pytest.raises(ConfigError, match="kind sap_s4"):
        ErpOrders.of(config, around)


def test_the_watermark_survives_its_own_writing_and_forgets_what_lies_before_the_overlap():
    """What is kept is what is read; orders older than the overlap are forgotten, because they are not asked for."""
    mark = Watermark().after({"1": "20261120120000:a", "2": "20261120130000:b"}, 300)
    assert Watermark.read(mark.write()) == mark
    assert (mark.changed, mark.seen, mark.since(300)) == ("20261120130000", {"2": "20261120130000:b"}, "20261120125500")
    assert Watermark.read(None).since(300) == ""


@pytest.mark.parametrize(
    ("told", "due"),
    [
        ({"MfgOrderPlannedEndDate": DAY, "MfgOrderPlannedEndTime": "PT14H30M00S"}, "2026-12-01T14:30:00+01:00"),
        ({"MfgOrderPlannedEndDate": DAY, "MfgOrderPlannedEndTime": "PT24H00M00S"}, "2026-12-02T00:00:00+01:00"),
        ({"MfgOrderPlannedEndDate": DAY}, "2026-12-01T00:00:00+01:00"),
        ({"MfgOrderPlannedEndDate": None, "MfgOrderPlannedEndTime": "PT14H30M00S"}, None),
        ({"MfgOrderPlannedEndDate": "soon"}, None),
        ({}, None),
    ],
)
def test_an_order_is_due_by_the_clock_of_the_plant(told, due):
    """Basic dates have no zone in SAP; what is not told, or cannot be read, is not known, and the order is."""
    payload = order_payload({**told, "ManufacturingOrder": "1", "Material": "A"}, {}, ZoneInfo("Europe/Berlin"))
    assert payload["due"] == due
    assert payload["planned_start"] is None


def test_what_is_confirmed_of_an_operation_is_told_of_the_order():
    """Good ones by every release of the service, scrap where it tells that; nothing of what is not begun."""
    ledger = new_erp(dates=True, clock=lambda: START).ledger
    order = next(iter(ledger.orders.values()))
    ledger.orders[order.number] = begun = replace(order, confirmed_yield=Decimal(40))
    rows = [operation_row(ledger, order), operation_row(ledger, begun) | {"OpTotalConfirmedScrapQty": "5.000"}]
    head = {"ManufacturingOrder": "1"}
    told = [order_payload(head | {"to_ProductionOrderOperation": {"results": [row]}}, {}) for row in rows]
    fresh, known = (one["operations"][0] for one in told)
    assert "confirmed_yield" not in fresh
    assert (known["confirmed_yield"], known["confirmed_scrap"]) == ("40", "5")
