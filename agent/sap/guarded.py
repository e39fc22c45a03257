"""What changes something that is already in SAP: read it, decide, write with its ETag, and read it again.

SAP's own state says whether it has been done, so a lost answer needs no key to be cleared up, and a repetition does
nothing twice: the ETag of the first try fits no second one. An answer 412 means that somebody has changed it since it
was read; then it is read and decided again, never written blindly. What only the state can tell is believed from it
alone: a yes of SAP after which nothing has changed is no yes.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from agent.errors import ErpInDoubt, ErpRejected, ErpUnavailable
from agent.ports import Acknowledgement, Kind, Posting
from agent.sap.batches import RESTRICTED
from agent.sap.call import thaw
from agent.sap.counts import WHICH
from agent.sap.errors import plain
from agent.sap.formats import read_decimal, string_literal, unpadded
from agent.sap.session import Answer, SapSession, not_authorised, unavailable
from agent.sap.verdict import AlreadyPosted, changed, entity, refusal, rows

Row = Mapping[str, Any]
PATIENCE: Final = 3  # times that somebody else may be quicker, before the lane waits
_SET: Final = ("X", True)  # how a flag of an order is told
_NO_MORE: Final = {  # flags of an order that will not be released any more
    "OrderIsDeleted": "is deleted",
    "OrderIsMarkedForDeletion": "is marked for deletion",
    "OrderIsClosed": "is closed",
    "OrderIsTechnicallyCompleted": "is technically completed",
}


class Intent(NamedTuple):
    """The frozen bytes of a guarded call, taken apart."""

    service: str
    resource: str
    query: str  # the keys of what it changes, and what else the function takes; percent-encoded
    body: Row

    @property
    def keys(self) -> dict[str, str]:
        """The keys as they read, without quotes."""
        pairs = (part.partition("=") for part in self.query.split("&"))
        return {name: unquote(value).strip("'").replace("''", "'") for name, _, value in pairs}

    def address(self, entity_set: str, **more: str) -> str:
        """The address of the entity with these keys, ``SERVICE/Set(Key='…')``."""
        keys = [part for part in self.query.split("&") if not part.startswith("PostingDate=")]
        keys += [f"{name}={string_literal(value)}" for name, value in more.items()]
        return f"{self.service}/{entity_set}({','.join(keys)})"

    def document(self) -> str:
        """The physical inventory document, ``year/number``."""
        return f"{self.keys['FiscalYear']}/{self.keys['PhysicalInventoryDocument']}"


class Done(NamedTuple):
    """It is so."""

    document: str
    details: Mapping[str, str]


class Write(NamedTuple):
    """It is not so yet, and this would bring it about."""

    method: str
    path: str
    etag: str
    body: Row


def intent_of(posting: Posting) -> Intent:
    """What the frozen bytes of a posting want. Raises ValueError where it was not frozen."""
    if posting.wire is None:
        raise ValueError(f"posting {posting.id} was not frozen before it was sent")
    service, _, path, _, body = thaw(posting.wire)
    resource, _, options = path.partition("/")[2].partition("?")
    return Intent(service, resource, options, json.loads(body) if body else {})


class Guarded:
    """The guarded calls of one SAP system."""

    def __init__(self, session: SapSession, waiting_codes: Collection[str]) -> None:
        self._session = session
        self._waiting_codes = waiting_codes
        self._decide: Mapping[Kind, Callable[[Intent, str], Awaitable[Done | Write]]] = {
            Kind.ORDER_RELEASE: self._release,
            Kind.ORDER_NOTE: self._note,
            Kind.BATCH_STATUS: self._batch,
            Kind.COUNT_ENTRY: self._count,
            Kind.COUNT_DIFFERENCE: self._difference,
        }

    async def find(self, posting: Posting) -> Acknowledgement | None:
        """Whether it is so by now. Raises ErpUnavailable, and ErpRejected where it cannot become so."""
        found = await self._decide[posting.kind](intent_of(posting), posting.idempotency_key)
        return Acknowledgement(found.document, found=True, details=found.details) if isinstance(found, Done) else None

    async def bring_about(self, posting: Posting) -> Acknowledgement:
        """Write until it is so. Raises ErpUnavailable (nothing was written), ErpInDoubt, ErpRejected."""
        written: list[str] = []
        try:
            return await self._until_done(posting, written)
        except ErpUnavailable as error:
            if not written:
                raise
            words = f"written, but not seen through: {error}"
            raise ErpInDoubt(words, code=error.code, details=error.details) from error
        except ErpRejected as error:
            if not written:
                raise
            words = f"{error}; {len(written)} of its items are entered already"
            raise ErpRejected(words, code=error.code, details=error.details) from error

    async def _until_done(self, posting: Posting, written: list[str]) -> Acknowledgement:
        """Notes in `written` what SAP has taken. At most PATIENCE times somebody else is quicker."""
        intent, overtaken = intent_of(posting), 0
        while overtaken <= PATIENCE:
            step = await self._decide[posting.kind](intent, posting.idempotency_key)
            if isinstance(step, Done):
                return Acknowledgement(step.document, found=not written, details=step.details)
            if step.path in written:
                raise ErpInDoubt(f"{step.path}: SAP answered that it is done, but it is not; it is looked at again")
            if await self._write(step, intent, posting):
                written.append(step.path)
            else:
                overtaken += 1
        words = f"{intent.service}/{intent.resource} {intent.query}: changed by others {overtaken} times in a row"
        raise ErpUnavailable(words, scope="lane", code="412")

    async def _write(self, step: Write, intent: Intent, posting: Posting) -> bool:
        """False where somebody else was quicker. Raises what SAP's refusal means, unless it is so nevertheless."""
        body = json.dumps(step.body, ensure_ascii=False, separators=(",", ":")).encode() if step.body else b""
        headers = [(b"If-Match", step.etag.encode())]
        if body:
            headers.append((b"Content-Type", b"application/json"))
        answer = await self._session.write(intent.service, step.method, step.path, headers, body)
        if answer.status == 412:
            return False
        try:
            changed(answer, waiting_codes=self._waiting_codes)
        except AlreadyPosted:
            return True
        except ErpRejected:
            if await self.find(posting) is None:
                raise
        return True

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _order(self, intent: Intent, *needed: str) -> tuple[str, Row, str]:
        number = intent.keys["ManufacturingOrder"]
        order, etag = await self._entity(intent.address("A_ProductionOrder_2"), f"order {number}", *needed)
        return unpadded(number), order, etag

    async def _release(self, intent: Intent, key: str) -> Done | Write:
        number, order, etag = await self._order(intent, "OrderIsReleased")
        if order["OrderIsReleased"] in _SET:
            return Done(number, {"state": "released"})
        for flag, words in _NO_MORE.items():
            if order.get(flag) in _SET:
                raise ErpRejected(
                    f"order {number} {words} in SAP: it cannot be released; refuse this posting, or mend the order"
                    " there and replay it",
                    code="ORDER_NOT_OPEN",
                )
        return Write("POST", f"{intent.service}/{intent.resource}?{intent.query}", etag, {})

    async def _note(self, intent: Intent, key: str) -> Done | Write:
        number, order, etag = await self._order(intent, "OrderLongText")
        text = order["OrderLongText"] or ""
        if not isinstance(text, str):
            raise ErpUnavailable(f"order {number}: OrderLongText is {text!r}, no text; nothing is written over it")
        if key in text:
            return Done(number, {"state": "noted"})
        said = intent.body["OrderLongText"]
        appended = f"{text.rstrip()}\n{said}" if text.strip() else said
        return Write("PATCH", intent.address("A_ProductionOrder_2"), etag, {"OrderLongText": appended})

    async def _batch(self, intent: Intent, key: str) -> Done | Write:
        material, number = unpadded(intent.keys["Material"]), intent.keys["Batch"]
        what = f"batch {number} of {material}"
        batch, etag = await self._entity(intent.address("Batch"), what, RESTRICTED)
        wanted = intent.body[RESTRICTED]
        if batch[RESTRICTED] is wanted:
            return Done(f"{material}/{number}", {"state": "in restricted use" if wanted else "free"})
        if batch.get("BatchIsMarkedForDeletion") is True:
            raise ErpRejected(f"{what} is marked for deletion in SAP; look at it there", code="BATCH_DELETED")
        return Write("PATCH", intent.address("Batch"), etag, {RESTRICTED: wanted})

    # ── physical inventory ──────────────────────────────────────────────────────────────────────────────────

    async def _items(self, intent: Intent) -> tuple[list[Row], list[Row]]:
        """Those of a document that count, and those that somebody has deleted."""
        path = intent.address("A_PhysInventoryDocHeader") + "/to_PhysicalInventoryDocumentItem"
        found, more = rows(await self._read(path, f"physical inventory document {intent.document()}"))
        if more:
            raise ErpRejected(f"{intent.document()} has more items than SAP tells in one answer; split the count")
        gone: list[Row] = [row for row in found if row.get("PhysInvtryItemIsDeleted") is True]
        return [row for row in found if row not in gone], gone

    async def _count(self, intent: Intent, key: str) -> Done | Write:
        live, gone = await self._items(intent)
        items, deleted = {_which(row): row for row in live}, {_which(row) for row in gone}
        for wanted in intent.body["results"]:
            row = items.get(_which(wanted))
            if row is None and _which(wanted) in deleted:
                raise _deleted(intent, _said(wanted))
            if row is None:
                raise ErpRejected(
                    f"{intent.document()} has no item for {_said(wanted)}; look at the document in SAP",
                    code="NO_SUCH_ITEM",
                )
            if row.get("PhysicalInventoryItemIsCounted") is not True:
                number = plain(row.get("PhysicalInventoryDocumentItem"))
                path = intent.address("A_PhysInventoryDocItem", PhysicalInventoryDocumentItem=number)
                body = {name: value for name, value in wanted.items() if name not in WHICH}
                return Write("PATCH", path, _etag(row, path), body)
            if not _as_counted(row, wanted):
                counted = f"{read_decimal(row.get('QuantityInUnitOfEntry')):f} {plain(row.get('UnitOfEntry'))}"
                raise ErpRejected(
                    f"{intent.document()}: {_said(wanted)} was counted as {counted} by somebody else meanwhile, here as"
                    f" {wanted['QuantityInUnitOfEntry']} {wanted['UnitOfEntry']}; look which is right",
                    code="COUNTED_OTHERWISE",
                )
        return Done(intent.document(), {"state": "counted"})

    async def _difference(self, intent: Intent, key: str) -> Done | Write:
        header = intent.address("A_PhysInventoryDocHeader")
        _, etag = await self._entity(header, f"physical inventory document {intent.document()}")
        items, gone = await self._items(intent)  # behind its ETag: a count that comes now makes the ETag old
        if items and all(row.get("PhysInvtryDifferenceIsPosted") is True for row in items):
            moved = {f"{plain(row.get('MaterialDocumentYear'))}/{plain(row.get('MaterialDocument'))}" for row in items}
            documents = ", ".join(sorted(one for one in moved if one.strip("/0")))
            return Done(intent.document(), {"state": "posted", "material_documents": documents})
        if gone and not items:
            raise _deleted(intent, "each item")
        missing = [_said(row) for row in items if row.get("PhysicalInventoryItemIsCounted") is not True]
        if missing or not items:
            raise ErpRejected(
                f"{intent.document()}: {', '.join(missing) or 'no item'} is not counted; count first",
                code="NOT_COUNTED",
            )
        return Write("POST", f"{intent.service}/{intent.resource}?{intent.query}", etag, {})

    # ── reads ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _entity(self, path: str, what: str, *needed: str) -> tuple[Row, str]:
        """The entity and its ETag. Raises ErpUnavailable where SAP does not tell what a decision needs."""
        answer = await self._read(path, what)
        row = entity(answer)
        if missing := [name for name in needed if name not in row]:
            raise unavailable(answer, f"does not tell {missing[0]} of {what}; without it nothing is written")
        return row, _etag(row, answer.where, answer.headers.get("etag", ""))

    async def _read(self, path: str, what: str) -> Answer:
        answer = await self._session.read(path)
        if answer.status in (401, 403):
            raise not_authorised(answer)
        if answer.status in (404, 410):
            error = refusal(answer)
            if isinstance(error, ErpRejected):
                words = f"{what} is not in SAP (any more): {error}; refuse this posting"
                raise ErpRejected(words, code="GONE", details=error.details)
            raise error
        return answer


def _etag(row: Row, where: str, header: str = "") -> str:
    """The ETag of an entity. Raises ErpUnavailable where there is none: nothing is written blindly."""
    about = row.get("__metadata")
    etag = header or (plain(about.get("etag")) if isinstance(about, dict) else "")
    if not etag or not etag.isascii():
        raise ErpUnavailable(f"{where}: came without an ETag, so it is not changed; is this the service of SAP itself?")
    return etag


def _deleted(intent: Intent, what: str) -> ErpRejected:
    """Somebody has taken it out of the document."""
    words = f"{intent.document()}: {what} was deleted in SAP meanwhile; refuse this posting, and count again"
    return ErpRejected(words, code="GONE")


def _which(row: Row) -> tuple[str, str]:
    return unpadded(plain(row.get("Material"))).upper(), plain(row.get("Batch")).upper()


def _said(row: Row) -> str:
    return " ".join(filter(None, (plain(row.get("Material")), plain(row.get("Batch")))))


def _as_counted(row: Row, wanted: Row) -> bool:
    try:
        same = read_decimal(row.get("QuantityInUnitOfEntry")) == Decimal(wanted["QuantityInUnitOfEntry"])
    except ValueError:
        return False
    return same and plain(row.get("UnitOfEntry")) == wanted["UnitOfEntry"]


__all__ = ["Done", "Guarded", "Intent", "Write", "intent_of"]
