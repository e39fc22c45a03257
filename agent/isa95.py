"""Business content in ISA-95 words (IEC 62264-2, B2MML V7): what the floor reports, before any ERP hears of it.

Named tuples, because one of each is made for every message and a frozen dataclass takes four times as long; the mapping
makes them by ``tuple.__new__``, which is what their constructors call.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class MaterialUse(StrEnum):
    """B2MML MaterialUse. Scrap is not in its list: on the wire it is ``Other`` with ``OtherValue="Scrap"``."""

    CONSUMED = "Consumed"
    PRODUCED = "Produced"
    SCRAP = "Scrap"
    REWORK = "Rework"
    INVENTORIED = "Inventoried"  # lies there, by a gauge or a count


class Quantity(NamedTuple):
    """An exact amount with its unit of measure, a code of UN/ECE Recommendation 20 (``KGM``, ``C62``, ``MIN``)."""

    value: Decimal
    unit: str

    def __str__(self) -> str:
        return f"{self.value:f} {self.unit}"


class MaterialActual(NamedTuple):
    """What was consumed, produced or scrapped: MaterialActual of B2MML."""

    use: MaterialUse
    quantity: Quantity
    material: str = ""  # MaterialDefinitionID; empty for the product of the order itself
    lot: str = ""  # MaterialLotID
    storage_location: str = ""
    reason: str = ""  # reason code of scrap or variance, as the plant names it


class SegmentResponse(NamedTuple):
    """One report about one operation of one order: SegmentResponse of B2MML.

    `id` is the sender's own immutable identity of the report; `None` where the sender has none (then the mapping
    must say what makes it unique). `sender` and `sequence` are for gap detection where senders number their messages.
    """

    kind: str  # which workflow reads it: "consumption", "confirmation"
    id: str | None
    order: str  # OperationsRequestID; empty where a report is about none
    operation: str  # ProcessSegmentID
    occurred_at: datetime
    work_center: str = ""  # EquipmentActual.EquipmentID
    start: datetime | None = None
    end: datetime | None = None
    final: bool = False  # SegmentState Completed
    material_actuals: tuple[MaterialActual, ...] = ()
    durations: Mapping[str, Quantity] = MappingProxyType({})  # activity name → time
    personnel: str = ""
    sender: str = ""
    sequence: int | None = None
    data: Mapping[str, str | Decimal] = MappingProxyType({})  # SegmentData: what else the message says, by name
