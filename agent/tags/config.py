"""How events and live facts out of tags are declared under every source of tags, and whether it makes sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from agent.configuration.settings import LiveKind
from agent.strict.schema import Name, Settings, did_you_mean
from agent.strict.tagfile import MOST, TAG

Tag = Annotated[str, StringConstraints(pattern=TAG)]
JsonName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]

COUNTED: Final = (LiveKind.WIP, LiveKind.LINE_SIDE_STOCK)  # facts that are quantities
PERCENT: Final = ("%", "P1")
RESERVED: Final = ("id", "seq", "ts")  # what every event carries by itself


class Counts(Settings):
    """Report what was counted: as soon as it is `least`, but not more often than every `every_s`."""

    least: Decimal = Field(default=Decimal(1), gt=0, description="Smallest quantity that is reported, after the factor")
    every_s: int = Field(default=0, ge=0, le=86_400, description="Shortest time between two reports")


class When(Settings):
    """What makes the event: exactly one of these. An edge is one against the last value that was committed."""

    rising: Tag | None = Field(default=None, description="This tag becomes true (or not zero)")
    falling: Tag | None = Field(default=None, description="This tag becomes false (or zero)")
    change: Tag | None = Field(default=None, description="This tag gets another value")
    step: Tag | None = Field(default=None, description="The number of this tag grows: one event, however far")
    counts: Counts | None = Field(default=None, description="Something was counted (`counted`)")
    every_s: int | None = Field(default=None, ge=1, le=86_400, description="Time between two events")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        named = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(
                f"names {' and '.join(named) or 'no trigger'}; name exactly one of "
                f"{', '.join(type(self).model_fields)}, and declare a second event for a second trigger"
            )
        return self

    @property
    def tag(self) -> str | None:
        """The tag that is looked at; None: a timer, or what is counted."""
        return self.rising or self.falling or self.change or self.step


class Counted(Settings):
    """A totaliser: its growth since the event last reported becomes the quantity."""

    tag: Tag = Field(description="The totaliser: a number that only grows")
    max_step: Decimal = Field(
        gt=0, description="Largest growth between two readings that is believed, in the totaliser's own unit"
    )
    max_rate_per_s: Decimal | None = Field(
        default=None, gt=0, description="Fastest growth per second; allows for more than `max_step` after an outage"
    )
    modulus: Decimal | None = Field(
        default=None, gt=0, description="Where it starts again from 0: 65536 for 16 bit, 10000 for four digits"
    )
    dead_band: Decimal = Field(
        default=Decimal(0), ge=0, description="Lower by at most this is noise: the higher reading stays"
    )
    factor: Decimal = Field(default=Decimal(1), gt=0, description="Quantity per count: 0.001 for grams reported as kg")

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.dead_band >= self.max_step:
            raise ValueError(f"dead_band {self.dead_band} must be less than max_step {self.max_step}")
        if self.modulus is not None and self.max_step * 2 > self.modulus:
            raise ValueError(
                f"max_step {self.max_step} is more than half of modulus {self.modulus}: a rollover and a reset could "
                "not be told apart; write the largest growth that one reading can show"
            )
        return self


class Weighed(Settings):
    """A scale: net = gross - tare, believed while `stable` is true and net is at least `least`."""

    gross: Tag = Field(description="The weight on the scale")
    tare: Tag | None = Field(default=None, description="The weight of the container; none: gross is net already")
    stable: Tag = Field(description="True while the weight stands still")
    least: Decimal = Field(gt=0, description="Smallest net weight that is a load, in the scale's own unit")
    gone: Decimal | None = Field(
        default=None, description="At or below this net weight the load is gone; half of `least` if absent"
    )
    factor: Decimal = Field(default=Decimal(1), gt=0, description="Quantity per unit of the scale: 0.001 for g as kg")

    @model_validator(mode="after")
    def _gone_below_least(self) -> Self:
        if self.gone is not None and self.gone >= self.least:
            raise ValueError(f"gone {self.gone} must be less than least {self.least}")
        return self


class Handshake(Settings):
    """What is written back to the controller: `ack` after the event is on disk, `error` when it was refused."""

    ack: Tag = Field(description="Becomes true after the event is stored, false after the request has fallen")
    error: Tag | None = Field(
        default=None, description="Gets a code instead when the event was refused, 0 after the request has fallen"
    )


class TagEvent(Settings):
    """One event out of tags: what makes it, and what it carries."""

    name: Name = Field(description="Unique in the source, for ever: part of every event's id")
    topic: str = Field(
        min_length=1, max_length=500, pattern=r"^[^+#\x00-\x1f]+$", description="By this topic a mapping reads it"
    )
    when: When | None = Field(
        default=None, description="What makes the event; absent: each stable weighing of `weighed`"
    )
    fields: Mapping[JsonName, Tag] = Field(default={}, description="JSON field → tag: its value at that moment")
    counted: Mapping[JsonName, Counted] = Field(default={}, description="JSON field → totaliser")
    weighed: Mapping[JsonName, Weighed] = Field(default={}, description="JSON field → scale")
    constants: Mapping[JsonName, bool | str] = Field(default={}, description="JSON field → text, or true or false")
    closed_by: tuple[Tag, ...] = Field(
        default=(), description="A change of one of these tags reports what was counted before it, with those values"
    )
    handshake: Handshake | None = Field(default=None, description="What is written back; needs `when: {rising: TAG}`")
    wait_s: float = Field(
        default=5, ge=0, le=600, description="How long a made event waits for a tag that has no good value yet"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        wrong = list(_wrong(self))
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def reads(self) -> Iterator[tuple[str, str]]:
        """Every tag that the event looks at, with the key that names it."""
        if self.when is not None and self.when.tag is not None:
            yield "when", self.when.tag
        yield from ((f"fields.{name}", tag) for name, tag in self.fields.items())
        yield from ((f"counted.{name}", one.tag) for name, one in self.counted.items())
        for name, scale in self.weighed.items():
            yield f"weighed.{name}.gross", scale.gross
            yield f"weighed.{name}.stable", scale.stable
            if scale.tare is not None:
                yield f"weighed.{name}.tare", scale.tare
        yield from (("closed_by", tag) for tag in self.closed_by)

    def writes(self) -> Iterator[tuple[str, str]]:
        """Every tag that the handshake writes, with the key that names it."""
        if self.handshake is not None:
            yield "handshake.ack", self.handshake.ack
            if self.handshake.error is not None:
                yield "handshake.error", self.handshake.error


class LiveTag(Settings):
    """What a tag says about a work centre as it is now. It makes no event and is never on disk."""

    fact: LiveKind = Field(description="What it says")
    of: str = Field(
        min_length=1, max_length=100, description="The work centre; for line-side stock WORK CENTRE/MATERIAL"
    )
    tag: Tag = Field(description="The tag that says it")
    unit: str | None = Field(
        default=None,
        min_length=1,
        description="Unit of work in progress and line-side stock; `%` where OEE is told as 0 to 100, not 0 to 1",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        work_center, slash, material = self.of.partition("/")
        stock = self.fact is LiveKind.LINE_SIDE_STOCK
        if not work_center or bool(slash) is not stock or (stock and not material):
            wanted = "WORK CENTRE/MATERIAL, for example MIX-01/RM-RESIN" if stock else "a work centre, as MIX-01"
            raise ValueError(f"of: {self.of!r} does not fit {self.fact}; write {wanted}")
        if self.fact in COUNTED and self.unit is None:
            raise ValueError(f"unit is missing: {self.fact} of {self.of} is a quantity; write unit: KG, for example")
        if self.fact is LiveKind.OEE:
            if self.unit not in (None, *PERCENT):
                raise ValueError(
                    f"unit: OEE of {self.of} is told as 0 to 1, or 0 to 100 with unit: '%'; not {self.unit}"
                )
        elif self.fact not in COUNTED and self.unit is not None:
            raise ValueError(f"unit: {self.fact} of {self.of} is no quantity; leave it out")
        return self


class Tagged(Settings):
    """The part of a source's configuration that is the same under every source of tags."""

    tags: Mapping[Tag, str] = Field(default={}, description="Name → address, in the protocol's own words")
    tags_file: Path | None = Field(
        default=None, description="CSV with the columns `tag` and `address`: many of them, beside those under `tags`"
    )
    events: tuple[TagEvent, ...] = Field(default=(), description="Which events are made out of them")
    live: tuple[LiveTag, ...] = Field(default=(), description="What they say about the plant as it is now")

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        wrong = [*cross_check(self.tags, self.events), *_live_fits(self.tags, self.events, self.live)]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def refuse_addresses(wrong: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Tag → what is wrong with its address, each told where it is written. Raises ValidationError unless empty."""
    found = [
        InitErrorDetails(type=PydanticCustomError("address", "{why}", {"why": why}), loc=("tags", tag), input=tags[tag])
        for tag, why in list(wrong.items())[:MOST]
    ]
    if len(wrong) > MOST:
        why = f"{len(wrong) - MOST} more addresses cannot be read"
        found.append(
            InitErrorDetails(type=PydanticCustomError("address", "{why}", {"why": why}), loc=("tags",), input=0)
        )
    if found:
        raise ValidationError.from_exception_data("tags", found)


def cross_check(tags: Iterable[str], events: Iterable[TagEvent]) -> Iterator[str]:
    """What is wrong between the events and the tags, one sentence each."""
    known, all_events = set(tags), list(events)
    for name, times in Counter(event.name for event in all_events).items():
        if times > 1:
            yield f"event {name} is declared {times} times; the name is part of every id, so each needs its own"
    places: dict[str, list[str]] = {}  # by the tag that each names
    for event in all_events:
        for key, tag in (*event.reads(), *event.writes()):
            places.setdefault(tag, []).append(f"event {event.name}: {key}")
    for tag in (one for one in places if one not in known):
        more = f" (so do {len(places[tag]) - 1} more places)" if len(places[tag]) > 1 else ""
        yield f"{places[tag][0]} names {tag!r}, which is not under tags{more}; {did_you_mean(tag, list(known))}"
    read = {tag: event.name for event in all_events for _, tag in event.reads()}
    writers: dict[str, str] = {}
    for event in all_events:
        for key, tag in event.writes():
            if tag in read:
                yield f"event {event.name}: {key} writes {tag!r}, which event {read[tag]} reads; use a tag of its own"
            if tag in writers:
                yield f"event {event.name}: {key} writes {tag!r}, as event {writers[tag]} does; use a tag of its own"
            writers[tag] = event.name


def _live_fits(tags: Iterable[str], events: Iterable[TagEvent], live: Iterable[LiveTag]) -> Iterator[str]:
    """What is wrong between the live facts and the tags, one sentence each; who tells a fact twice is a crosscheck."""
    known, written = set(tags), {tag for event in events for _, tag in event.writes()}
    for one in live:
        if one.tag not in known:
            yield f"live: {one.fact} of {one.of} names {one.tag!r}, which is not under tags; " + did_you_mean(
                one.tag, list(known)
            )
        if one.tag in written:
            yield f"live: {one.fact} of {one.of} reads {one.tag!r}, which a handshake writes; use a tag of its own"


def _wrong(event: TagEvent) -> Iterator[str]:
    named = Counter([*event.fields, *event.counted, *event.weighed, *event.constants])
    for name, times in named.items():
        if times > 1:
            yield f"JSON field {name!r} is filled {times} times; give each its own name"
        if name in RESERVED:
            yield f"JSON field {name!r} is filled by the agent itself, as {', '.join(RESERVED)} are; name it otherwise"
    when = event.when
    if when is None and len(event.weighed) != 1:
        if event.handshake is not None:
            yield "handshake has no trigger; say which tag is the request: when: {rising: TAG}"
        else:
            yield "when is missing: say what makes the event, for example when: {rising: TAG}"
    elif event.handshake is not None and (when is None or when.rising is None):
        yield "handshake answers a request, so it needs when: {rising: TAG} with the tag of the request"
    if when is not None and when.counts is not None and not event.counted:
        yield "when.counts has nothing to count; name a totaliser under counted"
    if event.closed_by and not event.counted:
        yield "closed_by reports what was counted, and nothing is; name a totaliser under counted, or leave it out"
    if event.closed_by and event.weighed:
        yield "closed_by and weighed do not go together; declare one event for the totaliser and one for the scale"
