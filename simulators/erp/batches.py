"""Batch master records: they come with the first movement that names them; their restricted use can be changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from simulators.erp.books import Document
from simulators.erp.ledger import Batch, Ledger
from simulators.erp.odata import ODataError

RESTRICTED: Final = "MatlBatchIsInRstrcdUseStock"
_READ_ONLY: Final = ("Material", "BatchIdentifyingPlant", "Batch", "CreationDateTime", "LastChangeDateTime")


def noted(ledger: Ledger, material: str, batch: str, now: datetime) -> Batch:
    """The master record, made where there is none yet."""
    return ledger.batches.setdefault((material, batch), Batch(material, batch, now, now))


def change(batch: Batch, changes: Mapping[str, Any]) -> Document:
    """A PATCH of a batch; raises ODataError for a field that is read-only."""
    for name in changes:
        if name in _READ_ONLY:
            raise ODataError(400, "/IWBEP/CM_MGW_RT/034", f"Property {name} is read-only", target=name)
    number = f"{batch.material}/{batch.batch}/{batch.version + 1}"
    header = {"Material": batch.material, "Batch": batch.batch, **changes}
    return Document("batch_change", number, "", header, [])


def apply(ledger: Ledger, document: Document, now: datetime) -> None:
    """What a booked document does to batches."""
    for item in (*document.items, *document.movement_items):
        if item.get("Batch") and item.get("Material"):
            noted(ledger, item["Material"], item["Batch"], now)
    if document.kind != "batch_change":
        return
    changes = dict(document.header)
    batch = noted(ledger, changes.pop("Material"), changes.pop("Batch"), now)
    batch.restricted = changes.pop(RESTRICTED, batch.restricted)
    batch.entered.update(changes)
    batch.version += 1
    batch.changed_at = now
