"""What the ERP and the plant's files say: materials, orders, BOMs, work centres, tolerances, stock.

Quantities and money are `Decimal`; units are codes of UN/ECE Recommendation 20 (``KGM``, ``C62``). The types of the
fields say how `documents` reads them: a text without a default must not be empty, a number is not negative. Metadata
say otherwise: `absent` is what a field is where a document lacks it, `signed` allows what is below zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import ClassVar, TypeAlias

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Material:
    """A material of the ERP. `price` is money per base unit; `units` maps other units to base units per one of them.

    Of `material_type` and `valuation_class` a table of accounts makes use; empty: not told.
    `safety_stock` is in base units, at each place that it is used from.
    """

    kind: ClassVar[str] = "material"
    material: str
    base_unit: str
    text: str = ""
    price: Decimal = ZERO
    batch_managed: bool = False
    units: Mapping[str, Fraction] = field(default_factory=lambda: MappingProxyType({}))
    material_type: str = ""
    valuation_class: str = ""
    safety_stock: Decimal = ZERO

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return self.material


@dataclass(frozen=True, slots=True)
class WorkCenter:
    """A work centre and the line it belongs to; how long a change of set-up family takes, and how well it runs."""

    kind: ClassVar[str] = "work_center"
    work_center: str
    line: str
    text: str = ""
    set_up: Decimal = ZERO  # minutes of a change from one set-up family to another
    changes: Mapping[str, Decimal] = field(
        default_factory=lambda: MappingProxyType({})
    )  # "red > clear" → other minutes
    oee: Decimal = Decimal(1)  # its usual effectiveness, 0 to 1

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return self.work_center


@dataclass(frozen=True, slots=True)
class Routing:
    """What one unit of a product takes at a work centre, what that must be set up for, and who may make it."""

    kind: ClassVar[str] = "routing"
    material: str
    work_center: str
    minutes: Decimal  # of the work centre, per `unit`, without set-up
    unit: str
    family: str = ""
    certificate: str = ""
    tool: str = ""
    recipe: str = ""

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return f"{self.material}/{self.work_center}"


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who makes orders: certificates with the last day of each, and the hours of every working day."""

    kind: ClassVar[str] = "operator"
    operator: str
    certificates: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # → ISO day; empty: for good
    hours: str = ""  # "06:00-14:00" by the plant's clock, over midnight too; empty: not told, so always
    days: str = ""  # "1-5": Monday to Friday; empty: every day

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return self.operator

    def certified(self, certificate: str, day: str) -> bool:
        """Whether they may do on this day (ISO) what asks for the certificate."""
        last = self.certificates.get(certificate)
        return last is not None and (not last or day <= last)


@dataclass(frozen=True, slots=True)
class BomItem:
    """What one unit of the product takes of a component, and what is consumed once per order to set up."""

    material: str
    quantity: Decimal
    unit: str
    set_up: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Bom:
    """The bill of material of one product; item quantities are per one `unit` of the product."""

    kind: ClassVar[str] = "bom"
    product: str
    unit: str
    items: tuple[BomItem, ...] = ()

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return self.product


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a report may deviate from what is expected, as fractions; an empty field means any."""

    kind: ClassVar[str] = "tolerance"
    material: str = field(metadata={"absent": ""})
    work_center: str = field(metadata={"absent": ""})
    under: Decimal
    over: Decimal

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return f"{self.material or '*'}/{self.work_center or '*'}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of an order; `unit` is the unit in which it is confirmed, `minutes` what the ERP has planned."""

    operation: str
    work_center: str
    unit: str
    minutes: Decimal = ZERO  # 0: not known
    confirmed: bool = False  # finally: nothing of it is left to do
    confirmed_yield: Decimal = ZERO  # good ones that are confirmed of it, in `unit`
    confirmed_scrap: Decimal = ZERO
    started: datetime | None = None  # as it was; None: not yet, or nobody told it
    finished: datetime | None = None  # with its final confirmation


@dataclass(frozen=True, slots=True)
class Component:
    """One component of an order with its reservation (SAP A_ProductionOrderComponent_3)."""

    material: str
    reservation: str
    item: str
    required: Decimal
    withdrawn: Decimal = field(metadata={"absent": ZERO})
    unit: str
    storage_location: str = ""
    batch: str = ""
    operation: str = ""
    backflush: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A production order as the ERP last told it; `status` is one of STATUSES."""

    kind: ClassVar[str] = "order"
    order: str
    material: str
    plant: str
    quantity: Decimal
    unit: str
    status: str
    operations: tuple[Operation, ...] = ()
    components: tuple[Component, ...] = ()
    changed_at: datetime | None = None
    planned_start: datetime | None = None
    due: datetime | None = None
    weight: Decimal = Decimal(1)  # how much more its lateness counts than another's

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return self.order

    def operation(self, number: str) -> Operation | None:
        """The operation by its number, compared without leading zeros as SAP does for NUMC fields."""
        for operation in self.operations:
            if operation.operation == number or operation.operation.lstrip("0") == number.lstrip("0"):
                return operation
        return None

    def component(self, material: str, operation: str = "") -> Component | None:
        """The component; where a material occurs several times, the one of `operation`, else none: no guessing."""
        found = [component for component in self.components if component.material == material]
        if len(found) > 1:
            found = [component for component in found if component.operation.lstrip("0") == operation.lstrip("0")]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Stock:
    """Unrestricted stock of a material in a storage location, in the material's base unit."""

    kind: ClassVar[str] = "stock"
    material: str
    storage_location: str = field(metadata={"absent": ""})
    quantity: Decimal = field(metadata={"signed": True})
    unit: str
    batch: str = ""
    held: Decimal = field(default=ZERO, metadata={"signed": True})  # inspected or blocked, beside `quantity`

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return "/".join(part for part in (self.material, self.storage_location, self.batch) if part)


@dataclass(frozen=True, slots=True)
class ScrapReason:
    """What one cause of scrap means in the ERP, everywhere or at one work centre, and who bears it."""

    kind: ClassVar[str] = "scrap_reason"
    cause: str
    reason: str  # of the goods movement
    variance_reason: str = ""  # of a confirmation
    movement: str = "551"
    cost_center: str = ""
    text: str = ""
    work_center: str = ""
    severity: str = ""  # minor, major or critical: never less than this, however little it is; empty: as it comes

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return f"{self.cause}@{self.work_center}" if self.work_center else self.cause


@dataclass(frozen=True, slots=True)
class DefectCode:
    """A code by which defects are reported, with its group in the ERP's catalogue."""

    kind: ClassVar[str] = "defect_code"
    defect: str
    group: str
    text: str = ""

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return self.defect


@dataclass(frozen=True, slots=True)
class Resource:
    """A tool or a recipe that is not simply there: whether it is, and when it will be."""

    kind: ClassVar[str] = "resource"
    resource: str
    available: bool = True
    back_at: datetime | None = None
    text: str = ""

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return self.resource


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is expected of a material from outside of the plant's production, such as an item of a purchase order."""

    kind: ClassVar[str] = "receipt"
    receipt: str
    material: str
    quantity: Decimal
    unit: str
    expected_at: datetime
    storage_location: str = ""
    text: str = ""

    @property
    def key(self) -> str:
        """Under which key the store keeps it."""
        return self.receipt


Fact: TypeAlias = (
    Material
    | WorkCenter
    | Bom
    | Tolerance
    | Order
    | Stock
    | ScrapReason
    | DefectCode
    | Routing
    | Operator
    | Resource
    | Receipt
)
STATUSES = ("created", "released", "completed", "closed", "locked", "deleted")
