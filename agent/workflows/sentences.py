"""Plain sentences about a posting for its readers: made from templates and the posting's own figures, nothing else.

They say what it is about, never whether it was booked: that is told by its state. They name no person and no batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.ports import Kind
from agent.units import UnitTable
from agent.workflows.orders import shown

READERS: Final = ("operator", "planner", "accountant")  # in the order in which they are shown


class Words(NamedTuple):
    """How this plant writes quantities and money."""

    units: UnitTable
    currency: str

    def amount(self, quantity: object, unit: object) -> str:
        """A quantity of a payload, without padding zeros: ``12.5 KG``."""
        return shown(Decimal(str(quantity or 0)), str(unit), self.units)

    def money(self, value: Decimal) -> str:
        """``83.20 EUR``; what has no price is no zero."""
        return f"worth {value:.2f} {self.currency}" if value else "of no known value"


def told(
    kind: str, payload: Mapping[str, Any], value: Decimal, words: Words, expected: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Reader → sentence; empty for a kind of posting whose workflow says its own. `expected` as `Expected.written`."""
    template = _TEMPLATES.get(kind)
    return template(defaultdict(str, payload), value, words, expected) if template else {}


def _goods_issue(
    payload: Mapping[str, Any], value: Decimal, words: Words, expected: Mapping[str, str] | None
) -> dict[str, str]:
    amount, material, order = words.amount(payload["quantity"], payload["unit"]), payload["material"], payload["order"]
    where = f"order {order}, operation {payload['operation']}"
    usual = f", where {words.amount(expected['quantity'], expected['unit'])} was expected" if expected else ""
    stock = payload.get("storage_location")
    if payload.get("movement"):  # what was issued and goes back
        return {
            "operator": f"{amount} of {material} was issued for {where} and not used: it goes back.",
            "planner": f"Order {order} takes {amount} of {material} less"
            + (f"; storage location {stock} then has so much more." if stock else "; no storage location is named."),
            "accountant": f"A goods issue of {amount} of {material}, {words.money(value)}, is taken back from order "
            f"{order}, posting date {payload['posting_date']}.",
        }
    used = f"{_as_reported(payload, amount, words)} of {material} was used for {where}{usual}."
    if payload["apart"]:  # of what was measured, a part may be issued already
        used = f"{amount} of {material} is to be issued for {where}: it was measured, and not issued before."
    return {
        "operator": used,
        "planner": f"Order {order} takes {amount} of {material}"
        + (f"; storage location {stock} then has so much less." if stock else "; no storage location is named."),
        "accountant": f"A goods issue of {amount} of {material}, {words.money(value)}, is charged to order {order}, "
        f"posting date {payload['posting_date']}.",
    }


def _as_reported(payload: Mapping[str, Any], amount: str, words: Words) -> str:
    """The amount as the floor told it, and in the ERP's unit where that is another."""
    unit = payload.get("floor_unit") or payload["unit"]
    floor = words.amount(payload.get("floor_quantity") or payload["quantity"], unit)
    return floor if unit == payload["unit"] or floor == amount else f"{floor} ({amount})"


def _confirmation(
    payload: Mapping[str, Any], value: Decimal, words: Words, expected: Mapping[str, str] | None
) -> dict[str, str]:
    made = {name: Decimal(payload[name] or 0) for name in ("yield", "scrap", "rework")}
    good, scrap, rework = (words.amount(quantity, payload["unit"]) for quantity in made.values())
    order, operation = payload["order"], payload["operation"]
    why = f" (reason {payload['scrap_reason']})" if payload.get("scrap_reason") else ""
    lost = [f"{scrap} scrap{why}"] if made["scrap"] else ["no scrap"]
    lost += [f"{rework} rework"] if made["rework"] else []
    times = [
        f"activity {number} {words.amount(time['quantity'], time['unit'])}"
        for number, time in (payload["activities"] or {}).items()
    ]
    done = words.amount(made["yield"] + made["scrap"], payload["unit"])
    return {
        "operator": f"{good} good and {' and '.join(lost)} were reported for order {order}, operation {operation}.",
        "planner": f"Operation {operation} of order {order} has {good} more; "
        + ("it is finished with this report." if payload["final"] else "it goes on."),
        "accountant": f"A confirmation of {done} of yield and scrap, {words.money(value)}, for order {order}, "
        f"posting date {payload['posting_date']}" + (f"; {', '.join(times)}." if times else "; no times."),
    }


_Template = Callable[[Mapping[str, Any], Decimal, Words, Mapping[str, str] | None], dict[str, str]]
_TEMPLATES: Final[Mapping[str, _Template]] = {Kind.GOODS_ISSUE: _goods_issue, Kind.CONFIRMATION: _confirmation}
