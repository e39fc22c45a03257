"""SAP S/4HANA as a target: documents and changes of orders over OData V2, posted once and found again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from agent.errors import ErpInDoubt, ErpUnavailable
from agent.ports import Acknowledgement, Clock, Kind, Posting, Surroundings
from agent.sap.auth import Monotonic
from agent.sap.bodies import call
from agent.sap.call import COUNT_STAMP, GUARDED, GUID_FIELD, MATERIAL_DOCUMENTS, Call, Rules, Unfit, thaw
from agent.sap.connection import SapConnection
from agent.sap.counts import WHICH
from agent.sap.fits import ANY_KEY, OUTLINES, Fits, quick_look
from agent.sap.guarded import Guarded
from agent.sap.lookup import DOCUMENTS, Lookup, document_kind, document_number
from agent.sap.metadata import Metadata, drift, read_metadata
from agent.sap.session import SapSession, not_authorised, unavailable
from agent.sap.standing import taken_back
from agent.sap.verdict import AlreadyPosted, booked, success_details, warnings
from agent.sap.words import said
from agent.strict.schema import Settings

Keep = Callable[[str, bytes], None]  # keeps the $metadata of a service on disk
Kept = Callable[[str], bytes | None]  # the one kept last, None: never read

Result = TypeVar("Result")

log = logging.getLogger("gatepost.erp.sap_s4")

ANY_DOCUMENTS: Mapping[str, str] = dict.fromkeys(Kind, "2026/0000000000")  # before those of the group are known
UNITS = {  # UN/ECE Recommendation 20 → SAP's external unit in English; the first of two that map alike is read back
    "KGM": "KG", "GRM": "G", "TNE": "TO", "LTR": "L", "MLT": "ML", "MTR": "M", "MTK": "M2", "MTQ": "M3",
    "C62": "PC", "H87": "PC", "EA": "EA", "MIN": "MIN", "HUR": "H", "SEC": "S", "KWH": "KWH",
}  # fmt: skip


SERVICE_KEYS: Mapping[Kind, str] = {  # kind → the key of the configuration that names its service
    **dict.fromkeys(sorted(MATERIAL_DOCUMENTS), "material_service"),
    Kind.CONFIRMATION: "confirmation_service",
    **dict.fromkeys((Kind.ORDER_RELEASE, Kind.ORDER_NOTE), "order_service"),
    Kind.DEFECT: "defect_service",
    Kind.BATCH_STATUS: "batch_service",
    **dict.fromkeys((Kind.COUNT_DOCUMENT, Kind.COUNT_ENTRY, Kind.COUNT_DIFFERENCE), "count_service"),
}


class StampFields(Settings):
    """Where the idempotency key stands in the document; it is looked up by the first field of each list."""

    goods_issue: tuple[Literal["ReferenceDocument", "MaterialDocumentHeaderText"], ...] = ("ReferenceDocument",)
    confirmation: tuple[Literal["ExternalSystemConfirmation", "ConfirmationText"], ...] = (GUID_FIELD,)

    @field_validator("goods_issue", "confirmation")
    @classmethod
    def _some(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if not fields:
            raise ValueError("must name at least one field: without a stamp a lost answer cannot be cleared up")
        return fields


class DefectFields(Settings):
    """How defects are recorded here."""

    catalog: str = Field(default="9", max_length=1, description="DefectCodeCatalog: in which catalogue its codes are")
    category: str = Field(default="", max_length=2, description="DefectCategory; empty: SAP's own default")
    classes: dict[str, str] = Field(default_factory=dict, description="severity → DefectClass; a missing one is unsent")
    batch_field: Literal["", "Batch"] = Field(
        default="", description="where newer releases take the lot; empty: it stands in the text"
    )


class SapS4Config(SapConnection):
    """One SAP S/4HANA system to post to."""

    kind: Literal["sap_s4"] = "sap_s4"
    name: str = Field(min_length=1)
    time_zone: str = Field(description="the plant's time zone in SAP, for example Europe/Berlin")
    settle_s: float = Field(
        default=120, ge=0, description="seconds from a lost answer to the first look for its document"
    )
    lookup_reliable: bool = Field(
        default=False,
        description="true only where settle_s is longer than SAP's longest request: absent twice is not booked",
    )
    material_service: str = Field(
        default="API_MATERIAL_DOCUMENT_SRV", description="empty: this target books no goods movements"
    )
    confirmation_service: str = Field(
        default="API_PROD_ORDER_CONFIRMATION_2_SRV", description="empty: no confirmations"
    )
    order_service: str = Field(
        default="", description="API_PRODUCTION_ORDER_2_SRV; empty: no order_release, no order_note"
    )
    defect_service: str = Field(default="", description="API_DEFECT_SRV; empty: no defects")
    batch_service: str = Field(default="", description="API_BATCH_SRV; empty: no batch_status")
    batch_by_plant: bool = Field(
        default=False, description="true where a batch number counts in its plant alone (BatchIdentifyingPlant)"
    )
    count_service: str = Field(default="", description="API_PHYSICAL_INVENTORY_DOC_SRV; empty: no physical inventory")
    stamp: StampFields = StampFields()
    defect: DefectFields = DefectFields()
    movement_code: str = Field(default="03", description="GoodsMovementCode of a goods issue (T158G)")
    movement_type: str = Field(default="261", description="GoodsMovementType of a goods issue to an order")
    units: dict[str, str] = Field(
        default_factory=lambda: dict(UNITS), description="UN/ECE Rec 20 → SAP's external unit"
    )
    decimals: dict[str, int] = Field(
        default_factory=lambda: {"PC": 0, "EA": 0}, description="SAP unit → decimals; 3 else"
    )
    read_back: bool | None = Field(
        default=None, description="read movements back; unset: after confirmations that backflush"
    )
    waiting_codes: tuple[str, ...] = Field(
        default=(), description="message codes that mean 'locked, come back', such as M3/897"
    )

    @field_validator("time_zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{zone!r} is no time zone; write one like Europe/Berlin") from None
        return zone

    @model_validator(mode="after")
    def _settles(self) -> SapS4Config:
        if self.lookup_reliable and self.settle_s <= 0:
            raise ValueError("lookup_reliable needs settle_s above 0: SAP may book after it was given up")
        return self

    def switched_off(self) -> Mapping[Kind, str]:
        """Kind → the service to name, for those that have none; what is no posting to SAP."""
        unnamed = {kind: f"name its {key}" for kind, key in SERVICE_KEYS.items() if not getattr(self, key)}
        return unnamed | dict.fromkeys((Kind.NOTIFICATION, Kind.DISPATCH), "another target takes it")

    def rules(self) -> Rules:
        """What this configuration says about documents."""
        services: dict[Kind, str] = {kind: getattr(self, key) for kind, key in SERVICE_KEYS.items()}
        return Rules(
            zone=ZoneInfo(self.time_zone),
            units=self.units,
            decimals=self.decimals,
            issue_code=self.movement_code,
            issue_type=self.movement_type,
            issue_stamps=self.stamp.goods_issue,
            confirmation_stamps=self.stamp.confirmation,
            services={kind: service for kind, service in services.items() if service},
            defect_catalog=self.defect.catalog,
            defect_category=self.defect.category,
            defect_classes=self.defect.classes,
            defect_batch=self.defect.batch_field,
            batch_by_plant=self.batch_by_plant,
        )


class SapS4:
    """An ErpTarget. `keep` and `kept` hold $metadata on disk, so that a cold start with SAP down can still check.

    `session` is made from the same configuration; give the order source that one, so that both share connections,
    token and identity. Every foreign exception is mapped in the session, every answer in `agent.sap.verdict`.
    """

    def __init__(
        self,
        config: SapS4Config,
        *,
        keep: Keep,
        kept: Kept,
        clock: Clock,
        session: SapSession | None = None,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self.config = config
        self.name = config.name
        self.settle_seconds = config.settle_s
        self.lookup_reliable = config.lookup_reliable
        self.repeatable = GUARDED
        self.session = session or SapSession(config, monotonic)
        self.rules = config.rules()
        self._lookup = Lookup(self.session, self.rules)
        self._guarded = Guarded(self.session, config.waiting_codes)
        self._keep = keep
        self._kept = kept
        self._clock = clock
        self._metadata: dict[str, Metadata] = {}
        self._looks: dict[Kind, Fits] = {}
        self._drift: dict[str, tuple[str, ...]] = {}
        self._from_disk: set[str] = set()
        self._error = ""

    @classmethod
    def of(cls, config: SapS4Config, around: Surroundings) -> SapS4:
        """Made by the app."""
        keep, kept = around.keep, around.kept
        return cls(
            config,
            keep=lambda service, body: keep(f"{config.name}/{service}", body),
            kept=lambda service: kept(f"{config.name}/{service}"),
            clock=around.clock,
        )

    # ── $metadata ───────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Read $metadata of each service; at a cold start without SAP the one kept last. Raises ErpUnavailable.

        Once it has been read, only an answer of SAP opens the target again.
        """
        await self.session.open()
        for service in sorted(set(self.rules.services.values())):
            self._metadata[service] = metadata = await self._read_metadata(service)
            own = [kind for kind, its in self.rules.services.items() if its == service and kind in OUTLINES]
            self._looks |= {kind: quick_look(kind, self.rules, metadata) for kind in own}

    async def close(self) -> None:
        """Let go of the connections."""
        await self.session.close()

    async def _read_metadata(self, service: str) -> Metadata:
        kept = await asyncio.to_thread(self._kept, service)
        try:
            answer = await self.session.read(f"{service}/$metadata", "application/xml")
            if answer.status in (401, 403):
                raise not_authorised(answer)
            if answer.status >= 500:
                raise unavailable(answer, "SAP cannot answer now")
            if answer.status != 200:
                raise unavailable(answer, "has no $metadata; activate the service for the communication user")
            fresh = await asyncio.to_thread(read_metadata, service, answer.body)
        except ErpUnavailable as error:
            self._error = str(error)
            if kept is None or service in self._metadata:
                raise
            if not self._from_disk:  # once for all services
                log.warning("%s: %s; payloads are checked against the $metadata kept", self.name, error)
            self._from_disk.add(service)
            return await asyncio.to_thread(read_metadata, service, kept)
        self._from_disk.discard(service)
        self._error = ""
        if kept != answer.body:
            if kept is not None:
                self._report_drift(service, read_metadata(service, kept), fresh)
            await asyncio.to_thread(self._keep, service, answer.body)
        return fresh

    def _report_drift(self, service: str, before: Metadata, after: Metadata) -> None:
        self._drift[service] = drift(before, after)
        for line in self._drift[service]:
            log.warning("%s: %s has changed: %s; try a posting of each kind in dry-run", self.name, service, line)

    # ── before it is sent ───────────────────────────────────────────────────────────────────────────────────

    def check(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[str]:
        """What SAP would refuse; empty: nothing. Pure. Raises ErpUnavailable while no $metadata was ever read."""
        if kind in self._looks and self._looks[kind](payload):
            return []
        try:
            made = call(kind, payload, ANY_KEY, self.rules, ANY_DOCUMENTS)
        except Unfit as error:
            return [str(error)]
        metadata = self._metadata.get(made.service)
        if metadata is None:
            raise ErpUnavailable(
                f"{self.name}: $metadata of {made.service} was never read; {self._error or 'open it first'}"
            )
        return _complaints(made, metadata)

    def in_its_words(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
        """The fields of the call that would be sent, by SAP's own names. Pure."""
        try:
            unsaid = {*self.rules.issue_stamps, *self.rules.confirmation_stamps, COUNT_STAMP}
            if payload.get("document_of"):
                unsaid |= {"FiscalYear", "PhysicalInventoryDocument"}  # nobody knows them yet
            return said(call(kind, payload, "", self.rules, ANY_DOCUMENTS), frozenset(unsaid))
        except Unfit:
            return ()

    def freeze(self, posting: Posting) -> bytes:
        """Method, path, headers and body that are sent for this posting, now and at every retry. Raises ValueError."""
        made = call(posting.kind, posting.payload, posting.idempotency_key, self.rules, posting.documents)
        return made.wire(posting)

    # ── sending and finding ─────────────────────────────────────────────────────────────────────────────────

    async def post(self, posting: Posting) -> Acknowledgement:
        """Send the frozen bytes. Raises ErpUnavailable, ErpInDoubt, ErpRejected; see `agent.sap.verdict`.

        A guarded call reads what it changes before and after: see `agent.sap.guarded`.
        """
        if posting.kind in GUARDED:
            return await self._remember(self._guarded.bring_about(posting))
        if posting.wire is None:
            raise ValueError(f"posting {posting.id} was not frozen before it was sent")
        if posting.kind is Kind.REVERSAL:
            asked = taken_back(posting, self._lookup, self.session, self.rules)
            if (done := await self._remember(asked)) is not None:
                return done
        service, method, path, headers, body = thaw(posting.wire)
        answer = await self._remember(self.session.write(service, method, path, headers, body))
        try:
            entity = booked(answer, waiting_codes=self.config.waiting_codes)
        except AlreadyPosted as said:
            return await self._already_posted(posting, said)
        except ErpUnavailable as error:
            self._error = "" if error.scope == "lane" else str(error)
            raise
        number = _number(posting, entity)
        if not number:
            raise ErpInDoubt(f"{answer.where}: answered {answer.status} without a document number; it is looked for")
        seen = await self._read_back(posting, number)
        return Acknowledgement(
            number,
            warnings=(*warnings(answer), *seen),
            details=success_details(answer, self._clock()),
        )

    async def find(self, posting: Posting) -> Acknowledgement | None:
        """The document with the posting's key, or what a guarded call wanted. Raises ErpUnavailable.

        ErpRejected says that a person must look: DUPLICATE_AT_ERP for two documents, or what was to be changed is gone.
        """
        if posting.kind in GUARDED:
            return await self._remember(self._guarded.find(posting))
        found = await self._remember(self._lookup.find(posting))
        if found is None or posting.kind is Kind.REVERSAL:
            return found
        seen = await self._read_back(posting, found.document)
        return Acknowledgement(found.document, found=True, warnings=(*found.warnings, *seen), details=found.details)

    async def _already_posted(self, posting: Posting, said: AlreadyPosted) -> Acknowledgement:
        """SAP knows this RequestID: the document must be there; where it is not seen, the outcome is unknown."""
        try:
            found = await self.find(posting)
        except ErpUnavailable as error:
            raise ErpInDoubt(f"{said}; its document could not be read: {error}", code=said.code) from error
        if found is None:
            raise ErpInDoubt(f"{said}; but no document carries the key", code=said.code, details=said.details)
        return found

    async def _read_back(self, posting: Posting, number: str) -> tuple[str, ...]:
        backflush = posting.kind is Kind.CONFIRMATION and posting.payload.get("backflush") is True
        wanted = backflush if self.config.read_back is None else self.config.read_back
        moves = backflush or posting.kind in MATERIAL_DOCUMENTS
        return await self._lookup.read_back(posting, number) if wanted and moves else ()

    async def _remember(self, calling: Awaitable[Result]) -> Result:
        """Await a call and keep for `status` whether SAP could be reached."""
        try:
            result = await calling
        except (ErpUnavailable, ErpInDoubt) as error:
            self._error = "" if isinstance(error, ErpUnavailable) and error.scope == "lane" else str(error)
            raise
        self._error = ""
        return result

    def status(self) -> Mapping[str, Any]:
        """``connected``, ``error``, and what is known of each service: kept or fresh $metadata, and its drift."""
        return {
            "connected": not self._error,
            "error": self._error,
            "services": {
                service: {
                    "metadata": "kept" if service in self._from_disk else "fresh",
                    "drift": list(self._drift.get(service, ())),
                }
                for service in self._metadata
            },
        }


def _complaints(made: Call, metadata: Metadata) -> Sequence[str]:
    if made.method == "PATCH":
        changes = made.body.get("results", [made.body])
        return [
            words
            for change in changes
            for words in metadata.check_change(
                made.resource, {name: value for name, value in change.items() if name not in WHICH}
            )
        ]
    if made.arguments:
        return metadata.check_function(made.resource, made.arguments)
    return metadata.check(made.resource, made.body)


def _number(posting: Posting, entity: Mapping[str, Any]) -> str:
    """The number in an answer; a function import may wrap its result in its own name."""
    kind = document_kind(posting)
    for candidate in chain((entity,), (value for value in entity.values() if isinstance(value, dict))):
        if all(name in candidate for name in DOCUMENTS[kind].keys):
            return document_number(kind, candidate)
    return ""
