"""POST /v1/feasibility/check: whether an order can be made, answered in line; and decisions by their id."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Final, Literal
from uuid import uuid4

import apsw
from fastapi import Depends, Path, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from agent import own_events
from agent.access.callers import Identity
from agent.access.tokens import Scope
from agent.app import Agent
from agent.errors import Conflict, NotFound, StoreError
from agent.facts import Facts
from agent.isa95 import SegmentResponse
from agent.judging.judgement import Verdict
from agent.ports import Batch
from agent.store import decisions, inbox
from agent.web.answers import Refused
from agent.web.bodies import Name
from agent.web.models import Shown
from agent.web.probes import unready
from agent.web.requests import Key, Needs, TheAgent, look, new_router

router = new_router()
Asker = Annotated[Identity, Depends(Needs(Scope.INGEST))]
Reader = Annotated[Identity, Depends(Needs(Scope.READ, Scope.INGEST))]
KIND: Final = "order_release"
ANSWER_S: Final = 2.0  # how long a request waits for its decision before it is told where to ask
UNDECIDED: Final = "UNDECIDED"


class Check(BaseModel):
    """What is asked."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "order_id": "PROD-100234", "material": "VALVE-ASSY-55", "quantity": 500,
                    "required_work_center": "WC-ASSY-05", "required_skill": "TORQUE_CERT",
                    "due_date": "2024-06-15T18:00:00Z",
                }
            ]
        },
    )  # fmt: skip

    order_id: Name
    material: Name
    quantity: Decimal = Field(gt=0, lt=Decimal(10) ** 10, max_digits=13, decimal_places=3)
    required_work_center: Name
    required_skill: Annotated[str, Field(max_length=128)] = ""
    due_date: AwareDatetime


class Constraint(Shown):
    """One thing that stands in the way, with its numbers."""

    constraint: str = Field(description="`component`, `quality_hold`, `work_center`, `operator`, `tool`, `recipe` …")
    weight: Literal["blocks", "delays", "notes"]
    of: str
    needed: str
    there: str
    available_at: str | None


class FactSeen(Shown):
    """One fact that was looked at."""

    fact: str
    value: str
    age_s: float | None = Field(description="Seconds since its source vouched for it; null: nobody knows")
    good: bool


class Feasibility(Shown):
    """The answer; while it is not decided only `decision_id` and `status`."""

    decision_id: str = Field(description="Ask `GET /v1/decisions/{decision_id}` for it again")
    status: Literal["FEASIBLE", "FEASIBLE_WITH_NOTES", "AT_RISK", "BLOCKED", "UNDECIDED"]
    feasibility_score: float | None = Field(
        default=None, description="Probability to start and finish on time; 0: blocked"
    )
    blocking_issues: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    recommended_action: str | None = None
    model: str | None = Field(default=None, description="The version that scored; null: none did")
    earliest_start: str | None = Field(default=None, description="Null: nobody knows")
    earliest_finish: str | None = Field(default=None, description="By people's hours and OEE; null: nobody knows")
    set_by: str | None = Field(default=None, description="The constraint that sets the earliest start")
    constraints: list[Constraint] = Field(default_factory=list)
    facts: list[FactSeen] = Field(default_factory=list)


class Decision(Feasibility):
    """A decision on record."""

    status: str  # type: ignore[assignment]  # of other workflows: where it went
    event: int | None = None
    workflow: str | None = None
    decided_at: str | None = None


@router.post("/v1/feasibility/check", tags=["orders"], responses={202: {"model": Feasibility}})
async def check_feasibility(
    asked: Check, agent: TheAgent, caller: Asker, response: Response, idempotency_key: Key = ""
) -> Feasibility:
    """Whether an order can start and finish on time, by the facts of this moment, and what stands in its way.

    For an order that the ERP has it is decided like any change of it: what the workflow's authority allows follows.
    202: it is on disk and not decided yet; ask again by its id.
    """
    if KIND not in agent.rules.assignments:
        raise NotFound("no workflow order_release is configured; add it under workflows")
    _require_line(asked, agent.rules.facts, caller)
    id = sha256(f"{caller.name}:{idempotency_key}".encode()).hexdigest()[:32] if idempotency_key else uuid4().hex
    report = _report(asked, id, agent.clock())
    before = await look(agent, lambda connection: _asked_before(connection, report)) if idempotency_key else None
    if before is not None:
        return Feasibility.model_validate({name: before.get(name) for name in Feasibility.model_fields})
    verdict = await _decided(agent, report)
    if verdict is None:
        response.status_code = 202
        return Feasibility(decision_id=id, status=UNDECIDED)
    if verdict.state == "quarantined":
        raise Refused(422, "quarantined", verdict.reason or "it could not be decided, and is in quarantine")
    return Feasibility(decision_id=id, **verdict.detail["answer"])


@router.get("/v1/decisions/{id}", tags=["orders"], responses={202: {"model": Decision}})
async def show_decision(
    id: Annotated[str, Path(max_length=128, description="A `decision_id`, or the number of an event")],
    agent: TheAgent,
    caller: Reader,
    response: Response,
) -> Decision:
    """One decision; 202 while it is not made yet."""
    found = await look(agent, lambda connection: _found(connection, id, caller))
    if found["status"] == UNDECIDED:
        response.status_code = 202
    return Decision.model_validate(found)


def _require_line(asked: Check, facts: Facts, caller: Identity) -> None:
    """A token of single lines asks about what is made on them, by the ERP or else by the request. Raises Refused."""
    order = facts.orders.get(asked.order_id)
    places = {one.work_center for one in order.operations} if order else {asked.required_work_center}
    known = [facts.work_centers.get(place) for place in places] or [None]
    if caller.lines and not all(place is not None and caller.sees(place.line) for place in known):
        why = f"token {caller.name} is limited to lines, and {asked.order_id} is not made on them alone"
        raise Refused(403, "forbidden", why)


def _report(asked: Check, id: str, at: datetime) -> SegmentResponse:
    data: Mapping[str, str | Decimal] = {
        "asked": "check", "material": asked.material, "quantity": asked.quantity,
        "required_work_center": asked.required_work_center, "due_date": asked.due_date.isoformat(),
        **({"required_skill": asked.required_skill} if asked.required_skill else {}),
    }  # fmt: skip
    return SegmentResponse(KIND, id, asked.order_id, "", at, asked.required_work_center, data=data)


async def _decided(agent: Agent, report: SegmentResponse) -> Verdict | None:
    """Store it and wait for its decision, which is in the same commit where nothing waits. None: it takes longer."""
    intake, process, why = agent.intake, agent.process, unready(agent)
    if intake is None or process is None or why:
        raise StoreError(f"nothing is taken in now ({why or 'starting'}); send it again later")
    key = f"{report.kind}:{report.id}"
    answer = process.waiters.expect(key)
    try:
        batch = Batch(own_events.SOURCE, (own_events.event_of(report),), report.occurred_at, lambda: None)
        if not intake.put(batch, 0):
            raise StoreError("the store takes nothing more just now; nothing was kept, send it again in a few seconds")
        async with asyncio.timeout(ANSWER_S):
            return await asyncio.shield(answer)
    except TimeoutError:
        return None
    finally:
        process.waiters.forget(key)


def _asked_before(connection: apsw.Connection, report: SegmentResponse) -> dict[str, Any] | None:
    """The answer that this very request got. Raises Conflict for another one under its key."""
    event = inbox.event_of(connection, f"{report.kind}:{report.id}")
    stored = decisions.event(connection, event) if event is not None else None
    if event is None or stored is None:
        return None
    if dict(own_events.read(stored).data) != dict(report.data):
        raise Conflict("this idempotency key was used for another request; take a new one")
    return _of_event(connection, event, str(report.id))


def _found(connection: apsw.Connection, id: str, caller: Identity) -> dict[str, Any]:
    """What is on record under this id. Raises NotFound."""
    event = int(id) if id.isdecimal() and len(id) < 19 else inbox.event_of(connection, f"{KIND}:{id}")
    if event is None or inbox.is_undecided(connection, event):
        if event is not None or inbox.waits(connection, own_events.SOURCE, id):
            return {"decision_id": id, "status": UNDECIDED, "event": event}
        raise NotFound(f"no decision {id!r} is on record, and nothing that is called so waits for one")
    found = _of_event(connection, event, id)
    if not caller.sees(found.pop("line")):
        raise NotFound(f"no decision {id!r} is on record")
    return found


def _of_event(connection: apsw.Connection, event: int, id: str) -> dict[str, Any]:
    decided = decisions.of_event(connection, event)
    if decided is None:
        raise NotFound(f"no decision is on record for event {event}")
    detail = decided.detail
    told = {"decision_id": id, "status": detail.get("route", ""), **detail.get("answer", {})}
    return {
        **told, "event": event, "workflow": detail.get("workflow"), "decided_at": decided.at.isoformat(),
        "line": detail.get("subject", {}).get("line", ""),
    }  # fmt: skip
