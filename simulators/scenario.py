"""The plant that the bench plays, read from scenario.yaml: the one source of both simulators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

DEFAULT_PATH = Path(__file__).with_name("scenario.yaml")
FIRST_RESERVATION = 50001


@dataclass(frozen=True, slots=True)
class Material:
    """A material; `price` and `stock` are per and in its base unit."""

    material: str
    text: str
    unit: str
    price: Decimal
    stock: Decimal
    storage_location: str


@dataclass(frozen=True, slots=True)
class WorkCenter:
    """A machine, and the line it stands in; its totalisers go back to 0 at `counter_modulus` (None: they never do)."""

    work_center: str
    line: str
    text: str
    counter_modulus: int | None = None


@dataclass(frozen=True, slots=True)
class RoutingComponent:
    """What one unit of the product takes (`quantity`) and what setting up takes once per order (`set_up`)."""

    material: str
    quantity: Decimal
    unit: str
    set_up: Decimal


@dataclass(frozen=True, slots=True)
class Routing:
    """How a product is made; `minutes` of machine time per unit."""

    product: str
    operation: str
    work_center: str
    minutes: Decimal
    components: tuple[RoutingComponent, ...]


@dataclass(frozen=True, slots=True)
class Component:
    """One reserved component of an order: `required` = order quantity × per unit + set-up."""

    reservation: str  # ten digits, one number per order
    item: str  # four digits
    material: str
    required: Decimal
    per_unit: Decimal
    set_up: Decimal
    unit: str
    storage_location: str


@dataclass(frozen=True, slots=True)
class Order:
    """A production order with one operation."""

    number: str
    product: str
    quantity: Decimal
    unit: str
    operation: str
    work_center: str
    minutes: Decimal
    storage_location: str  # where the product goes
    components: tuple[Component, ...]
    start_h: int | None = None  # hours after the ERP starts: when it shall be begun
    due_h: int | None = None  # and finished


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """`count` equal orders of one product, with hours after the ERP starts: one begins every so many, each is due."""

    material: str
    quantity: Decimal
    unit: str
    count: int
    start_every_h: int | None = None
    due_h: tuple[int, ...] = ()  # one for each, or none at all


@dataclass(frozen=True, slots=True)
class Bench:
    """Loopback ports of `make run`, and how the ERP is logged on to."""

    broker: int
    erp_http: int
    api: int
    management: int
    gateway: int
    opcua: int
    opcua_control: int
    erp_user: str
    erp_password_env: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """One plant, its materials, machines, routings and orders."""

    plant: str
    time_zone: str
    currency: str
    materials: Mapping[str, Material]
    work_centers: Mapping[str, WorkCenter]
    routings: Mapping[str, Routing]
    first_order: int
    plans: tuple[OrderPlan, ...]
    bench: Bench

    def orders(self) -> list[Order]:
        """Every order, numbered upward from `first_order`, product by product."""
        planned = [(plan, number) for plan in self.plans for number in range(plan.count)]
        return [self._order(index, plan, number) for index, (plan, number) in enumerate(planned)]

    def _order(self, index: int, plan: OrderPlan, number: int) -> Order:
        routing = self.routings[plan.material]
        return Order(
            number=str(self.first_order + index),
            product=plan.material,
            quantity=plan.quantity,
            unit=plan.unit,
            operation=routing.operation,
            work_center=routing.work_center,
            minutes=routing.minutes,
            storage_location=self.materials[plan.material].storage_location,
            components=tuple(
                self._component(f"{FIRST_RESERVATION + index:010d}", item, part, plan.quantity)
                for item, part in enumerate(routing.components, start=1)
            ),
            start_h=None if plan.start_every_h is None else number * plan.start_every_h,
            due_h=plan.due_h[number] if number < len(plan.due_h) else None,
        )

    def _component(self, reservation: str, number: int, part: RoutingComponent, quantity: Decimal) -> Component:
        return Component(
            reservation=reservation,
            item=f"{number:04d}",
            material=part.material,
            required=(quantity * part.quantity + part.set_up).quantize(Decimal("0.001")),
            per_unit=part.quantity,
            set_up=part.set_up,
            unit=part.unit,
            storage_location=self.materials[part.material].storage_location,
        )


def load(path: Path | str | None = None) -> Scenario:
    """Read the scenario; raises KeyError or ValueError that names the field when the file does not fit."""
    tree = yaml.safe_load(Path(path or DEFAULT_PATH).read_text(encoding="utf-8"))
    return Scenario(
        plant=str(tree["plant"]),
        time_zone=tree["time_zone"],
        currency=tree["currency"],
        materials={row["material"]: _material(row) for row in tree["materials"]},
        work_centers={row["work_center"]: WorkCenter(**row) for row in tree["work_centers"]},
        routings={product: _routing(product, row) for product, row in tree["routings"].items()},
        first_order=int(tree["orders"]["first_order"]),
        plans=tuple(_plan(row) for row in tree["orders"]["products"]),
        bench=Bench(**tree["bench"]),
    )


def _material(row: Mapping[str, Any]) -> Material:
    return Material(**{**row, "price": Decimal(row["price"]), "stock": Decimal(row["stock"])})


def _routing(product: str, row: Mapping[str, Any]) -> Routing:
    return Routing(
        product=product,
        operation=row["operation"],
        work_center=row["work_center"],
        minutes=Decimal(row["minutes"]),
        components=tuple(
            RoutingComponent(part["material"], Decimal(part["quantity"]), part["unit"], Decimal(part["set_up"]))
            for part in row["components"]
        ),
    )


def _plan(row: Mapping[str, Any]) -> OrderPlan:
    count, due_h = int(row["count"]), tuple(row.get("due_h", ()))
    if due_h and len(due_h) != count:
        raise ValueError(f"due_h of {row['material']} has {len(due_h)} hours for {count} orders")
    return OrderPlan(row["material"], Decimal(row["quantity"]), row["unit"], count, row.get("start_every_h"), due_h)
