"""What the plant owns and plans: stock, orders with their reservations, units; and how postings move them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from simulators import scenario
from simulators.erp.odata import ODataError

STEP = Decimal("0.001")  # every quantity has three decimals
FIRST_CONFIRMATION_GROUP = 100001
_START = datetime(2026, 1, 1, tzinfo=UTC)
UNRESTRICTED, INSPECTION, BLOCKED = "", "inspection", "blocked"  # what may be done with stock
_WORDS = {UNRESTRICTED: "Unrestricted-use", INSPECTION: "Stock in quality insp.", BLOCKED: "Blocked stock"}

# unit → (dimension, how many of the dimension's first unit)
UNITS: Mapping[str, tuple[str, Fraction]] = {
    "KG": ("mass", Fraction(1)),
    "G": ("mass", Fraction(1, 1000)),
    "TO": ("mass", Fraction(1000)),
    "PC": ("count", Fraction(1)),
    "EA": ("each", Fraction(1)),
    "DZ": ("count", Fraction(12)),
    "L": ("volume", Fraction(1)),
    "ML": ("volume", Fraction(1, 1000)),
    "M": ("length", Fraction(1)),
    "MM": ("length", Fraction(1, 1000)),
    "H": ("time", Fraction(1)),
    "MIN": ("time", Fraction(1, 60)),
    "S": ("time", Fraction(1, 3600)),
}


@dataclass(slots=True)
class Component:
    """One reservation item of an order; quantities in its unit."""

    reservation: str
    item: str
    material: str
    unit: str
    required: Decimal
    storage_location: str
    withdrawn: Decimal = Decimal("0.000")
    backflush: bool = False
    finally_issued: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """When somebody worked on an order, as a confirmation tells it; day and time of the plant's clock as on wire."""

    start: tuple[str, str]
    end: tuple[str, str]
    final: bool


@dataclass(slots=True)
class Order:
    """A production order with one operation; quantities in its unit."""

    number: str
    product: str
    quantity: Decimal
    unit: str
    operation: str
    work_center: str
    storage_location: str
    group: str  # confirmation group of its operation
    components: dict[str, Component]
    confirmed_yield: Decimal = Decimal("0.000")
    confirmed_scrap: Decimal = Decimal("0.000")
    delivered: Decimal = Decimal("0.000")
    confirmations: int = 0
    released: bool = True
    finally_confirmed: bool = False
    technically_completed: bool = False
    closed: bool = False
    deleted: bool = False
    automatic_goods_receipt: bool = True
    version: int = 0
    changed_at: datetime = _START
    entered: dict[str, str] = field(default_factory=dict)  # fields changed by PATCH
    executed: dict[str, Execution] = field(default_factory=dict)  # by confirmation, those that stand

    def touch(self, now: datetime) -> None:
        """Note a change: LastChangeDateTime and the ETag move on."""
        self.version += 1
        self.changed_at = now

    def status(self) -> str:
        """The system status that a refusal names."""
        if self.deleted:
            return "DLT"
        if self.closed:
            return "CLSD"
        if self.technically_completed:
            return "TECO"
        return "REL" if self.released else "CRTD"


@dataclass(slots=True)
class Batch:
    """The master record of a batch: it is valid in all plants, so no plant identifies it."""

    material: str
    batch: str
    created_at: datetime
    changed_at: datetime
    restricted: bool = False
    version: int = 0
    entered: dict[str, str] = field(default_factory=dict)  # other fields changed by PATCH


@dataclass(frozen=True, slots=True)
class Effect:
    """What one movement changes: stock at a place, and the withdrawn quantity of a reservation item."""

    material: str
    storage_location: str
    delta: Decimal  # in the base unit
    order: str = ""
    item: str = ""
    withdrawn: Decimal = Decimal(0)  # in the component's unit
    delivered: Decimal = Decimal(0)  # of the order's product
    final: bool = False  # nothing more will be taken for this reservation item
    status: str = UNRESTRICTED


class Ledger:
    """Stock and orders of one plant."""

    def __init__(self, plant: scenario.Scenario) -> None:
        self.plant = plant.plant
        self.currency = plant.currency
        self.materials = dict(plant.materials)
        self.stock: dict[tuple[str, str], Decimal] = {
            (one.material, one.storage_location): one.stock.quantize(STEP) for one in plant.materials.values()
        }
        self.withheld: dict[str, dict[tuple[str, str], Decimal]] = {INSPECTION: {}, BLOCKED: {}}
        self.storage_locations = {one.storage_location for one in plant.materials.values()}
        self.batches: dict[tuple[str, str], Batch] = {}
        self.orders = {order.number: _order(index, order) for index, order in enumerate(plant.orders())}

    def order(self, number: str, *, doing: str) -> Order:
        """The order, when it may be posted to; raises ODataError in SAP's words."""
        order = self.known_order(number)
        if order.status() != "REL":
            subject = f"(ORD {order.number})"
            raise ODataError(
                400,
                "BS/007",
                f'"{doing}" is not allowed {subject}',
                more=[("BS/013", f"System status {order.status()} is active {subject}")],
            )
        return order

    def known_order(self, number: str) -> Order:
        """The order by its number, padded or not; raises ODataError when there is none."""
        order = self.orders.get(number.lstrip("0"))
        if order is None:
            raise ODataError(400, "CO/017", f"Order {number} does not exist", target="ManufacturingOrder")
        return order

    def known_material(self, number: str) -> scenario.Material:
        """The material; raises ODataError when there is none."""
        material = self.materials.get(number)
        if material is None:
            raise ODataError(
                400, "M3/305", f"The material {number} does not exist or is not activated", target="Material"
            )
        return material

    def in_base_unit(self, quantity: Decimal, unit: str, material: scenario.Material) -> Decimal:
        """A quantity in the material's base unit, three decimals, half up; raises ODataError for a foreign unit."""
        return convert(quantity, unit, material.unit, material.material)

    def check_stock(self, effects: Iterable[Effect]) -> None:
        """Raise M7/021 for the first place that all effects together would leave below zero."""
        left: dict[tuple[str, str, str], Decimal] = {}
        for effect in effects:
            place = (effect.material, effect.storage_location)
            before = left.get((*place, effect.status), self.pile(effect.status).get(place, Decimal(0)))
            left[*place, effect.status] = before + effect.delta
        for (material, location, status), balance in left.items():
            if balance < 0:
                unit = self.materials[material].unit
                raise ODataError(
                    400,
                    "M7/021",
                    f"Deficit of SL {_WORDS[status]} {-balance} {unit} : {material} {self.plant} {location}",
                )

    def pile(self, status: str) -> dict[tuple[str, str], Decimal]:
        """Stock of one status by material and storage location."""
        return self.withheld[status] if status else self.stock

    def apply(self, effects: Iterable[Effect], now: datetime) -> None:
        """Move stock, reservations and orders."""
        for effect in effects:
            place = (effect.material, effect.storage_location)
            pile = self.pile(effect.status)
            pile[place] = pile.get(place, Decimal("0.000")) + effect.delta
            order = self.orders.get(effect.order)
            if order is None:
                continue
            order.touch(now)
            order.delivered += effect.delivered
            component = order.components.get(effect.item)
            if component is not None:
                component.withdrawn += effect.withdrawn
                component.finally_issued |= effect.final


def convert(quantity: Decimal, unit: str, into: str, material: str) -> Decimal:
    """A quantity in another unit of the same dimension, three decimals, half up; raises ODataError."""
    if unit == into:
        return quantity
    if unit not in UNITS:
        raise ODataError(400, "M7/001", f"Check table T006: entry {unit} does not exist", target="EntryUnit")
    dimension, size = UNITS[unit]
    wanted, base = UNITS[into]
    if dimension != wanted:
        raise ODataError(400, "M3/022", f"Unit {unit} is not defined for material {material}", target="EntryUnit")
    ratio = size / base
    return (quantity * ratio.numerator / ratio.denominator).quantize(STEP, ROUND_HALF_UP)


def _order(index: int, plan: scenario.Order) -> Order:
    return Order(
        number=plan.number,
        product=plan.product,
        quantity=plan.quantity.quantize(STEP),
        unit=plan.unit,
        operation=plan.operation,
        work_center=plan.work_center,
        storage_location=plan.storage_location,
        group=str(FIRST_CONFIRMATION_GROUP + index),
        components={
            part.item.lstrip("0"): Component(
                reservation=part.reservation.lstrip("0"),
                item=part.item.lstrip("0"),
                material=part.material,
                unit=part.unit,
                required=part.required,
                storage_location=part.storage_location,
            )
            for part in plan.components
        },
    )
