"""What a reload may not change while postings are open: where they go, and by what they are found again."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel

from agent.config import Config, Node
from agent.errors import Finding

# Deadlines, identities and certificates may change at any time; everything else of a target is what it is.
_HARMLESS = re.compile(
    r"(_s|_seconds|_file|_certificate|_cert|_key)$|^(auth|concurrency|language|lookup_reliable|read_back|waiting_codes)$"
)
_WHY = "cannot change while events or postings are open; drain them first (`gatepost status` shows them), then restart"


def refuse_while_open(old: Config, new: Config) -> list[Finding]:
    """The changes from `old` to `new` that are refused while rows are open, at their lines in the new file."""
    return [*_moved(old, new), *_targets(old, new), *_sources(old, new), *_workflows(old, new)]


def _moved(old: Config, new: Config) -> Iterator[Finding]:
    if old.store.path != new.store.path:
        yield _changed(new, "store.path", new.tree.get("store", "path"), str(old.store.path))
    if old.plant.site != new.plant.site:
        yield _changed(new, "plant.site", new.tree.get("plant", "site"), old.plant.site)


def _targets(old: Config, new: Config) -> Iterator[Finding]:
    now = {target.name: target for target in new.targets}
    for target in old.targets:
        node = _entry(new, "targets", target.name)
        if target.name not in now or now[target.name].kind != target.kind:
            yield _changed(new, f"targets {target.name}", node, target.kind)
            continue
        for field in _differing(target.settings, now[target.name].settings):
            yield _changed(new, f"targets {target.name}.{field}", node and (node.get(field) or node), "")


def _sources(old: Config, new: Config) -> Iterator[Finding]:
    """A source's name is part of the identity of its messages: under another name a redelivery would be new."""
    now = {source.name: source for source in new.sources}
    for source in old.sources:
        if source.name not in now or now[source.name].kind != source.kind:
            yield _changed(new, f"sources {source.name}", _entry(new, "sources", source.name), source.kind)


def _workflows(old: Config, new: Config) -> Iterator[Finding]:
    for name, flow in old.workflows.items():
        now = new.workflows.get(name)
        node = new.tree.get("workflows", name)
        for field in ("target", "kind", "mapping"):
            if now is None or getattr(now, field) != getattr(flow, field):
                yield _changed(
                    new, f"workflows.{name}.{field}", node and (node.get(field) or node), getattr(flow, field)
                )


def _differing(old: BaseModel, new: BaseModel) -> Iterator[str]:
    for field in type(old).model_fields:
        if not _HARMLESS.search(field) and getattr(old, field) != getattr(new, field, None):
            yield field


def _entry(config: Config, part: str, name: str) -> Node | None:
    """The entry of this name in a list of the file."""
    whole = config.tree.get(part)
    for node in whole.items if whole else ():
        written = node.get("name")
        if written is not None and written.text == name:
            return node
    return whole


def _changed(config: Config, path: str, node: Node | None, was: str) -> Finding:
    return Finding(str(config.file), (node or config.tree).line, path, _WHY, f"was {was}" if was else "")
