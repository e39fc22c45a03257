"""Orders, their components and operations, and stock from SAP: polled by change time, delivered as master data."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from datetime import time as midnight
from typing import Any, Final, Literal
from urllib.parse import quote

from pydantic import Field

from agent.errors import ConfigError, ErpError, Finding
from agent.ports import Batch, Clock, Delivery, Intake, Surroundings
from agent.sap.formats import query, read_date, read_decimal, read_stamp, string_literal, unpadded
from agent.sap.session import SapSession
from agent.sap.verdict import rows
from agent.strict.schema import Settings

ORDERS: Final = "API_PRODUCTION_ORDER_2_SRV/A_ProductionOrder_2"
STOCK: Final = "API_MATERIAL_STOCK_SRV/A_MatlStkInAcctMod"
EXPAND: Final = "to_ProductionOrderOperation,to_ProductionOrderComponent"
UNRESTRICTED: Final = "01"  # InventoryStockType
HELD: Final = ("02", "07")  # in quality inspection, blocked
LONGEST_PAUSE: Final = 300.0  # seconds between two tries while SAP is away
STORE_PATIENCE: Final = 60.0  # seconds for a batch to be stored; after that it is polled again
_STATUS: Final = (  # the first flag that is set says the status; without any the order is only created
    ("OrderIsDeleted", "deleted"),
    ("OrderIsMarkedForDeletion", "deleted"),
    ("OrderIsClosed", "closed"),
    ("OrderIsTechnicallyCompleted", "completed"),
    ("OrderIsLocked", "locked"),
    ("OrderIsReleased", "released"),
    ("OrderIsPartiallyReleased", "released"),
)

_TIME: Final = re.compile(r"PT(\d{1,2})H(\d{1,2})M(\d{1,2})S")

log = logging.getLogger("gatepost.sources.erp_orders")
Row = Mapping[str, Any]


class ErpOrdersConfig(Settings):
    """Where orders come from: the SAP system of a configured target."""

    kind: Literal["erp_orders"] = "erp_orders"
    name: str = Field(min_length=1)
    target: str = Field(description="name of the SAP target whose connection is shared")
    plant: str = Field(min_length=1, max_length=4, description="SAP plant")
    poll_s: float = Field(default=30, gt=0, le=86400, description="seconds between two polls")
    overlap_s: int = Field(
        default=300, ge=0, description="seconds read again: SAP commits changes later than it stamps them"
    )
    page: int = Field(default=100, ge=1, le=5000, description="orders per request")
    stock: bool = Field(default=True, description="false: only orders")


@dataclass(slots=True)
class Watermark:
    """How far the orders were read: the newest change time, and what was delivered inside the overlap."""

    changed: str = ""  # LastChangeDateTime, YYYYMMDDhhmmss; sorts as text
    seen: dict[str, str] = field(default_factory=dict)  # order → change time and content hash

    @classmethod
    def read(cls, kept: bytes | None) -> Watermark:
        """The watermark of a checkpoint; without one everything is read."""
        state = json.loads(kept) if kept else {}
        return cls(state.get("changed", ""), dict(state.get("seen", {})))

    def write(self) -> bytes:
        """The checkpoint that commits with the orders."""
        return json.dumps({"changed": self.changed, "seen": self.seen}, separators=(",", ":"), sort_keys=True).encode()

    def since(self, overlap_s: int) -> str:
        """From which change time on to read."""
        newest = read_stamp(self.changed)
        return f"{newest - timedelta(seconds=overlap_s):%Y%m%d%H%M%S}" if newest else ""

    def after(self, orders: Mapping[str, str], overlap_s: int) -> Watermark:
        """The watermark once these orders (number → change time and hash) are stored as well."""
        newest = max([self.changed, *(mark.partition(":")[0] for mark in orders.values())])
        moved = Watermark(newest, self.seen | dict(orders))
        since = moved.since(overlap_s)
        moved.seen = {number: mark for number, mark in moved.seen.items() if mark.partition(":")[0] >= since}
        return moved


class ErpOrders:
    """A Source. Give it the `SapSession` of the target that `config.target` names (``SapS4.session``) and its `units`.

    Both then share connections, identity and deadlines. It only reads. `units` is the target's table UN/ECE → SAP.
    """

    def __init__(
        self,
        config: ErpOrdersConfig,
        session: SapSession,
        units: Mapping[str, str],
        clock: Clock,
        zone: tzinfo = UTC,
    ) -> None:
        self.config = config
        self.name = config.name
        self._session = session
        self._clock = clock
        self._zone = zone
        self._codes = {sap: code for code, sap in reversed(list(units.items()))}  # the first of two that map alike wins
        self._watermark = Watermark()
        self._stock: dict[
            tuple[str, str], bytes
        ] = {}  # what was delivered last; after a restart all stock is delivered once
        self._error = ""
        self._since: datetime | None = None
        self._heard_at: datetime | None = None
        self._delivered_at: datetime | None = None

    @classmethod
    def of(cls, config: ErpOrdersConfig, around: Surroundings) -> ErpOrders:
        """Made by the app, on the connection of its target. Raises ConfigError."""
        target: Any = around.targets.get(config.target)
        session = getattr(target, "session", None)
        if not isinstance(session, SapSession):
            message = f"source {config.name} needs a target of kind sap_s4 called {config.target!r}"
            raise ConfigError([Finding("sources", 0, config.name, message, config.target)])
        return cls(config, session, target.config.units, around.clock, around.zone)

    async def run(self, intake: Intake) -> None:
        """Poll until cancelled; while SAP is away wait longer and longer, and say so once."""
        failures = 0
        while True:
            try:
                if failures or self._heard_at is None:
                    await self._session.open()
                    kept = await asyncio.to_thread(intake.checkpoint, self._key)
                    self._watermark = Watermark.read(kept)
                await self._poll(intake)
                failures = 0
                self._heard()
            except (ErpError, TimeoutError, ValueError) as error:  # the last: an answer that cannot be read at all
                failures += 1
                self._lost(error)
            await asyncio.sleep(self._pause(failures))

    def status(self) -> Mapping[str, Any]:
        """``connected``, ``since``, ``heard_at``, ``last_delivery_at``, ``error`` and ``watermark``."""
        return {
            "connected": bool(self._heard_at) and not self._error,
            "since": self._since,
            "heard_at": self._heard_at,
            "last_delivery_at": self._delivered_at,
            "error": self._error,
            "watermark": self._watermark.changed,
        }

    @property
    def _key(self) -> str:
        return f"erp_orders/{self.name}"

    def _pause(self, failures: int) -> float:
        """Full jitter up to a doubling bound, so that many agents do not come back at once."""
        if not failures:
            return self.config.poll_s
        return random.uniform(0.5, min(LONGEST_PAUSE, 2.0 ** min(failures, 12)))  # noqa: S311 - spreads load, no secret

    def _lost(self, error: Exception) -> None:
        if not self._error:
            log.warning("source %s lost: %s; orders and stock stay as they were read last", self.name, error)
            self._since = self._clock()
        self._error = str(error) or type(error).__name__

    def _heard(self) -> None:
        if self._error or self._heard_at is None:
            again = "back" if self._error else "connected"
            log.info("source %s %s: orders of plant %s", self.name, again, self.config.plant)
            self._since = self._clock()
        self._error = ""
        self._heard_at = self._clock()

    # ── one poll ────────────────────────────────────────────────────────────────────────────────────────────

    async def _poll(self, intake: Intake) -> None:
        """Every page of changed orders, then stock; each page is stored before the next is read."""
        plant = f"ProductionPlant eq {string_literal(self.config.plant)}"
        since = self._watermark.since(self.config.overlap_s)
        wanted = plant + (f" and LastChangeDateTime ge '{since}'" if since else "")
        while wanted:
            options = query(
                filter=wanted,
                orderby="LastChangeDateTime,ManufacturingOrder",
                expand=EXPAND,
                top=str(self.config.page),
            )
            page, more = rows(await self._session.read(f"{ORDERS}?{options}"))
            await self._store_orders(intake, page)
            wanted = ""
            if page and (more or len(page) >= self.config.page):  # by key, not by $skip: rows move while we read
                changed, number = (
                    str(page[-1].get(name) or "") for name in ("LastChangeDateTime", "ManufacturingOrder")
                )
                wanted = (
                    f"{plant} and (LastChangeDateTime gt '{changed}'"
                    f" or (LastChangeDateTime eq '{changed}' and ManufacturingOrder gt {string_literal(number)}))"
                )
        if self.config.stock:
            await self._poll_stock(intake)

    async def _store_orders(self, intake: Intake, page: list[dict[str, Any]]) -> None:
        marks, deliveries = {}, []
        for row in page:
            payload = order_payload(row, self._codes, self._zone)
            body = canonical(payload)
            mark = f"{row.get('LastChangeDateTime') or ''}:{hashlib.sha256(body).hexdigest()[:16]}"
            marks[payload["order"]] = mark
            if self._watermark.seen.get(payload["order"]) != mark:
                deliveries.append(Delivery(f"erp/order/{payload['order']}", body, {"masterdata": "order"}))
        moved = self._watermark.after(marks, self.config.overlap_s)
        if deliveries or moved != self._watermark:
            await self._store(intake, deliveries, ((self._key, moved.write()),))
            self._watermark = moved

    async def _poll_stock(self, intake: Intake) -> None:
        kinds = " or ".join(f"InventoryStockType eq '{one}'" for one in (UNRESTRICTED, *HELD))
        wanted = f"Plant eq {string_literal(self.config.plant)} and ({kinds})"
        skip, more = 0, "first"
        found: dict[tuple[str, str], dict[str, Any]] = {}
        while more:
            options = query(filter=wanted, orderby="Material,StorageLocation,Batch", top="1000", skip=str(skip))
            page, more = rows(await self._session.read(f"{STOCK}?{options}"))
            more = more or ("full" if len(page) >= 1000 else "")
            skip += len(page)
            self._add_stock(found, page)
            last = list(found)[-1:] if page and more else []  # its other statuses may be on the next page
            await self._store_stock(intake, {key: payload for key, payload in found.items() if key not in last})
            found = {key: found[key] for key in last}
            if not page:
                break

    async def _store_stock(self, intake: Intake, found: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
        bodies = ((key, canonical(payload)) for key, payload in found.items())
        changed = {key: body for key, body in bodies if self._stock.get(key) != body}
        if changed:
            named = (Delivery(topic, body, {"masterdata": "stock"}) for (topic, _), body in changed.items())
            await self._store(intake, list(named), ())
            self._stock.update(changed)

    def _add_stock(self, found: dict[tuple[str, str], dict[str, Any]], page: list[dict[str, Any]]) -> None:
        """One payload for each place and batch, of all its statuses."""
        for row in page:
            status = row.get("InventoryStockType")
            if row.get("InventorySpecialStockType") or status not in (UNRESTRICTED, *HELD):
                continue  # customer's, supplier's or project's stock: not the plant's to consume
            payload = stock_payload(row, self._codes)
            key = (
                f"erp/stock/{quote(payload['material'], safe='')}",
                f"{payload['storage_location']}/{payload['batch']}",
            )
            if status == UNRESTRICTED:
                found[key] = {**payload, **({"held": found[key]["held"]} if "held" in found.get(key, {}) else {})}
                continue
            known = found.setdefault(key, {**payload, "quantity": "0"})
            held = read_decimal(payload["quantity"]) + read_decimal(known.get("held", "0"))
            if held:
                known["held"] = _number(held)

    async def _store(
        self, intake: Intake, deliveries: list[Delivery], checkpoints: tuple[tuple[str, bytes], ...]
    ) -> None:
        """Hand the batch over and wait until it is on disk. Raises TimeoutError where it never gets there."""
        loop, stored = asyncio.get_running_loop(), asyncio.Event()

        def on_disk() -> None:
            loop.call_soon_threadsafe(stored.set)

        batch = Batch(
            source=self.name,
            deliveries=deliveries,
            received_at=self._clock(),
            stored=on_disk,
            checkpoints=checkpoints,
        )
        while not await asyncio.to_thread(intake.put, batch, 5.0):
            pass  # the queue is full: the orders wait here, which holds nobody up
        async with asyncio.timeout(STORE_PATIENCE):
            await stored.wait()
        self._delivered_at = self._clock() if deliveries else self._delivered_at


# ── SAP's words → ours ──────────────────────────────────────────────────────────────────────────────────────


def canonical(payload: Mapping[str, Any]) -> bytes:
    """The same content is always the same bytes; half a surrogate pair stays one, and is refused where it is read."""
    text = json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode(errors="surrogatepass")


def order_payload(row: Row, codes: Mapping[str, str], zone: tzinfo = UTC) -> dict[str, Any]:
    """An A_ProductionOrder_2 with its operations and components, in the words of `agent.masterdata.entities.Order`.

    SAP tells basic dates by the clock of `zone`, the plant's.
    """
    unit = _unit(row, "ProductionUnit", codes)
    changed = read_stamp(str(row.get("LastChangeDateTime") or ""))
    return {
        "order": unpadded(str(row.get("ManufacturingOrder") or "")),
        "material": unpadded(str(row.get("Material") or "")),
        "plant": str(row.get("ProductionPlant") or ""),
        "quantity": _number(row.get("TotalQuantity")),
        "unit": unit,
        "status": next((status for flag, status in _STATUS if row.get(flag) == "X"), "created"),
        "operations": [_operation(one, unit, codes, zone) for one in _inlined(row, "to_ProductionOrderOperation")],
        "components": [
            _component(one, codes) for one in _inlined(row, "to_ProductionOrderComponent") if one.get("Material")
        ],
        "changed_at": changed.isoformat() if changed else None,
        "planned_start": _moment(row, "MfgOrderPlannedStart", zone),
        "due": _moment(row, "MfgOrderPlannedEnd", zone),
    }


def _moment(row: Row, name: str, zone: tzinfo, ends: tuple[str, str] = ("Date", "Time")) -> str | None:
    """A day and a time of the plant's clock; None where SAP tells none, or none that can be read."""
    day, time = row.get(f"{name}{ends[0]}"), _TIME.fullmatch(str(row.get(f"{name}{ends[1]}") or "PT00H00M00S"))
    try:
        found = datetime.combine(read_date(str(day)), midnight.min, zone) if day else None
        hours, minutes, seconds = map(int, time.groups()) if time else (0, 0, 0)
        return (found + timedelta(hours=hours, minutes=minutes, seconds=seconds)).isoformat() if found else None
    except (ValueError, OverflowError):
        return None


def _operation(row: Row, order_unit: str, codes: Mapping[str, str], zone: tzinfo) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operation": str(row.get("ManufacturingOrderOperation") or ""),
        "work_center": str(row.get("WorkCenter") or ""),
        "unit": _unit(row, "OperationUnit", codes) or order_unit,
    }
    start, end = (_moment(row, f"OpErlstSchedldExec{which}", zone, ("Dte", "Tme")) for which in ("Strt", "End"))
    if start and end:
        minutes = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() / 60
        told |= {"minutes": f"{minutes:.2f}"} if minutes > 0 else {}
    for name, of in (("yield", "OpTotalConfirmedYieldQty"), ("scrap", "OpTotalConfirmedScrapQty")):
        quantity = _number(row.get(of) or "0")  # not every release tells the scrap
        told |= {f"confirmed_{name}": quantity} if quantity != "0" else {}
    confirmed = row.get("OperationIsConfirmed") == "X"
    actual = {"started": "Start"} | ({"finished": "End"} if confirmed else {})  # an end before that is no end yet
    moments = {name: _moment(row, f"OpActualExecution{which}", zone) for name, which in actual.items()}
    told |= {name: moment for name, moment in moments.items() if moment}
    return told | ({"confirmed": True} if confirmed else {})


def _component(row: Row, codes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "material": unpadded(str(row.get("Material") or "")),
        "reservation": unpadded(str(row.get("Reservation") or "")),
        "item": unpadded(str(row.get("ReservationItem") or "")),
        "required": _number(row.get("RequiredQuantity")),
        "withdrawn": _number(row.get("WithdrawnQuantity")),
        "unit": _unit(row, "BaseUnit", codes),
        "storage_location": str(row.get("StorageLocation") or ""),
        "batch": str(row.get("Batch") or ""),
        "operation": str(row.get("ManufacturingOrderOperation") or ""),
        "backflush": row.get("MatlCompIsMarkedForBackflush") is True,
    }


def stock_payload(row: Row, codes: Mapping[str, str]) -> dict[str, Any]:
    """An A_MatlStkInAcctMod, in the words of `agent.masterdata.entities.Stock`."""
    return {
        "material": unpadded(str(row.get("Material") or "")),
        "storage_location": str(row.get("StorageLocation") or ""),
        "batch": str(row.get("Batch") or ""),
        "quantity": _number(row.get("MatlWrhsStkQtyInMatlBaseUnit")),
        "unit": _unit(row, "MaterialBaseUnit", codes),
    }


def _inlined(row: Row, navigation: str) -> list[Row]:
    inlined = row.get(navigation)
    items = inlined.get("results", []) if isinstance(inlined, dict) else inlined
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _unit(row: Row, name: str, codes: Mapping[str, str]) -> str:
    """The UN/ECE code: by the configured table, else SAP's ISO code, else as it stands, so that it is seen and held."""
    for spelling in (name, f"{name}SAPCode"):
        if (code := codes.get(str(row.get(spelling) or ""))) is not None:
            return code
    return str(row.get(f"{name}ISOCode") or row.get(name) or "")


def _number(value: object) -> str:
    """A quantity without needless zeros; what is none stays as it is and is refused where it is read."""
    try:
        number = read_decimal(value)
    except ValueError:
        return str(value)
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
