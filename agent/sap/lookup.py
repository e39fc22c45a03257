"""Finding a document by its stamped key, and reading back what it moved."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from agent.errors import ErpError, ErpRejected
from agent.ports import Acknowledgement, Kind, Posting
from agent.sap.bodies import reversed_document
from agent.sap.call import COUNT_STAMP, DEFECT_STAMP, GUID_FIELD, MATERIAL_DOCUMENTS, Rules, sap_unit
from agent.sap.errors import plain
from agent.sap.formats import guid_literal, key_guid, query, read_decimal, string_literal, unpadded
from agent.sap.session import Answer, SapSession, not_authorised
from agent.sap.verdict import entity, rows

Row = Mapping[str, Any]
DUPLICATE: Final = "DUPLICATE_AT_ERP"


class Documents(NamedTuple):
    """Where the documents of a kind lie: their set, the fields that number them, and what else a look must see."""

    entity_set: str
    keys: tuple[str, ...]
    items: str = ""  # navigation to what was moved
    fate: tuple[str, ...] = ()  # flags of a document that was taken back, or takes another one back


_MATERIAL: Final = Documents(
    "A_MaterialDocumentHeader", ("MaterialDocumentYear", "MaterialDocument"), "to_MaterialDocumentItem"
)
DOCUMENTS: Final[Mapping[Kind, Documents]] = {
    **dict.fromkeys(MATERIAL_DOCUMENTS, _MATERIAL),
    Kind.CONFIRMATION: Documents(
        "ProdnOrdConf2",
        ("ConfirmationGroup", "ConfirmationCount"),
        "to_ProdnOrdConfMatlDocItm",
        ("IsReversed", "IsReversal"),
    ),
    Kind.DEFECT: Documents("A_Defect", ("DefectInternalID",), fate=("IsDeleted",)),
    Kind.COUNT_DOCUMENT: Documents("A_PhysInventoryDocHeader", ("FiscalYear", "PhysicalInventoryDocument")),
}
_READ_BACK: Final = "Material,GoodsMovementType,QuantityInEntryUnit,EntryUnit"
_MANY: Final = "20"  # more rows than one key may ever have


def document_kind(posting: Posting) -> Kind:
    """Of which kind the document of this posting is: a reversal's is that of what it reverses."""
    return reversed_document(posting.payload)[0] if posting.kind is Kind.REVERSAL else posting.kind


def document_number(kind: Kind, row: Row) -> str:
    """``year/number``, ``group/count`` or a number; empty where SAP left one of them initial."""
    numbers = [plain(row.get(name)) for name in DOCUMENTS[kind].keys]
    return "/".join(numbers) if all(number.strip("0") for number in numbers) else ""


class Lookup:
    """Reads of one SAP system; changes nothing, so it raises only ErpUnavailable, and ErpRejected for a duplicate."""

    def __init__(self, session: SapSession, rules: Rules) -> None:
        self._session = session
        self._rules = rules

    async def find(self, posting: Posting) -> Acknowledgement | None:
        """The document that carries the posting's key, or for a reversal the one that reverses the original."""
        if posting.kind is Kind.REVERSAL:
            return await self._find_reversal(posting)
        key = posting.idempotency_key.upper()  # SAP keeps ReferenceDocument in upper case, and the key is made so
        field = self._stamp_field(posting.kind)
        found = await self._by_stamp(posting.kind, field, key)
        if len(found) > 1 and posting.kind in MATERIAL_DOCUMENTS:
            found = [row for row in found if not await self._reverses_another(row)]
        return _only(posting, posting.kind, found, f"{field} {key}")

    def _stamp_field(self, kind: Kind) -> str:
        if kind in MATERIAL_DOCUMENTS:
            return self._rules.issue_stamps[0]
        return {Kind.DEFECT: DEFECT_STAMP, Kind.COUNT_DOCUMENT: COUNT_STAMP}.get(
            kind, self._rules.confirmation_stamps[0]
        )

    async def _by_stamp(self, kind: Kind, field: str, key: str) -> list[Row]:
        literal = guid_literal(key_guid(key)) if field == GUID_FIELD else string_literal(key)
        condition = f"startswith({field},{literal})" if field == DEFECT_STAMP else f"{field} eq {literal}"
        documents = DOCUMENTS[kind]
        options = query(filter=condition, select=",".join((*documents.keys, *documents.fate)), top=_MANY)
        found = await self._list(f"{self._rules.services[kind]}/{documents.entity_set}?{options}")
        return [row for row in found if not row.get("IsReversal")]

    async def _reverses_another(self, header: Row) -> bool:
        """A cancellation may carry the stamp of what it cancels: it is no second booking."""
        items = await self._items(
            Kind.GOODS_ISSUE, document_number(Kind.GOODS_ISSUE, header), "ReversedMaterialDocument"
        )
        return bool(items) and all(str(item.get("ReversedMaterialDocument") or "").strip("0") for item in items)

    async def _find_reversal(self, posting: Posting) -> Acknowledgement | None:
        kind, numbers = reversed_document(posting.payload)
        original = "/".join(numbers)
        service = self._rules.services[kind]
        if kind in MATERIAL_DOCUMENTS:
            wanted = f"ReversedMaterialDocumentYear eq '{numbers[0]}' and ReversedMaterialDocument eq '{numbers[1]}'"
            options = query(filter=wanted, select=",".join(DOCUMENTS[kind].keys), top=_MANY)
            found = await self._list(f"{service}/A_MaterialDocumentItem?{options}")
        else:
            if not await self._is_reversed(numbers):
                return None
            wanted = f"ConfirmationGroup eq '{numbers[0]}' and IsReversal eq true"
            select = ",".join((*DOCUMENTS[kind].keys, *self._rules.confirmation_stamps))
            reversals = await self._list(f"{service}/ProdnOrdConf2?{query(filter=wanted, select=select, top='200')}")
            found = [row for row in reversals if self._carries(row, posting.idempotency_key)]
            if not found:  # somebody else reversed it: the effect is there, the number of it is not ours
                words = f"{original} is reversed at SAP, but not by this posting"
                return Acknowledgement(original, found=True, warnings=(words,))
        return _only(posting, kind, found, f"reversal of {original}")

    async def _is_reversed(self, numbers: tuple[str, str]) -> bool:
        path = f"{self._rules.services[Kind.CONFIRMATION]}/{entity_path(Kind.CONFIRMATION, numbers)}"
        answer = await self._read(f"{path}?{query(select='ConfirmationGroup,ConfirmationCount,IsReversed')}")
        return answer.status != 404 and entity(answer).get("IsReversed") is True

    def _carries(self, row: Row, key: str) -> bool:
        return any(
            str(row.get(field) or "").lower() == (key_guid(key) if field == GUID_FIELD else key.lower())
            for field in self._rules.confirmation_stamps
        )

    # ── read-back ───────────────────────────────────────────────────────────────────────────────────────────

    async def read_back(self, posting: Posting, document: str) -> tuple[str, ...]:
        """What differs between what was posted and what SAP moved, for people; empty: nothing. Never raises."""
        try:
            select = _READ_BACK + (",IsAutomaticallyCreated" if posting.kind is Kind.STOCK_TRANSFER else "")
            items = await self._items(posting.kind, document, select)
            if posting.kind in MATERIAL_DOCUMENTS:
                return _movement_warnings(posting, document, items, self._rules)
            return _backflush_warnings(posting, document, items)
        except (ErpError, ValueError) as error:  # the document is booked: a failed look at it changes nothing
            return (f"{document} is booked, but its movements could not be read back: {error}",)

    async def _items(self, kind: Kind, document: str, select: str) -> list[Row]:
        first, _, second = document.partition("/")
        path = f"{self._rules.services[kind]}/{entity_path(kind, (first, second))}/{DOCUMENTS[kind].items}"
        return await self._list(f"{path}?{query(select=select)}")

    async def _list(self, path: str) -> list[Row]:
        return list(rows(await self._read(path))[0])

    async def _read(self, path: str) -> Answer:
        answer = await self._session.read(path)
        if answer.status in (401, 403):
            raise not_authorised(answer)
        return answer


def entity_path(kind: Kind, numbers: tuple[str, str]) -> str:
    """The address of one document in its service."""
    entity_set, keys = DOCUMENTS[kind][:2]
    named = (f"{name}={quote(string_literal(number), safe=_QUOTE)}" for name, number in zip(keys, numbers, strict=True))
    return f"{entity_set}({','.join(named)})"


_QUOTE = "'"


def _only(posting: Posting, kind: Kind, found: list[Row], by: str) -> Acknowledgement | None:
    """The one document found, None where there is none. Raises ErpRejected where there are two."""
    numbers = {document_number(kind, row): row for row in found}
    numbers.pop("", None)
    if not numbers:
        return None
    if len(numbers) > 1:
        raise ErpRejected(
            f"{posting.target}: two documents carry {by}: {', '.join(numbers)}; cancel the one too many in SAP,"
            " then name the one that stands",
            code=DUPLICATE,
            details={"documents": ", ".join(numbers), "found_by": by},
        )
    ((number, row),) = numbers.items()
    gone = "reversed" if row.get("IsReversed") is True else "deleted" if row.get("IsDeleted") else ""
    warnings = (f"{number} has been {gone} at SAP since",) if gone else ()
    return Acknowledgement(number, found=True, warnings=warnings, details={"found_by": by})


def _movement_warnings(posting: Posting, document: str, items: list[Row], rules: Rules) -> tuple[str, ...]:
    payload = posting.payload
    wanted = Decimal(payload["quantity"])
    unit, material = sap_unit(payload["unit"], rules), unpadded(str(payload["material"]))
    movement = payload.get("movement") or rules.issue_type
    moved = [
        item
        for item in items
        if item.get("GoodsMovementType") == movement
        and unpadded(str(item.get("Material"))) == material
        and not item.get("IsAutomaticallyCreated")  # the other side of a transfer
    ]
    if not moved:
        what = f"the movement {movement} of {payload['material']} that was sent"
        return (f"{document} came back without {what}; look into COGI",)
    booked = sum((read_decimal(item.get("QuantityInEntryUnit")) for item in moved), Decimal(0))
    if booked != wanted or any(item.get("EntryUnit") != unit for item in moved):
        units = "/".join(sorted({str(item.get("EntryUnit")) for item in moved}))
        return (f"{document} moved {booked:f} {units} of {payload['material']}, but {wanted:f} {unit} were sent",)
    return ()


def _backflush_warnings(posting: Posting, document: str, items: list[Row]) -> tuple[str, ...]:
    expected = int(posting.payload.get("movements") or 1)
    if len(items) >= expected:
        return ()
    return (
        f"{document} came back with {len(items)} of at least {expected} goods movements: "
        "the others probably failed; look into COGI",
    )
