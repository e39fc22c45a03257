"""Master data files of the plant: materials, BOMs, work centres, routings, people, tolerances, scrap, orders of no ERP.

Everything wrong in any of the files is told at once, each finding with its file and line.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from agent.errors import BadPayload, ConfigError, Finding
from agent.masterdata.documents import Document
from agent.masterdata.documents import to_document as document_of
from agent.masterdata.entities import (
    Bom,
    BomItem,
    Component,
    DefectCode,
    Fact,
    Material,
    Operation,
    Operator,
    Order,
    Receipt,
    Resource,
    Routing,
    ScrapReason,
    Tolerance,
    WorkCenter,
)
from agent.masterdata.file_entries import (
    BomEntry,
    DefectEntry,
    Entry,
    MaterialEntry,
    OperatorEntry,
    OrderEntry,
    ReasonEntry,
    ReceiptEntry,
    ResourceEntry,
    RoutingEntry,
    ToleranceEntry,
    WorkCenterEntry,
)
from agent.strict.schema import did_you_mean, validate
from agent.strict.yamltree import Node, scan_yaml
from agent.units import UnitTable

# ── reading them ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class MasterRecord:
    """One fact of a file, the days on which it counts, and where it stands."""

    fact: Fact
    valid_from: date
    valid_to: date
    node: Node

    def counts(self, day: date) -> bool:
        """Whether the entry counts on this day of the plant's calendar."""
        return self.valid_from <= day <= self.valid_to


@dataclass(frozen=True, slots=True)
class MasterFiles:
    """All files of the folder; `version` is the start of the SHA-256 over their bytes."""

    records: tuple[MasterRecord, ...]
    version: str

    def facts(self, day: date) -> list[Fact]:
        """What counts on this day of the plant's calendar."""
        return [record.fact for record in self.records if record.counts(day)]

    def documents(self, day: date) -> list[tuple[str, str, Document]]:
        """The same as the store keeps it: kind, key, document."""
        return [(fact.kind, fact.key, document_of(fact)) for fact in self.facts(day)]


def load(folder: str | Path, units: UnitTable) -> MasterFiles:
    """Read the files of the folder (FILES); only the first is required.

    Raises ConfigError with all findings of all files.
    """
    reading = _Reading(Path(folder), units, [])
    records = reading.records()
    _check(records, reading.findings)
    if reading.findings:
        raise ConfigError(sorted(reading.findings, key=lambda finding: (finding.file, finding.line)))
    return MasterFiles(tuple(records), reading.version())


@dataclass(frozen=True, slots=True)
class _File:
    """One kind of file: its name, the key of its list, the model of an entry and the fact it makes."""

    name: str
    section: str
    model: type[Entry]
    fact: Callable[[Any, Callable[[str], str]], Fact]


def _material(entry: MaterialEntry, code: Callable[[str], str]) -> Fact:
    units = {code(unit): factor for unit, factor in entry.units.items()}
    base = code(entry.base_unit)
    return Material(
        entry.material, base, entry.text, entry.price, entry.batch_managed, units,
        entry.material_type, entry.valuation_class, entry.safety_stock,
    )  # fmt: skip


def _bom(entry: BomEntry, code: Callable[[str], str]) -> Fact:
    items = tuple(BomItem(line.material, line.quantity, code(line.unit), line.set_up) for line in entry.items)
    return Bom(entry.product, code(entry.unit), items)


def _work_center(entry: WorkCenterEntry, code: Callable[[str], str]) -> Fact:
    return WorkCenter(entry.work_center, entry.line, entry.text, entry.set_up, entry.changes, entry.oee)


def _routing(entry: RoutingEntry, code: Callable[[str], str]) -> Fact:
    return Routing(
        entry.material, entry.work_center, entry.minutes, code(entry.unit), entry.family, entry.certificate, entry.tool,
        entry.recipe,
    )  # fmt: skip


def _operator(entry: OperatorEntry, code: Callable[[str], str]) -> Fact:
    certificates = {name: day.isoformat() if day else "" for name, day in entry.certificates.items()}
    return Operator(entry.operator, certificates, entry.hours, entry.days)


def _tolerance(entry: ToleranceEntry, code: Callable[[str], str]) -> Fact:
    return Tolerance(entry.material, entry.work_center, entry.under, entry.over)


def _order(entry: OrderEntry, code: Callable[[str], str]) -> Fact:
    return Order(
        order=entry.order,
        material=entry.material,
        plant=entry.plant,
        quantity=entry.quantity,
        unit=code(entry.unit),
        status=entry.status,
        operations=tuple(Operation(**{**line.model_dump(), "unit": code(line.unit)}) for line in entry.operations),
        components=tuple(Component(**{**line.model_dump(), "unit": code(line.unit)}) for line in entry.components),
        changed_at=entry.changed_at,
        planned_start=entry.planned_start,
        due=entry.due,
        weight=entry.weight,
    )


def _reason(entry: ReasonEntry, code: Callable[[str], str]) -> Fact:
    return ScrapReason(
        entry.cause, entry.reason, entry.variance_reason, entry.movement, entry.cost_center, entry.text,
        entry.work_center, entry.severity,
    )  # fmt: skip


def _defect(entry: DefectEntry, code: Callable[[str], str]) -> Fact:
    return DefectCode(entry.defect, entry.group, entry.text)


def _resource(entry: ResourceEntry, code: Callable[[str], str]) -> Fact:
    return Resource(entry.resource, entry.available, entry.back_at, entry.text)


def _receipt(entry: ReceiptEntry, code: Callable[[str], str]) -> Fact:
    return Receipt(
        entry.receipt, entry.material, entry.quantity, code(entry.unit), entry.expected_at, entry.storage_location,
        entry.text,
    )  # fmt: skip


FILES: Final = (
    _File("materials.csv", "", MaterialEntry, _material),
    _File("boms.yaml", "boms", BomEntry, _bom),
    _File("work_centers.yaml", "work_centers", WorkCenterEntry, _work_center),
    _File("tolerances.yaml", "tolerances", ToleranceEntry, _tolerance),
    _File("orders.yaml", "orders", OrderEntry, _order),
    _File("scrap_reasons.yaml", "reasons", ReasonEntry, _reason),
    _File("defect_codes.yaml", "defects", DefectEntry, _defect),
    _File("routings.yaml", "routings", RoutingEntry, _routing),
    _File("operators.yaml", "operators", OperatorEntry, _operator),
    _File("resources.yaml", "resources", ResourceEntry, _resource),
    _File("receipts.yaml", "receipts", ReceiptEntry, _receipt),
)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One pass over the folder, collecting findings."""

    folder: Path
    units: UnitTable
    findings: list[Finding]

    def records(self) -> list[MasterRecord]:
        names = [file.name for file in FILES]
        for path in sorted(self.folder.glob("*")):
            if path.suffix in (".csv", ".yaml", ".yml") and path.name not in names:
                self.findings.append(
                    Finding(str(path), 1, "", f"is no master data file; {did_you_mean(path.name, names)}")
                )
        if not (self.folder / FILES[0].name).is_file():
            self.findings.append(Finding(str(self.folder / FILES[0].name), 1, "", "is missing; it lists the materials"))
        return [record for file in FILES for record in self.entries(file)]

    def version(self) -> str:
        digest = sha256()
        for path in (self.folder / file.name for file in FILES):
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()[:12]

    def entries(self, file: _File) -> Iterator[MasterRecord]:
        path = self.folder / file.name
        if not path.is_file():
            return
        for node in self.rows(path) if path.suffix == ".csv" else self.items(path, file.section):
            entry = validate(node, file.model, self.findings)
            fact = self.fact(file, entry, node) if entry is not None else None
            if fact is not None and entry is not None:
                yield MasterRecord(fact, entry.valid_from or date.min, entry.valid_to or date.max, node)

    def fact(self, file: _File, entry: Entry, node: Node) -> Fact | None:
        try:
            return file.fact(entry, self.units.code)
        except BadPayload as error:
            self.findings.append(node.finding(str(error), ""))
            return None

    def items(self, path: Path, section: str) -> Sequence[Node]:
        root, findings = scan_yaml(path)
        self.findings.extend(findings)
        if root is None or findings:
            return ()
        node = root.get(section)
        if node is None or not isinstance(node.children, Sequence) or len(root.mapping) != 1:
            self.findings.append(Finding(str(path), root.line, "", f"must hold one list under the key {section!r}"))
            return ()
        return node.items

    def rows(self, path: Path) -> Iterator[Node]:
        """Each row as a node: its columns are its keys, and empty cells are absent."""
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self.findings.append(Finding(str(path), 1, "", f"cannot be read: {error}; save it as UTF-8"))
            return
        rows = csv.reader(lines, strict=True)
        try:
            columns = next(rows, [])
            for cells in rows:
                if any(cells):
                    yield from self.row(str(path), rows.line_num, columns, cells)
        except csv.Error as error:
            self.findings.append(Finding(str(path), rows.line_num, "", f"is no valid CSV: {error}"))

    def row(self, file: str, line: int, columns: Sequence[str], cells: Sequence[str]) -> Iterator[Node]:
        if len(cells) != len(columns):
            message = f"has {len(cells)} cells where the first line names {len(columns)} columns; is a comma missing?"
            self.findings.append(Finding(file, line, "", message))
            return
        words = {"true": True, "false": False}
        yield Node(
            file,
            line,
            "",
            children={
                column.strip(): Node(file, line, column.strip(), words.get(cell.strip(), cell.strip()), cell.strip())
                for column, cell in zip(columns, cells, strict=True)
                if cell.strip()
            },
        )


# ── what only all of them together can tell ─────────────────────────────────────────────────────────────────


def _check(records: Sequence[MasterRecord], findings: list[Finding]) -> None:
    findings.extend(_overlaps(records))
    materials = {record.fact.key for record in records if isinstance(record.fact, Material)}
    work_centers = {record.fact.key for record in records if isinstance(record.fact, WorkCenter)}
    for record in records:
        for path, name in _named_materials(record.fact):
            if name not in materials:
                place = record.node.get(*path) or record.node
                findings.append(
                    place.finding(f"is not in materials.csv; {did_you_mean(name, sorted(materials))}", name)
                )
        for path, name in _named_work_centers(record.fact):
            if name not in work_centers:
                place = record.node.get(*path) or record.node
                hint = did_you_mean(name, sorted(work_centers))
                findings.append(place.finding(f"is not in work_centers.yaml; {hint}", name))


def _overlaps(records: Iterable[MasterRecord]) -> Iterator[Finding]:
    """Two entries of one key on one day: nobody could say which counts."""
    by_key: dict[tuple[str, str], list[MasterRecord]] = {}
    for record in records:
        by_key.setdefault((record.fact.kind, record.fact.key), []).append(record)
    for (kind, key), same in by_key.items():
        for one, other in combinations(same, 2):
            if one.valid_from <= other.valid_to and other.valid_from <= one.valid_to:
                message = (
                    f"{kind} {key} is given in line {one.node.line} for the same days; set valid_from and valid_to"
                )
                yield other.node.finding(message, "")


def _named_materials(fact: Fact) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(fact, Bom):
        yield ("product",), fact.product
        for at, item in enumerate(fact.items):
            yield ("items", at, "material"), item.material
    elif isinstance(fact, Order):
        yield ("material",), fact.material
        for at, component in enumerate(fact.components):
            yield ("components", at, "material"), component.material
    elif isinstance(fact, Tolerance | Routing | Receipt) and fact.material:
        yield ("material",), fact.material


def _named_work_centers(fact: Fact) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(fact, Order):
        for at, operation in enumerate(fact.operations):
            yield ("operations", at, "work_center"), operation.work_center
    elif isinstance(fact, Tolerance | ScrapReason | Routing) and fact.work_center:
        yield ("work_center",), fact.work_center
