"""What goes over the wire between a gateway and the agent: the board, a record, challenges and signatures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from agent.access.signing import LONGEST_REASON, readable
from agent.web.bodies import Person, Reason, Word
from agent.web.models import Acted, Posting, Shown

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Filled = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128), AfterValidator(readable)
]
Comment = Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_REASON), AfterValidator(readable)]
Nonce = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
Version = Annotated[int, Field(ge=1, lt=2**63, description="The `version` that was shown")]


# ── what is asked ───────────────────────────────────────────────────────────────────────────────────────────


class Asked(BaseModel):
    """A body of a gateway, read strictly."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Challenge(Asked):
    """What somebody is about to sign."""

    version: Version
    decision: Literal["approve", "refuse", "correct"]
    session_user: Word = Field(description="Who is logged on to the session; empty: nobody")
    shown_sha256: Sha256 | None = Field(
        default=None, description="The `shown_sha256` that was shown; absent: that of the record without masking"
    )


class Signer(Asked):
    """Who signs, as the identity provider told the gateway."""

    user: Person
    full_name: Word
    roles: Annotated[list[Filled], Field(max_length=64)] = Field(
        description="Their roles; `rights` says what these mean"
    )
    idp: Word = Field(description="The identity provider")


class Sign(Asked):
    """What somebody signed."""

    nonce: Nonce
    version: Version
    decision: Literal["approve", "refuse"]
    shown_sha256: Sha256
    meaning: Reason = Field(description="What the signature means, in the words that the signer read")
    reason: Reason = Field(description="Why, in the signer's words")
    comment: Comment = Field(default="", description="What else they said")
    signer: Signer
    session_user: Word
    gateway: Filled = Field(description="The name of the gateway")
    signed_at: Filled = Field(description="When they signed, by the gateway's clock, ISO 8601")


class Correct(Sign):
    """A correction, signed."""

    decision: Literal["correct"]  # type: ignore[assignment]  # narrower on purpose: another route, another word
    changes: Annotated[dict[str, Word], Field(min_length=1, max_length=8)] = Field(
        description="Field of the payload (`record.correctable`) → what it shall be, a decimal string for quantities"
    )


# ── what is answered ────────────────────────────────────────────────────────────────────────────────────────


class Given(Shown):
    """A nonce for one decision."""

    nonce: str = Field(description="43 characters; good once, for this posting, version, decision, user and content")
    expires_at: str
    shown_sha256: str = Field(description="What it is bound to")


class SignedAnswer(Acted):
    """What a signature made of a posting."""

    version: int
    kind: str
    waits_for: str | None = Field(description="Whose signature is missing; null: nobody's")
    message: str = Field(description="For people: what is now true")


class Corrected(SignedAnswer):
    """The posting that took the place of another."""

    supersedes: int = Field(description="The posting that it replaces")


class BoardSource(Shown):
    """A source."""

    name: str
    connected: bool
    error: str


class BoardTarget(Shown):
    """A target."""

    name: str
    available: bool = Field(description="False while postings to it wait")
    trouble: str
    in_the_air: int


class BoardModel(Shown):
    """A model that scores."""

    workflow: str
    model: str
    drift: str = Field(description="How its inputs have moved away from the training; empty: they have not")


class BoardHealth(Shown):
    """How the agent is."""

    ready: bool
    reason: str = Field(description="Why nothing is taken in; empty when ready")
    chain_ok: bool = Field(description="Whether the audit chain verified when it was last checked")
    sources: list[BoardSource]
    targets: list[BoardTarget]
    models: list[BoardModel]
    backlog: int = Field(description="Reports that are not decided, and postings under way")
    quarantined: int
    dead: int
    doubtful: int
    oldest_at: str | None = Field(description="When the oldest of the backlog came")


class BoardCounts(Shown):
    """What wants somebody, for a badge."""

    held: int
    high_risk: int
    dead: int
    doubtful: int
    quarantined: int


class BoardApproval(Shown):
    """A held posting in the queue."""

    id: int
    version: int
    kind: str
    module: str = Field(description="`PP`, `MM` or `QM`")
    workflow: str
    line: str
    order: str
    operation: str
    material: str
    material_text: str
    quantity: str
    unit: str = Field(description="As people call it")
    value: str
    currency: str
    risk: Literal["high", "medium", "low"]
    created_at: str
    escalated: bool = Field(description="It has waited so long that somebody else was told")
    signers: int = Field(description="How many people must sign")
    signed_by: list[str]
    reason: str = Field(description="The first reason why it is held")
    together: int = Field(description="How many postings are decided with it, itself included; `value` is of all")


class BoardOrder(Shown):
    """An order with something open."""

    order: str
    material: str
    material_text: str
    quantity: str
    unit: str
    status: str
    held: int
    waiting: int
    dead: int
    doubtful: int
    since: str
    constraint: str = Field(description="What stands first in the way; empty: nothing does")


class BoardProposal(Shown):
    """The posting that puts a finding right, or the first of several."""

    id: int | None = Field(description="null where the workflow only advises: there is nothing to sign")
    kind: str
    state: str = Field(description="Of the posting; `advised` where there is none")
    quantity: str
    unit: str
    takes_back: str = Field(description="The document that it takes back; empty: none")


class BoardFinding(Shown):
    """What reconciliation found and nobody has put right or refused yet."""

    id: str
    event: int = Field(description="For `/v1/trace/event:{event}`")
    found_at: str
    cause: str
    material: str
    material_text: str
    storage_location: str
    batch: str
    order: str
    excess: str = Field(description="What the books took off the stock too much; below 0: too little")
    unit: str
    value: str
    currency: str
    evidence: list[str]
    state: str = Field(description="`waits for a person`, `under way`, `stuck` or `advised`")
    risk: Literal["high", "medium", "low"] = Field(
        description="`high`: stuck, or its proposal is; `low`: under way or only advised; else that of its proposal"
    )
    proposal: BoardProposal | None


class BoardLot(Shown):
    """A lot that is kept from use for a defect, and of which something is left to decide about."""

    posting: int = Field(description="What keeps it from use: for `/v1/follow-ons/{posting}`")
    material: str
    material_text: str
    lot: str
    order: str
    work_center: str
    since: str
    left: str | None = Field(description="A decimal string; null: its whole batch is in restricted use")
    unit: str
    severity: str = Field(description="`minor`, `major` or `critical`")
    suggested: str = Field(description="What is usual for such a defect: `scrap`, `rework` or `use_as_is`")
    costs: dict[str, str | None]
    currency: str


class Board(Shown):
    """Everything that lives on a gateway's screens; while nothing changed only `version`, `now` and `unchanged`."""

    version: str = Field(description="The same while all that is shown is the same; pass it as `since`")
    now: str = Field(description="The agent's clock")
    unchanged: bool
    health: BoardHealth | None = None
    counts: BoardCounts | None = None
    approvals: list[BoardApproval] | None = Field(default=None, description="Held postings, oldest first, at most 500")
    left_out: int | None = Field(default=None, description="How many more are held")
    orders: list[BoardOrder] | None = None
    findings: list[BoardFinding] | None = Field(
        default=None,
        description="Those first that cannot go on, then the most valuable, at most 100; null: reconciliation is not "
        "set up",
    )
    lots: list[BoardLot] | None = Field(default=None, description="The newest first, at most 200")
    findings_left_out: int | None = Field(default=None, description="How many more are open")


class Floor(Shown):
    """What was reported."""

    source: str
    topic: str
    message: str
    received_at: str | None
    quantity: str
    unit: str
    live: list[dict[str, Any]] = Field(description="Live facts that the decision looked at")


class Expected(Shown):
    """What was expected, for a chart beside what was reported."""

    quantity: str
    least: str
    most: str
    unit: str


class ModelSaid(Shown):
    """What the model said."""

    name: str
    confidence: float
    reasons: list[str]
    said: str = Field(description="The class that it takes for the likeliest; empty: it tells how normal it is")


class ErpField(Shown):
    """One field in the ERP's own words."""

    name: str
    value: str


class Record(Shown):
    """Exactly what is signed; `shown_sha256` is its hash."""

    id: int
    version: int
    kind: str
    module: str
    workflow: str
    target: str
    line: str
    order: str
    operation: str
    material: str
    material_text: str
    quantity: str
    unit: str
    value: str
    currency: str
    confidence: float | None
    reasons: list[str]
    supersedes: int | None = Field(description="The posting that it corrects")
    signers: int
    signed_by: list[str]
    floor: Floor
    expected: Expected | None
    model: ModelSaid | None
    said: dict[str, str] = Field(description="Reader (operator, planner, accountant) → what it is about, in a sentence")
    will_post: list[ErpField] = Field(description="What the ERP will be sent")
    correctable: list[str] = Field(description="The fields that a correction may change")
    payload: dict[str, Any]
    payload_sha256: str


class Before(Shown):
    """An earlier posting of the same line that was held for the same cause."""

    id: int
    created_at: str
    order: str
    material: str
    quantity: str
    unit: str
    state: str
    decided_by: str | None
    why: str | None
    document: str | None


class Suggestion(Shown):
    """A correction that was usual here, or that a model takes for likely."""

    field: str = Field(description="The field that it fills, as in `record.correctable`")
    value: str
    text: str = Field(description="What it stands for, by `scrap_reasons.yaml`; empty: nobody has said so")
    times: int | None = Field(default=None, description="How often it was told on this line lately; null: see `share`")
    of: int | None = Field(default=None, description="Of how many")
    share: float | None = Field(default=None, description="Its probability, where a model has told causes")


class Approval(Posting):
    """One posting as a person decides about it."""

    shown_sha256: str = Field(description="SHA-256 of `record` as compact JSON with sorted keys in UTF-8")
    allowed: list[str] = Field(description="What somebody with the given `roles` may do with it")
    masked: list[str] = Field(description="Fields that are masked for these roles")
    risk: str = Field(description="`high`, `medium` or `low`, as on the board")
    record: Record
    history: list[Before]
    suggested: list[Suggestion] = Field(description="What may have caused the scrap, at most three")
