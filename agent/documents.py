"""Master data as JSON documents, as the store keeps them and the SAP source delivers them, read strictly.

Quantities are decimal strings, conversions fractions (``"1000/1"``), times ISO 8601 with their offset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from agent.errors import BadPayload
from agent.masterdata import (
    STATUSES,
    ZERO,
    Bom,
    BomItem,
    Component,
    DefectCode,
    Fact,
    Material,
    Operation,
    Operator,
    Order,
    Resource,
    Routing,
    ScrapReason,
    Stock,
    Tolerance,
    WorkCenter,
)

Document: TypeAlias = Mapping[str, Any]
T = TypeVar("T")


def from_document(kind: str, document: Document) -> Fact:
    """The fact of a JSON document. Raises BadPayload (reason ``masterdata``) naming the field and value."""
    read = _READ.get(kind)
    if read is None:
        raise _bad("kind", f"unknown kind {kind!r}; known are {', '.join(_READ)}")
    return read(_Reader(document, kind))


def to_document(fact: Fact) -> dict[str, Any]:
    """The JSON document of a fact; `from_document` of it is the same fact."""
    return {name.name: _plain(getattr(fact, name.name)) for name in fields(fact)}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, date):  # a moment is one, too
        return value.isoformat()
    if isinstance(value, tuple):
        return [{name.name: _plain(getattr(item, name.name)) for name in fields(item)} for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _bad(where: str, message: str) -> BadPayload:
    return BadPayload(message, field=where, reason="masterdata")


class _Reader:
    """Takes the fields of one document; refuses what is missing, of another type, or left over."""

    def __init__(self, document: Any, path: str) -> None:
        if not isinstance(document, Mapping):
            raise _bad(path, f"must be an object, not {document!r}")
        self.path = path
        self.left = dict(document)

    def text(self, name: str, default: str | None = None) -> str:
        value = self.left.pop(name, default)
        if value is None or not isinstance(value, str) or (default is None and not value.strip()):
            raise _bad(f"{self.path}.{name}", f"must be a text that is not empty, not {value!r}")
        return value

    def number(self, name: str, default: Decimal | None = None, *, least: Decimal | None = ZERO) -> Decimal:
        value = self.left.pop(name, default)
        try:
            number = Decimal(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
        except InvalidOperation:
            number = None
        if number is None or not number.is_finite() or abs(number.adjusted()) > 30:
            raise _bad(f"{self.path}.{name}", f'must be a decimal number as text, such as "12.500", not {value!r}')
        if least is not None and number < least:
            raise _bad(f"{self.path}.{name}", f"must not be below {least}, but is {number}")
        return number

    def yes(self, name: str) -> bool:
        value = self.left.pop(name, False)
        if not isinstance(value, bool):
            raise _bad(f"{self.path}.{name}", f"must be true or false, not {value!r}")
        return value

    def moment(self, name: str) -> datetime | None:
        value = self.left.pop(name, None)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise _bad(f"{self.path}.{name}", f"must be a time like 2026-01-31T12:00:00+00:00, not {value!r}") from None
        if moment.tzinfo is None:
            raise _bad(f"{self.path}.{name}", f"must carry its offset from UTC, but is {value!r}")
        return moment

    def ratios(self, name: str) -> Mapping[str, Fraction]:
        value = self.left.pop(name, {})
        if not isinstance(value, Mapping):
            raise _bad(f"{self.path}.{name}", f"must map a unit to a fraction, not {value!r}")
        return MappingProxyType({unit: _ratio(text, f"{self.path}.{name}.{unit}") for unit, text in value.items()})

    def numbers(self, name: str) -> Mapping[str, Decimal]:
        inner = _Reader(self.left.pop(name, {}), f"{self.path}.{name}")
        return MappingProxyType({key: inner.number(key) for key in tuple(inner.left)})

    def texts(self, name: str) -> Mapping[str, str]:
        inner = _Reader(self.left.pop(name, {}), f"{self.path}.{name}")
        return MappingProxyType({key: inner.text(key, "") for key in tuple(inner.left)})

    def each(self, name: str, read: Callable[[_Reader], T]) -> tuple[T, ...]:
        value = self.left.pop(name, [])
        if not isinstance(value, list | tuple):
            raise _bad(f"{self.path}.{name}", f"must be a list, not {value!r}")
        return tuple(read(_Reader(item, f"{self.path}.{name}[{at}]")) for at, item in enumerate(value))

    def done(self, fact: T) -> T:
        if self.left:
            raise _bad(f"{self.path}.{min(self.left)}", "unknown field; remove it or mend its name")
        return fact


def _ratio(value: Any, where: str) -> Fraction:
    try:
        ratio = Fraction(value) if isinstance(value, str | int) else Fraction(0)
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(0)
    if ratio <= 0:
        raise _bad(where, f'must be a positive fraction such as "1000/1" or "0.25", not {value!r}')
    return ratio


def _material(read: _Reader) -> Fact:
    return read.done(
        Material(
            material=read.text("material"),
            base_unit=read.text("base_unit"),
            text=read.text("text", ""),
            price=read.number("price", ZERO),
            batch_managed=read.yes("batch_managed"),
            units=read.ratios("units"),
        )
    )


def _work_center(read: _Reader) -> Fact:
    return read.done(
        WorkCenter(
            work_center=read.text("work_center"),
            line=read.text("line"),
            text=read.text("text", ""),
            set_up=read.number("set_up", ZERO),
            changes=read.numbers("changes"),
            oee=read.number("oee", Decimal(1)),
        )
    )


def _routing(read: _Reader) -> Fact:
    return read.done(
        Routing(
            material=read.text("material"),
            work_center=read.text("work_center"),
            minutes=read.number("minutes"),
            unit=read.text("unit"),
            family=read.text("family", ""),
            certificate=read.text("certificate", ""),
            tool=read.text("tool", ""),
            recipe=read.text("recipe", ""),
        )
    )


def _operator(read: _Reader) -> Fact:
    return read.done(
        Operator(read.text("operator"), read.texts("certificates"), read.text("hours", ""), read.text("days", ""))
    )


def _bom(read: _Reader) -> Fact:
    return read.done(Bom(read.text("product"), read.text("unit"), read.each("items", _bom_item)))


def _bom_item(read: _Reader) -> BomItem:
    item = BomItem(read.text("material"), read.number("quantity"), read.text("unit"), read.number("set_up", ZERO))
    return read.done(item)


def _tolerance(read: _Reader) -> Fact:
    return read.done(
        Tolerance(read.text("material", ""), read.text("work_center", ""), read.number("under"), read.number("over"))
    )


def _order(read: _Reader) -> Fact:
    status = read.text("status")
    if status not in STATUSES:
        raise _bad(f"{read.path}.status", f"must be one of {', '.join(STATUSES)}, not {status!r}")
    return read.done(
        Order(
            order=read.text("order"),
            material=read.text("material"),
            plant=read.text("plant"),
            quantity=read.number("quantity"),
            unit=read.text("unit"),
            status=status,
            operations=read.each("operations", _operation),
            components=read.each("components", _component),
            changed_at=read.moment("changed_at"),
            planned_start=read.moment("planned_start"),
            due=read.moment("due"),
            weight=read.number("weight", Decimal(1)),
        )
    )


def _operation(read: _Reader) -> Operation:
    return read.done(
        Operation(
            operation=read.text("operation"),
            work_center=read.text("work_center"),
            unit=read.text("unit"),
            minutes=read.number("minutes", ZERO),
            confirmed=read.yes("confirmed"),
            confirmed_yield=read.number("confirmed_yield", ZERO),
            confirmed_scrap=read.number("confirmed_scrap", ZERO),
            started=read.moment("started"),
            finished=read.moment("finished"),
        )
    )


def _component(read: _Reader) -> Component:
    return read.done(
        Component(
            material=read.text("material"),
            reservation=read.text("reservation"),
            item=read.text("item"),
            required=read.number("required"),
            withdrawn=read.number("withdrawn", ZERO),
            unit=read.text("unit"),
            storage_location=read.text("storage_location", ""),
            batch=read.text("batch", ""),
            operation=read.text("operation", ""),
            backflush=read.yes("backflush"),
        )
    )


def _stock(read: _Reader) -> Fact:
    return read.done(
        Stock(
            material=read.text("material"),
            storage_location=read.text("storage_location", ""),
            quantity=read.number("quantity", least=None),
            unit=read.text("unit"),
            batch=read.text("batch", ""),
            held=read.number("held", ZERO, least=None),
        )
    )


def _resource(read: _Reader) -> Fact:
    return read.done(
        Resource(read.text("resource"), read.yes("available"), read.moment("back_at"), read.text("text", ""))
    )


def _scrap_reason(read: _Reader) -> Fact:
    return read.done(
        ScrapReason(
            cause=read.text("cause"),
            reason=read.text("reason"),
            variance_reason=read.text("variance_reason", ""),
            movement=read.text("movement", "551"),
            cost_center=read.text("cost_center", ""),
            text=read.text("text", ""),
            work_center=read.text("work_center", ""),
            severity=read.text("severity", ""),
        )
    )


def _defect_code(read: _Reader) -> Fact:
    return read.done(DefectCode(read.text("defect"), read.text("group"), read.text("text", "")))


_READ: Mapping[str, Callable[[_Reader], Fact]] = {
    "material": _material,
    "work_center": _work_center,
    "bom": _bom,
    "tolerance": _tolerance,
    "order": _order,
    "stock": _stock,
    "scrap_reason": _scrap_reason,
    "defect_code": _defect_code,
    "routing": _routing,
    "operator": _operator,
    "resource": _resource,
}
