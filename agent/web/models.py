"""The shapes of answers, for OpenAPI: postings, events, the audit trail, and how the agent is."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Shown(BaseModel):
    """An answer; releases may add to it, so a reader ignores what it does not know."""

    model_config = ConfigDict(extra="allow")


class Problem(Shown):
    """Why a request was refused."""

    error: str = Field(description="A code that a script can compare, for example `conflict`")
    message: str = Field(description="For people: what, where, which value, what to do")
    decided_by: str | None = Field(default=None, description="With 409: who was first")
    state: str | None = Field(default=None, description="With 409: the state of the posting now")
    version: int | None = Field(default=None, description="With 409: its version now")


class Together(Shown):
    """One posting of a group."""

    id: int
    kind: str
    target: str
    state: str
    value: str
    document: str | None
    payload: dict[str, Any]


class Group(Shown):
    """Postings of one decision: each is sent when the one before it is booked, and stops those behind it."""

    postings: list[Together] = Field(description="All of them, in their order")
    waits_for: int | None = Field(description="The posting that must be booked before this one; null: none")
    goes_with_it: list[int] = Field(description="What is approved or refused with this posting")


class Posting(Shown):
    """What the ERP shall do, as a person decides about it."""

    id: int
    event_id: int | None = Field(description="The event it came from; `/v1/trace/{event_id}` tells its whole life")
    workflow: str
    kind: str = Field(description="`goods_issue`, `confirmation`, `reversal` … as under `postings` of a target")
    target: str
    ordering_key: str = Field(description="Postings of one key reach the ERP in order")
    line: str
    payload: dict[str, Any] = Field(description="The business content that is signed; quantities are decimal strings")
    record_hash: str = Field(description="SHA-256 of the payload; of a group over all that goes with this posting")
    value: str = Field(description="Money at stake, a decimal string")
    currency: str = Field(description="The plant's, as ISO 4217 calls it")
    unit: str = Field(description="Of its quantities, as the plant writes it; in `payload` it is the mapping's code")
    confidence: float | None
    reasons: list[str] = Field(description="Why it is held")
    state: str
    version: int
    created_at: str
    changed_at: str
    attempts: int
    document: str | None
    error: str | None = Field(description="The ERP's own words, where it refused")
    idempotency_key: str = Field(description="16 characters; stamped in the document, so that the ERP can be searched")
    group: Group | None = Field(default=None, description="Where it is one of several that are sent one after another")


class Postings(Shown):
    """A page of postings, oldest first."""

    items: list[Posting]
    next: int | None = Field(description="Pass it as `after` for the next page; null: this was the last one")


class Advice(Shown):
    """What a workflow in mode `advise` would have posted; nothing of it was."""

    event_id: int = Field(description="`/v1/trace/{event_id}` tells its whole life")
    source: str
    message: str | None = Field(description="The kind of report and the sender's id of it")
    received_at: str
    workflow: str
    line: str
    order: str
    in_auto: str = Field(
        description="What the mode `auto` would have made of it: `posted`, `held`; `advised`: its kind is off"
    )
    confidence: float | None
    reasons: list[str]
    would_post: list[dict[str, Any]] = Field(description="Of each posting `kind`, `value` and `payload`")
    currency: str = Field(description="Of the values")


class Advised(Shown):
    """A page of advice, oldest first."""

    items: list[Advice]
    next: int | None = Field(description="Pass it as `after` for what came behind; null: there was nothing")


class Quarantined(Shown):
    """An event that could not be read or was refused."""

    id: int
    source: str
    topic: str
    reason: str
    received_at: str
    payload: str = Field(description="As it arrived; bytes that are no UTF-8 are written as \\xNN")


class Quarantine(Shown):
    """A page of quarantined events, oldest first."""

    items: list[Quarantined]
    next: int | None


class RecentEvent(Shown):
    """An arrival and what became of it."""

    id: int
    source: str
    topic: str
    state: str = Field(description="What was decided about it; it stays so, whatever its postings become")
    became: str = Field(
        description="Of its postings the state that a person sees first, what is open before what has ended; without "
        "postings its own state"
    )
    reason: str | None
    message: str | None = Field(description="The identity of the message, by which a repetition is recognised")
    received_at: str


class RecentEvents(Shown):
    """Arrivals, oldest first."""

    items: list[RecentEvent]
    next: int | None = Field(description="Pass it as `after` to get what arrived since")


class AuditRow(Shown):
    """One row of the audit trail."""

    seq: int
    at: str
    actor: str
    action: str
    event: int | None
    posting: int | None
    alarm: bool
    detail: Any


class AuditRows(Shown):
    """Rows of the audit trail, oldest first."""

    items: list[AuditRow]
    next: int | None = Field(description="Pass it as `after` to get what was written since")


class Verified(Shown):
    """What a check of the audit chain found."""

    ok: bool
    rows: int
    head: int = Field(description="The last row")
    hash: str = Field(description="Its hash")
    broken: str | None = Field(description="The first row that does not fit, and why")


class HistoryPoint(Shown):
    """How many postings stood where."""

    at: AwareDatetime
    waiting: int = Field(description="Ready, being sent, or looked up")
    held: int = Field(description="Held for a decision; a group is one")
    dead: int = Field(description="Dead or doubtful")
    acknowledged: int = Field(description="Since the beginning")


class History(Shown):
    """The last hour, oldest first."""

    every_s: float
    items: list[HistoryPoint]


class Checkpoint(Shown):
    """Where the audit chain ends now."""

    checkpoint: str = Field(description="Five lines and the Ed25519 signature over them; keep it on another machine")


class TakenBack(Shown):
    """A document, and the reversal that takes it back."""

    posting: int
    document: str | None
    by: int = Field(description="The posting that is the reversal, of this event or of another")
    state: str = Field(description="Of the reversal: `acknowledged` when the document is taken back")
    by_document: str | None


class Trace(Shown):
    """The whole life of one event: what arrived, what was decided, every try, every signature, the documents."""

    found_as: str = Field(description="What the name was taken for, for people")
    also: list[dict[str, str]] = Field(description="What else it `means`, and the `name` to ask for that alone")
    event: dict[str, Any] | None
    history: list[dict[str, Any]]
    postings: list[Posting]
    taken_back: list[TakenBack] = Field(description="Reversals of these postings, and what those of them take back")


class Done(Shown):
    """What an act changed."""

    by: str = Field(description="The name in the audit trail")


class Acted(Done):
    """What an act made of a posting."""

    id: int
    state: str = Field(description="The state of the posting now")


class Reversed(Acted):
    """The posting that takes a document back."""

    waits_for: str | None = Field(
        default=None, description="The dead or doubtful posting that blocks its lane, and how to see it; null: none"
    )


class Replayed(Done):
    """What became of a quarantined event."""

    event: int
    state: str


class Stopped(Done):
    """What is paused now, or is not any more."""

    scope: str
    key: str
    paused: bool


class Stored(Shown):
    """How many reports are on disk now."""

    stored: int


class Health(Shown):
    """Whether the agent takes in and decides; independent of the ERP."""

    ready: bool
    reason: str | None = Field(description="A code, as in the header X-Reason of /ready; null when ready")
    why_not: str | None
    stuck: list[str] = Field(description="Loops that made no progress although they had to; /live fails then")
    chain_ok: bool = Field(description="Whether the audit chain verified when it was last checked")
    chain_checked_at: str | None
    damage: str = Field(description="Which check met a damaged page of the store; empty: none did")
    balance_checked_at: str | None
    problems: list[str] = Field(description="What the housekeeping could not do; models of which no version fits")


class Status(Shown):
    """The state of the whole, for one screen."""

    agent: dict[str, Any]
    store: dict[str, Any]
    sources: dict[str, dict[str, Any]]
    live: dict[str, Any] = Field(description="How many live facts there are and are not good, and the oldest of these")
    targets: dict[str, dict[str, Any]]
    faces: dict[str, dict[str, Any]] = Field(description="The OPC UA server and the Sparkplug node, where configured")
    models: dict[str, dict[str, Any]] = Field(
        description="By name: which version `scores`; `error`: why none fits, and `meanwhile`: what is done without it"
    )
    drift: dict[str, dict[str, Any]] = Field(
        description="By `name/version`: `level` of drift, `since`, `bar_raised`, `figures`, and in words `what` to do"
    )
    events: dict[str, int] = Field(description="Received, and by state: they add up")
    postings: dict[str, int] = Field(description="Created, and by state: they add up")
    balance: dict[str, int] = Field(description="Anything but 0 is a loss or a double")
    waiting: dict[str, int] = Field(
        description="How many entries the lists have for whoever asks: `to_decide` (a group is one), `dead` letters, "
        "`quarantined`"
    )
    oldest: dict[str, str] = Field(description="State → when its oldest open entry came")
    blocked_lanes: list[dict[str, Any]] = Field(description="Ordering keys that wait behind a dead or doubtful posting")
    paused: list[dict[str, Any]]
