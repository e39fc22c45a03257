"""Reconciliation: a finding becomes the correction that a person signs, a count the difference in the ERP's stock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.errors import BadPayload
from agent.facts import Facts
from agent.isa95 import MaterialUse, SegmentResponse
from agent.ports import Proposal
from agent.scores import Features
from agent.workflows import corrections, stock_count

LEVEL, COUNT, FINDING = "stock_level", "stock_count", "reconciliation"
SIGNED: Final = "a correction of the books is signed by a person"
Cause = Literal["recording error", "unit error", "double report", "missing report"]


class Config(BaseModel):
    """Options of the workflow `reconciliation`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wait_minutes: float | None = Field(
        default=None, gt=0,
        description="A report, a count or a booking is told to be missing after so long; none: half as long again as "
        "the latest that came here lately, which is learnt (a day at first)",
    )  # fmt: skip
    without_person: tuple[Cause, ...] = Field(
        default=(),
        description="Causes of which the correction may be posted by itself where mode and limits of the workflow's "
        "authority let it; of all others each is approved by a person, whatever the mode says",
    )


class Reconciliation:
    """Reports of kind ``reconciliation`` (its own findings), ``stock_count`` and ``stock_level``."""

    name = "reconciliation"
    feature_names: tuple[str, ...] = ()

    def __init__(self, config: Config) -> None:
        self.config = config

    def state_keys(self, report: SegmentResponse) -> tuple[str, ...]:
        """None: what it follows is followed beside the loops."""
        return ()

    def features(self, report: SegmentResponse, facts: Facts) -> Features | None:
        """No model is asked."""
        return None

    def propose(
        self, report: SegmentResponse, facts: Facts, score: None, states: Sequence[Any]
    ) -> tuple[Proposal, Sequence[Any]]:
        """The correction, the count, or nothing where a level was only taken note of. Raises BadPayload."""
        if report.kind == COUNT:
            return stock_count.proposed(report, facts, SIGNED), states
        if report.kind == LEVEL:
            _require_level(report, facts)
            return Proposal((), reasons=("what lies there was taken note of",)), states
        return self._finding(report, facts), states

    def _finding(self, report: SegmentResponse, facts: Facts) -> Proposal:
        found = corrections.read(report, facts)
        drafts, why = corrections.drafts(found, facts)
        holds = () if found.cause in self.config.without_person else (SIGNED,)
        return Proposal(
            drafts,
            holds=(*holds, *why) if drafts else (),
            reasons=(f"{found.cause}: {found.evidence}", *(() if drafts else why)),
            subject=corrections.subject(found, facts),
            alarm=f"{found.cause} of {found.place_words}: {found.evidence}",
            said=corrections.said(found, drafts, facts),
            together=len(drafts) > 1,
        )


def _require_level(report: SegmentResponse, facts: Facts) -> None:
    """A level is of a known material, at a place, and no less than nothing. Raises BadPayload."""
    if not report.material_actuals:
        raise BadPayload("names no material", field="material_actuals", reason="missing")
    for one in report.material_actuals:
        stock_count.require_known(one, facts)
        if one.use is not MaterialUse.INVENTORIED:
            raise BadPayload(f"must be Inventoried, not {one.use.value}", field="use", reason="wrong_type")
