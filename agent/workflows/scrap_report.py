"""What a report of scrap says and what the plant knows of its place: read once, checked, in the ERP's units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from agent.digits import plain
from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import MaterialActual, MaterialUse, SegmentResponse
from agent.masterdata.entities import DefectCode, Material, Order
from agent.workflows.orders import Into, erp_quantity, into, material_of, order_holds, order_of, subject_of

ZERO: Final = Decimal(0)
MOST: Final = 10  # storage locations that a reason names


@dataclass(frozen=True, slots=True)
class Place:
    """What the facts say about one material at one operation of one order: the same for every report from there."""

    order: Order
    operation: str
    material: Material
    into_unit: Into
    holds: tuple[str, ...]
    subject: Mapping[str, str]

    @property
    def lane(self) -> str:
        """In which it reaches the ERP."""
        return f"order/{self.order.order}"


@dataclass(frozen=True, slots=True)
class Found:
    """One report: `quantity` and `lot_quantity` (good and scrapped together) in the material's base unit."""

    place: Place
    actual: MaterialActual
    quantity: Decimal
    lost: str  # in words what the ERP's precision would lose
    lot_quantity: Decimal | None
    in_stock: Decimal | None  # of the lot, good ones, as the report or the ERP says
    defect: DefectCode | None

    @property
    def unit(self) -> str:
        """The material's base unit."""
        return self.place.material.base_unit

    @property
    def value(self) -> Decimal:
        """Money that is scrapped."""
        return self.place.material.price * self.quantity

    @property
    def share(self) -> Decimal | None:
        """Of the lot; None where the report does not say how large it is."""
        return min(self.quantity / self.lot_quantity, Decimal(1)) if self.lot_quantity else None


def found(report: SegmentResponse, facts: Facts) -> Found:
    """What it says. Raises BadPayload for what cannot be, or is not known."""
    actual = scrapped(report)
    material = actual.material or order_of(report, facts).material
    key = ("scrap", report.order, material, report.operation, report.work_center, actual.storage_location)
    place: Place = facts.memo.get(key) or facts.remember(key, _place(report, material, actual.storage_location, facts))
    quantity, lost = erp_quantity(actual.quantity, place.into_unit)
    return Found(
        place,
        actual,
        quantity,
        lost,
        _in_base(report, "lot_quantity", actual, place),
        _stock(report, actual, place, facts),
        _defect(report, facts),
    )


def scrapped(report: SegmentResponse) -> MaterialActual:
    """The one material that it says was scrapped. Raises BadPayload."""
    found = [actual for actual in report.material_actuals if actual.use is MaterialUse.SCRAP]
    if len(found) != 1:
        raise BadPayload(f"names {len(found)} scrapped materials, one is wanted", field="material_actuals")
    value = found[0].quantity.value
    if not (value.is_finite() and value >= ZERO):
        raise BadPayload(f"is {found[0].quantity}: nothing is scrapped backwards", field="quantity", reason="negative")
    return found[0]


def _place(report: SegmentResponse, name: str, location: str, facts: Facts) -> Place:
    order, material = order_of(report, facts), material_of(name, facts)
    operation = order.operation(report.operation)
    return Place(
        order=order,
        operation=operation.operation if operation else report.operation,
        material=material,
        into_unit=into(material.base_unit, material, facts),
        holds=(*order_holds(report, order, facts), *_unknown_location(location, facts)),
        subject=subject_of(report, order, name, facts),
    )


def _unknown_location(location: str, facts: Facts) -> tuple[str, ...]:
    """Where nothing lies and nothing is taken from: the ERP would refuse it. Nothing is said where no stock is told."""
    known = {one.storage_location for one in facts.stocks.values()}
    known |= {part.storage_location for order in facts.orders.values() for part in order.components} if known else set()
    known |= {one.storage_location for one in facts.receipts.values()} if known else set()
    if not location or not known or location in known:
        return ()
    named = ", ".join(sorted(known - {""})[:MOST])
    return (
        f"storage location {location!r} is not among those that stock, orders and receipts name ({named}): refuse "
        "this, mend the sender and report it again; or approve it, where the ERP has that location",
    )


def _in_base(report: SegmentResponse, name: str, actual: MaterialActual, place: Place) -> Decimal | None:
    """A number of the report that counts in the unit of its quantity."""
    value = report.data.get(name)
    if not isinstance(value, Decimal):
        return None
    if not (value.is_finite() and value >= ZERO):
        raise BadPayload(f"is {value:f}, which cannot be", field=name, reason="negative")
    numerator, denominator = place.into_unit[actual.quantity.unit]
    return value * numerator / denominator


def _stock(report: SegmentResponse, actual: MaterialActual, place: Place, facts: Facts) -> Decimal | None:
    """What of the lot is in stock: as the report says, else as the ERP said last of this very batch."""
    told = _in_base(report, "lot_stock", actual, place)
    if told is not None or not actual.lot:
        return told
    known = facts.stock(place.material.material, actual.storage_location, actual.lot)
    return known.quantity if known else None


def _defect(report: SegmentResponse, facts: Facts) -> DefectCode | None:
    code = text(report, "defect")
    if not code:
        return None
    known = facts.defect_codes.get(code)
    if known is None:
        raise BadPayload(
            f"defect code {code!r} is not in the master data; mend the sender, or add it to defect_codes.yaml: the "
            "event is read again by itself if that is in time",
            field="defect",
            reason="unknown_defect",
            awaits=(DefectCode.kind, code),
        )
    return known


def text(report: SegmentResponse, name: str) -> str:
    """A text of the report; empty where it has none."""
    value = report.data.get(name, "")
    return value if isinstance(value, str) else f"{value:f}"


def number(report: SegmentResponse, name: str) -> float | None:
    """A number of the report; None where it has none."""
    value: Any = report.data.get(name)
    return float(value) if isinstance(value, Decimal) else None


def teller(report: SegmentResponse) -> str:
    """Who reports it: a person, else a camera or a counter; empty: nobody says."""
    return report.personnel or text(report, "origin")


def fingerprint(report: SegmentResponse, material: str, quantity: Decimal) -> str:
    """The same for reports of as much (in the base unit) of the same defect of a lot, however it is written."""
    return " ".join((material, scrapped(report).lot, text(report, "defect"), plain(quantity)))
