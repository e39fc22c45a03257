"""/v1/counts and /v1/variance: what is worth counting, what was counted, and what orders took beside their bills."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from agent.access.callers import Identity
from agent.access.masking import veiled
from agent.access.signing import readable
from agent.access.tokens import Scope
from agent.balances import accounts, worth_counting
from agent.errors import Conflict
from agent.facts import Facts
from agent.people import counts
from agent.people.veil import covered
from agent.web.bodies import Name, Reasoned
from agent.web.looks import Reader
from agent.web.models import Shown
from agent.web.requests import Acts, Key, TheAgent, act_of, committed, everywhere, look, new_router


def _day(text: str) -> str:
    """Raises ValueError for what is no day of the calendar."""
    if text:
        try:
            date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text} is no day of the calendar; write 2026-11-20") from None
    return text


router = new_router()
Reporter = Annotated[Identity, Depends(Acts(Scope.INGEST))]
Costs = Annotated[float, Query(ge=0, le=1e9, description="What counting one place costs, in the plant's currency")]
Most = Annotated[int, Query(ge=1, le=1000, description="At most so many, the most valuable first")]
Order = Annotated[str, Query(max_length=64, description="Only this order")]

Day = Annotated[
    str,
    Query(
        pattern=r"^(\d{4}-\d{2}-\d{2})?$", description="Orders of this day, YYYY-MM-DD, as they stood when it was over"
    ),
    AfterValidator(_day),
]
Batch = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64), AfterValidator(readable)]


class WorthCounting(Shown):
    """One place of stock."""

    material: str
    storage_location: str
    batch: str
    unit: str
    in_books: float
    off: float = Field(description="By so much the books are probably off")
    value: float = Field(description="Of a count: that in money, less what counting costs")
    since: AwareDatetime = Field(description="Counted then, or first seen")
    counted: bool
    moved: float = Field(description="Since then")
    found: float = Field(description="Of what reconciliation found since then; below 0: the books have too much")


class Counts(Shown):
    """Places, the most valuable count first."""

    items: list[WorthCounting]


class Count(Reasoned):
    """What a person counted at one place."""

    material: Name
    storage_location: Name
    batch: Batch = Field(default="", description="Where the material is managed in batches")
    quantity: str = Field(pattern=r"^[0-9]{1,10}(\.[0-9]{1,6})?$", description="A decimal string")
    unit: Name = Field(description="As people call it, or its UN/ECE code")


class Entered(Shown):
    """The count is on disk; what it becomes is decided behind it."""

    report: str = Field(description="Its message id, for `/v1/trace`")
    by: str


class ComponentVariance(Shown):
    """One component of an order; quantities are decimal strings."""

    material: str
    unit: str
    expected: str
    used: str
    booked: str
    off: str
    money: str


class OrderVariance(Shown):
    """What one operation of an order took."""

    order: str
    operation: str
    day: str = Field(description="Empty: as it stands now")
    components: list[ComponentVariance]
    says: str = Field(description="The sentence that explains it")


class Variances(Shown):
    """Orders of a day, or under way."""

    items: list[OrderVariance]


@router.get("/v1/counts", tags=["reconciliation"])
async def list_counts(agent: TheAgent, caller: Reader, costs: Costs = 10.0, limit: Most = 20) -> Counts:
    """What is worth counting. Stock belongs to no line: who may see single lines only is told nothing."""
    facts, now = agent.rules.facts, agent.clock()
    found = [] if caller.lines else await look(agent, lambda at: worth_counting(at, facts, now, costs))
    return Counts.model_validate({"items": veiled(found[:limit], covered(agent.config, caller))})


@router.post("/v1/counts", status_code=202, tags=["reconciliation"])
async def enter_count(asked: Count, agent: TheAgent, caller: Reporter, key: Key = "") -> Entered:
    """Enter what was counted: a report of kind `stock_count`. Its difference to the books waits for a signature."""
    everywhere(caller)
    if counts.KIND not in agent.rules.assignments:
        raise Conflict(f"no workflow reads reports of kind {counts.KIND!r}: add it to the mapping of reconciliation")
    wanted = counts.Counted(asked.material, asked.storage_location, Decimal(asked.quantity), asked.unit, asked.batch)
    one, act = counts.checked(wanted, agent.rules.facts), act_of(caller, asked, key)
    return Entered.model_validate(await committed(agent, counts.enter(agent.desk, one, act)))


@router.get("/v1/variance", tags=["reconciliation"])
async def list_variance(agent: TheAgent, caller: Reader, order: Order = "", day: Day = "") -> Variances:
    """What orders took beside their bills of material, with the sentence that explains it; without a day those now."""
    facts = agent.rules.facts
    found = await look(agent, lambda at: accounts(at, facts, order=order, day=day))
    mine = [one for one in found if any(caller.sees(line) for line in lines_of(one, facts))]
    hidden = covered(agent.config, caller)
    materials = [part["material"] for one in mine for part in one["components"]]
    return Variances.model_validate({"items": veiled(mine, hidden, materials if hidden else ())})


def lines_of(one: Mapping[str, Any], facts: Facts) -> set[str]:
    """The lines at which an order is made; an unknown order is of none that has a name."""
    order = facts.orders.get(one["order"])
    centers = [facts.work_centers.get(step.work_center) for step in order.operations] if order else []
    return {center.line for center in centers if center is not None} or {""}


def sees(caller: Identity, finding: Mapping[str, Any], facts: Facts) -> bool:
    """Whether a finding is of a line of this caller; stock belongs to no line."""
    return not caller.lines or any(caller.sees(line) for line in lines_of(finding, facts))
