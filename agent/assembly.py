"""Configuration → the objects that decide: units, mappings, facts, workflows, models, targets, sources."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast
from zoneinfo import ZoneInfo

import apsw

from agent import authority, mapping
from agent.configuration.config import Config, Resolver, parse, resolver_of
from agent.configuration.settings import PostingMode
from agent.durable import replace_durably
from agent.erp import TARGETS
from agent.errors import ModelUnfit, NotFound
from agent.facts import Facts, Plant
from agent.features import posting_classification
from agent.judging.rules import OWN, Assignment, Door, Rules, SecondLook
from agent.judging.rules import Model as Scores
from agent.masterdata import accounts
from agent.masterdata import files as masterfiles
from agent.masterdata.documents import from_document
from agent.masterdata.entities import Fact
from agent.oversight.promotion import Shelf, kind_for
from agent.ports import Classifies, Clock, CountsOnPostings, ErpTarget, Source, Surroundings, TakesAShare
from agent.scoring import registry
from agent.scoring.inference import PATIENCE_S, Absent, Model
from agent.sources import SOURCES
from agent.store import masterdata
from agent.units import UnitsFile, UnitTable
from agent.workflows import WORKFLOWS

TABLES: Mapping[str, Mapping[str, str]] = {"sources": SOURCES, "targets": TARGETS, "workflows": WORKFLOWS}


def resolver() -> Resolver:
    """Which Config class a plug-in of this kind takes; the plug-in is imported only when it is named."""
    return resolver_of(TABLES)


def units(config: Config) -> UnitTable:
    """The unit table. Raises ConfigError."""
    return UnitTable.of(parse(config.units, UnitsFile))


def facts(config: Config, table: UnitTable, clock: Clock, connection: apsw.Connection | None = None) -> Facts:
    """Master data of the files that count today, and what the ERP said last. Raises ConfigError."""
    plant = Plant(config.plant.site, ZoneInfo(config.plant.time_zone), config.plant.currency)
    files = masterfiles.load(config.masterdata, table)
    accounted = accounts.read(config.accounts.table) if config.accounts else None
    snapshot = Facts(plant, table, accounts=accounted).with_facts(files.facts(plant.day(clock())))
    return snapshot if connection is None else snapshot.with_facts(learnt(connection))


def learnt(connection: apsw.Connection) -> list[Fact]:
    """What the ERP said last: orders, components, stock."""
    return [from_document(kind, content) for kind, _, content in masterdata.current(connection, "erp")]


def documents(config: Config, table: UnitTable, clock: Clock) -> list[masterdata.Document]:
    """The master data of the files as the store keeps their versions. Raises ConfigError."""
    today = clock().astimezone(ZoneInfo(config.plant.time_zone)).date()
    return masterfiles.load(config.masterdata, table).documents(today)


def rules(
    config: Config,
    known: Facts,
    targets: Mapping[str, ErpTarget],
    may_be_absent: Collection[str] = (),
    *,
    sampling_key: bytes = b"",
) -> Rules:
    """Everything that decides, as one version. Raises ConfigError, ModelUnfit.

    `may_be_absent` are the models without which it goes on where they do not fit: what asks them is held.
    `sampling_key` is the secret of the store, by which the audit sample is drawn.
    """
    assignments: dict[str, Assignment] = {}
    for name, flow in config.workflows.items():
        limits = config.authority_of(name)
        named = {OWN: flow.target, **flow.targets}
        doors = {role: Door(targets[name], _modes(config, name)) for role, name in named.items()}
        rule = authority.Rule.of(
            limits,
            config.posting_date,
            model=flow.model or "",
            version=config.version,
            currency=config.plant.currency,
            units=known.units,
            sampling_key=sampling_key,
        )
        workflow = _plug_in("workflows", flow.kind)(flow.options)
        model: Scores | None = None
        if flow.model:
            takes = _Takes(workflow.feature_names, kind_for(workflow), float(limits.min_confidence))
            model = _champion(config, flow.model, takes, may_be_absent)
        shares = workflow if isinstance(workflow, TakesAShare) else None
        classifies = workflow if isinstance(workflow, Classifies) else None
        one = Assignment(workflow, doors, rule, model, classifies, frozenset(config.sensitive), shares)
        hears = (workflow.hears,) if isinstance(workflow, CountsOnPostings) else ()
        assignments |= dict.fromkeys((*flow.mappings, *hears), one)
    mappings = mapping.load(config.mappings, known.units)
    patience = timedelta(hours=config.quarantine.unknown_hours)
    second: SecondLook | None = None
    if config.accounts and config.accounts.model:
        looks, takes = config.accounts.model, _Takes(posting_classification.NAMES, "classes", 0.0)
        second = SecondLook(looks, _champion(config, looks, takes, may_be_absent))
    return Rules(config.version, mappings, known, MappingProxyType(assignments), patience, second)


def _modes(config: Config, target: str) -> Mapping[str, str]:
    """What becomes of each kind of posting at this target."""
    written = dict(config.target(target).postings).items()
    return MappingProxyType({kind: PostingMode(mode).value for kind, mode in written})


class _Takes(NamedTuple):
    """What a model is fed with and asked for, and below which confidence it tells reasons."""

    features: Sequence[str]
    kind: str
    explain_below: float


def _champion(config: Config, name: str, takes: _Takes, may_be_absent: Collection[str]) -> Scores:
    """The version that decides, after every check, else what refuses all if it `may_be_absent`. Raises ModelUnfit."""
    try:
        version, keys = registry.champion(config.models / name), registry.trusted(config.model_keys)
        return Model.load(version, keys, takes.features, kind=takes.kind, explain_below=takes.explain_below)
    except ModelUnfit as error:
        if name not in may_be_absent:
            raise
        return Absent(name, error)


def shelf(config: Config) -> Shelf:
    """The models of this configuration, and what they are fed with."""
    flows = ((flow.kind, flow.model) for flow in config.workflows.values())
    return Shelf.of(
        config.models, config.model_keys, flows,
        accounts=config.accounts.model if config.accounts else None,
        shortages=config.shortages.model if config.shortages else None,
    )  # fmt: skip


def forecaster(config: Config) -> Model:
    """The version that forecasts shortages, after every check. Raises ModelUnfit."""
    assert config.shortages is not None  # noqa: S101  # asked where it is configured
    name = config.shortages.model
    try:
        version = registry.aliases(config.models / name).champion
        return shelf(config).load(name, version, deadline_s=PATIENCE_S)  # nobody waits for it
    except NotFound as error:
        raise ModelUnfit(str(error)) from None


def surroundings(config: Config, clock: Clock, targets: Mapping[str, ErpTarget]) -> Surroundings:
    """What the app lends its plug-ins; small things are kept in a folder beside the store."""
    folder = config.store.path.parent / "kept"
    return Surroundings(
        clock=clock,
        plant=config.plant.site,
        zone=ZoneInfo(config.plant.time_zone),
        keep=lambda name, content: _keep(folder, name, content),
        kept=lambda name: _kept(folder, name),
        targets=targets,
        data=config.store.path.parent,
    )


def targets(config: Config, clock: Clock) -> dict[str, ErpTarget]:
    """The targets, cold."""
    around = surroundings(config, clock, {})
    return {
        one.name: cast("ErpTarget", _plug_in("targets", one.kind).of(one.settings, around)) for one in config.targets
    }


def sources(config: Config, clock: Clock, made: Mapping[str, ErpTarget]) -> list[Source]:
    """The sources, cold."""
    around = surroundings(config, clock, made)
    return [cast("Source", _plug_in("sources", one.kind).of(one.settings, around)) for one in config.sources]


def _plug_in(part: str, kind: str) -> Any:
    module, _, name = TABLES[part][kind].partition(":")
    return getattr(importlib.import_module(module), name)


def _keep(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    replace_durably(folder / name.replace("/", "_"), content)


def _kept(folder: Path, name: str) -> bytes | None:
    path = folder / name.replace("/", "_")
    return path.read_bytes() if path.exists() else None
