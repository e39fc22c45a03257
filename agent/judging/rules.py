"""What decides, built once per configuration: models, doors, workflows at work, and all of it in one version."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, NamedTuple, Protocol

from agent import authority
from agent.errors import ModelUnfit
from agent.facts import Facts
from agent.isa95 import SegmentResponse
from agent.mapping import Mappings
from agent.masterdata.accounts import LEAST
from agent.ports import Classifies, ErpTarget, Kind, Prepares, TakesAShare, Workflow
from agent.scores import Classified, Features, Score

DRIFTED: Final = 0.5  # in place of LEAST while what the model of the accounts is asked has drifted
OWN: Final = ""  # the role of a draft that goes to the workflow's own target
_OFF: Final = "off"
log = logging.getLogger("gatepost.judge")


class Model(Protocol):
    """What scores one workflow's features."""

    name: str
    digest: str  # SHA-256 of its file; empty: there is none
    unfit: str  # why no version of it fits, and every answer is a refusal; empty: one fits

    def score(self, rows: Sequence[Features]) -> Sequence[Score | ModelUnfit]:
        """One answer per row; ModelUnfit where the row or the output is outside of what the card allows."""

    def classify(self, rows: Sequence[Features]) -> Sequence[Classified | ModelUnfit]:
        """The same of a model that tells classes."""

    def row(self, values: Mapping[str, float | str | None]) -> Features:
        """The row of these raw inputs."""

    def unknown(self, values: Mapping[str, float | str | None]) -> Mapping[str, str]:
        """Category → its value, which has no place in the row."""

    def why(self, answer: Classified) -> tuple[str, ...]:
        """What speaks for the likeliest class of this answer."""


class Door(NamedTuple):
    """Where postings of one role go."""

    target: ErpTarget
    modes: Mapping[str, str]  # posting kind → off | dry-run | live

    def takes(self, kind: Kind) -> bool:
        """Whether this kind of posting is written there at all."""
        return self.modes.get(kind, _OFF) != _OFF


@dataclass(frozen=True, slots=True)
class Assignment:
    """One workflow at work: where it posts, what it may do, and who scores for it."""

    workflow: Workflow
    doors: Mapping[str, Door]  # role → where its drafts go; `OWN` always, another only where somebody is configured
    rule: authority.Rule
    model: Model | None = None
    classifies: Classifies | None = None  # the workflow, where it is one: its model is asked as it proposes
    sensitive: frozenset[str] = frozenset()  # fields that no model looks at
    shares: TakesAShare | None = None  # the workflow, where it may take a part of what is reported

    @property
    def target(self) -> ErpTarget:
        """The workflow's own."""
        return self.doors[OWN].target


@dataclass(frozen=True, slots=True)
class SecondLook:
    """The model that looks over the table of accounts, and below which probability of its account it doubts it."""

    name: str  # as the configuration calls it
    model: Model
    least: float = LEAST

    @property
    def raised_from(self) -> float | None:
        """The usual limit, while a drift has raised it."""
        return LEAST if self.least > LEAST else None

    def asking(self, *, drifted: bool) -> SecondLook:
        """The same, doubting sooner where what it is asked has drifted."""
        return replace(self, least=DRIFTED if drifted else LEAST)


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that decides, in one version; swapped as a whole between two batches."""

    version: str
    mappings: Mappings
    facts: Facts
    assignments: Mapping[str, Assignment]  # kind of report → workflow
    patience: timedelta  # how long after its arrival a report is read again when what it names becomes known
    second_look: SecondLook | None = None  # at the accounts; None: the table alone decides them

    def whose(self, report: SegmentResponse) -> Assignment | None:
        """Who decides about it: whoever reads its kind, else who takes what that one leaves to others; None: nobody."""
        own = self.assignments.get(report.kind)
        if own is None or own.shares is None or own.shares.takes(report):
            return own
        others = (one for one in self.assignments.values() if one.shares is not None and one.shares.takes(report))
        return next(others, None)

    def prepare(self) -> None:
        """What workflows work out of the master data, before the first report that needs it."""
        for one in self.assignments.values():
            if isinstance(one.workflow, Prepares):
                try:
                    one.workflow.prepare(self.facts)
                except Exception:  # what some entry holds is told to who asks about it, and ends nothing
                    log.exception("workflow %s could not work out of the master data what it needs", one.workflow.name)

    @property
    def four_eyes(self) -> frozenset[str]:
        """The workflows whose postings two people must approve."""
        return frozenset(one.workflow.name for one in self.assignments.values() if one.rule.four_eyes)

    @property
    def models(self) -> Mapping[str, Model]:
        """What scores, by the name that workflows ask for."""
        found = {one.rule.model: one.model for one in self.assignments.values() if one.model is not None}
        return found | ({self.second_look.name: self.second_look.model} if self.second_look else {})
