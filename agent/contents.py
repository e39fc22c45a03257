"""What the files beside the configuration say, checked against it: units, mappings, master data, models.

Everything that can be read is read, so that all findings come at once, also while the configuration itself has some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from agent import mapping, own_events
from agent.configuration.config import Config, Examined, Node, Settings, live_without_identity, parse
from agent.configuration.crosschecks import (
    ABOUT_OPERATIONS,
    Wiring,
    fresh_where_reported,
    live_facts,
    overlap,
    too_short_for_sources,
)
from agent.configuration.settings import Accounts, Document, Shortages
from agent.errors import ConfigError, Finding, GatepostError, ModelUnfit, NotFound
from agent.masterdata import accounts
from agent.masterdata import files as masterfiles
from agent.oversight.promotion import Shelf
from agent.scoring import registry
from agent.units import UnitsFile, UnitTable

T = TypeVar("T")


class Places(Settings):
    """Where the other files are."""

    mappings: Path = Document.model_fields["mappings"].default
    masterdata: Path = Document.model_fields["masterdata"].default
    units: Path = Document.model_fields["units"].default
    models: Path = Document.model_fields["models"].default
    model_keys: Path = Document.model_fields["model_keys"].default
    accounts: Accounts | None = None


def contents(examined: Examined) -> list[Finding]:
    """What is wrong in the other files of a configuration."""
    tree = examined.tree
    if tree is None:
        return []
    findings: list[Finding] = []
    places = _tried(findings, lambda: parse(tree.pick(Places.model_fields.__contains__), Places))
    if places is None:
        return []  # its own findings say so already
    table = _tried(findings, lambda: UnitTable.of(parse(places.units, UnitsFile)))
    if table is not None:
        files = _tried(findings, lambda: masterfiles.load(places.masterdata, table))
        if files is not None and examined.wiring is not None:
            work_centers = {record.fact.key for record in files.records if record.fact.kind == "work_center"}
            findings += fresh_where_reported(examined.wiring, work_centers)
            findings += _units_of_live(examined.wiring, table)
        findings += _units_of_limits(tree, table)
        read = _tried(findings, lambda: mapping.load(places.mappings, table))
        if read is not None and examined.wiring is not None:
            findings += wired(examined.wiring, read)
    if places.accounts is not None:
        table_of = places.accounts.table
        _tried(findings, lambda: accounts.read(table_of))
    if examined.config is not None:
        findings += too_short_for_sources(examined.config, examined.config.sources)
    return [*findings, *_models(tree, places), *_certificates(tree)]


def _units_of_live(wiring: Wiring, table: UnitTable) -> Iterator[Finding]:
    """Quantities of live facts are in units that the plant knows."""
    for one in live_facts(wiring):
        unit = one.get("unit")
        try:
            table.code(unit.text) if unit is not None else None
        except GatepostError as error:
            yield (unit or one).finding(str(error))


def _units_of_limits(tree: Node, table: UnitTable) -> Iterator[Finding]:
    """A limit in a unit that nobody knows would never hold anything."""
    rules = tree.get("authority")
    for rule in rules.mapping.values() if rules else ():
        written = rule.get("max_quantity")
        for unit, most in written.mapping.items() if written else ():
            try:
                table.code(unit)
            except GatepostError as error:
                yield most.finding(str(error), unit)


def wired(wiring: Wiring, read: mapping.Mappings) -> Iterator[Finding]:
    """Whether mappings and workflows fit each other, and what is posted live has an identity."""
    kinds = read.kinds()
    readers: dict[str, str] = {}
    for name, flow in wiring.workflows.items():
        node = wiring.tree.get("workflows", name, "mapping") or wiring.tree.get("workflows", name) or wiring.tree
        for kind in flow.mappings:
            if kind not in kinds and kind not in own_events.KINDS:
                yield node.finding(
                    f"no mapping reads messages of kind {kind!r}; there are {', '.join(sorted(kinds))}", ""
                )
            if (first := readers.setdefault(kind, name)) != name:
                yield node.finding(f"workflow {first!r} reads messages of kind {kind!r} already; one may", "")
            if flow.kind in ABOUT_OPERATIONS:
                for place in read.without_order(kind):
                    why = f"workflow {name!r} reads its messages, and they name no order or no operation: add both"
                    yield replace(place, message=why)
    used = set(readers)
    for kind in sorted(kinds - used):
        if wiring.workflows:
            yield (wiring.tree.get("workflows") or wiring.tree).finding(
                f"no workflow reads messages of kind {kind!r}, which a mapping makes; they would all be quarantined", ""
            )
    yield from _unread_topics(wiring, read)
    yield from live_without_identity(wiring, [kind for kind in kinds if read.identity_problems(kind)])


def _unread_topics(wiring: Wiring, read: mapping.Mappings) -> Iterator[Finding]:
    """Every topic filter lets something through that a mapping reads; a slip in it would quarantine all of it."""
    sources = wiring.tree.get("sources")
    for source in sources.items if sources else ():
        name, topics = source.get("name"), source.get("topics")
        known = read.filters(name.text if name else "")
        for topic in topics.items if topics else ():
            if topic.children is None and not any(overlap(topic.text, one) for one in known):
                yield topic.finding(
                    "no mapping reads a topic of this filter, all its messages would be quarantined;"
                    f" there are {', '.join(known) or 'none for this source'}"
                )


def identities(config: Config) -> Iterator[Finding]:
    """The part that the agent itself checks at its start; the rest shows when it reads its files."""
    try:
        table = UnitTable.of(parse(config.units, UnitsFile))
        yield from _units_of_limits(config.tree, table)
        yield from wired(config, mapping.load(config.mappings, table))
    except ConfigError as error:
        yield from error.findings


def _certificates(tree: Node) -> Iterator[Finding]:
    """What the API could not listen without; `cases` runs where they are not."""
    for name in ("cert", "key"):
        node = tree.get("api", "tls", name)
        if node is not None and node.text and not (Path(node.file).parent / node.text).is_file():
            yield node.finding("there is no such file")


def _models(tree: Node, places: Places) -> Iterator[Finding]:
    """The models that are named: signature, hashes, what they are fed with, graph and parity."""
    flows = tree.get("workflows")
    for name, flow in flows.mapping.items() if flows else ():
        model, kind = flow.get("model"), flow.get("kind")
        if model is None or not model.text:
            continue
        shelf = Shelf.of(places.models, places.model_keys, [(kind.text if kind else name, model.text)])
        yield from _unfit(model, shelf, model.text)
    looks = tree.get("accounts", "model")
    if looks is not None and looks.text:
        yield from _unfit(looks, Shelf.of(places.models, places.model_keys, (), accounts=looks.text), looks.text)
    shortages = tree.get("shortages")
    if shortages is not None and (settings := _tried([], lambda: parse(shortages, Shortages))) is not None:
        shelf = Shelf.of(places.models, places.model_keys, (), shortages=settings.model)
        yield from _unfit(shortages.get("model") or shortages, shelf, settings.model)


def _unfit(node: Node, shelf: Shelf, name: str) -> Iterator[Finding]:
    """Why the champion of the model that is named here cannot be loaded."""
    try:
        shelf.load(name, registry.aliases(shelf.models / name).champion).close()
    except (ModelUnfit, NotFound) as error:
        yield node.finding(str(error))


def _tried(findings: list[Finding], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except ConfigError as error:
        findings += error.findings
    except GatepostError as error:
        findings.append(Finding("", 1, "", str(error)))
    return None
