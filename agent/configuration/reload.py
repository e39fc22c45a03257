"""What may not change while events or postings are open, and what only a restart can change.

Where postings go and by what they are found again is kept in the store at each start (`fixed`), so that neither a
reload nor a restart with another configuration can send an open posting elsewhere, or look for it by another stamp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from agent.configuration.config import Config, Node
from agent.errors import Finding

# Deadlines, identities and certificates may change at any time; everything else of a target is what it is.
_HARMLESS = re.compile(
    r"(_s|_seconds|_file|_certificate|_cert|_key)$|^(auth|concurrency|language|lookup_reliable|read_back|waiting_codes)$"
)
_OPEN = "cannot change while events or postings are open; drain them first (`gatepost status` shows them), then restart"
_RESTART = "is read at a start only: restart the agent, nothing is lost by that, or take the change back"


def fixed(config: Config) -> dict[str, str]:
    """Path → value of everything that open rows rest on. Secrets are not among them."""
    found = {"plant.site": config.plant.site}
    for target in config.targets:
        found[f"targets {target.name}"] = target.kind
        for field in getattr(target.settings, "fixed_fields", type(target.settings).model_fields):
            if not _HARMLESS.search(field):
                found[f"targets {target.name}.{field}"] = str(getattr(target.settings, field))
    for source in config.sources:  # the name is part of the identity of messages: a redelivery would be new
        found[f"sources {source.name}"] = source.kind
    for name, flow in config.workflows.items():
        found |= {f"workflows.{name}.{field}": getattr(flow, field) for field in ("target", "kind")}
        found[f"workflows.{name}.mapping"] = ", ".join(flow.mappings)  # as it comes back from the store
    return found


def refuse_while_open(was: Mapping[str, str], new: Config) -> list[Finding]:
    """What `new` changes of `was` (see `fixed`), at the lines of the new file; what is only added is welcome."""
    now = fixed(new)
    return [
        _finding(new, path, _OPEN, f"was {value}" if value else "")
        for path, value in was.items()
        if now.get(path) != value
    ]


def needs_restart(old: Config, new: Config) -> list[Finding]:
    """The changes that a reload cannot take, because connections, listeners and the store are made at the start."""
    return [_finding(new, path, _RESTART, "") for path in _restarting(old, new)]


def _restarting(old: Config, new: Config) -> Iterator[str]:
    for part in ("plant", "store", "opcua_server", "sparkplug_node", "management", "audit", "log"):
        if getattr(old, part) != getattr(new, part):
            yield part
    if (old.api is None) != (new.api is None) or (
        old.api and new.api and (old.api.address, old.api.tls) != (new.api.address, new.api.tls)
    ):
        yield "api"
    for part in ("sources", "targets"):
        before = {one.name: one for one in getattr(old, part)}
        after = {one.name: one for one in getattr(new, part)}
        for name in before.keys() | after.keys():
            one, other = before.get(name), after.get(name)
            if one is None or other is None or _connection(one) != _connection(other):
                yield f"{part} {name}"


def _connection(entry: object) -> object:
    """All of a source or target but what may be posted there: that is asked at every claim."""
    return {name: value for name, value in vars(entry).items() if name != "postings"}


def _finding(config: Config, path: str, why: str, value: str) -> Finding:
    return Finding(str(config.file), (_place(config, path) or config.tree).line, path, why, value)


def _place(config: Config, path: str) -> Node | None:
    """The node of ``targets s4.url``, ``workflows.consumption.target`` or ``plant.site``, or the nearest above it."""
    whole, _, rest = path.partition(" ")
    node: Node | None = config.tree
    keys = whole.split(".")
    if rest:
        name, _, field = rest.partition(".")
        node = _entry(config, whole, name)
        keys = [field] if field else []
    for key in keys:
        node = (node.get(key) or node) if node else None
    return node


def _entry(config: Config, part: str, name: str) -> Node | None:
    """The entry of this name in a list of the file."""
    whole = config.tree.get(part)
    for node in whole.items if whole else ():
        written = node.get("name")
        if written is not None and written.text == name:
            return node
    return whole
