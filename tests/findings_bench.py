"""Findings as reconciliation stores them itself, without the days that it takes to find some."""

from __future__ import annotations

from decimal import Decimal

from agent.isa95 import MaterialActual, MaterialUse, Quantity, SegmentResponse
from agent.own_events import SOURCE, event_of
from agent.ports import Batch
from agent.store import inbox
from tests.api_bench import Bench


async def found(
    plant: Bench,
    id: str,
    cause: str,
    correction: str,
    material: str,
    excess: str,
    *,
    evidence: str = "",
    unit: str = "KGM",
    location: str = "171A",
    about: str = "R-1",
    order: str = "",
    operation: str = "",
    **more: str,
) -> None:
    """One of them; `more` is what a correction needs of the document that it is about."""
    now = plant.agent.clock()
    actual = MaterialActual(
        MaterialUse.INVENTORIED, Quantity(abs(Decimal(excess)), unit), material, storage_location=location
    )
    data: dict[str, str | Decimal] = {
        "cause": cause, "correction": correction, "excess": Decimal(excess), "noise": Decimal("0.5"),
        "evidence": evidence or f"{excess} KG since noon; nothing explains it", "until": now.isoformat(),
        "about": f"{about}, {material}", **more,
    }  # fmt: skip
    report = SegmentResponse(
        "reconciliation", f"reconciliation/{id}", order, operation, now, material_actuals=(actual,), data=data
    )
    batch = Batch(SOURCE, (event_of(report),), now, lambda: None)
    await plant.agent.desk.act(lambda tx: inbox.store(tx, batch))
