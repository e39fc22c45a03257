"""What is there of a component, what released orders still take of it, and when the rest will come. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.errors import BadPayload
from agent.facts import Facts
from agent.masterdata.entities import Component
from agent.workflows import receipts
from agent.workflows.orders import converted, into
from agent.workflows.receipts import Expected

ZERO: Final = Decimal(0)


class Supply(NamedTuple):
    """What is there of a component, in the unit of its requirement."""

    here: Decimal  # where the order takes it from, not reserved by released orders
    elsewhere: Decimal
    held: Decimal  # in quality inspection or blocked, anywhere
    reserved: Decimal  # by released orders, here
    by: Sequence[str] = ()  # the orders that reserve it
    unmet: Decimal = ZERO  # of what released orders take from here: that is not there either


def supply_of(one: Component, facts: Facts) -> Supply:
    """What is there of a component. Raises BadPayload where units cannot be converted."""
    material = facts.materials.get(one.material)
    to = into(one.unit, material, facts)
    here = elsewhere = held = ZERO
    for stock in stocks_by_material(facts).get(one.material, ()):
        free = converted(stock.quantity, stock.unit, to)
        held += converted(stock.held, stock.unit, to)
        if (not one.storage_location or stock.storage_location == one.storage_location) and (
            not one.batch or stock.batch == one.batch
        ):
            here += free
        elif not one.batch:
            elsewhere += free
    claims = reserved(facts).get((one.material, one.storage_location), ())
    claimed = sum((converted(quantity, unit, to) for quantity, unit, _ in claims), ZERO)
    taken = min(here, claimed)
    by = tuple(dict.fromkeys(order for _, _, order in claims))
    return Supply(here - taken, elsewhere, held, taken, by, max(ZERO, claimed - taken))


def stocks_by_material(facts: Facts) -> Mapping[str, Sequence[Any]]:
    """Stock by material, of every place and batch."""
    known: Mapping[str, Sequence[Any]] | None = facts.memo.get("stocks by material")
    if known is not None:
        return known
    by_material: dict[str, list[Any]] = {}
    for stock in facts.stocks.values():
        by_material.setdefault(stock.material, []).append(stock)
    return facts.remember("stocks by material", by_material)


def reserved(facts: Facts) -> Mapping[tuple[str, str], Sequence[tuple[Decimal, str, str]]]:
    """What released orders still take: by material and place, quantity, unit and the order."""
    known: Mapping[tuple[str, str], Sequence[tuple[Decimal, str, str]]] | None = facts.memo.get("reserved")
    if known is not None:
        return known
    claims: dict[tuple[str, str], list[tuple[Decimal, str, str]]] = {}
    for order in facts.orders.values():
        if order.status == "released":
            for one in order.components:
                if one.required > one.withdrawn:
                    left = one.required - one.withdrawn
                    claims.setdefault((one.material, one.storage_location), []).append((left, one.unit, order.order))
    return facts.remember("reserved", claims)


def lacking(needed: Decimal, supply: Supply) -> Decimal:
    """What receipts have to bring: also for the released orders that find too little."""
    return needed + supply.unmet - supply.here - supply.elsewhere


def to_come(one: Component, facts: Facts, now: datetime) -> Sequence[Expected]:
    """What is expected of a component, the soonest first; nothing where units do not convert."""
    try:
        return receipts.expected(one.material, one.unit, facts, now)
    except BadPayload:
        return ()


def there_at(one: Component, coming: Sequence[Expected], replenishment: timedelta) -> datetime:
    """When the last of it is where the order takes it from."""
    last = coming[-1]
    moved = bool(one.storage_location and last.storage_location and last.storage_location != one.storage_location)
    return last.at + (replenishment if moved else timedelta(0))
