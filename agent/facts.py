"""What a decision may look at: master data, orders and stock as one immutable, indexed snapshot."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar, runtime_checkable
from zoneinfo import ZoneInfo

from agent.masterdata.accounts import Accounts
from agent.masterdata.documents import Document, from_document
from agent.masterdata.entities import (
    Bom,
    BomItem,
    Component,
    DefectCode,
    Fact,
    Material,
    Operator,
    Order,
    Receipt,
    Resource,
    Routing,
    ScrapReason,
    Stock,
    Tolerance,
    WorkCenter,
)
from agent.tags.values import Key, LivePart, Told
from agent.units import UnitTable

T = TypeVar("T")
REMEMBERED: Final = 20_000  # derived things kept per snapshot
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Plant:
    """Where the agent stands: the SAP plant (`site`), its time zone and its currency."""

    site: str
    zone: ZoneInfo
    currency: str
    _day: list[tuple[datetime, datetime, str]] = field(  # the last one that was asked for: from, to, its text
        default_factory=lambda: [(_NEVER, _NEVER, "")], init=False, compare=False, repr=False
    )

    def day(self, moment: datetime) -> date:
        """The plant's calendar day of an aware moment."""
        return moment.astimezone(self.zone).date()

    def day_text(self, moment: datetime) -> str:
        """The same as text, ``2026-11-20``; cheap while it is asked for moments of one day."""
        start, end, text = self._day[0]
        return text if start <= moment < end else self._another_day(moment)

    def _another_day(self, moment: datetime) -> str:
        local = moment.astimezone(self.zone)
        start = datetime.combine(local, time.min, self.zone)
        end = start + timedelta(days=1)  # by the wall clock
        text = day_text(local.date())
        if start.utcoffset() == local.utcoffset() == end.utcoffset():  # else the clocks change on this day
            self._day[0] = start.astimezone(UTC), end.astimezone(UTC), text
        return text


@runtime_checkable
class TellsLive(Protocol):
    """A source whose tags say what the plant is now."""

    name: str

    def live(self) -> LivePart:
        """What they say at this moment; asked from any thread, before every batch that is decided."""


@dataclass(frozen=True, slots=True)
class LiveState:
    """What tags say the plant is at one moment, of every source its own part."""

    parts: tuple[LivePart, ...] = ()

    def get(self, key: Key) -> tuple[Told, float] | None:
        """What is known of a fact, and how many seconds ago its source last vouched for it."""
        for part in self.parts:
            if (told := part.facts.get(key)) is not None:
                return told, part.silent_s
        return None


day_text = lru_cache(64)(date.isoformat)  # a plant reports about few days


@dataclass(frozen=True, slots=True)
class Facts:
    """An immutable snapshot. `orders_as_of` is when the order source last heard from the ERP, None without one."""

    plant: Plant
    units: UnitTable
    version: int = 0
    orders_as_of: datetime | None = None
    materials: Mapping[str, Material] = field(default_factory=dict)
    work_centers: Mapping[str, WorkCenter] = field(default_factory=dict)
    boms: Mapping[str, Bom] = field(default_factory=dict)
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    orders: Mapping[str, Order] = field(default_factory=dict)
    stocks: Mapping[str, Stock] = field(default_factory=dict)
    scrap_reasons: Mapping[str, ScrapReason] = field(default_factory=dict)
    defect_codes: Mapping[str, DefectCode] = field(default_factory=dict)
    routings: Mapping[str, Routing] = field(default_factory=dict)
    operators: Mapping[str, Operator] = field(default_factory=dict)
    resources: Mapping[str, Resource] = field(default_factory=dict)
    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    bom_items: Mapping[tuple[str, str], tuple[str, BomItem]] = field(default_factory=dict)
    accounts: Accounts | None = None  # which G/L account a posting goes to; None: the ERP finds it alone
    live: LiveState = LiveState()  # what tags say the plant is now; nothing that follows from it is remembered
    memo: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)  # see `remember`

    def knows(self, kind: str, key: str) -> bool:
        """Whether there is master data of this kind under this key; of a cause at a place, any that counts there."""
        if kind == ScrapReason.kind and "@" in key:
            cause, _, work_center = key.rpartition("@")
            return self.scrap_reason(cause, work_center) is not None
        return key in getattr(self, _INDEX[kind])

    def material(self, material: str) -> Material | None:
        """The material by its number in the ERP."""
        return self.materials.get(material)

    def order(self, order: str) -> Order | None:
        """The order by its number."""
        return self.orders.get(order)

    def work_center(self, work_center: str) -> WorkCenter | None:
        """The work centre by its name."""
        return self.work_centers.get(work_center)

    def component(self, order: str, material: str, operation: str = "") -> Component | None:
        """The component of an order; see `Order.component`."""
        found = self.orders.get(order)
        return found.component(material, operation) if found else None

    def stock(self, material: str, storage_location: str, batch: str = "") -> Stock | None:
        """The stock of a material in a storage location, of one batch where it is kept by batch."""
        return self.stocks.get("/".join(part for part in (material, storage_location, batch) if part))

    def bom_item(self, product: str, material: str) -> tuple[str, BomItem] | None:
        """The product's unit and its BOM line for the component."""
        return self.bom_items.get((product, material))

    def routing(self, material: str, work_center: str) -> Routing | None:
        """What the material takes and needs at the work centre."""
        return self.routings.get(f"{material}/{work_center}")

    def scrap_reason(self, cause: str, work_center: str) -> ScrapReason | None:
        """What a cause of scrap means in the ERP: the entry for the work centre before the one for all."""
        return self.scrap_reasons.get(f"{cause}@{work_center}") or self.scrap_reasons.get(cause)

    def tolerance(self, material: str, work_center: str) -> Tolerance | None:
        """The most specific tolerance: material and work centre, then material, then work centre, then any."""
        of = self.tolerances
        return (
            of.get(f"{material}/{work_center}")
            or of.get(f"{material}/*")
            or of.get(f"*/{work_center}")
            or of.get("*/*")
        )

    def remember(self, key: Hashable, derived: T) -> T:
        """Keep what follows from this snapshot alone, to be found in `memo` by every later report of the same place."""
        if len(self.memo) >= REMEMBERED:  # senders choose some of the words in keys
            self.memo.clear()
        self.memo[key] = derived
        return derived

    def with_order(self, order: Order) -> Facts:
        """The snapshot with one order replaced; for many changes use `with_facts`, which copies each index once."""
        return self.with_facts([order])

    def with_documents(
        self, documents: Iterable[tuple[str, Document]], *, orders_as_of: datetime | None = None
    ) -> Facts:
        """The snapshot with documents (kind, document) added or replaced. Raises BadPayload naming the field."""
        return self.with_facts(
            (from_document(kind, document) for kind, document in documents), orders_as_of=orders_as_of
        )

    def with_facts(self, changed: Iterable[Fact], *, orders_as_of: datetime | None = None) -> Facts:
        """The snapshot with facts added or replaced; only indices that change are copied, once per call."""
        indices: dict[str, dict[Any, Any]] = {}
        for fact in changed:
            name = _INDEX[fact.kind]
            if name not in indices:
                indices[name] = dict(getattr(self, name))
            indices[name][fact.key] = fact
        if "boms" in indices:
            indices["bom_items"] = _bom_items(indices["boms"].values())
        if indices:
            indices["memo"] = {}
        as_of = orders_as_of or self.orders_as_of
        return replace(self, version=self.version + 1, orders_as_of=as_of, **indices)  # type: ignore[arg-type]

    def seeing(self, live: LiveState) -> Facts:
        """The same master data beside what tags say now; they share what is remembered."""
        return replace(self, live=live)

    def facts(self) -> Iterable[Fact]:
        """Everything the snapshot knows, kind by kind."""
        for name in _INDEX.values():
            yield from getattr(self, name).values()


_INDEX = {
    "material": "materials",
    "work_center": "work_centers",
    "bom": "boms",
    "tolerance": "tolerances",
    "order": "orders",
    "stock": "stocks",
    "scrap_reason": "scrap_reasons",
    "defect_code": "defect_codes",
    "routing": "routings",
    "operator": "operators",
    "resource": "resources",
    "receipt": "receipts",
}


def _bom_items(boms: Iterable[Bom]) -> dict[tuple[str, str], tuple[str, BomItem]]:
    return {(bom.product, item.material): (bom.unit, item) for bom in boms for item in bom.items}
