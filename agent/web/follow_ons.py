"""/v1/follow-ons: what may become of a lot that is kept from use, what each choice costs, and the choice."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import Depends
from pydantic import AwareDatetime, Field

from agent import follow_ons
from agent.access.callers import Identity
from agent.access.masking import veiled
from agent.access.tokens import Scope
from agent.app import Agent
from agent.errors import Conflict
from agent.people.approving import visible
from agent.people.veil import covered
from agent.web.bodies import Reasoned
from agent.web.looks import PostingId, Reader
from agent.web.models import Shown
from agent.web.requests import Acts, Key, TheAgent, act_of, committed, look, new_router
from agent.workflows.scrap import Scrap

router = new_router()
Reporter = Annotated[Identity, Depends(Acts(Scope.INGEST))]
Choice = Literal["scrap", "rework", "use_as_is"]


class FollowOns(Shown):
    """What may become of the lot."""

    posting: int
    material: str
    material_text: str
    storage_location: str
    order: str
    work_center: str
    since: AwareDatetime = Field(description="When it was to be kept from use")
    lot: str
    quantity: str | None = Field(description="A decimal string; null: its whole batch is in restricted use")
    left: str | None = Field(description="What nobody has decided about yet; null: of a whole batch nothing is decided")
    unit: str
    severity: str
    suggested: Choice = Field(description="What is usual for a defect as bad as this")
    costs: dict[Choice, str | None] = Field(
        description="Of each choice for what is left, a decimal string; null without a quantity"
    )
    currency: str
    decided: bool = Field(description="Somebody has chosen before")


class Lots(Shown):
    """Lots of which something is left to decide about."""

    items: list[FollowOns]


class Choose(Reasoned):
    """What shall become of it."""

    choice: Choice
    quantity: str | None = Field(
        default=None,
        pattern=r"^[0-9]{1,10}(\.[0-9]{1,6})?$",
        description="A decimal string in the unit of the posting; all that is left if absent",
    )


class Entered(Shown):
    """The choice is on disk; its draft waits for a signature."""

    report: str = Field(description="Its message id, for `/v1/trace`")
    by: str


@router.get("/v1/follow-ons", tags=["scrap"])
async def list_follow_ons(agent: TheAgent, caller: Reader) -> Lots:
    """Lots that are kept from use for a defect and of which something is left to decide about, the newest first."""
    if follow_ons.KIND not in agent.rules.assignments:
        return Lots(items=[])
    share = _workflow(agent).config.rework_share
    found = await look(agent, follow_ons.waiting)
    items = [follow_ons.shown(one, agent.rules.facts, share) for one in found if caller.sees(one.line)]
    return Lots.model_validate({"items": veiled(items, covered(agent.config, caller))})


@router.get("/v1/follow-ons/{id}", tags=["scrap"])
async def get_follow_ons(id: PostingId, agent: TheAgent, caller: Reader) -> FollowOns:
    """What may become of the lot that this posting keeps from use, with what each choice costs."""
    await look(agent, lambda connection: visible(connection, id, caller))
    one = await look(agent, lambda connection: follow_ons.kept(connection, id))
    found = follow_ons.shown(one, agent.rules.facts, _workflow(agent).config.rework_share)
    return FollowOns.model_validate(veiled(found, covered(agent.config, caller)))


@router.post("/v1/follow-ons/{id}", status_code=202, tags=["scrap"])
async def choose_follow_on(id: PostingId, asked: Choose, agent: TheAgent, caller: Reporter, key: Key = "") -> Entered:
    """Choose: a report of kind `follow_on`. What it posts waits for a signature."""
    await look(agent, lambda connection: visible(connection, id, caller))
    _workflow(agent)
    quantity = Decimal(asked.quantity) if asked.quantity is not None else None
    act = act_of(caller, asked, key)
    return Entered.model_validate(await committed(agent, follow_ons.enter(agent.desk, id, asked.choice, quantity, act)))


def _workflow(agent: Agent) -> Scrap:
    """Who decides about it. Raises Conflict where nobody does."""
    assigned = agent.rules.assignments.get(follow_ons.KIND)
    if assigned is None or not isinstance(assigned.workflow, Scrap):
        raise Conflict(f"no workflow reads reports of kind {follow_ons.KIND!r}: add it to the mapping of scrap")
    return assigned.workflow
