"""POST /v1/feasibility/check: whether an order can be made, answered in line; and decisions by their id."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Annotated, Any, Final, Literal
from uuid import uuid4

import apsw
from fastapi import Depends, Path, Response
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from agent import own_events
from agent.access.callers import Identity
from agent.access.tokens import Scope
from agent.app import Agent
from agent.errors import Conflict, NotFound, StoreError
from agent.facts import Facts
from agent.isa95 import SegmentResponse
from agent.judging.judgement import Verdict
from agent.pipeline import Process
from agent.ports import Batch
from agent.store import decisions, inbox
from agent.web.answers import Refused
from agent.web.bodies import Name, Word
from agent.web.models import Shown
from agent.web.probes import unready
from agent.web.requests import AGAIN, Key, Needs, TheAgent, look, new_router

router = new_router()
Asker = Annotated[Identity, Depends(Needs(Scope.INGEST))]
Reader = Annotated[Identity, Depends(Needs(Scope.READ, Scope.INGEST))]
KIND: Final = "order_release"
ANSWER_S: Final = 2.0  # how long a request waits for its decision before it is told where to ask
UNDECIDED: Final = "UNDECIDED"
_WRITTEN: Final = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,16})?", re.ASCII)


def _number(value: object) -> object:
    """A number, also as the decimal string that some ERPs write; no other text is one. Raises ValueError."""
    if isinstance(value, str) and not _WRITTEN.fullmatch(value):
        raise ValueError(f"{value[:40]!r} is no number; write 12.5")
    return value


def _moment(value: object) -> datetime:
    """A moment in UTC. Raises ValueError for one without a zone, one outside of the calendar, and anything else."""
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    told = repr(value[:40]) if isinstance(value, str) else "this"
    raise ValueError(f"{told} is no moment with its zone; write it like 2026-11-20T14:05:00+01:00")


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
    quantity: Annotated[Decimal, BeforeValidator(_number)] = Field(
        gt=0, lt=Decimal(10) ** 10, max_digits=13, decimal_places=3, description="In the unit of the order or material"
    )
    required_work_center: Name
    required_skill: Word = Field(default="", description="The certificate; empty: nobody needs one")
    due_date: Annotated[AwareDatetime, BeforeValidator(_moment)] = Field(description="ISO 8601, with its zone")


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
    async with _process(agent).waiters.turn(id):
        before = await look(agent, lambda connection: _asked_before(connection, report)) if idempotency_key else None
        if before is not None and before["status"] != UNDECIDED:
            return Feasibility.model_validate({name: before.get(name) for name in Feasibility.model_fields})
        verdict = await _decided(agent, report, stored=before is not None)
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


def _process(agent: Agent) -> Process:
    """Raises StoreError while nothing is taken in."""
    why = unready(agent)
    if agent.process is None or why:
        raise StoreError(f"nothing is taken in now ({why or 'starting'}); send it again later")
    return agent.process


async def _decided(agent: Agent, report: SegmentResponse, *, stored: bool) -> Verdict | None:
    """Store it and wait for its decision, which is in the same commit where nothing waits. None: it takes longer.

    Raises StoreError where it is not on disk by then. What is stored, or on its way there, is only waited for.
    """
    intake, waiters = agent.intake, _process(agent).waiters
    key = f"{report.kind}:{report.id}"
    answer = waiters.expect(key)
    try:
        if not stored and key not in waiters.underway:
            waiters.underway.add(key)
            over = partial(waiters.underway.discard, key)
            deliveries = (own_events.event_of(report),)
            batch = Batch(own_events.SOURCE, deliveries, report.occurred_at, stored=over, dropped=over)
            if intake is None or not intake.put(batch, 0):
                over()
                why = "the store takes nothing more just now; nothing was kept, send it again in a few seconds"
                raise StoreError(why)
        async with asyncio.timeout(ANSWER_S):
            return await asyncio.shield(answer)
    except TimeoutError:
        if key in waiters.underway:
            raise StoreError(f"it is not on disk yet, so nobody can answer it; {AGAIN}") from None
        return None
    finally:
        waiters.forget(key)


def _asked_before(connection: apsw.Connection, report: SegmentResponse) -> dict[str, Any] | None:
    """The answer that this very request got, or that it is not decided. Raises Conflict for another one of its key."""
    id = str(report.id)
    event = _event(connection, id)
    if event is None:
        return None
    stored = decisions.event(connection, event)
    first = own_events.read(stored) if stored is not None else None
    if first is None or (first.order, dict(first.data)) != (report.order, dict(report.data)):
        raise Conflict("this idempotency key was used for another request; take a new one")
    if inbox.is_undecided(connection, event):
        return {"decision_id": id, "status": UNDECIDED}
    return _of_event(connection, event, id)


def _event(connection: apsw.Connection, id: str) -> int | None:
    """The event of a question, also while it waits for its decision."""
    found = inbox.event_of(connection, f"{KIND}:{id}")
    return found if found is not None else inbox.waiting(connection, own_events.SOURCE, id)


def _found(connection: apsw.Connection, id: str, caller: Identity) -> dict[str, Any]:
    """What is on record under this id. Raises NotFound."""
    event = int(id) if id.isdecimal() and len(id) < 19 else _event(connection, id)
    if event is None:
        raise NotFound(f"no decision {id!r} is on record, and nothing that is called so waits for one")
    if inbox.is_undecided(connection, event):
        return {"decision_id": id, "status": UNDECIDED, "event": event}
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
