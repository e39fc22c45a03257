"""The configuration: one YAML file → one frozen `Config`, or every error at once with its file and line.

This is the public face: readers of other YAML files (mappings, master data, model cards) take `read_yaml`, `parse`,
`Node` and `Settings` from here, plug-ins `Settings` and `Secret`.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, Field, InstanceOf

from agent.access.secrets import Secret, SecretPlaces
from agent.configuration.crosschecks import CHECKS, Wiring, live_without_identity
from agent.configuration.settings import Authority, Document, Source, Store, Target, Workflow
from agent.errors import ConfigError, Finding, NotFound
from agent.strict.schema import Settings, did_you_mean, parse, validate
from agent.strict.tagfile import is_broken, tag_files, with_tags
from agent.strict.yamltree import Node, read_yaml, scan_yaml

__all__ = [
    "Check",
    "Config",
    "Examined",
    "Node",
    "Resolver",
    "Secret",
    "SecretPlaces",
    "Settings",
    "did_you_mean",
    "examine",
    "live_without_identity",
    "load",
    "moved",
    "parse",
    "read_yaml",
    "resolver_of",
    "scan_yaml",
    "validate",
]

Resolver = Callable[[str, str], type[BaseModel]]  # ("sources", "mqtt") → its Config class; raises NotFound
Model = TypeVar("Model", bound=BaseModel)
Plugged = TypeVar("Plugged", Source, Target)

DATA_FOLDER = "GATEPOST_DATA"
PARTS = ("sources", "targets", "workflows")
READ_SUFFIXES = (".yaml", ".yml", ".csv", ".json", ".onnx", ".pub")


class Config(Document):
    """A whole configuration, checked. `version` is a short SHA-256 over every file that it is made of."""

    sources: tuple[Source, ...] = Field(description="Where events come from")
    targets: tuple[Target, ...] = Field(description="The ERPs to post to")
    workflows: Mapping[str, Workflow] = Field(description="Name → what reads one kind of message")
    file: Path = Field(description="Set by the agent: the file it was read from")
    version: str = Field(description="Set by the agent: 12 hexadecimal digits")
    tree: InstanceOf[Node] = Field(exclude=True, repr=False, description="Set by the agent: lines for further checks")

    def target(self, name: str) -> Target:
        """The target of this name. Raises NotFound."""
        for target in self.targets:
            if target.name == name:
                return target
        raise NotFound(
            f"there is no target {name!r} in {self.file}; {did_you_mean(name, [one.name for one in self.targets])}"
        )

    def authority_of(self, workflow: str) -> Authority:
        """What a workflow may do alone; what is not configured may only advise."""
        return self.authority.get(workflow, Authority())


Check = Callable[[Config], Iterable[Finding]]


@dataclass(slots=True)
class Examined:
    """A configuration as far as it can be read, with everything that is wrong with it."""

    findings: list[Finding]
    tree: Node | None = None
    config: Config | None = None
    wiring: Wiring | None = None  # the parts that could be read, also where no configuration came of them


def load(
    path: str | Path, resolver: Resolver, environ: Mapping[str, str] | None = None, checks: Sequence[Check] = ()
) -> Config:
    """The configuration of this file. Raises ConfigError with all findings at once.

    `checks` add what only mappings, master data and model cards can tell.
    """
    examined = examine(path, resolver, environ, checks)
    if examined.config is None or examined.findings:
        raise ConfigError(examined.findings)
    return examined.config


def examine(
    path: str | Path, resolver: Resolver, environ: Mapping[str, str] | None = None, checks: Sequence[Check] = ()
) -> Examined:
    """The same for `gatepost check`: findings as a list, and the configuration where one could be built."""
    environ = os.environ if environ is None else environ
    tree, findings = scan_yaml(path)
    if tree is None:
        return Examined(findings)
    tree = with_tags(tree, findings)
    reading = _Reading(tree, resolver, environ, findings)
    config = reading.config()
    if config is not None:
        findings.extend(finding for check in checks for finding in check(config))
    findings[:] = sorted(dict.fromkeys(findings), key=lambda finding: (finding.file, finding.line))
    return Examined(findings, tree, config, reading)


def resolver_of(tables: Mapping[str, Mapping[str, str]]) -> Resolver:
    """A resolver over the packages' tables: part → kind → ``module:class``.

    A plug-in is imported only when it is named; what its constructor takes as `config` is its model.
    """

    def resolve(part: str, kind: str) -> type[BaseModel]:
        table = tables.get(part, {})
        if kind not in table:
            raise NotFound(f"unknown kind; {did_you_mean(kind, list(table))}")
        module, _, name = table[kind].partition(":")
        plug_in = getattr(importlib.import_module(module), name)
        found: type[BaseModel] = get_type_hints(plug_in.__init__).get("config", Settings)
        return found

    return resolve


@dataclass(slots=True)
class _Reading:
    """One pass from the tree to a Config; holds the parts that could be read, for the checks between them."""

    tree: Node
    resolver: Resolver
    environ: Mapping[str, str]
    findings: list[Finding]
    sources: Sequence[Source] = ()
    targets: Sequence[Target] = ()
    workflows: Mapping[str, Workflow] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> Config | None:
        file, written = Path(self.tree.file), self.tree.get("secrets_dir")
        self.context = {"secrets": SecretPlaces.of(self.environ, file.parent / written.text if written else None)}
        document = self.valid(self.tree.pick(lambda key: key not in PARTS), Document, PARTS)
        self.sources = tuple(self.entries("sources", Source))
        self.targets = tuple(self.entries("targets", Target))
        self.workflows = dict(self.flows())
        for check in CHECKS:
            self.findings.extend(check(self))
        files = [*files_of(file, document), *(path for path in tag_files(self.tree) if path.is_file())]
        self.findings.extend(unfit(files))
        if document is None or self.findings:
            return None
        return Config(
            **{**dict(document), "store": moved(document.store, self.environ)},
            sources=self.sources,
            targets=self.targets,
            workflows=MappingProxyType(self.workflows),
            file=file,
            version=version_of(files),
            tree=self.tree,
        )

    def valid(self, node: Node, model: type[Model], also: Iterable[str] = ()) -> Model | None:
        return validate(node, model, self.findings, self.context, also)

    def entries(self, part: str, model: type[Plugged]) -> Iterator[Plugged]:
        """The entries of a list, each with its plug-in's own keys beside the common ones."""
        node = self.tree.get(part)
        if node is None or not node.items:
            self.findings.append(
                (node or self.tree).finding(f"{part}: name at least one, as a list of name and kind", "")
            )
            return
        common = set(model.model_fields) - {"settings"}
        for item in node.items:
            entry = self.valid(item.pick(common.__contains__) if item.mapping else item, model)
            kind = item.get("kind")
            plug = self.plug_in(part, kind.text, kind) if kind else None
            if plug is None:
                continue
            own: list[Finding] = []
            settings = validate(item.pick(_own(plug, common)), plug, own, self.context, common)
            if is_broken(item, self.findings):  # the cause alone: events that name what it lists would be wrong, too
                own = [one for one in own if one.path != item.path]
            self.findings += own
            if entry is not None and settings is not None:
                yield entry.model_copy(update={"settings": settings})

    def flows(self) -> Iterator[tuple[str, Workflow]]:
        """The workflows by name; the name stands for kind and mapping where they are not given."""
        node = self.tree.get("workflows")
        if node is None or not node.mapping:
            self.findings.append((node or self.tree).finding("workflows: name at least one, as a mapping", ""))
            return
        for name, item in node.mapping.items():
            flow = self.valid(item.pick(lambda key: key != "options") if item.mapping else item, Workflow, ("options",))
            kind = item.get("kind")
            plug = self.plug_in("workflows", kind.text if kind else name, kind or item)
            options = self.valid(item.get("options") or item.pick(lambda _: False), plug) if plug else None
            if flow is not None and options is not None:
                named = {"kind": flow.kind or name, "mapping": flow.mapping or name, "options": options}
                yield name, flow.model_copy(update=named)

    def plug_in(self, part: str, kind: str, node: Node) -> type[BaseModel] | None:
        """The plug-in's Config class; an unknown kind is a finding."""
        try:
            return self.resolver(part, kind)
        except NotFound as error:
            self.findings.append(node.finding(str(error), kind))
            return None


def _own(plug: type[BaseModel], common: Collection[str]) -> Callable[[str], bool]:
    """Which keys of an entry are the plug-in's."""
    return lambda key: key not in common or key in plug.model_fields


def moved(store: Store, environ: Mapping[str, str]) -> Store:
    """The store, in the folder of GATEPOST_DATA if that is set: where data lies is the machine's business."""
    folder = environ.get(DATA_FOLDER)
    return store.model_copy(update={"path": Path(folder) / store.path.name}) if folder else store


def files_of(file: Path, document: Document | None) -> list[Path]:
    """Every file that the configuration is made of, in a fixed order."""
    if document is None:
        return [file]
    folders = (document.mappings, document.masterdata, document.models, document.model_keys)
    levels = ("*", "*/*")  # a model has a folder of its own; deeper, a mistyped folder would read the whole disk
    below = [path for folder in folders for level in levels for path in sorted(folder.glob(level))]
    read = [file, document.units, *(path for path in below if path.suffix in READ_SUFFIXES)]
    read += [document.accounts.table] if document.accounts else []
    return [path for path in read if path.is_file()]


def version_of(files: Sequence[Path]) -> str:
    """12 hexadecimal digits of the SHA-256 over names and contents; the same files anywhere have the same version."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.parent.name}/{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def unfit(files: Iterable[Path]) -> Iterator[Finding]:
    """Files that any user of the machine could change although they decide what is posted, or that cannot be read."""
    for path in files:
        if path.stat().st_mode & stat.S_IWOTH:
            yield Finding(str(path), 1, "", "can be changed by everyone; chmod o-w")
        if not os.access(path, os.R_OK):
            yield Finding(str(path), 1, "", "cannot be read; check its permissions")
