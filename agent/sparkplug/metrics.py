"""What births declare, and how a metric becomes changes of the tags that read it.

A birth names every metric with its type and, mostly, an alias; data then come by alias alone. What no tag reads is
known by name, so that it is recognised, and is never looked into.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from agent.errors import BadPayload
from agent.sparkplug.members import Member, has_members, members
from agent.sparkplug.payload import alias_of, name_of, reader_of, time_of, value_of
from agent.sparkplug.schema import DataType
from agent.tags.values import Change, Quality, Scalar, TagValue

Wanted = Mapping[str, tuple[str, ...]]
"""Metric, or member of one, by its whole name → the tags that read it."""
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclasses.dataclass(slots=True)
class Declared:
    """A metric of a node or device as its birth declares it."""

    name: str
    device: str
    datatype: int
    alias: int | None
    tags: tuple[str, ...] = ()
    inside: Wanted = dataclasses.field(default_factory=dict)  # suffix → tags, where it is more than one value
    types: dict[str, int] = dataclasses.field(default_factory=dict)  # suffix → type, as the birth says
    field: str = ""  # in which of the payload's fields its value came
    fields: tuple[str, ...] = ()  # in which it may come; none: it is more than one value, or of no use
    convert: Callable[[Any], Scalar] = str
    wanted: bool = False  # a tag reads it


class Refused(NamedTuple):
    """A metric that could not be read, and why; its tags have no good value."""

    metric: str
    error: BadPayload


class Found(NamedTuple):
    """What the metrics of one message say."""

    changes: list[Change]
    refused: list[Refused]
    unknown: list[str]  # names and aliases that no birth declared


@dataclasses.dataclass(slots=True)
class Table:
    """The metrics of one node and its devices, since the node's birth."""

    wanted: Mapping[str, Wanted]  # device → what tags read there
    _named: dict[str, dict[str, Declared]] = dataclasses.field(default_factory=dict)
    _aliases: dict[int, Declared | None] = dataclasses.field(
        default_factory=dict
    )  # None: two metrics claim it, so nobody has it

    def clear(self) -> None:
        """The node is born anew: its aliases may mean anything now."""
        self._named.clear()
        self._aliases.clear()

    def declare(self, device: str, metrics: Iterable[Any], at: datetime) -> Found:
        """A birth: what it declares from now on, and the values it carries."""
        self.forget(device)
        named = self._named[device] = {}
        wanted = self.wanted.get(device, _NOTHING)
        found = Found([], [], [])
        for metric in metrics:
            try:
                one = _declared(metric, device, wanted)
                clash = self._enter(one, named)
            except BadPayload as error:
                found.refused.append(Refused("", error))
                continue
            if clash:
                found.refused.append(Refused(one.name, BadPayload(clash, reason="bad_alias")))
            elif one.wanted:
                _read(metric, one, at, found)
        return found

    def read(self, device: str, metrics: Iterable[Any], at: datetime) -> Found:
        """Data: the values of declared metrics."""
        found = Found([], [], [])
        changes, aliases = found.changes, self._aliases
        for metric in metrics:
            alias = metric.alias
            one = aliases.get(alias) if alias and not metric.name else self._named_one(device, metric)
            if one is None or one.device != device:
                self._not_found(metric, found)
            elif not one.wanted:
                continue
            elif (now := _plain(metric, one, at)) is not None:
                for tag in one.tags:
                    changes.append(Change(tag, now))
            else:
                _read(metric, one, at, found)
        return found

    def _named_one(self, device: str, metric: Any) -> Declared | None:
        """A metric that comes by name, or by the alias 0; None where an alias comes along that is another's."""
        has_alias = metric.HasField("alias")
        if not metric.name:
            return self._aliases.get(0) if has_alias else None
        one = self._named.get(device, _NOTHING).get(metric.name)
        return one if not has_alias or self._aliases.get(metric.alias) is one else None

    def recall(self, device: str, metrics: Mapping[str, tuple[int | None, int]]) -> None:
        """What an earlier run knew (name → alias, type), until the births come."""
        wanted = self.wanted.get(device, _NOTHING)
        known = (_Declaration(name, device, datatype, alias) for name, (alias, datatype) in metrics.items())
        self._named[device] = {one.name: _known(one, wanted) for one in known}

    def has(self, device: str) -> bool:
        """Whether the device, or the node itself where it is empty, is born."""
        return device in self._named

    def find(self, device: str, metric: str) -> Declared | None:
        """The metric of this name, to be written to."""
        return self._named.get(device, _NOTHING).get(metric)

    def missing(self, device: str) -> list[str]:
        """The tags whose metric the birth of this device does not have."""
        named = self._named.get(device, _NOTHING)
        there = {tag for one in named.values() for tags in _present(one) for tag in tags}
        return [tag for tags in self.wanted.get(device, _NOTHING).values() for tag in tags if tag not in there]

    def read_ones(self) -> Iterator[Declared]:
        """The metrics that tags read."""
        return (one for named in self._named.values() for one in named.values() if one.wanted)

    def types(self) -> dict[tuple[str, str], int]:
        """Device and name → type of the metrics that tags read."""
        return {(one.device, one.name): one.datatype for one in self.read_ones()}

    def forget(self, device: str) -> None:
        """The device is dead: its aliases are free."""
        gone = self._named.pop(device, None) or {}
        for one in gone.values():
            if one.alias is not None and self._aliases.get(one.alias) is one:
                del self._aliases[one.alias]

    def _enter(self, one: Declared, named: dict[str, Declared]) -> str:
        """Note a metric; returns why its alias cannot be used."""
        named[one.name] = one
        if one.alias is None:
            return ""
        if one.alias not in self._aliases:
            self._aliases[one.alias] = one
            return ""
        other, self._aliases[one.alias] = self._aliases[one.alias], None
        return f"has alias {one.alias}, which {other.name if other else 'another metric'} has too"

    def _not_found(self, metric: Any, found: Found) -> None:
        try:
            name = name_of(metric)
        except BadPayload as error:
            found.refused.append(Refused("", error))
            return
        alias = alias_of(metric)
        owner = self._aliases.get(alias) if alias is not None else None
        if not name and alias is None:
            found.refused.append(Refused("", BadPayload("a metric has neither name nor alias", reason="bad_name")))
        elif name and owner is not None and owner.name != name:
            clash = BadPayload(f"{name} comes with alias {alias}, which is that of {owner.name}", reason="bad_alias")
            found.refused.append(Refused("", clash))
            found.unknown.append(f"alias {alias} for {name}")
        elif alias in self._aliases and not name and self._aliases[alias] is None:
            clash = BadPayload(f"alias {alias} belongs to two metrics of this birth", reason="bad_alias")
            found.refused.append(Refused("", clash))
        else:
            found.unknown.append(name or f"alias {alias}")


def wanted_of(tags: Mapping[str, Any]) -> dict[str, dict[str, dict[str, tuple[str, ...]]]]:
    """Tags by node, device and metric; `tags` are names with their `Address`."""
    sorted_out: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {}
    for tag, address in tags.items():
        metrics = sorted_out.setdefault(address.node, {}).setdefault(address.device, {})
        metrics[address.metric] = (*metrics.get(address.metric, ()), tag)
    return sorted_out


def _declared(metric: Any, device: str, wanted: Wanted) -> Declared:
    name = name_of(metric)
    if not name:
        raise BadPayload(f"a birth declares alias {alias_of(metric)} without a name", reason="bad_name")
    if not metric.HasField("datatype"):
        raise BadPayload(f"{name} is declared without a data type", field=name, reason="type_mismatch")
    one = _known(_Declaration(name, device, metric.datatype, alias_of(metric)), wanted)
    if one.wanted:
        one.field = metric.WhichOneof("value") or ""
    return one


class _Declaration(NamedTuple):
    name: str
    device: str
    datatype: int
    alias: int | None


def _known(said: _Declaration, wanted: Wanted) -> Declared:
    """A declaration with the tags that read the metric, or something inside of it."""
    one = Declared(*said, wanted.get(said.name, ()))
    if has_members(one.datatype):
        starts = (f"{one.name}/", f"{one.name}[")
        one.inside = {key.removeprefix(one.name): tags for key, tags in wanted.items() if key.startswith(starts)}
    one.wanted = bool(one.tags or one.inside)
    if one.tags and not one.inside and (reader := reader_of(one.datatype)):
        one.fields, one.convert = reader
    return one


def _plain(metric: Any, one: Declared, at: datetime) -> TagValue | None:
    """A good and current value of one simple metric, as nearly all are; None: it must be read with more care."""
    field = metric.WhichOneof("value")
    if field not in one.fields or metric.datatype or metric.is_null or metric.is_historical:
        return None
    if metric.HasField("properties"):
        return None
    stamp = metric.timestamp
    try:
        return TagValue(one.convert(getattr(metric, field)), Quality.GOOD, time_of(stamp) if stamp else at)
    except (ValueError, BadPayload):
        return None


def _read(metric: Any, one: Declared, at: datetime, found: Found) -> None:
    """The changes that a metric means; one that cannot be read makes its tags bad instead of leaving them as good."""
    historical = bool(metric.is_historical)
    try:
        if metric.HasField("datatype") and metric.datatype != one.datatype:
            raise BadPayload(
                f"comes as data type {metric.datatype}, its birth said {one.datatype}", reason="type_mismatch"
            )
        if one.tags:
            now = value_of(metric, one.datatype, at)
            found.changes.extend(Change(tag, now, historical) for tag in one.tags)
        if one.inside:
            said = _inside(metric, one, at)
            found.changes.extend(Change(tag, now, historical) for tag, now in said)
    except BadPayload as error:
        found.refused.append(Refused(one.name, error))
        if not historical:
            bad = TagValue(None, Quality.BAD, _when(metric, at))
            found.changes.extend(Change(tag, bad) for tags in _tags_of(one) for tag in tags)


def _inside(metric: Any, one: Declared, at: datetime) -> Sequence[tuple[str, TagValue]]:
    read: dict[str, Member] = {}
    for member in members(metric, one.datatype, one.types, at):
        read[member.suffix] = member
        one.types[member.suffix] = member.datatype
    said = [(tag, read[suffix].now) for suffix, tags in one.inside.items() if suffix in read for tag in tags]
    if one.datatype == DataType.TEMPLATE and not metric.is_null:
        return said  # data may carry some of the members only
    gone = TagValue(None, Quality.BAD, _when(metric, at))  # shorter than it was, or nothing at all
    return [*said, *((tag, gone) for suffix, tags in one.inside.items() if suffix not in read for tag in tags)]


def _tags_of(one: Declared) -> Iterator[tuple[str, ...]]:
    yield one.tags
    yield from one.inside.values()


def _present(one: Declared) -> Iterator[tuple[str, ...]]:
    """The tags that a birth has something for: a template says by its members which there are."""
    yield one.tags
    yield from (tags for key, tags in one.inside.items() if key in one.types or one.datatype != DataType.TEMPLATE)


def _when(metric: Any, at: datetime) -> datetime:
    try:
        return time_of(metric.timestamp) if metric.HasField("timestamp") else at
    except BadPayload:
        return at
