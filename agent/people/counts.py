"""A count that a person enters: held against what is known, stored as a report like any other, and on record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.errors import NotFound
from agent.facts import Facts
from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.own_events import SOURCE, event_of
from agent.people.desk import Act, Desk
from agent.ports import Batch
from agent.store import inbox
from agent.store.transaction import Transaction

KIND: Final = "stock_count"


class Counted(NamedTuple):
    """What lies at one place; `unit` as people or UN/ECE Recommendation 20 call it."""

    material: str
    storage_location: str
    quantity: Decimal
    unit: str
    batch: str = ""


def checked(one: Counted, facts: Facts) -> Counted:
    """The same with the unit's code. Raises NotFound (material), BadPayload (unit)."""
    if facts.material(one.material) is None:
        raise NotFound(f"there is no material {one.material!r} in the master data; nothing was entered")
    return one._replace(unit=facts.units.code(one.unit))


async def enter(desk: Desk, one: Counted, act: Act) -> Any:
    """Store it; what it is decided is told by its trace. `one` was checked."""
    request = {"act": "count", **{name: str(value) for name, value in one._asdict().items()}, "by": act.by}

    return await desk.act(lambda tx: act.done(tx, request, lambda tx: _store(tx, one, act, desk.now())))


def report_of(one: Counted, by: str, at: datetime) -> SegmentResponse:
    """The report of a count, with who counted; its id follows from when it was entered."""
    person = by.partition(" via ")[0]  # the same person, through whatever they typed it
    lies = MaterialActual(
        MaterialUse.INVENTORIED, Quantity(one.quantity, one.unit), one.material, one.batch, one.storage_location
    )
    return SegmentResponse(KIND, f"COUNT-{at:%Y%m%dT%H%M%S%f}", "", "", at, material_actuals=(lies,), personnel=person)


def _store(tx: Transaction, one: Counted, act: Act, at: datetime) -> Mapping[str, Any]:
    report = report_of(one, act.by, at)
    inbox.store(tx, Batch(SOURCE, (event_of(report),), at, lambda: None))
    detail = {name: str(value) for name, value in one._asdict().items() if value != ""}
    tx.audit("count_entered", {"report": report.id, "reason": act.reason, **detail}, actor=act.by)
    return {"report": report.id, "by": act.by}
