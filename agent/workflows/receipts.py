"""What is expected of a material, and when: purchases of the plant's file, and production orders of the ERP. Pure.

Only what is still to come counts: whose date has passed is either in the stock or nobody knows where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from agent.errors import BadPayload
from agent.facts import Facts
from agent.masterdata.entities import Order
from agent.workflows.orders import converted, into, shown

LISTED: Final = 3  # receipts that a sentence names


class Expected(NamedTuple):
    """One receipt, in the unit that was asked for. `storage_location` is empty where nobody says where to."""

    quantity: Decimal
    at: datetime
    of: str  # for people: purchase order 4500017/10, production order 1000120
    storage_location: str


def expected(material: str, unit: str, facts: Facts, now: datetime) -> list[Expected]:
    """Everything that is to come of a material, the soonest first. Raises BadPayload where units do not convert."""
    to = into(unit, facts.materials.get(material), facts)
    found = [
        Expected(converted(quantity, own, to), at, of, place)
        for quantity, own, at, of, place in by_material(facts).get(material, ())
        if at > now
    ]
    return sorted(found, key=lambda one: (one.at, one.of))


def until_enough(lacking: Decimal, receipts: Sequence[Expected]) -> Sequence[Expected]:
    """The first of them that together bring what is lacking; none where all of them do not."""
    come = Decimal(0)
    for number, one in enumerate(receipts, 1):
        come += one.quantity
        if come >= lacking:
            return receipts[:number]
    return ()


def said(receipts: Sequence[Expected], unit: str, facts: Facts) -> str:
    """``200 PC expected on 2026-11-22 08:00 UTC, purchase order 4500017/10``, of the first LISTED ones."""
    told = [
        f"{shown(one.quantity, unit, facts.units)} expected on {one.at:%Y-%m-%d %H:%M} UTC, {one.of}"
        for one in receipts[:LISTED]
    ]
    more = f"; and {len(receipts) - LISTED} later receipts" if len(receipts) > LISTED else ""
    return "; ".join(told) + more


Known = tuple[Decimal, str, datetime, str, str]  # quantity, unit, when, of what, where to


def by_material(facts: Facts) -> Mapping[str, Sequence[Known]]:
    """By material, whatever the time; found once for this snapshot."""
    known: Mapping[str, Sequence[Known]] | None = facts.memo.get("receipts by material")
    if known is not None:
        return known
    found: dict[str, list[Known]] = {}
    for one in facts.receipts.values():
        if _is_never(one.expected_at):
            continue
        of, at = f"{one.text or 'receipt'} {one.receipt}", one.expected_at.astimezone(UTC)
        found.setdefault(one.material, []).append((one.quantity, one.unit, at, of, one.storage_location))
    for order in facts.orders.values():
        found.setdefault(order.material, []).extend(_of_production(order, facts))
    return facts.remember("receipts by material", found)


def _of_production(order: Order, facts: Facts) -> Iterator[Known]:
    """What a released order of this plant will still bring when it is due; its good ones so far are in the stock."""
    if order.status != "released" or order.plant != facts.plant.site or not order.operations:
        return
    if order.due is None or _is_never(order.due):
        return
    last = order.operations[-1]
    done = last.confirmed_yield + last.confirmed_scrap
    try:
        to = into(order.unit, facts.materials.get(order.material), facts)
        left = order.quantity - (converted(done, last.unit, to) if done else Decimal(0))
    except BadPayload:
        return
    if left > 0 and not last.confirmed:
        yield left, order.unit, order.due.astimezone(UTC), f"production order {order.order}", ""


def _is_never(moment: datetime) -> bool:
    """Whether it is an end of the calendar, as systems write what has no date: its time in UTC may not even exist."""
    return moment.year in (MINYEAR, MAXYEAR)
