"""GET /v1/findings: what reconciliation found, what shows it, who decided, and what the books say after it."""

from __future__ import annotations

from typing import Annotated, Any

import apsw
from fastapi import Path, Query
from pydantic import AwareDatetime, Field

from agent import found
from agent.access.callers import Identity
from agent.access.masking import veiled
from agent.app import Agent
from agent.errors import NotFound
from agent.people.veil import covered
from agent.store.named import named
from agent.web.looks import Reader
from agent.web.models import Shown
from agent.web.reconciliation import sees
from agent.web.requests import TheAgent, look, new_router

router = new_router()
Most = Annotated[int, Query(ge=1, le=1000, description="At most so many, the newest first")]
Open = Annotated[bool, Query(alias="open", description="Only those that nobody has put right or refused")]
Before = Annotated[int, Query(ge=1, lt=2**63, description="Only those of events before this one")]
FindingId = Annotated[str, Path(pattern="^[0-9a-f]{6,20}$", description="Its id; the first six characters will do")]


class FindingPosting(Shown):
    """A posting that a finding is about, or that puts it right; `/v1/approvals/{id}` has all of it."""

    id: int
    kind: str
    state: str
    document: str | None
    payload: dict[str, Any]


class FindingAdvice(Shown):
    """What would put a finding right, where the workflow only advises: written nowhere, for nobody to sign."""

    kind: str
    payload: dict[str, Any]


class DecidedBy(Shown):
    """The last that a person said of it."""

    by: str
    did: str = Field(
        description="`approved`, `refused`, `corrected`, or `signed` where a second person must; the agent's own: "
        "`withdrawn`, and `put_right` where others did what was only advised"
    )
    at: AwareDatetime
    reason: str


class Finding(Shown):
    """What does not fit together; quantities are decimal strings, in `unit`."""

    id: str
    event: int = Field(description="For `/v1/trace/{event}`")
    found_at: AwareDatetime
    at: AwareDatetime = Field(description="When it began")
    until: str
    cause: str
    material: str
    storage_location: str
    batch: str
    order: str
    operation: str
    work_center: str
    excess: str = Field(description="What the books took off the stock too much; below 0: too little")
    noise: str = Field(description="One standard deviation of what it was found in")
    unit: str
    value: str = Field(description="Of the excess, in the plant's currency")
    evidence: list[str]
    about: list[str] = Field(description="Reports and documents that show it")
    correction: str
    state: str = Field(
        description="`waits for a person`, `under way`, `stuck`, `put right`, `refused`, `withdrawn`, `advised`, …"
    )
    open: bool
    decided: DecidedBy | None
    postings: list[FindingPosting] = Field(description="What puts it right")
    would_post: list[FindingAdvice] = Field(description="What would, where it was only `advised`")


class Findings(Shown):
    """The newest first."""

    items: list[Finding]
    next: int | None = Field(description="Pass it as `before` for the next page; null: this was the last one")


class EvidenceRow(Shown):
    """A report or a document that a finding is about, and what became of it."""

    name: str
    is_: str = Field(alias="is", description="`report`, `document`, or what else is known of it")
    event: int | None
    postings: list[FindingPosting]


class WholeFinding(Finding):
    """A finding from its evidence to what the books say after it."""

    rows: list[EvidenceRow]
    books: dict[str, Any] = Field(description="The account of the order's material, or the stock of the place, now")


@router.get("/v1/findings", tags=["reconciliation"])
async def list_findings(
    agent: TheAgent, caller: Reader, *, only_open: Open = False, limit: Most = 100, before: Before = found.LATEST
) -> Findings:
    """What reconciliation found and what became of it."""
    facts = agent.rules.facts
    told = await look(agent, lambda at: found.listed(at, facts, only_open=only_open, limit=limit, before=before))
    mine = [one for one in told if sees(caller, one, facts)]
    following = told[-1]["event"] if len(told) == limit else None
    return Findings.model_validate({"items": _veiled(agent, caller, mine), "next": following})


@router.get("/v1/findings/{id}", tags=["reconciliation"])
async def show_finding(id: FindingId, agent: TheAgent, caller: Reader) -> WholeFinding:
    """One finding: the reports and documents that show it, the decision, and what the books say now."""
    facts = agent.rules.facts

    def read(connection: apsw.Connection) -> dict[str, Any] | None:
        return found.of_event(connection, named(connection, f"finding:{id}")[0].event or 0, facts)

    one = await look(agent, read)
    if one is None or not sees(caller, one, facts):
        raise NotFound(f"there is no finding {id!r}; GET /v1/findings lists them")
    return WholeFinding.model_validate(_veiled(agent, caller, [one])[0])


def _veiled(agent: Agent, caller: Identity, findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    hidden = covered(agent.config, caller)
    told: list[dict[str, Any]] = veiled(findings, hidden, [one["material"] for one in findings] if hidden else ())
    return told
