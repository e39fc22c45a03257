"""The words and the plugs of the pipeline: what travels between its hops, and what a plug-in must offer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from agent.isa95 import SegmentResponse
from agent.scores import Features

Clock = Callable[[], datetime]  # the current time, UTC and aware


# ── arrivals ────────────────────────────────────────────────────────────────────────────────────────────────


class Delivery(NamedTuple):
    """One message as it arrived: raw bytes, never interpreted before it is on disk.

    `properties` are small facts of the transport that a decision or a person may need: ``retain``, ``qos``, ``user``.
    """

    topic: str  # MQTT topic, HTTP path, OPC UA node id
    payload: bytes
    properties: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a source noticed that belongs in the audit trail: a lost session, a gap, a refused retained message."""

    action: str  # "session_lost", "sequence_gap", "retained_ignored", …
    detail: Mapping[str, Any]
    alarm: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries that become durable together; `stored` is called once, after the commit, on the writer's thread.

    Where the store refuses them it calls `dropped` instead: they are not on disk, and will not be.
    `checkpoints` is source state (key, bytes) that commits with the deliveries. A batch that is never stored is
    never acknowledged: the sender keeps it.
    """

    source: str
    deliveries: Sequence[Delivery]
    received_at: datetime
    stored: Callable[[], None]
    checkpoints: Sequence[tuple[str, bytes]] = ()
    notices: Sequence[Notice] = ()
    dropped: Callable[[], None] = lambda: None


class Intake(Protocol):
    """The door to the store."""

    def put(self, batch: Batch, timeout: float | None = None) -> bool:
        """Hand a batch over from any thread; blocks while the queue is full. False: still full after `timeout` s.

        Batches stay in order among those with 0, and among the others: those give way while somebody asks.
        """

    def checkpoint(self, key: str) -> bytes | None:
        """The source state last committed under `key`."""


class Source(Protocol):
    """Where events come from. Constructed cold; `run` connects, delivers and reconnects until cancelled."""

    name: str

    async def run(self, intake: Intake) -> None: ...

    def status(self) -> Mapping[str, Any]:
        """``connected`` (bool), ``since``, ``last_delivery_at``, ``error`` and what the protocol can add."""


class Event(NamedTuple):
    """One stored arrival."""

    id: int
    source: str
    topic: str
    payload: bytes
    received_at: datetime
    properties: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one message, told to its sender after the commit; a repeated message gets another."""

    sender: str
    message_id: str
    event_id: int
    state: str  # of the event: posted, held, advised, ignored, duplicate


@runtime_checkable
class GivesReceipts(Protocol):
    """A source that can tell senders what became of their messages."""

    name: str
    gives_receipts: bool

    def give_receipt(self, receipt: Receipt) -> None:
        """Never blocks and never raises: a receipt that is lost costs a repetition, nothing else."""


# ── decisions ───────────────────────────────────────────────────────────────────────────────────────────────


class Kind(StrEnum):
    """What the ERP, a person or the line shall get."""

    GOODS_ISSUE = "goods_issue"
    CONFIRMATION = "confirmation"
    REVERSAL = "reversal"
    ORDER_RELEASE = "order_release"
    ORDER_NOTE = "order_note"
    SCRAP = "scrap"
    STOCK_TRANSFER = "stock_transfer"
    BATCH_STATUS = "batch_status"
    DEFECT = "defect"
    COUNT_DOCUMENT = "count_document"
    COUNT_ENTRY = "count_entry"
    COUNT_DIFFERENCE = "count_difference"
    NOTIFICATION = "notification"
    DISPATCH = "dispatch"


REVERSIBLE = frozenset({Kind.GOODS_ISSUE, Kind.CONFIRMATION, Kind.SCRAP, Kind.STOCK_TRANSFER})


class Draft(NamedTuple):
    """One proposed posting: the business content that a person sees and signs, in plain JSON-able words.

    Quantities are decimal strings. `ordering_key` names the lane: postings of one key reach the ERP in order.
    `waits_for_held` makes it wait until no earlier posting of its lane is held (a final confirmation). `role` says
    which of the workflow's targets gets it: empty its `target`, else a name under its `targets`.
    """

    kind: Kind
    ordering_key: str
    payload: Mapping[str, Any]
    value: Decimal = Decimal(0)  # money at stake, in the plant's currency
    waits_for_held: bool = False
    role: str = ""


class Expected(NamedTuple):
    """What was expected where something was reported, in the ERP's unit and precision (`step`)."""

    quantity: Decimal
    least: Decimal  # as a share of the quantity
    most: Decimal
    unit: str
    step: Decimal

    def written(self) -> dict[str, str]:
        """Quantity, least and most as decimal strings, and the unit."""
        found = {"quantity": self.quantity, "least": self.quantity * self.least, "most": self.quantity * self.most}
        return {name: f"{value.quantize(self.step):f}" for name, value in found.items()} | {"unit": self.unit}


class Proposal(NamedTuple):
    """What a workflow would do about one event, and how sure it is."""

    drafts: tuple[Draft, ...]
    confidence: float = 1.0
    holds: tuple[str, ...] = ()  # reasons why a person must look, whatever the confidence; empty: none
    reasons: tuple[str, ...] = ()  # why it looks as it does: for people
    subject: Mapping[str, str] = MappingProxyType({})  # order, line, material
    alarm: str = ""  # what somebody should see although this report may be right: a shift over many reports
    expected: Expected | None = None  # for people who look at it
    said: Mapping[str, str] = MappingProxyType({})  # reader → sentence (operator, planner, accountant), from templates
    together: bool = False  # the drafts are one group: sent one after the other, stopped where one is not booked
    answer: Mapping[str, Any] = MappingProxyType({})  # what a program that asked is told; kept in the record
    scored: bool = True  # False: no model has a say in it, and none is missed
    withdraws: str = ""  # ordering key: what the workflow proposed there before, and nothing of it was sent, never is


class Route(StrEnum):
    """Where a decision sends its postings. The values are event states."""

    POST = "posted"
    HOLD = "held"
    ADVISE = "advised"
    IGNORE = "ignored"


class Decision(NamedTuple):
    """What authority made of a proposal; `policy` is the version of the rules that decided.

    `in_auto` is where the mode `auto` would have sent it.
    """

    route: Route
    reasons: tuple[str, ...]
    policy: str
    in_auto: Route


class Workflow(Protocol):
    """Pure functions from a report to a proposal. Never sees a database, a network or a clock."""

    name: str
    feature_names: tuple[str, ...]  # what `features` computes, in order: a model's card must say the same

    def features(self, report: SegmentResponse, facts: Any) -> Features | None:
        """The model's inputs, or None where nothing is to be scored."""

    def propose(
        self, report: SegmentResponse, facts: Any, score: Any, states: Sequence[Any]
    ) -> tuple[Proposal, Sequence[Any]]:
        """The proposal, and the streaming states after it: JSON-able, small, in the order of their keys.

        `score` is the Answer of the kind of model that the workflow asks, None without. A state that is not there yet
        is given as ``{}``. Raises BadPayload: then no state has moved.
        """

    def state_keys(self, report: SegmentResponse) -> tuple[str, ...]:
        """Under which keys the streaming states lie that this report moves: of its order, of its place; maybe none."""


@runtime_checkable
class Classifies(Protocol):
    """A workflow whose model tells classes: it looks at the report and at what came before it, one at a time.

    Its `feature_names` are those of raw inputs: which machines and codes there are only the model of a plant knows.
    """

    def values(
        self, report: SegmentResponse, facts: Any, states: Sequence[Any]
    ) -> Mapping[str, float | str | None] | None:
        """The raw inputs by name (None is missing), or None where nothing is to be classified. Raises BadPayload."""


@runtime_checkable
class Prepares(Protocol):
    """A workflow that works something out once for every snapshot of master data."""

    def prepare(self, facts: Any) -> None:
        """Do it now, so that nobody who asks waits for it."""


@runtime_checkable
class TakesAShare(Protocol):
    """A workflow that may take a part of what is reported, where another one takes the rest."""

    def takes(self, report: SegmentResponse) -> bool:
        """Whether this report is one of its own. Pure."""


@runtime_checkable
class CountsOnPostings(Protocol):
    """A workflow that counts what it proposed as booked: it hears what is not after all (`agent.unbooked`)."""

    name: str
    hears: str  # the kind of report that says so


# ── postings ────────────────────────────────────────────────────────────────────────────────────────────────


class Posting(NamedTuple):
    """What the ERP shall do, as the outbox keeps it. `wire` and `request_id` are frozen at the first claim."""

    id: int
    event_id: int | None
    kind: Kind
    target: str
    ordering_key: str
    idempotency_key: str  # 16 characters of Crockford base32; stamped in the document
    payload: Mapping[str, Any]
    state: str
    version: int
    created_at: datetime
    attempts: int = 0
    lookups: int = 0
    first_sent_at: datetime | None = None
    last_sent_at: datetime | None = None
    request_id: str = ""  # 32 upper-case hexadecimal digits, derived from the idempotency key
    wire: bytes | None = None
    group: int | None = None  # the first posting of its group; None: it stands alone
    documents: Mapping[str, str] = MappingProxyType({})  # kind → document of what was booked before it in its group


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The ERP's yes. `document` identifies what was booked, for SAP ``year/number`` or ``group/count``."""

    document: str
    found: bool = False  # true: found by looking, not answered to a post
    warnings: tuple[str, ...] = ()  # a COGI suspicion, a differing read-back: for people
    details: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))  # the ERP's answer, transactionid


class ErpTarget(Protocol):
    """Where postings go. Every foreign exception is mapped to an ErpError here, once."""

    name: str
    settle_seconds: float  # longer than the ERP's latest commit after a lost answer: wait this before `find`
    lookup_reliable: bool  # two empty lookups mean: not booked

    async def open(self) -> None:
        """Read what is needed to check and freeze postings ($metadata); raises ErpUnavailable."""

    async def close(self) -> None: ...

    def check(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[str]:
        """What the ERP would refuse in this payload (unknown, too long, too precise field); empty: nothing. Pure."""

    def freeze(self, posting: Posting) -> bytes:
        """The bytes that will be sent for this posting, now and at every retry. Pure."""

    async def post(self, posting: Posting) -> Acknowledgement:
        """Send it. Raises ErpUnavailable (nothing was sent), ErpInDoubt, ErpRejected."""

    async def find(self, posting: Posting) -> Acknowledgement | None:
        """Look for the document that carries the key. Raises ErpUnavailable; ErpRejected when there are two."""

    def status(self) -> Mapping[str, Any]: ...


@runtime_checkable
class MayRepeat(Protocol):
    """A target that does some kinds once however often they are sent: what is absent twice is sent again."""

    repeatable: Collection[Kind]


@runtime_checkable
class TakesSomeKinds(Protocol):
    """A target's configuration that may take some kinds of posting and not others."""

    def switched_off(self) -> Mapping[Kind, str]:
        """Kind → what to do so that it is taken. Pure."""


@runtime_checkable
class SaysInErpWords(Protocol):
    """A target that can show people what it would send."""

    def in_its_words(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
        """Field → value as the ERP calls them, in its order; empty where it cannot be said. Pure, never raises."""


class Patience(NamedTuple):
    """How long a cause is told once, and after what time without a reaction somebody else is told; None: never."""

    once_within: timedelta
    escalate_after: timedelta | None


@runtime_checkable
class TellsPeople(Protocol):
    """A target for notifications."""

    def patience(self, payload: Mapping[str, Any]) -> Patience:
        """Of this notification. Pure."""

    def next(self, payload: Mapping[str, Any], waited: timedelta) -> dict[str, Any] | None:
        """The notification to who is next, after so long without a reaction; None: nobody is. Pure."""


@runtime_checkable
class HasChannels(Protocol):
    """A target of several ways, each of which may work while another does not."""

    async def unreachable(self) -> Sequence[str]:
        """Which do not answer now, and why; changes nothing."""


# ── plug-ins ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the app lends a plug-in: every source and target has ``of(config, surroundings)`` to be made from both."""

    clock: Clock
    plant: str
    zone: tzinfo
    keep: Callable[[str, bytes], None]  # keeps small things on disk, by name, for a cold start without the ERP
    kept: Callable[[str], bytes | None]
    targets: Mapping[str, ErpTarget] = field(default_factory=lambda: MappingProxyType({}))
    data: Path = Path("var")  # the folder of the store: for what people must find, as certificates
