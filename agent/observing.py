"""What the trail tells reconciliation: reports, bookings, orders and stock, in the unit of each stock. Pure.

What the ERP says was withdrawn for an order, beyond what this agent booked, other people booked. It is believed when it
is still so after half a minute: an answer of the ERP may be older than its booking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pydantic import BaseModel

from agent import own_events
from agent.errors import BadPayload, GatepostError
from agent.facts import Facts
from agent.isa95 import MaterialUse, Quantity, SegmentResponse
from agent.mapping import Mappings
from agent.masterdata.documents import from_document
from agent.masterdata.entities import Order, Stock
from agent.own_events import SOURCE
from agent.ports import Event, Kind, Route
from agent.reconciliation.observed import (
    Booked,
    Corrected,
    InBooks,
    Level,
    Made,
    Material,
    Observation,
    Place,
    Plan,
    Restated,
    Scrapped,
    Used,
)
from agent.store.movements import Moved
from agent.strict import strictjson
from agent.workflows.use import consumed_of, use_of

RECONCILIATION: Final = "reconciliation"  # books what a person signed
REVERSE: Final = "reverse"  # what a person takes back by hand
BELIEVED: Final = timedelta(seconds=30)  # what the ERP tells, when no booking of ours has explained it by then
UNKNOWN: Final = "?"  # a finding that has left the store
BACKFLUSH: Final = "backflush"  # books what is usual and settles it itself: only its silos are looked at
LEVEL, COUNT = "stock_level", "stock_count"
TO_COME: Final = (Route.HOLD, Route.POST)  # a count is in the books when its difference is posted
LEVELS: Final = frozenset({LEVEL, COUNT})  # kinds of reports of what lies at a place
CONFUSED: Final = ("KGM", "GRM", "LBR", "TNE", "LTR", "MLT", "GLL", "MTR", "FOT", "CMT", "MMT", "C62", "DZN", "CEN")
_STEPS: Final = Decimal(1)
TakesBack = Callable[[Booked], bool]


class Withdrawn(BaseModel):
    """What the ERP says an order took of a component, beside what this agent booked for it."""

    own: Decimal = Decimal(0)  # booked by this agent since the order was first seen
    others: Decimal = Decimal(0)  # told already
    told: Decimal | None = None  # by the ERP
    at: datetime | None = None  # since then
    first: Decimal = Decimal(0)  # when the order was first seen
    fell: Decimal = Decimal(0)  # by so much lately: it was taken back


class Seen(BaseModel):
    """What is kept between two looks."""

    withdrawn: dict[str, Withdrawn] = {}


def observations(rows: Iterable[Moved], seen: Seen, mappings: Mappings, facts: Facts) -> Iterator[Observation]:
    """What these rows tell, in their order. What cannot be read tells nothing: it stands in quarantine already."""
    for row in rows:
        try:
            yield from _of(row, seen, mappings, facts)
        except (GatepostError, KeyError, ValueError, ArithmeticError):
            continue


def at_first(seen: Seen, facts: Facts, at: datetime) -> Iterator[Plan]:
    """Of the orders that are known before the first look: what they take, and what was withdrawn until then."""
    for order in facts.orders.values():
        if order.status == "released":
            try:
                _withdrawn(order, seen, facts, at)
                yield from plans(order, facts)
            except (GatepostError, ArithmeticError):
                continue


def order_key(order: str, operation: str) -> str:
    """Under which an order's operation is looked at: lots are counted at each."""
    return f"{order}/{operation.lstrip('0')}"


def material(name: str, facts: Facts) -> Material | None:
    """What must be known of a material; None where the master data does not have it."""
    found = facts.materials.get(name)
    if found is None:
        return None
    confusions = {}
    for code in (*found.units, *CONFUSED):
        if code == found.base_unit:
            continue
        try:
            factor = facts.units.factor(code, found.base_unit, found)
        except GatepostError:
            continue
        confusions[facts.units.shown(code)] = float(factor)
    step = _STEPS.scaleb(-facts.units.decimals(found.base_unit))
    return Material(facts.units.shown(found.base_unit), step, confusions, found.base_unit)


def _of(row: Moved, seen: Seen, mappings: Mappings, facts: Facts) -> Iterator[Observation]:
    if row.action == "decided" and row.event is not None and _of_the_floor(row.event):
        yield from _report(_read(row.event, mappings), row, facts)
    elif row.action == "acknowledged" and row.kind == Kind.COUNT_DIFFERENCE and row.event is not None:
        yield from _counted(_read(row.event, mappings), row, facts)
    elif row.action == "master_data" and row.event is not None:
        yield from _told(row, seen, facts)
    elif row.action == "acknowledged" and row.payload is not None:
        yield from _booked(row, row.payload, seen, facts)
    elif row.action == "refused" and row.kind == Kind.GOODS_ISSUE:
        yield from _decided(row, mappings, facts, Decimal(0))
    elif row.action == "corrected" and row.kind == Kind.GOODS_ISSUE and row.payload is not None:
        yield from _decided(row, mappings, facts, _of_payload(row.payload, facts))


def _of_the_floor(event: Event) -> bool:
    """What was told from outside, and the count that a person entered here."""
    return event.source != SOURCE or event.topic == f"{SOURCE}/{COUNT}"


def _read(event: Event, mappings: Mappings) -> SegmentResponse:
    return own_events.read(event) if event.source == SOURCE else mappings.read(event)


# ── the floor ───────────────────────────────────────────────────────────────────────────────────────────────


def _report(report: SegmentResponse, row: Moved, facts: Facts) -> Iterator[Observation]:
    if report.kind in LEVELS and row.detail.get("route") not in TO_COME:
        yield from _levels(report, facts)
    elif len(consumed_of(report)) == 1 and row.detail.get("workflow") != BACKFLUSH:
        yield _used(report, row, facts)
    elif report.order and row.detail.get("workflow") == "confirmation":
        yield from _made(report, facts)


def _levels(report: SegmentResponse, facts: Facts) -> Iterator[Level]:
    for actual in report.material_actuals:
        amount = _in_base(actual.quantity, actual.material, facts)
        place = _place(actual.material, actual.storage_location, actual.lot, facts)
        yield Level(report.occurred_at, place, float(amount), report.kind == COUNT)


def _counted(report: SegmentResponse, row: Moved, facts: Facts) -> Iterator[Level | Restated]:
    """The difference of a count is posted: the books jump by it, and are what was counted."""
    if report.kind != COUNT or row.payload is None:
        return
    yield from _levels(report, facts)
    location = report.material_actuals[0].storage_location
    for one in row.payload.get("off_books", ()):
        place = _place(one["material"], location, one.get("batch", ""), facts)
        yield Restated(row.at, place, float(_of_payload(one, facts)), counted=True)


def _used(report: SegmentResponse, row: Moved, facts: Facts) -> Used:
    actual, need, lot, expected, _ = use_of(report, facts)
    component = need.component
    location = actual.storage_location or (component.storage_location if component else "")
    batch = actual.lot or (component.batch if component else "")
    usual = 0.0
    if expected and component is not None:
        usual = float(_in_base(Quantity(expected, need.unit), actual.material, facts))
    return Used(
        id=_id(report, row),
        at=report.occurred_at,
        order=order_key(report.order, report.operation),
        place=_place(actual.material, location, batch, facts),
        quantity=_in_base(actual.quantity, actual.material, facts),
        expected=usual,
        lot=lot or Decimal(0),
        work_center=report.work_center,
    )


def _id(report: SegmentResponse, row: Moved) -> str:
    return report.id or f"event {row.event.id if row.event else row.seq}"


def _made(report: SegmentResponse, facts: Facts) -> Iterator[Made]:
    """Good and scrapped together, in the unit of the bill of material, as lots are."""
    order = facts.orders.get(report.order)
    if order is None:
        return
    bom = facts.boms.get(order.material)
    unit, product = (bom.unit if bom else order.unit), facts.materials.get(order.material)
    total = Decimal(0)
    for actual in report.material_actuals:
        mine = not actual.material or actual.material == order.material
        if mine and actual.use in (MaterialUse.PRODUCED, MaterialUse.SCRAP):
            value, told = actual.quantity
            told = order.unit if told == "C62" and not actual.material else told
            total += value * _fraction(facts, told, unit, product)
    if total > 0:
        id = report.id or f"{report.order} {report.occurred_at:%Y-%m-%dT%H:%M:%S}"
        yield Made(id, report.occurred_at, order_key(report.order, report.operation), total)


# ── the books ───────────────────────────────────────────────────────────────────────────────────────────────


def _booked(row: Moved, payload: Mapping[str, Any], seen: Seen, facts: Facts) -> Iterator[Observation]:
    if row.kind == Kind.STOCK_TRANSFER and row.workflow == RECONCILIATION:
        yield from _restated(row, payload, facts)
    if row.kind == Kind.CONFIRMATION and row.workflow == RECONCILIATION:
        yield from _scrapped(row, payload, facts)
    if row.kind != Kind.GOODS_ISSUE:
        return
    key, amount = order_key(payload["order"], payload["operation"]), _of_payload(payload, facts)
    kept = seen.withdrawn.setdefault(f"{payload['order']}/{payload['material']}", Withdrawn())
    kept.own += amount
    if row.workflow != BACKFLUSH:  # settled with its own measurements
        yield Booked(row.document, row.at, key, _place_of(payload, facts), amount, corrected_by(row))


def corrected_by(row: Moved) -> str:
    """Id of the finding of which a posting is the correction, or takes it back; "" where it is none."""
    if row.workflow == REVERSE and (row.event is None or row.event.topic != f"{SOURCE}/{RECONCILIATION}"):
        return ""
    if row.workflow not in (RECONCILIATION, REVERSE):
        return ""
    try:
        id = own_events.read(row.event).id if row.event is not None else ""
    except BadPayload:
        id = ""
    return (id or "").removeprefix(f"{RECONCILIATION}/") or UNKNOWN


def _scrapped(row: Moved, payload: Mapping[str, Any], facts: Facts) -> Iterator[Scrapped]:
    """In the unit of the bill of material, as lots are."""
    order = facts.orders.get(payload["order"])
    bom = facts.boms.get(order.material) if order is not None else None
    if order is not None:
        unit = bom.unit if bom else order.unit
        quantity = Decimal(payload["scrap"]) * _fraction(
            facts, payload["unit"], unit, facts.materials.get(order.material)
        )
        yield Scrapped(order_key(order.order, payload["operation"]), quantity, corrected_by(row))


def _restated(row: Moved, payload: Mapping[str, Any], facts: Facts) -> Iterator[Restated]:
    """A mix-up that was put right in the books: off one place and to the other, each in the unit of its stock."""
    amount, into = _of_payload(payload, facts), payload.get("to_material") or payload["material"]
    location = payload.get("to_storage_location") or payload["storage_location"]
    there = _place(into, location, payload.get("to_batch") or payload.get("batch", ""), facts)
    received = _in_base(Quantity(Decimal(payload["quantity"]), payload["unit"]), into, facts)
    yield Restated(row.at, _place_of(payload, facts), float(amount))
    yield Restated(row.at, there, -float(received))


def taken_back(row: Moved, original: Mapping[str, Any], seen: Seen, facts: Facts) -> Booked | None:
    """What a reversal of this agent took back of a goods issue."""
    try:
        amount = _of_payload(original, facts)
    except (GatepostError, KeyError, ValueError, ArithmeticError):
        return None
    kept = seen.withdrawn.setdefault(f"{original['order']}/{original['material']}", Withdrawn())
    kept.own -= amount
    kept.fell -= min(kept.fell, amount)  # where the ERP told of it before this agent knew that it was done
    if kept.told is not None:  # before it was taken back: others did not book what it still counts
        kept.told -= amount
    back = str(row.payload.get("document", "")) if row.payload else ""
    return Booked(
        row.document, row.at, order_key(original["order"], original["operation"]), _place_of(original, facts), -amount,
        corrected_by(row), back,
    )  # fmt: skip


def taken_back_by_hand(row: Moved, mappings: Mappings, facts: Facts) -> list[Corrected]:
    """The report that counts no more when a person took its booking back; none where a finding was put right so."""
    if row.workflow != REVERSE:
        return []
    try:
        return list(_decided(row, mappings, facts, Decimal(0), taken_back=True))
    except (GatepostError, KeyError, ValueError, ArithmeticError):
        return []


def _decided(
    row: Moved, mappings: Mappings, facts: Facts, quantity: Decimal, *, taken_back: bool = False
) -> Iterator[Corrected]:
    """A person said of a report that it was so much; 0: that nothing is to be booked of it. Raises GatepostError."""
    if row.event is None or row.event.source == SOURCE or row.workflow == BACKFLUSH:
        return
    report = mappings.read(row.event)
    if len(consumed_of(report)) == 1:
        yield Corrected(_used(report, row, facts), quantity, taken_back)


def _place_of(payload: Mapping[str, Any], facts: Facts) -> Place:
    return _place(payload["material"], payload.get("storage_location", ""), payload.get("batch", ""), facts)


def _place(name: str, location: str, batch: str, facts: Facts) -> Place:
    """Where it lies by the books: they know of batches only where the material is managed in them."""
    found = facts.materials.get(name)
    return Place(name, location, batch if found is not None and found.batch_managed else "")


def _told(row: Moved, seen: Seen, facts: Facts) -> Iterator[Observation]:
    """What the ERP says of an order or of stock."""
    if row.event is None:
        return
    fact = from_document(row.event.properties["masterdata"], strictjson.read(row.event.payload))
    if isinstance(fact, Stock):
        amount = _in_base(Quantity(fact.quantity, fact.unit), fact.material, facts)
        yield InBooks(
            row.event.received_at, _place(fact.material, fact.storage_location, fact.batch, facts), float(amount)
        )
    elif isinstance(fact, Order):
        yield from plans(fact, facts)
        _withdrawn(fact, seen, facts, row.at)


def plans(order: Order, facts: Facts) -> Iterator[Plan]:
    """What each operation takes of each place, for one of the product in the unit of its bill of material."""
    single = len(order.operations) == 1
    for operation in order.operations:
        needs = []
        for component in order.components:
            own = component.operation.lstrip("0") == operation.operation.lstrip("0") if component.operation else single
            per = _per_piece(order, component.material, facts) if own and not component.backflush else 0.0
            if per:
                needs.append((_place(component.material, component.storage_location, component.batch, facts), per))
        yield Plan(order_key(order.order, operation.operation), tuple(needs))


def _per_piece(order: Order, name: str, facts: Facts) -> float:
    found = facts.bom_item(order.material, name)
    component = order.component(name)
    try:
        if found is not None:
            return float(_in_base(Quantity(found[1].quantity, found[1].unit), name, facts))
        if component is not None and order.quantity:
            return float(_in_base(Quantity(component.required / order.quantity, component.unit), name, facts))
    except (GatepostError, ArithmeticError):
        pass
    return 0.0


def _withdrawn(order: Order, seen: Seen, facts: Facts, at: datetime) -> None:
    for component in order.components:
        key = f"{order.order}/{component.material}"
        total = _in_base(Quantity(component.withdrawn, component.unit), component.material, facts)
        kept = seen.withdrawn.get(key)
        if kept is None or kept.told is None:
            own = kept.own if kept else Decimal(0)
            seen.withdrawn[key] = Withdrawn(told=total, at=at, first=max(total - own, Decimal(0)), own=own)
        elif kept.told != total:
            kept.fell += max(kept.told - total, Decimal(0))
            kept.told, kept.at = total, at


def by_others(seen: Seen, facts: Facts, at: datetime, proposed: TakesBack) -> Iterator[Booked]:
    """What others booked, as the ERP told some time ago and nothing since has explained.

    Of what they took back only what a finding has `proposed`: of all else nobody knows which booking it was.
    """
    for key, kept in seen.withdrawn.items():
        if kept.told is None or kept.at is None or at - kept.at < BELIEVED:
            continue
        fell, kept.fell = kept.fell, Decimal(0)
        foreign = kept.told - kept.first - kept.own - kept.others
        if foreign <= 0 and not fell:
            continue
        number, _, name = key.partition("/")
        order = facts.orders.get(number)
        component = order.component(name) if order else None
        if order is None or component is None:
            continue
        operation = component.operation or (order.operations[0].operation if len(order.operations) == 1 else "")
        place = _place(name, component.storage_location, component.batch, facts)
        words = f"withdrawn {kept.told:f} by {at:%Y-%m-%dT%H:%M}"
        one = Booked(words, at, order_key(number, operation), place, foreign, others=True)
        if fell and proposed(back := one._replace(quantity=-fell)):
            kept.others -= fell
            foreign += fell
            yield back
        if foreign > 0:
            kept.others += foreign
            yield one._replace(quantity=foreign)


# ── units ───────────────────────────────────────────────────────────────────────────────────────────────────


def _of_payload(payload: Mapping[str, Any], facts: Facts) -> Decimal:
    return _in_base(Quantity(Decimal(payload["quantity"]), payload["unit"]), payload["material"], facts)


def _in_base(quantity: Quantity, name: str, facts: Facts) -> Decimal:
    """In the unit that the material's stock is kept in. Raises BadPayload."""
    found = facts.materials.get(name)
    if found is None:
        raise BadPayload(f"material {name!r} is not in the master data", field="material")
    return quantity.value * _fraction(facts, quantity.unit, found.base_unit, found)


def _fraction(facts: Facts, one: str, other: str, of: Any) -> Decimal:
    numerator, denominator = facts.units.factor(one, other, of).as_integer_ratio()
    return Decimal(numerator) / Decimal(denominator)
