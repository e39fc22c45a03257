"""What a mapping file may say: one file of ``edge_config/mappings`` as frozen, checked models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from agent.configuration.config import Settings
from agent.errors import BadPayload
from agent.isa95 import MaterialUse
from agent.mapping.topics import Pattern
from agent.units import UnitTable

Key = str | int

_STEP: Final = re.compile(r"\.([^\W\d][\w-]*)|\[([0-9]{1,4})\]|\['([^']+)'\]|\[\"([^\"]+)\"\]")
_WILDCARD: Final = re.compile(r"\{(\w+)\}")


def path_keys(path: str) -> tuple[Key, ...]:
    """The keys and indices of a JSON path: ``$.a.b[0]`` or ``$['a b']``. Raises ValueError."""
    keys: list[Key] = []
    end = 1
    while path[:1] == "$" and (step := _STEP.match(path, end)):
        name, index, *quoted = step.groups()
        keys.append(int(index) if index else name or quoted[0] or quoted[1])
        end = step.end()
    if not keys or end != len(path):
        raise ValueError("must be a path like $.order, $.lots[0].id or $['order no']")
    return tuple(keys)


def _is_path(text: str) -> str:
    path_keys(text)
    return text


def _shorthand(value: object) -> object:
    """``$.a`` means {path: $.a} and ``{line}`` means {wildcard: line}."""
    if not isinstance(value, str):
        return value
    if wildcard := _WILDCARD.fullmatch(value):
        return {"wildcard": wildcard[1]}
    if value.startswith("$"):
        return {"path": value}
    raise ValueError("must be a path ($.order), a wildcard of the topic ({line}), or {const: …} for a fixed text")


def _zone(name: object) -> object:
    try:
        return ZoneInfo(name) if isinstance(name, str) else name
    except (KeyError, ValueError, OSError):
        raise ValueError("is no time zone; write one like Europe/Berlin") from None


Path = Annotated[str, AfterValidator(_is_path)]
Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]


class Pick(Settings):
    """Where a text comes from: a JSON path, a wildcard of the topic, or a constant."""

    path: Path | None = Field(default=None, description="JSON path in the message")
    wildcard: str | None = Field(default=None, description="named level of the topic")
    const: str | None = Field(default=None, description="the same for every message")
    required: bool | None = Field(default=None, description="refuse a message without it; the place decides if absent")
    default: str | None = Field(default=None, description="what it is where the message has none")
    map: dict[str, str] | None = Field(default=None, description="code of the floor → code; others are refused")
    max_length: int = Field(default=200, ge=1, le=4000, description="longest text in characters")
    number_as_text: bool = Field(default=False, description="take a whole number as text too: 1000100 as '1000100'")

    @model_validator(mode="after")
    def _one_place(self) -> Pick:
        if sum(place is not None for place in (self.path, self.wildcard, self.const)) != 1:
            raise ValueError("name just one of path, wildcard and const")
        return self

    @property
    def where(self) -> str:
        """How messages for people call the place."""
        return self.path or (f"{{{self.wildcard}}}" if self.wildcard else "const")


Place = Annotated[Pick, BeforeValidator(_shorthand)]


def _units(info: ValidationInfo) -> UnitTable:
    table: UnitTable = info.context["units"]  # type: ignore[index]  # `load` always passes the table
    return table


def _known_unit(pick: Pick, info: ValidationInfo) -> Pick:
    if pick.const is not None:
        try:
            _units(info).code(pick.const)
        except BadPayload as refusal:
            raise ValueError(str(refusal)) from None
    return pick


class Amount(Settings):
    """A quantity: a number and its unit. Negative ones are refused unless `minimum` says otherwise."""

    value: Path = Field(description="JSON path of the number")
    unit: Annotated[Place, AfterValidator(_known_unit)] = Field(description="where the unit stands; {const: KGM}")
    number: Literal["json", "point", "comma"] = Field(
        default="json", description="`point` and `comma` also take text like '12.5' or '12,5'"
    )
    minimum: Decimal = Field(default=Decimal(0), description="smallest value that is believed")
    maximum: Decimal | None = Field(default=None, description="largest value that is believed")
    decimals: int | None = Field(default=None, ge=0, le=12, description="most decimals that are believed")
    dimension: str = Field(default="", description="what the unit must measure: mass, count, time …")
    optional: bool = Field(default=False, description="a message without the number is read without this quantity")

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Amount:
        if self.maximum is not None and self.maximum < self.minimum:
            raise ValueError(f"maximum {self.maximum} is below minimum {self.minimum}")
        unit = self.unit.const
        if unit is not None and self.dimension and unit not in _units(info).names(self.dimension):
            raise ValueError(f"{unit} does not measure {self.dimension}")
        return self


class Duration(Amount):
    """A time that an activity took."""

    dimension: str = Field(default="time", description="what the unit must measure")


class Material(Settings):
    """One MaterialActual: what was consumed, produced or scrapped."""

    use: MaterialUse = Field(description="Consumed, Produced, Scrap, Rework or Inventoried")
    quantity: Amount = Field(description="how much")
    material: Place | None = Field(default=None, description="material number; absent: the product of the order")
    lot: Place | None = Field(default=None, description="batch")
    storage_location: Place | None = Field(default=None, description="storage location")
    reason: Place | None = Field(default=None, description="reason code of scrap or variance")
    omit_zero: bool = Field(default=False, description="leave it out where the quantity is zero")


class Value(Pick):
    """One named value of the message that its workflow knows by that name."""

    type: Literal["text", "number"] = Field(default="text", description="what it is")
    optional: bool = Field(default=False, description="a message without it is read without this value")

    @model_validator(mode="after")
    def _number_from_message(self) -> Value:
        if self.type == "number" and (self.path is None or self.map is not None or self.default is not None):
            raise ValueError("a number has a path, and neither map nor default")
        return self


class Time(Settings):
    """When it happened. Also says how `start` and `end` are written."""

    path: Path | None = Field(default=None, description="JSON path of the time stamp")
    format: str = Field(
        default="iso8601",
        description="`iso8601`, `epoch_ms`, `epoch_s`, a pattern like `%d.%m.%Y %H:%M`, or `received`: when it arrived",
    )
    zone: Zone | None = Field(default=None, description="zone of time stamps that name none; absent: such are refused")
    repeated_hour: Literal["refuse", "first", "second"] = Field(
        default="refuse", description="which one is meant when the clocks go back and the time stamp names no offset"
    )
    max_future_seconds: int = Field(default=600, ge=0, description="how far a sender's clock may be ahead at arrival")
    max_age_days: int = Field(default=31, ge=0, description="how old a report may be when it arrives")

    @model_validator(mode="after")
    def _consistent(self) -> Time:
        if self.format not in ("iso8601", "epoch_ms", "epoch_s", "received") and "%" not in self.format:
            raise ValueError(f"unknown format {self.format!r}; use iso8601, epoch_ms, epoch_s, received or a % pattern")
        if (self.format == "received") != (self.path is None):
            raise ValueError("needs a path, unless the format is `received`")
        if "%" in self.format and "%z" not in self.format and self.zone is None:
            raise ValueError("a pattern without %z needs the zone that is meant")
        return self


class Numbering(Settings):
    """How senders number their messages, so that gaps are seen."""

    sender: Place = Field(description="who counts")
    number: Path = Field(description="JSON path of the number, a whole one")


class SchemaVersion(Settings):
    """Which versions of the message this file can read; others are refused."""

    path: Path = Field(description="JSON path of the version")
    known: tuple[str, ...] = Field(min_length=1, description="versions that this file can read")


def _as_list(value: object) -> object:
    return value if value is None or isinstance(value, list | tuple) else [value]


def _as_pattern(topic: object) -> object:
    return Pattern.parse(topic) if isinstance(topic, str) else topic


class MappingFile(Settings):
    """How one kind of message becomes a report."""

    kind: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="what it is, for the workflow: consumption, confirmation"
    )
    source: str = Field(default="", description="name of the source it comes from; empty: any")
    topic: Annotated[Pattern, BeforeValidator(_as_pattern)] = Field(
        description="topic with named wildcards: plant/{site}/{line}/consumption"
    )
    message_id: Annotated[tuple[Place, ...], BeforeValidator(_as_list)] = Field(
        default=(), description="the sender's own identity of the message: a path, or a list of what makes it together"
    )
    unique_by: tuple[Place, ...] = Field(
        default=(), description="what makes a message unique where the sender has no id"
    )
    sequence: Numbering | None = Field(default=None, description="the sender's running number")
    schema_version: SchemaVersion | None = Field(default=None, description="the message's own version")
    time: Time = Field(description="when it happened")
    order: Place | None = Field(
        default=None, description="number of the order; may be absent only where its workflow needs none"
    )
    operation: Place | None = Field(
        default=None, description="operation of the order; may be absent only where its workflow needs none"
    )
    work_center: Place | None = Field(default=None, description="where it happened")
    personnel: Place | None = Field(default=None, description="who reports")
    start: Path | None = Field(default=None, description="JSON path of the start, written like `time`")
    end: Path | None = Field(default=None, description="JSON path of the end, written like `time`")
    final: Path | None = Field(default=None, description="JSON path of true or false: the operation is completed")
    materials: tuple[Material, ...] = Field(default=(), description="what was consumed, produced or scrapped")
    durations: dict[str, Duration] = Field(default_factory=dict, description="activity → time it took")
    data: dict[str, Annotated[Value, BeforeValidator(_shorthand)]] = Field(
        default_factory=dict, description="name → what else the message says, for the workflow that knows it"
    )
    additional: Literal["allow", "refuse"] = Field(default="allow", description="fields that nothing here names")
    ignore: tuple[Path, ...] = Field(default=(), description="fields that are known and not used")

    @model_validator(mode="after")
    def _one_identity(self) -> MappingFile:
        if self.message_id and self.unique_by:
            raise ValueError("name message_id or unique_by, not both")
        if self.time.format == "received" and (self.start or self.end):
            raise ValueError("start and end are written like `time`, which has no format of its own here")
        return self

    def paths(self) -> Sequence[str]:
        """Every JSON path that the file names."""
        return [*self.ignore, *_paths_in(self)]


def _paths_in(value: Any) -> list[str]:
    """The values of all fields that hold paths, at any depth: texts that start with ``$`` stand nowhere else."""
    if isinstance(value, Settings):
        skipped = ("const", "default", "map", "known", "format", "type")
        return [
            path for name in type(value).model_fields if name not in skipped for path in _paths_in(getattr(value, name))
        ]
    if isinstance(value, tuple):
        return [path for member in value for path in _paths_in(member)]
    if isinstance(value, dict):
        return [path for member in value.values() for path in _paths_in(member)]
    return [value] if isinstance(value, str) and value.startswith("$") else []
