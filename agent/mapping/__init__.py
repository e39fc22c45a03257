"""Topic and payload → ISA-95 report, by the files of ``edge_config/mappings``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Final

from agent.configuration.config import Node, parse, read_yaml
from agent.errors import BadPayload, ConfigError, Finding
from agent.isa95 import SegmentResponse
from agent.mapping.document import MappingFile
from agent.mapping.fields import UNSAFE, Levels, shown
from agent.mapping.report import Bind, Read, report_reader
from agent.mapping.topics import Pattern
from agent.ports import Event
from agent.strict import strictjson
from agent.units import UnitTable

__all__ = ["MappingFile", "Mappings", "load"]

ROUTES_KEPT: Final = 4096  # topics whose mapping is remembered; a plant has some hundred

_WILDCARD: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Mapping:
    """One file, ready to read."""

    kind: str
    source: str
    pattern: Pattern
    bind: Bind
    has_identity: bool
    has_order: bool
    place: Finding  # file and line of the topic, for what is wrong later


class Mappings:
    """All message kinds that the agent can read. `version` is the hash of the files, 12 hexadecimal digits."""

    def __init__(self, mappings: Sequence[Mapping], version: str) -> None:
        self.version = version
        self._mappings = tuple(mappings)
        self._by_length: dict[int, list[Mapping]] = {}
        for mapping in mappings:
            self._by_length.setdefault(len(mapping.pattern.levels), []).append(mapping)
        self._route: Callable[[str, str], Read] = lru_cache(ROUTES_KEPT)(self._find)

    def read(self, event: Event) -> SegmentResponse:
        """What the event reports. Raises BadPayload, naming field and value, and nothing else."""
        read = self._route(event.source, event.topic)
        return read(strictjson.read(event.payload), event.received_at)

    def kinds(self) -> frozenset[str]:
        """The message kinds that can be read."""
        return frozenset(mapping.kind for mapping in self._mappings)

    def filters(self, source: str) -> tuple[str, ...]:
        """The MQTT filters of all topics of this source that can be read."""
        return tuple(mapping.pattern.filter for mapping in self._mappings if mapping.source in ("", source))

    def identity_problems(self, kind: str | None = None) -> tuple[Finding, ...]:
        """Where messages (of this kind) have no identity: a repeat cannot be told from a second report."""
        return tuple(
            mapping.place for mapping in self._mappings if not mapping.has_identity and kind in (None, mapping.kind)
        )

    def without_order(self, kind: str) -> tuple[Finding, ...]:
        """Where messages of this kind name no order, or no operation of it."""
        return tuple(mapping.place for mapping in self._mappings if mapping.kind == kind and not mapping.has_order)

    def _find(self, source: str, topic: str) -> Read:
        levels = topic.split("/")
        for mapping in self._by_length.get(len(levels), ()):
            if mapping.source in ("", source) and (wildcards := mapping.pattern.match(levels)) is not None:
                return mapping.bind(_safe(wildcards))
        raise BadPayload(
            f"no mapping reads topic {shown(topic)} of source {source!r}; add one, or subscribe to less",
            reason="unmapped",
        )


def _safe(wildcards: dict[str, str]) -> Levels:
    for name, level in wildcards.items():
        if UNSAFE.search(level):
            raise BadPayload(
                f"{shown(level)} holds a character that could hide what it says", field=f"{{{name}}}", reason="bad_text"
            )
    return wildcards


def load(place: Path | Sequence[Path], units: UnitTable) -> Mappings:
    """The mappings of a folder, or of these files. Raises ConfigError with the findings of all files."""
    files = sorted(place.glob("*.yaml")) if isinstance(place, Path) else list(place)
    if not files:
        raise ConfigError([Finding(str(place), 1, "", "holds no mapping file (*.yaml); an example is in edge_config/")])
    findings = list(_other_names(place)) if isinstance(place, Path) else []
    mappings: list[Mapping] = []
    digest = hashlib.sha256()
    for file in files:
        try:
            mappings.append(_load_one(file, units))
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except ConfigError as error:
            findings += error.findings
    findings += _overlaps(mappings)
    if findings:
        raise ConfigError(findings)
    return Mappings(mappings, digest.hexdigest()[:12])


def _other_names(folder: Path) -> Iterator[Finding]:
    for file in sorted(folder.glob("*.yml")):
        yield Finding(str(file), 1, "", "would not be read; name it .yaml")


def _load_one(path: Path, units: UnitTable) -> Mapping:
    node = read_yaml(path)
    file = parse(node, MappingFile, {"units": units})
    unknown = list(_unknown_wildcards(node, set(file.topic.names.values())))
    if unknown:
        raise ConfigError(unknown)
    topic = node.get("topic") or node
    place = topic.finding("its messages have no identity: name message_id, or what makes them unique (unique_by)")
    has_identity, has_order = bool(file.message_id or file.unique_by), None not in (file.order, file.operation)
    return Mapping(file.kind, file.source, file.topic, report_reader(file, units), has_identity, has_order, place)


def _unknown_wildcards(node: Node, names: set[str]) -> Iterator[Finding]:
    """Values like ``{line}`` whose name is no wildcard of the topic."""
    for child in (*node.mapping.values(), *node.items):
        wildcard = _WILDCARD.fullmatch(child.text)
        name = wildcard[1] if wildcard else child.text if child.path.endswith(".wildcard") else ""
        if name and name not in names and not child.path.endswith((".const", ".default")):
            yield child.finding(f"is no wildcard of the topic, which has {', '.join(sorted(names)) or 'none'}")
        yield from _unknown_wildcards(child, names)


def _overlaps(mappings: Iterable[Mapping]) -> Iterator[Finding]:
    for one, two in combinations(mappings, 2):
        if one.pattern.overlaps(two.pattern) and (one.source == two.source or "" in (one.source, two.source)):
            other = f"{one.place.file}:{one.place.line}"
            message = f"a topic could fit this pattern and {one.pattern.text!r} in {other}; only one may read a message"
            yield Finding(two.place.file, two.place.line, "topic", message, two.pattern.text)
