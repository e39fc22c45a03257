"""Entity types and services, built once from the field tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulators.erp import tables

_FIELD = re.compile(r"(?P<name>\w+) (?P<kind>DTO|DT|T|B|I|F|Guid|S|D)(?P<length>\d+)?(?:,(?P<scale>\d+))?(?P<fixed>!)?")
_EDM = {
    "S": "Edm.String",
    "D": "Edm.Decimal",
    "DT": "Edm.DateTime",
    "DTO": "Edm.DateTimeOffset",
    "T": "Edm.Time",
    "B": "Edm.Boolean",
    "I": "Edm.Int16",
    "F": "Edm.Double",
    "Guid": "Edm.Guid",
}
_INITIAL = {
    "S": "",
    "DT": None,
    "DTO": None,
    "T": "PT00H00M00S",
    "B": False,
    "I": 0,
    "F": "0",
    "Guid": "00000000-0000-0000-0000-000000000000",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One property of an entity: its EDM type, its room, and whether a POST may name it."""

    name: str
    kind: str
    length: int = 0
    scale: int = 0
    creatable: bool = True

    @property
    def edm(self) -> str:
        """The EDM type name."""
        return _EDM[self.kind]

    @property
    def initial(self) -> Any:
        """What the ERP answers where nothing was entered: an empty string, zeros, never a missing property."""
        if self.kind == "D":
            return f"{0:.{self.scale}f}"
        return _INITIAL[self.kind]


@dataclass(frozen=True, slots=True)
class EntityType:
    """A kind of entity; `navigations` maps a navigation property to the entity set it leads to."""

    name: str
    keys: tuple[str, ...]
    fields: Mapping[str, Field]
    navigations: Mapping[str, str]
    initial: Mapping[str, Any] = field(default_factory=dict)

    @property
    def type_name(self) -> str:
        """The name of the EDM entity type."""
        return f"{self.name}Type"


@dataclass(frozen=True, slots=True)
class Function:
    """A function import: POST with its parameters in the URL; `returns` is an entity set or FunctionMessage."""

    name: str
    parameters: Mapping[str, Field]
    required: tuple[str, ...]
    returns: str


@dataclass(frozen=True, slots=True)
class Service:
    """One OData service: its entity sets, those that take a POST, those that take a PATCH, and its functions."""

    name: str
    sets: Mapping[str, EntityType]
    creatable: frozenset[str] = frozenset()
    updatable: frozenset[str] = frozenset()
    functions: Mapping[str, Function] = field(default_factory=dict)


def read_fields(table: str) -> dict[str, Field]:
    """A compact table as fields by name; raises ValueError for an entry that is not one."""
    found: dict[str, Field] = {}
    for entry in table.replace("\n", " ").split(";"):
        match = _FIELD.fullmatch(entry.strip())
        if match is None:
            raise ValueError(f"not a field: {entry.strip()!r}; write for example 'Material S40'")
        name, kind, length, scale, fixed = match.groups()
        found[name] = Field(name, kind, int(length or 0), int(scale or 0), fixed is None)
    return found


def entity(name: str, keys: str, table: str, **navigations: str) -> EntityType:
    """An entity type from its name, its keys and its table."""
    fields = read_fields(table)
    initial = {one.name: one.initial for one in fields.values()}
    return EntityType(name, tuple(keys.split()), fields, navigations, initial)


def function(name: str, returns: str, required: str, optional: str = "") -> Function:
    """A function import from the compact tables of its required and optional parameters."""
    needed = read_fields(required)
    extra = read_fields(optional) if optional else {}
    return Function(name, {**needed, **extra}, tuple(needed), returns)


HEADER = entity(
    "A_MaterialDocumentHeader",
    "MaterialDocumentYear MaterialDocument",
    tables.MATERIAL_DOCUMENT_HEADER,
    to_MaterialDocumentItem="A_MaterialDocumentItem",
)
ITEM = entity(
    "A_MaterialDocumentItem",
    "MaterialDocumentYear MaterialDocument MaterialDocumentItem",
    tables.MATERIAL_DOCUMENT_ITEM,
    to_MaterialDocumentHeader="A_MaterialDocumentHeader",
)
CONFIRMATION = entity(
    "ProdnOrdConf2",
    "ConfirmationGroup ConfirmationCount",
    tables.CONFIRMATION,
    to_ProdnOrdConfMatlDocItm="ProdnOrdConfMatlDocItm",
)
CONFIRMATION_ITEM = entity(
    "ProdnOrdConfMatlDocItm",
    "ConfirmationGroup ConfirmationCount MaterialDocument MaterialDocumentItem MaterialDocumentYear",
    tables.CONFIRMATION_ITEM,
)
ORDER = entity(
    "A_ProductionOrder_2",
    "ManufacturingOrder",
    tables.PRODUCTION_ORDER,
    to_ProductionOrderComponent="A_ProductionOrderComponent_3",
    to_ProductionOrderOperation="A_ProductionOrderOperation_2",
)
COMPONENT = entity(
    "A_ProductionOrderComponent_3", "Reservation ReservationItem ReservationRecordType", tables.COMPONENT
)
OPERATION = entity(
    "A_ProductionOrderOperation_2", "OrderInternalBillOfOperations OrderIntBillOfOperationsItem", tables.OPERATION
)
FUNCTION_MESSAGE = entity("FunctionMessage", "", tables.FUNCTION_MESSAGE)
MATERIAL_STOCK = entity("A_MaterialStock", "Material", tables.MATERIAL_STOCK, to_MatlStkInAcctMod="A_MatlStkInAcctMod")
STOCK = entity(
    "A_MatlStkInAcctMod",
    """Material Plant StorageLocation Batch Supplier Customer WBSElementInternalID SDDocument SDDocumentItem
    InventorySpecialStockType InventoryStockType""",
    tables.STOCK,
)
PRODUCT = entity("A_Product", "Product", tables.PRODUCT)
PRODUCT_UNIT = entity("A_ProductUnitsOfMeasure", "Product AlternativeUnit", tables.PRODUCT_UNIT)
BATCH = entity("Batch", "Material BatchIdentifyingPlant Batch", tables.BATCH)
DEFECT = entity("A_Defect", "DefectInternalID", tables.DEFECT)
COUNT_HEADER = entity(
    "A_PhysInventoryDocHeader",
    "FiscalYear PhysicalInventoryDocument",
    tables.COUNT_HEADER,
    to_PhysicalInventoryDocumentItem="A_PhysInventoryDocItem",
)
COUNT_ITEM = entity(
    "A_PhysInventoryDocItem",
    "FiscalYear PhysicalInventoryDocument PhysicalInventoryDocumentItem",
    tables.COUNT_ITEM,
    to_PhysicalInventoryDocument="A_PhysInventoryDocHeader",
)
SINGLE = frozenset({"to_MaterialDocumentHeader", "to_PhysicalInventoryDocument"})  # navigations that lead to one entity

_DOCUMENT_KEY = "MaterialDocumentYear S4; MaterialDocument S10"
_ORDER_FUNCTIONS = ("ReleaseOrder", "TechlyCmpltOrder", "CloseOrder", "DeliveryCompletedOrder")


def _service(
    name: str,
    entities: tuple[EntityType, ...],
    creatable: str = "",
    updatable: str = "",
    functions: tuple[Function, ...] = (),
) -> Service:
    return Service(
        name=name,
        sets={one.name: one for one in entities},
        creatable=frozenset(creatable.split()),
        updatable=frozenset(updatable.split()),
        functions={one.name: one for one in functions},
    )


SERVICES: Mapping[str, Service] = {
    service.name: service
    for service in (
        _service(
            "API_MATERIAL_DOCUMENT_SRV",
            (HEADER, ITEM),
            creatable="A_MaterialDocumentHeader",
            functions=(
                function("Cancel", "A_MaterialDocumentHeader", _DOCUMENT_KEY, "PostingDate DT"),
                function(
                    "CancelItem",
                    "A_MaterialDocumentItem",
                    f"{_DOCUMENT_KEY}; MaterialDocumentItem S4",
                    "PostingDate DT",
                ),
            ),
        ),
        _service(
            "API_PROD_ORDER_CONFIRMATION_2_SRV",
            (CONFIRMATION, CONFIRMATION_ITEM),
            creatable="ProdnOrdConf2",
            functions=(
                function(
                    "CancelProdnOrdConf",
                    "ProdnOrdConf2",
                    "ConfirmationGroup S10; ConfirmationCount S8",
                    "PostingDate DT; ConfirmationText S40; ExternalSystemConfirmation Guid",
                ),
            ),
        ),
        _service(
            "API_PRODUCTION_ORDER_2_SRV",
            (ORDER, COMPONENT, OPERATION),
            updatable="A_ProductionOrder_2",
            functions=tuple(function(name, "FunctionMessage", "ManufacturingOrder S12") for name in _ORDER_FUNCTIONS),
        ),
        _service("API_BATCH_SRV", (BATCH,), updatable="Batch"),
        _service("API_DEFECT_SRV", (DEFECT,), creatable="A_Defect"),
        _service(
            "API_PHYSICAL_INVENTORY_DOC_SRV",
            (COUNT_HEADER, COUNT_ITEM),
            creatable="A_PhysInventoryDocHeader",
            updatable="A_PhysInventoryDocItem",
            functions=(
                function(
                    "PostDifferences",
                    "A_PhysInventoryDocHeader",
                    "FiscalYear S4; PhysicalInventoryDocument S10",
                    "PostingDate DT",
                ),
            ),
        ),
        _service("API_MATERIAL_STOCK_SRV", (MATERIAL_STOCK, STOCK)),
        _service("API_PRODUCT_SRV", (PRODUCT, PRODUCT_UNIT)),
    )
}
