"""What a configuration may do and somebody should know: a sentence each, told by `gatepost check`, and no error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from agent.configuration.settings import Authority, AuthorityMode, PostingMode, Target, Workflow
from agent.ports import Kind

OWN: Final = ""  # the workflow's own target
GROUPS: Final[Mapping[str, tuple[tuple[tuple[str, Kind], ...], ...]]] = {
    # kind of workflow → what it decides as one: role and kind of each posting
    "order_release": (((OWN, Kind.ORDER_RELEASE), ("line", Kind.DISPATCH)),),
    "scrap": (((OWN, Kind.SCRAP), (OWN, Kind.DEFECT), (OWN, Kind.STOCK_TRANSFER)),),
    "reconciliation": (((OWN, Kind.COUNT_DOCUMENT), (OWN, Kind.COUNT_ENTRY), (OWN, Kind.COUNT_DIFFERENCE)),),
}
ROLES: Final[Mapping[str, tuple[tuple[str, Kind, str], ...]]] = {
    # kind of workflow → role, kind of posting, and what is missing where nobody takes it
    "order_release": (
        ("line", Kind.DISPATCH, "an order that is released goes to no line"),
        ("notify", Kind.NOTIFICATION, "nobody is told of orders that are blocked or at risk"),
    ),
    "scrap": (("notify", Kind.NOTIFICATION, "nobody is told of severe defects"),),
}


class Loaded(Protocol):
    """The parts of a configuration that are looked at."""

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """By name."""

    def target(self, name: str) -> Target:
        """By name."""

    def authority_of(self, workflow: str) -> Authority:
        """By the workflow's name."""


def cautions(config: Loaded, name: str) -> Iterator[str]:
    """About one workflow of a configuration that is right."""
    flow = config.workflows[name]
    for role, kind, missing in ROLES.get(flow.kind, ()):
        if role not in flow.targets:
            yield f"no target for role {role} under workflows.{name}.targets: {missing}"
        elif kind is Kind.NOTIFICATION and _mode(config, flow, role, kind) is PostingMode.OFF:
            yield f"{kind} is off at {flow.targets[role]}: {missing}"
    if config.authority_of(name).mode is not AuthorityMode.ADVISE:
        for group in GROUPS.get(flow.kind, ()):
            members = [(role, _booked(flow, kind)) for role, kind in group if role in (OWN, *flow.targets)]
            yield from _in_part(config, flow, members)


def _in_part(config: Loaded, flow: Workflow, group: list[tuple[str, Kind]]) -> Iterator[str]:
    """Where what is decided as one would happen in part."""
    modes = {(role, kind): _mode(config, flow, role, kind) for role, kind in group}
    if len(set(modes.values())) > 1:
        told = ", ".join(f"{kind} {mode} at {_target(flow, role)}" for (role, kind), mode in modes.items())
        yield f"what is decided as one would happen in part ({told}); give all of it the same mode"


def _booked(flow: Workflow, kind: Kind) -> Kind:
    """Scrap may be booked on the confirmation of its operation instead."""
    instead = kind is Kind.SCRAP and getattr(flow.options, "book", "") == "confirmation"
    return Kind.CONFIRMATION if instead else kind


def _mode(config: Loaded, flow: Workflow, role: str, kind: Kind) -> PostingMode:
    return config.target(_target(flow, role)).postings.mode(kind)


def _target(flow: Workflow, role: str) -> str:
    return flow.target if role == OWN else flow.targets[role]
