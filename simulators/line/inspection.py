"""What an inspection behind the machine finds in a lot that was reported as good: defective pieces, now and then.

The scrap of the confirmation is another one, that the machine knows of itself. Each cause leaves its trace in what was
measured; the truth says which it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any, Final

from simulators.line.plant import FLOOR_UNIT, RESOLUTION, Lot, Report, report_id, reports_of, truth_of

CHANCE: Final = 0.05  # of a lot
NOT_MEASURED: Final = 0.1  # of the reports, by somebody without instruments
CAUSES: Final[Mapping[str, tuple[str, Mapping[str, tuple[float, float]]]]] = {  # defect code, and what strays whereto
    "tool": ("0002", {"tool_used": (0.9, 1.0), "cycle_off": (0.2, 0.6)}),
    "set-up": ("0002", {"since_set_up": (2, 60)}),
    "process": ("0001", {"temperature_off": (0.9, 1.5)}),
    "machine": ("0001", {"since_stop": (1, 12), "cycle_off": (0.3, 0.9)}),
}
USUAL: Final[Mapping[str, tuple[float, float]]] = {
    "since_set_up": (300, 5000), "tool_used": (0.1, 0.7), "since_stop": (60, 400), "temperature_off": (-0.3, 0.3),
    "pressure_off": (-0.3, 0.3), "cycle_off": (-0.3, 0.3),
}  # fmt: skip


def inspected(lot: Lot, plant: str, done: datetime, numbers: Counter[str]) -> Iterator[Report]:
    """The lot's usual reports, and behind them what the inspection finds in it; `numbers` by sender."""
    yield from reports_of(lot, plant, done, numbers)
    random = Random(f"inspection/{lot.work_center.work_center}/{lot.order.number}/{lot.done.isoformat()}")
    if random.random() < CHANCE and lot.good > 0:
        yield _found(lot, plant, done, numbers, random)


def _found(lot: Lot, plant: str, done: datetime, numbers: Counter[str], random: Random) -> Report:
    center, order = lot.work_center, lot.order
    sender, step = f"QC-{center.work_center}", RESOLUTION[order.unit]
    numbers[sender] += 1
    bad = max(step, (lot.good * Decimal(f"{random.uniform(0.02, 0.1):.3f}") // step) * step)
    cause = random.choice(sorted(CAUSES))
    defect, strays = CAUSES[cause]
    body: dict[str, Any] = {
        "id": report_id(sender, numbers[sender]),
        "seq": numbers[sender],
        "ts": done.isoformat(timespec="milliseconds"),
        "order": order.number,
        "operation": order.operation,
        "material": order.product,
        "quantity": bad,
        "unit": FLOOR_UNIT[order.unit],
        "lot": f"{order.number}-{numbers[center.work_center]:05d}",
        "location": order.storage_location,
        "origin": "vision" if random.random() > NOT_MEASURED else "operator",
        "defect": defect,
        "lot_quantity": lot.good,
        "lot_stock": lot.good,
        "operator": lot.operator,
    }
    if body["origin"] == "vision":
        body |= {name: round(random.uniform(*strays.get(name, usual)), 3) for name, usual in USUAL.items()}
    truth = truth_of("scrap", lot, body) | {
        "material": order.product,
        "quantity": f"{bad:f}",
        "unit": order.unit,
        "cause": cause,
    }
    return Report(f"plant/{plant}/{center.line}/{center.work_center}/scrap", body, truth)
