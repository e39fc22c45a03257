"""What people ask of reconciliation: which places are worth counting, and what orders took beside what they should."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import apsw

from agent import observing
from agent.facts import Facts
from agent.reconciliation import counting
from agent.reconciliation.counting import Moved
from agent.reconciliation.observed import Material, Place
from agent.reconciling import kept, variance
from agent.store.encode import readable

_DAYS: Final = "SELECT CAST(detail AS BLOB) FROM audit WHERE action = 'variance' ORDER BY seq DESC LIMIT ?"
OLDEST: Final = 5000  # accounts of orders that are looked through


def worth_counting(connection: apsw.Connection, facts: Facts, now: datetime, costs: float) -> list[dict[str, Any]]:
    """Every place of which the ERP told stock, the most valuable count first."""
    found = kept(connection)
    moved = dict(found.state.moved) if found else {}
    lines = []
    for stock in facts.stocks.values():
        material = facts.materials.get(stock.material)
        if material is None:
            continue
        place = Place(stock.material, stock.storage_location, stock.batch)
        price = float(material.price)
        at = moved.get(place, Moved(since=now))
        lines.append(counting.worth(place, at, float(stock.quantity), price, costs, now))
    return [
        {
            "material": one.place.material,
            "storage_location": one.place.storage_location,
            "batch": one.place.batch,
            "unit": facts.units.shown(facts.materials[one.place.material].base_unit),
            "in_books": one.in_books,
            "off": round(one.off, 6),
            "value": round(one.value, 2),
            "since": one.since.isoformat(),
            "counted": one.counted,
            "moved": round(one.moved, 6),
            "found": round(one.doubt, 6),
        }
        for one in counting.ranked(lines)
    ]


def accounts(connection: apsw.Connection, facts: Facts, *, order: str = "", day: str = "") -> list[dict[str, Any]]:
    """Of an order, a day, or all that is under way: components, and the sentence; the newest first."""
    found = [] if day else _under_way(connection, facts, order)
    if day or (order and not found):
        for (raw,) in connection.execute(_DAYS, (OLDEST,)):
            one = dict(readable(raw))
            if (not day or one.get("day") == day) and (not order or one.get("order") == order):
                found.append(one)
                if order:
                    break
    return found


def settled_by_backflush(connection: apsw.Connection, order: str) -> bool:
    """Whether backflush follows this order: what it takes is settled there, and reconciliation has no account of it."""
    of = (f"{observing.BACKFLUSH}/{order}/", f"{observing.BACKFLUSH}/{order}0")  # "0" is the character behind "/"
    return connection.execute("SELECT 1 FROM state WHERE key >= ? AND key < ? LIMIT 1", of).fetchone() is not None


def _under_way(connection: apsw.Connection, facts: Facts, order: str) -> list[dict[str, Any]]:
    now = kept(connection)
    if now is None:
        return []
    found = []
    for key, one in now.state.orders.items():
        if one.totals and order in ("", key.partition("/")[0]):
            named = {name: observing.material(name, facts) for name in one.totals}
            materials: dict[str, Material] = {name: known for name, known in named.items() if known is not None}
            found.append({"day": "", **variance(key, one, facts, materials)})
    return found
