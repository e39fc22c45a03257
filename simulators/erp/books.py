"""The documents that were really booked: tables to read them from, a file that outlives the process, and totals."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from simulators.erp.ledger import Effect
from simulators.erp.model import (
    CONFIRMATION,
    CONFIRMATION_ITEM,
    COUNT_HEADER,
    COUNT_ITEM,
    DEFECT,
    HEADER,
    ITEM,
    EntityType,
)
from simulators.erp.odata import Row, comparable
from simulators.erp.query import Filter

STAMPS = (
    "ReferenceDocument",
    "MaterialDocumentHeaderText",
    "ExternalSystemConfirmation",
    "ConfirmationText",
    "PhysInventoryReferenceNumber",
    "DefectText",
)
_KEY_LENGTH = 16  # of a key that begins a text
FIRST_MATERIAL_DOCUMENT = 4900000001
_NO_GUID = "00000000-0000-0000-0000-000000000000"


KINDS = (
    "material_document",
    "confirmation",
    "order_release",
    "order_change",
    "batch_change",
    "defect",
    "count_document",
    "count_entry",
    "count_difference",
)


@dataclass(slots=True)
class Document:
    """One booked document, or one change of something: what was posted, what it moved, and when."""

    kind: str  # see KINDS
    number: str  # year/number, group/count, or the number of what was changed and the how-many-th change it was
    order: str
    header: Row
    items: list[Row]
    effects: list[Effect] = field(default_factory=list)
    movement: Row | None = None  # header of the material document that a confirmation or a count made
    movement_items: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)  # movements of a confirmation that went to COGI
    reverses: str = ""
    reversed_items: list[str] = field(default_factory=list)
    yield_quantity: Decimal = Decimal(0)  # in the order's unit, negative for a cancellation
    scrap_quantity: Decimal = Decimal(0)
    final: bool = False
    sequence: int = 0
    booked_at: str = ""
    commit_seconds: float = 0.0  # between the arrival of the request and this commit
    request_id: str = ""

    def keys(self) -> dict[str, str]:
        """The stamps that somebody may search for; empty ones are left out."""
        found = {name: self.header[name] for name in STAMPS if self.header.get(name) not in (None, "", _NO_GUID)}
        if self.kind in {"count_entry", "count_difference"}:  # they belong to the document that has the stamp
            found.clear()
        if "DefectText" in found:
            found["DefectText"] = found["DefectText"][:_KEY_LENGTH]
        return found


class Table:
    """The entities of one set in order of booking, with indexes on the fields that lookups use."""

    def __init__(self, entity_type: EntityType, indexed: str) -> None:
        self.entity_type = entity_type
        self.rows: list[Row] = []
        self.first = indexed.partition(" ")[0]
        self._indexes: dict[str, dict[Any, list[Row]]] = {name: defaultdict(list) for name in indexed.split()}

    def add(self, row: Row) -> None:
        """Append one entity."""
        self.rows.append(row)
        for name, index in self._indexes.items():
            if name in row:
                index[comparable(self.entity_type.fields[name], row[name])].append(row)

    def select(self, wanted: Filter | None) -> list[Row]:
        """Every entity that a filter matches."""
        if wanted is None:
            return self.rows
        candidates = self.rows
        for name, value in wanted.equal.items():
            if name in self._indexes and value != "":
                candidates = self._indexes[name].get(value, [])
                break
        return [row for row in candidates if wanted.matches(row)]

    def where(self, **values: str) -> list[Row]:
        """Every entity with these values; the first one named must be indexed."""
        wanted = {name: comparable(self.entity_type.fields[name], value) for name, value in values.items()}
        first = next(iter(wanted))
        return [
            row
            for row in self._indexes[first].get(wanted[first], [])
            if all(comparable(self.entity_type.fields[name], row[name]) == value for name, value in wanted.items())
        ]


class Books:
    """Every document in order of booking."""

    def __init__(self, path: Path | None = None) -> None:
        self.documents: list[Document] = []
        self.by_number: dict[str, Document] = {}
        self.headers = Table(HEADER, "MaterialDocument ReferenceDocument MaterialDocumentHeaderText")
        self.items = Table(
            ITEM, "MaterialDocument ManufacturingOrder ReversedMaterialDocument MaterialDocumentItemText"
        )
        self.confirmations = Table(
            CONFIRMATION, "ConfirmationGroup ExternalSystemConfirmation ConfirmationText OrderID"
        )
        self.confirmation_items = Table(CONFIRMATION_ITEM, "ConfirmationGroup MaterialDocument OrderID")
        self.defects = Table(DEFECT, "DefectInternalID ManufacturingOrder")
        self.count_headers = Table(COUNT_HEADER, "PhysicalInventoryDocument PhysInventoryReferenceNumber")
        self.count_items = Table(COUNT_ITEM, "PhysicalInventoryDocument")
        self.versions: dict[str, int] = defaultdict(int)  # changes of a count document and of its items, by address
        self.material_documents = 0
        self._path = path
        self._file: TextIO | None = None

    def next_material_document(self) -> str:
        """The number that the next material document gets."""
        return str(FIRST_MATERIAL_DOCUMENT + self.material_documents)

    def enter(self, document: Document) -> None:
        """Add a document that is booked; the file has it before anybody is told."""
        self.remember(document)
        if self._file is not None:
            self._file.write(json.dumps(_record(document), separators=(",", ":")) + "\n")
            self._file.flush()

    def remember(self, document: Document) -> None:
        """Add a document to the tables."""
        document.sequence = len(self.documents) + 1
        self.documents.append(document)
        self.by_number[f"{document.kind}:{document.number}"] = document
        if document.kind == "confirmation":
            self.confirmations.add(document.header)
            for row in document.items:
                self.confirmation_items.add(row)
            self._add_material_document(document.movement, document.movement_items)
        elif document.kind == "material_document":
            self._add_material_document(document.header, document.items)
        elif document.kind == "defect":
            self.defects.add(document.header)
        elif document.kind.startswith("count_"):
            self._remember_count(document)
        self._mark_reversed(document)

    def _remember_count(self, document: Document) -> None:
        """A new physical inventory document, or what has become of one and of some of its items."""
        if document.kind == "count_document":
            self.count_headers.add(document.header)
            for row in document.items:
                self.count_items.add(row)
            return
        (header,) = self.count_headers.where(PhysicalInventoryDocument=document.header["PhysicalInventoryDocument"])
        header.update(document.header)
        self.versions[header["PhysicalInventoryDocument"]] += 1
        for change in document.items:
            for row in self.count_items.where(PhysicalInventoryDocument=header["PhysicalInventoryDocument"]):
                if row["PhysicalInventoryDocumentItem"] == change["PhysicalInventoryDocumentItem"]:
                    row.update(change)
                    self.versions[f"{header['PhysicalInventoryDocument']}/{row['PhysicalInventoryDocumentItem']}"] += 1
        self._add_material_document(document.movement, document.movement_items)

    def _add_material_document(self, header: Row | None, items: Iterable[Row]) -> None:
        if header is None:
            return
        self.material_documents += 1
        self.headers.add(header)
        for row in items:
            self.items.add(row)

    def _mark_reversed(self, document: Document) -> None:
        original = self.by_number.get(f"{document.kind}:{document.reverses}")
        if original is None:
            return
        if document.kind == "confirmation":
            original.header["IsReversed"] = True
            moved = original.movement_items
        else:
            moved = original.items
        for row in moved:
            if row["MaterialDocumentItem"] in document.reversed_items:
                row["GoodsMovementIsCancelled"] = True

    # ── the file ────────────────────────────────────────────────────────────────────────────────────────────

    def open(self) -> list[Document]:
        """Read back what an earlier run booked, and append from now on; a cut last line is dropped."""
        if self._path is None:
            return []
        if self._path.exists():
            whole, _, _ = self._path.read_bytes().rpartition(b"\n")
            found = [_document(json.loads(line)) for line in whole.splitlines()]
            self._path.write_bytes(whole + b"\n" if whole else b"")
        else:
            found = []
        for document in found:
            self.remember(document)
        self._file = self._path.open("a", encoding="utf-8")
        return found

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def wiped(self) -> Books:
        """Empty books in the place of these; the file begins again too."""
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        fresh = Books(self._path)
        fresh.open()
        return fresh

    # ── totals ──────────────────────────────────────────────────────────────────────────────────────────────

    def duplicates(self) -> dict[str, list[str]]:
        """Stamped keys that more than one document carries (cancellations aside), as ``field=key`` → documents."""
        carriers: dict[str, list[str]] = defaultdict(list)
        for document in self.documents:
            if not document.reverses:
                for name, key in document.keys().items():
                    carriers[f"{document.kind}.{name}={key}"].append(document.number)
        return {key: numbers for key, numbers in carriers.items() if len(numbers) > 1}

    def totals(self) -> dict[str, dict[str, str]]:
        """Net quantity taken per order and material, in base units; a receipt counts negative."""
        sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for document in self.documents:
            for effect in document.effects:
                sums[effect.order or "-"][effect.material] -= effect.delta
        return {order: {name: str(value) for name, value in per.items()} for order, per in sums.items()}


def _record(document: Document) -> dict[str, Any]:
    record = {name: getattr(document, name) for name in Document.__slots__}
    record["effects"] = [_effect_record(effect) for effect in document.effects]
    record["yield_quantity"] = str(document.yield_quantity)
    record["scrap_quantity"] = str(document.scrap_quantity)
    return record


def _effect_record(effect: Effect) -> dict[str, Any]:
    record = {name: getattr(effect, name) for name in Effect.__slots__}
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in record.items()}


def _effect(record: Mapping[str, Any]) -> Effect:
    quantities = {name: Decimal(record[name]) for name in ("delta", "withdrawn", "delivered")}
    return Effect(**{**record, **quantities})


def _document(record: Mapping[str, Any]) -> Document:
    effects = [_effect(row) for row in record["effects"]]
    return Document(
        **{
            **record,
            "effects": effects,
            "yield_quantity": Decimal(record["yield_quantity"]),
            "scrap_quantity": Decimal(record["scrap_quantity"]),
        }
    )


def as_json(document: Document) -> dict[str, Any]:
    """A document for the books' reader: its record and its stamped keys."""
    return {**_record(document), "keys": document.keys()}
