"""/v1/follow-ons: what may become of a lot that is kept from use, what each choice costs, and the choice."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import Depends, Request
from pydantic import AwareDatetime, Field, StringConstraints

from agent import follow_ons
from agent.access.callers import Identity
from agent.access.masking import veiled
from agent.access.rights import Action, why_not_this
from agent.access.tokens import Scope
from agent.app import Agent
from agent.people.approving import visible
from agent.people.choosing import Choosing, Signed, Wanted
from agent.people.signatures import Signer
from agent.people.veil import covered
from agent.web.bodies import Reason, Reasoned, Word
from agent.web.gateway import NO_ROLES, Gateway, Mac, Roles, Timestamp, opened, signatures
from agent.web.gateway import Reader as Asker
from agent.web.gateway_models import Asked, Comment, Filled, Given, Nonce, Sha256
from agent.web.gateway_models import Signer as Person
from agent.web.looks import PostingId, Reader
from agent.web.models import Shown
from agent.web.requests import Acts, Key, TheAgent, act_of, committed, look, new_router

router = new_router()
Reporter = Annotated[Identity, Depends(Acts(Scope.INGEST))]
Choice = Literal["scrap", "rework", "use_as_is"]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}(\.[0-9]{1,6})?$")]


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


class FollowOn(FollowOns):
    """One lot as a person decides about it."""

    shown_sha256: str = Field(description="SHA-256 of all other fields but `may`, as compact JSON with sorted keys")
    may: bool = Field(description="Whether somebody with the given `roles` may choose by a signature")


class Lots(Shown):
    """Lots of which something is left to decide about."""

    items: list[FollowOns]


class Choose(Reasoned):
    """What shall become of it."""

    choice: Choice
    quantity: Quantity | None = Field(
        default=None, description="A decimal string in the unit of the posting; all that is left if absent"
    )


class Challenge(Asked):
    """What somebody is about to choose."""

    choice: Choice
    quantity: Quantity | None = Field(default=None, description="Of all that is left if absent")
    session_user: Word = Field(description="Who is logged on to the session; empty: nobody")
    shown_sha256: Sha256 = Field(description="The `shown_sha256` that was shown")


class SignedChoice(Challenge):
    """What somebody signed."""

    nonce: Nonce
    meaning: Reason = Field(description="What the signature means, in the words that the signer read")
    reason: Reason = Field(description="Why, in the signer's words")
    comment: Comment = Field(default="", description="What else they said")
    signer: Person
    gateway: Filled = Field(description="The name of the gateway")
    signed_at: Filled = Field(description="When they signed, by the gateway's clock, ISO 8601")


class Entered(Shown):
    """The choice is on disk; its draft waits for a signature."""

    report: str = Field(description="Its message id, for `/v1/trace`")
    by: str


class Chosen(Entered):
    """The choice that was signed is on disk."""

    message: str = Field(description="For people: what is now true")


@router.get("/v1/follow-ons", tags=["scrap"])
async def list_follow_ons(agent: TheAgent, caller: Reader) -> Lots:
    """Lots that are kept from use for a defect and of which something is left to decide about, the newest first."""
    items = await look(agent, lambda connection: follow_ons.listed(connection, agent.rules, caller))
    return Lots.model_validate({"items": veiled(items, covered(agent.config, caller))})


@router.get("/v1/follow-ons/{id}", tags=["scrap"])
async def get_follow_ons(id: PostingId, agent: TheAgent, caller: Asker, roles: Roles = NO_ROLES) -> FollowOn:
    """What may become of the lot that this posting keeps from use, with what each choice costs."""
    posting = await look(agent, lambda connection: visible(connection, id, caller))
    one = await look(agent, lambda connection: follow_ons.kept(connection, id))
    door = choosing(agent)
    content, digest = door.shown(one, covered(agent.config, caller, roles))
    may = not why_not_this(door.door.rights, caller.roles or roles, Action.APPROVE, posting)
    return FollowOn.model_validate({**content, "shown_sha256": digest, "may": may})


@router.post("/v1/follow-ons/{id}", status_code=202, tags=["scrap"])
async def choose_follow_on(id: PostingId, asked: Choose, agent: TheAgent, caller: Reporter, key: Key = "") -> Entered:
    """Choose: a report of kind `follow_on`. What it posts waits for a signature."""
    await look(agent, lambda connection: visible(connection, id, caller))
    follow_ons.workflow_of(agent.rules)
    quantity = Decimal(asked.quantity) if asked.quantity is not None else None
    act = act_of(caller, asked, key)
    return Entered.model_validate(await committed(agent, follow_ons.enter(agent.desk, id, asked.choice, quantity, act)))


@router.post("/v1/follow-ons/{id}/challenge", tags=["gateway"])
async def challenge_choice(id: PostingId, asked: Challenge, agent: TheAgent, caller: Gateway) -> Given:
    """A nonce for one choice: good once, for five minutes, for this lot as it was shown."""
    wanted = Wanted(id, asked.choice, asked.quantity, asked.shown_sha256, asked.session_user)
    return Given.model_validate(await choosing(agent).challenge(wanted, caller))


@router.post("/v1/follow-ons/{id}/sign", tags=["gateway"])
async def sign_choice(
    id: PostingId,
    asked: SignedChoice,
    request: Request,
    agent: TheAgent,
    caller: Gateway,
    timestamp: Timestamp = "",
    signature: Mac = "",
) -> Chosen:
    """Choose as a person signed it: a report of kind `follow_on`, whose draft waits for a signature of its own."""
    signed = _words(id, asked)
    door = choosing(agent)
    await opened(agent, request, caller, timestamp, signature, id, asked.nonce, door.refusal(signed))
    return Chosen.model_validate(await door.sign(signed, caller))


def _words(id: int, asked: SignedChoice) -> Signed:
    signer = Signer(asked.signer.user, asked.signer.full_name, tuple(asked.signer.roles), asked.signer.idp)
    wanted = Wanted(id, asked.choice, asked.quantity, asked.shown_sha256, asked.session_user)
    return Signed(
        wanted, asked.nonce, asked.meaning, asked.reason, asked.comment, signer, asked.gateway, asked.signed_at
    )


def choosing(agent: Agent) -> Choosing:
    """The door for choices as the configuration has it now. Raises Conflict where nobody reads them."""
    return Choosing(signatures(agent), follow_ons.workflow_of(agent.rules).config.rework_share)
