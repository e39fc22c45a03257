"""A store with lots that are kept from use for a defect, for an agent that is started on it."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from agent.ports import Acknowledgement, Kind
from agent.store import outbox
from tests import stores
from tests.api_bench import HOUSE, write

BLOCK: Final = {
    "plant": "1710", "material": "BODY-55", "unit": "H87", "storage_location": "171A", "batch": "", "movement": "344",
    "order": "1000110", "operation": "0010", "work_center": "MOLD-02", "personnel": "4711",
}  # fmt: skip
FLOWS: Final = {"consumption": {"target": "s4"}, "scrap": {"target": "s4", "mapping": ["follow_on"]}}
MODES: Final = {"consumption": {"mode": "assist"}, "scrap": {"mode": "auto"}}


def keep_lots(folder: Path, *lots: tuple[str, str, str]) -> None:
    """In a new store under this folder: of each lot so much is in blocked stock for a defect that is as bad as that."""
    with stores.opened(folder / "data" / "gatepost.db") as writer:
        for number, (lot, quantity, severity) in enumerate(lots, 1):
            payload: dict[str, Any] = {**BLOCK, "lot": lot, "quantity": quantity, "severity": severity}
            stores.add(writer, stores.posting(
                number, f"order/{number}", kind=Kind.STOCK_TRANSFER, workflow="scrap", line="molding", payload=payload,
            ))  # fmt: skip
            (one,) = stores.claim(writer)
            booked = partial(outbox.acknowledged, one=one.posting, ack=Acknowledgement(f"2026/49000009{number:02}"))
            writer.call(booked)


def configured(folder: Path, *others: str) -> dict[str, Any]:
    """The sections of a configuration in which what becomes of a lot is decided and posted, beside other workflows."""
    place = folder / "maps"
    place.mkdir()
    for name in ("consumption", "follow_on", *others):
        if (file := HOUSE / f"edge_config/mappings/{name}.yaml").exists():
            shutil.copy(file, place)
    targets = yaml.safe_load(write(folder, "").read_text())["targets"]
    targets[0]["order_service"] = "API_PRODUCTION_ORDER_2_SRV"
    targets[0]["postings"] |= {"scrap": "live", "stock_transfer": "live", "order_note": "live"}
    more = {name: {"target": "s4"} for name in others}
    modes = {name: {"mode": "assist"} for name in others}
    return {"mappings": str(place), "targets": targets, "workflows": FLOWS | more, "authority": MODES | modes}
