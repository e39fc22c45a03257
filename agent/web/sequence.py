"""GET /v1/sequence: in which order a work centre should make its open orders. It changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Final, Literal

from fastapi import Path, Query
from pydantic import AwareDatetime, Field

from agent.app import Agent
from agent.errors import NotFound
from agent.sequence.releasing import release_sequence, shown
from agent.web.looks import Reader
from agent.web.models import Shown
from agent.web.requests import TheAgent, new_router
from agent.workflows.constraints import Limits
from agent.workflows.order_release import Config, OrderRelease

LONGEST_S: Final = 5.0  # of a search
EFFORT: Final = 10_000  # sequences that are tried
PAUSE_S: Final = 0.002  # after every 64 of them: what decides events comes first

router = new_router()
WorkCenter = Annotated[str, Path(min_length=1, max_length=64, description="The work centre as the ERP calls it")]
Order = Annotated[str, Query(max_length=64, description="The order that it is at now; else what the ERP tells")]
Family = Annotated[str, Query(max_length=64, description="The set-up family that it is set up for now")]


class SequencedOrder(Shown):
    """One order in its place."""

    position: int
    position_erp: int = Field(description="Its place by the order of the ERP, as it is followed")
    order: str
    material: str
    begin: AwareDatetime
    end: AwareDatetime
    due: AwareDatetime | None
    late_minutes: int
    set_up_minutes: int = Field(description="Of the set-up before it")
    family: str = Field(description="What the work centre must be set up for")
    reasons: list[str] = Field(description="Why here, in words")


class LeftOut(Shown):
    """An order that cannot be planned."""

    order: str
    why: str


class SequenceFigures(Shown):
    """What a sequence costs."""

    weighted_lateness_minutes: int = Field(description="Of each order its weight times the minutes it is late")
    late: int
    due: int = Field(description="Orders that have a due date")
    set_ups: int
    set_up_minutes: int


class MachineState(Shown):
    """Whether the work centre can begin."""

    state: Literal["up", "down", "unknown"]
    begins: AwareDatetime = Field(description="Nothing begins before")
    running: str = Field(description="The order that it is at, which stays first; empty: nobody knows of one")
    oee: float = Field(description="By which its minutes are divided: as a tag tells it, else the master data")
    said: str = Field(description="In words where it does not run, or nobody knows; else empty")


class ReleaseSequence(Shown):
    """In which order a work centre should make its open orders."""

    work_center: str
    at: AwareDatetime
    machine: MachineState
    orders: list[SequencedOrder]
    left_out: list[LeftOut]
    here: SequenceFigures
    erp: SequenceFigures = Field(description="The same by the order of the ERP, as it is followed")
    whole_search: bool = Field(description="False: cut off by time, so another answer may differ")


@router.get("/v1/sequence/{work_center}", tags=["sequence"])
async def get_sequence(
    work_center: WorkCenter, agent: TheAgent, caller: Reader, set_up_for: Family = "", running: Order = ""
) -> ReleaseSequence:
    """In which order the work centre should make its open orders so that least is late, why, and what it gains."""
    facts, now = agent.rules.facts.seeing(agent.live()), agent.clock()
    place = facts.work_center(work_center)
    if place is not None and not caller.sees(place.line):
        raise NotFound(f"work centre {work_center!r} is not known")
    found = await asyncio.to_thread(
        release_sequence, facts, work_center, now, _limits(agent),
        running=running, set_up_for=set_up_for, effort=EFFORT, out_of_time=_gently(),
    )  # fmt: skip
    return ReleaseSequence.model_validate(shown(found))


def _limits(agent: Agent) -> Limits:
    """As order release judges facts; where it is not configured, by its defaults."""
    assigned = agent.rules.assignments.get(OrderRelease.name)
    workflow = assigned.workflow if assigned is not None else None
    return workflow.config.limits if isinstance(workflow, OrderRelease) else Config().limits


def _gently() -> Callable[[], bool]:
    """A pause now and then, for what decides events; and an end."""
    until = time.monotonic() + LONGEST_S

    def out_of_time() -> bool:
        time.sleep(PAUSE_S)
        return time.monotonic() > until

    return out_of_time
