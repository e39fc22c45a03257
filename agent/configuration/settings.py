"""What can be configured: frozen models whose descriptions become the reference page.

A number's unit is in its name (``_mb`` MiB, ``_kb`` KiB, ``_s`` and ``_seconds`` seconds, ``_days``) or description.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, Field, SerializeAsAny

from agent.access.rights import Right
from agent.configuration.face_settings import Api, Management, OpcuaServer, SparkplugNode
from agent.ports import Kind
from agent.strict.schema import Name, Settings


class PostingMode(StrEnum):
    """What becomes of a posting kind at one target."""

    OFF = "off"
    DRY_RUN = "dry-run"
    LIVE = "live"


class AuthorityMode(StrEnum):
    """How much a workflow may do alone."""

    ADVISE = "advise"
    ASSIST = "assist"
    AUTO = "auto"


class DatePolicy(StrEnum):
    """Which posting date a report gets whose accounting period has been closed while it waited."""

    EVENT = "event"
    CURRENT = "current"
    HOLD = "hold"


class LiveKind(StrEnum):
    """What tags can say about a work centre as it is now."""

    EQUIPMENT_STATE = "equipment_state"
    WIP = "wip"
    LINE_SIDE_STOCK = "line_side_stock"
    OPERATOR = "operator"
    OEE = "oee"


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, not a name, or a folder of the zone database
        raise ValueError("is no known time zone; write an IANA name such as Europe/Berlin") from None
    return name


class Plant(Settings):
    """The plant whose reports the agent posts."""

    site: str = Field(min_length=1, max_length=32, description="The plant as the ERP calls it, for SAP its plant code")
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        description="IANA name; decides the posting date of a report"
    )
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code of all limits and values")


class Store(Settings):
    """The one file that holds everything, and its limits."""

    path: Path = Field(description="The SQLite file. The environment variable GATEPOST_DATA replaces its folder")
    reserve_mb: int = Field(default=64, ge=1, le=102_400, description="Disk space below which nothing more is taken in")
    queue_mb: int = Field(
        default=64, ge=1, le=4096, description="Arrivals waiting for their commit; a full queue blocks"
    )
    retention_days: int = Field(
        default=90, ge=1, le=36_500, description="Age at which finished rows move to archive files"
    )
    archive_dir: Path | None = Field(
        default=None, description="Folder of the archive files; `archive` beside the store if absent"
    )

    @property
    def archive(self) -> Path:
        """The folder of the archive files."""
        return self.archive_dir or self.path.parent / "archive"


class Source(Settings):
    """Where events come from. The keys of its kind stand beside these."""

    name: Name = Field(description="Appears in events, metrics and logs; part of the identity of its messages")
    kind: str = Field(description="Which source this is: see the kinds below")
    settings: SerializeAsAny[BaseModel] = Field(default=Settings(), description="What its kind needs")


class Postings(Settings):
    """What becomes of each posting kind: `off` refuses it, `dry-run` does everything but send it, `live` sends it."""

    goods_issue: PostingMode = Field(
        default=PostingMode.OFF, description="Components consumed by an order, SAP movement 261"
    )
    confirmation: PostingMode = Field(default=PostingMode.OFF, description="Yield, scrap and times of an operation")
    reversal: PostingMode = Field(default=PostingMode.OFF, description="Taking back a document that is booked")
    order_release: PostingMode = Field(default=PostingMode.OFF, description="Releasing a production order")
    batch_status: PostingMode = Field(
        default=PostingMode.OFF, description="Restricted use of a batch, and the end of it"
    )
    order_note: PostingMode = Field(default=PostingMode.OFF, description="A note added to the text of an order")
    scrap: PostingMode = Field(
        default=PostingMode.OFF, description="Scrapped stock or components, SAP movements 551, 553 and 555"
    )
    stock_transfer: PostingMode = Field(
        default=PostingMode.OFF,
        description="Stock to blocked and back (SAP movements 344 and 343), or to another storage location",
    )
    defect: PostingMode = Field(default=PostingMode.OFF, description="A record of a defect, SAP A_Defect")
    count_document: PostingMode = Field(
        default=PostingMode.OFF, description="A physical inventory document: what shall be counted"
    )
    count_entry: PostingMode = Field(default=PostingMode.OFF, description="What was counted, entered in that document")
    count_difference: PostingMode = Field(
        default=PostingMode.OFF, description="The differences of that document, posted to the stock"
    )
    notification: PostingMode = Field(default=PostingMode.OFF, description="A message to people, by role")
    dispatch: PostingMode = Field(default=PostingMode.OFF, description="An order sent to its line")

    def mode(self, kind: Kind) -> PostingMode:
        """The mode of one posting kind."""
        return PostingMode(getattr(self, kind.value))


class Target(Settings):
    """An ERP to post to. The keys of its kind stand beside these."""

    name: Name = Field(description="How workflows, metrics and `gatepost pause` call it")
    kind: str = Field(description="Which target this is: see the kinds below")
    postings: Postings = Field(default=Postings(), description="What may be posted here")
    concurrency: int = Field(default=4, ge=1, le=64, description="Requests under way at once; one order never has two")
    settings: SerializeAsAny[BaseModel] = Field(default=Settings(), description="What its kind needs")


class Workflow(Settings):
    """What reads one kind of message and proposes postings."""

    target: str = Field(description="The target that gets its postings")
    targets: Mapping[str, str] = Field(
        default={},
        description="Role → the target that gets what it has for others, for example `notify` and `line`; what is for "
        "a role that is absent here is left out",
    )
    kind: str = Field(default="", description="Which workflow this is; its own name if absent")
    mapping: str | tuple[str, ...] = Field(
        default="",
        description="The message kind it reads, a file of the mappings, or a list of them; its own name if absent",
    )
    model: str | None = Field(
        default=None, description="The folder below `models` that scores its events; none: no score"
    )
    options: SerializeAsAny[BaseModel] = Field(default=Settings(), description="What its kind needs")

    @property
    def mappings(self) -> tuple[str, ...]:
        """The message kinds it reads."""
        return (self.mapping,) if isinstance(self.mapping, str) else self.mapping


class Authority(Settings):
    """How much a workflow may do alone. What exceeds a limit is held for a person."""

    mode: AuthorityMode = Field(
        default=AuthorityMode.ADVISE,
        description="`advise` writes nothing, `assist` asks a person every time, `auto` posts within the limits",
    )
    min_confidence: float = Field(default=0.9, ge=0, le=1, description="Least score, 0 to 1")
    max_value: Decimal | None = Field(
        default=None, ge=0, description="Largest value of one posting, or of a group the sum, in the plant's currency"
    )
    max_quantity: Mapping[str, Decimal] = Field(
        default={},
        description="Largest quantity of one posting, by unit, for example KG; it counts for all units that measure "
        "the same, converted. In a group the sum over what is of one kind and material",
    )
    four_eyes: bool = Field(default=False, description="Two different people must approve what is held")
    escalate_hours: float | None = Field(
        default=None,
        gt=0,
        le=8760,
        description="Held so long without a signature is an alarm and marked; absent: never",
    )
    escalate_to: tuple[Name, ...] = Field(
        default=(),
        description="Roles that are told then, and at the end of `expire_hours`, through the workflow's target for "
        "`notify`; none: nobody is",
    )
    stuck_to: tuple[Name, ...] = Field(
        default=(),
        description="Roles that are told at once where the ERP refuses a posting or nobody knows whether it is booked, "
        "through the workflow's target for `notify`; none: nobody is",
    )
    expire_hours: float | None = Field(
        default=None, gt=0, le=8760,
        description="Held so long without a signature is refused, an alarm: it is never posted; absent: it waits",
    )  # fmt: skip
    needs_fresh: Mapping[LiveKind, Annotated[int, Field(ge=1, le=86_400)]] = Field(
        default={},
        description="Live fact → how many seconds ago its source may last have vouched for it; older, or of another "
        "quality than good, the report is held",
    )
    audit_sample: float | None = Field(
        default=None, ge=0, le=0.2,
        description="Share of what would be posted by itself that is held all the same, so that people see what nobody "
        "doubts: 0 none, at most 0.2; absent: 0.02 where a model scores, else 0",
    )  # fmt: skip

    def sample(self, *, scored: bool) -> float:
        """The share that is in force; `scored` says whether a model looks at it."""
        return (0.02 if scored else 0.0) if self.audit_sample is None else self.audit_sample


class Drift(Settings):
    """What becomes of it when what a model is asked is no more like what it knows."""

    rows: int = Field(
        default=1000, ge=100, le=5000, description="So many of the newest reports of a model are looked at together"
    )
    compare_with: Literal["plant", "training"] = Field(
        default="plant",
        description="What they are held against: `training` what training saw; `plant` that, too, unless the first "
        "reports here already lie otherwise: then these",
    )
    min_confidence: float = Field(
        default=0.99, ge=0, le=1,
        description="Least score while they have drifted, for workflows that ask for less than this and for more than "
        "0; 0: as ever",
    )  # fmt: skip
    labels: int = Field(
        default=100, ge=30, le=2000,
        description="About so many reports of a version people must have decided before what they found is held "
        "against what it said",
    )  # fmt: skip
    recalibrate: bool = Field(
        default=False,
        description="true: where people find something else than what a version says, its odds are moved to what they "
        "found, once; each decision's record keeps by how much",
    )


class ShortageNotice(Settings):
    """Who is told that a material is forecast to run short."""

    target: Name = Field(description="The target of kind `notify` that tells them")
    to: tuple[Name, ...] = Field(min_length=1, description="Roles that are told, as `planner`")
    above: float = Field(
        default=0.7, gt=0, lt=1,
        description="From this probability on, within three hours: once, and again after it was below half of this",
    )  # fmt: skip


class Shortages(Settings):
    """Which materials run short at their places within two and three hours, forecast every quarter of an hour."""

    model: str = Field(
        default="shortage_forecast", min_length=1, description="The folder below `models` that forecasts what is used"
    )
    notify: ShortageNotice | None = Field(default=None, description="Who is told of what runs short; absent: nobody")


class PostingDate(Settings):
    """The posting date of what waited past the end of an accounting period."""

    policy: DatePolicy = Field(
        default=DatePolicy.HOLD,
        description="In a closed period `event` keeps the day of the event, `current` takes today, `hold` asks",
    )
    closes_on_day: int = Field(
        default=3, ge=1, le=28, description="Day of the next month until which the previous month stays open, inclusive"
    )


class Quarantine(Settings):
    """What becomes of messages that cannot be posted as they are."""

    unknown_hours: int = Field(
        default=24, ge=0, le=8760,
        description="A report of an order, material, defect code or cause of scrap that is not known is read again by "
        "itself when it becomes known within so many hours of its arrival; later by a person. 0: always by a person",
    )  # fmt: skip


class Promotion(Settings):
    """What another version of a model must show on this plant's own reports before it may decide."""

    min_labels: int = Field(default=100, ge=1, description="About so many reports people must have decided")
    min_wrong: int = Field(
        default=10, ge=1, description="So many of these must have been wrong (models that tell how normal a report is)"
    )
    min_of_class: int = Field(
        default=10, ge=0, description="Of each class people must have named so many (models that tell classes)"
    )
    wrong_costs: Decimal = Field(
        default=Decimal(20),
        gt=0,
        description="What a wrong posting costs, as a multiple of showing a report to a person",
    )
    max_recall_drop: Decimal = Field(
        default=Decimal("0.02"), ge=0, le=1, description="So much less of a kind or class it may tell right, as a share"
    )
    max_ece: Decimal = Field(
        default=Decimal("0.05"), ge=0, le=1,
        description="How far what it says may lie from how often it is so, unless the champion is further off",
    )  # fmt: skip
    max_p99_ms: Decimal = Field(
        default=Decimal(5), gt=0,
        description="Milliseconds of the processor that 99 of 100 single answers must not exceed",
    )  # fmt: skip


class Audit(Settings):
    """Signed checkpoints of the audit chain, which leave the box."""

    checkpoint_every_rows: int = Field(default=1000, ge=1, description="Audit rows between two checkpoints")
    checkpoint_every_seconds: int = Field(
        default=3600, ge=1, description="Longest time between two checkpoints while rows come"
    )
    checkpoint_files: tuple[Path, ...] = Field(
        default=(), description="Files they are appended to, better on another machine"
    )
    key_file: Path | None = Field(
        default=None, description="Ed25519 private key, PEM; none: checkpoints are not signed"
    )


class Accounts(Settings):
    """Which G/L account a posting goes to, where the agent shall say it to the ERP: scrap by 551, 553 and 555."""

    table: Path = Field(
        description="The file whose rules decide, by movement type, valuation class and cost object; where none fits "
        "the posting is held"
    )
    model: str | None = Field(
        default=None,
        description="The folder below `models` that looks them over: what it holds for unlikely is held, and nothing "
        "is changed; none: the table alone",
    )


class Log(Settings):
    """What the agent writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severity that is written"
    )
    format: Literal["json", "text"] = Field(default="json", description="`json` for machines, `text` for people")


class Document(Settings):
    """The sections of the file that need no plug-in."""

    plant: Plant = Field(description="The plant")
    store: Store = Field(description="The store")
    authority: Mapping[str, Authority] = Field(default={}, description="Workflow → what it may do; absent: `advise`")
    drift: Drift = Field(default=Drift(), description="Inputs of models that drift away")
    shortages: Shortages | None = Field(default=None, description="What runs short; absent: nothing is forecast")
    posting_date: PostingDate = Field(default=PostingDate(), description="Posting dates past a closed period")
    quarantine: Quarantine = Field(default=Quarantine(), description="Messages that cannot be posted as they are")
    accounts: Accounts | None = Field(
        default=None, description="G/L accounts of postings; absent: the ERP finds them alone"
    )
    mappings: Path = Field(default=Path("mappings"), description="Folder of the message mappings")
    masterdata: Path = Field(default=Path("masterdata"), description="Folder of the master data")
    units: Path = Field(default=Path("units.yaml"), description="File of the unit codes")
    models: Path = Field(default=Path("models"), description="Folder of the scoring models")
    model_keys: Path = Field(
        default=Path("trust/models"), description="Folder of the public keys (`*.pub`, PEM) that models are signed with"
    )
    promotion: Promotion = Field(default=Promotion(), description="When another version of a model may decide")
    secrets_dir: Path | None = Field(
        default=None, description="Folder of secret files, after systemd's and the container's"
    )
    rights: tuple[Right, ...] = Field(
        default=(), description="What people's roles may do with held postings; what is not granted nobody may"
    )
    sensitive: tuple[str, ...] = Field(
        default=(),
        description="Fields of payloads (for example `personnel`) that are masked in what is shown, except for tokens "
        "with the scope `read` and roles with `read_sensitive`",
    )
    api: Api | None = Field(default=None, description="The HTTP API; absent: none")
    opcua_server: OpcuaServer | None = Field(default=None, description="The OPC UA server; absent: none")
    sparkplug_node: SparkplugNode | None = Field(default=None, description="The Sparkplug edge node; absent: none")
    management: Management | None = Field(default=None, description="Metrics and health; absent: none")
    audit: Audit = Field(default=Audit(), description="Audit checkpoints")
    log: Log = Field(default=Log(), description="Logging")
