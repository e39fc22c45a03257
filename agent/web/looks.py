"""GET: everything a person or a program can look at. Nothing here changes anything."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path as Folder
from typing import Annotated, Any, Literal

import apsw
from fastapi import Depends, Path, Query, Request
from pydantic import AwareDatetime

from agent.access.callers import Identity
from agent.access.masking import hidden_in, veiled, without_message
from agent.access.tokens import Scope
from agent.app import Agent
from agent.configuration.config import Config
from agent.configuration.crosschecks import POSTS
from agent.errors import ModelUnfit, NotFound
from agent.oversight import replay
from agent.oversight.explaining import explained, silent
from agent.people.desk import lists, trace
from agent.people.veil import covered
from agent.ports import Kind
from agent.scoring import registry
from agent.store import decisions
from agent.store.advised import advised
from agent.web import models, scoring_models
from agent.web.console.history import EVERY_S
from agent.web.probes import stuck, unready
from agent.web.requests import After, Limit, Needs, TheAgent, everywhere, look, new_router

EXPLAIN_S = 5.0  # how long whoever opens a posting waits for the model's reasons

router = new_router()
Reader = Annotated[Identity, Depends(Needs(Scope.READ))]
TraceReader = Annotated[Identity, Depends(Needs(Scope.READ, Scope.GATEWAY))]
PostingId = Annotated[int, Path(ge=1, lt=2**63, description="The `id` of the posting")]
EventId = Annotated[int, Path(ge=1, lt=2**63, description="The `id` of the event")]
Line = Annotated[str, Query(max_length=128, description="Only postings of this line")]


@router.get("/v1/status", tags=["state"])
async def status(agent: TheAgent, caller: Reader) -> models.Status:
    """The state of the whole for one screen: what arrived, what waits and since when, what is blocked or paused."""
    found = await look(agent, lambda at: {**agent.status(), "waiting": lists.waiting(at, lines=caller.lines)})
    found["blocked_lanes"] = [one for one in found["blocked_lanes"] if caller.sees(one["line"])]
    return models.Status(**found)


@router.get("/v1/health", tags=["state"])
async def health(agent: TheAgent, caller: Reader) -> models.Health:
    """Whether the agent takes in and decides, and what its housekeeping found. Independent of the ERP."""
    known, why = agent.health, unready(agent)
    return models.Health(
        ready=not why,
        reason=why or None,
        why_not=known.why_not or None,
        stuck=stuck(agent),
        chain_ok=known.chain_ok,
        chain_checked_at=known.chain_checked_at.isoformat() if known.chain_checked_at else None,
        damage=known.damage,
        balance_checked_at=known.balance_checked_at.isoformat() if known.balance_checked_at else None,
        problems=[
            *known.problems,
            *(f"model {name}: {one['error']}" for name, one in agent.models().items() if one["error"]),
        ],
    )


@router.get("/v1/approvals", tags=["approvals"])
async def list_approvals(
    agent: TheAgent, caller: Reader, line: Line = "", after: After = 0, limit: Limit = 100
) -> models.Postings:
    """Postings that wait for a person, oldest first; a group is one: what follows its first goes with it."""
    return await _postings(agent, caller, ["to_decide"], line, after, limit)


@router.get("/v1/advised", tags=["approvals"])
async def list_advised(
    agent: TheAgent,
    caller: Reader,
    workflow: Annotated[str, Query(max_length=128, description="Only what this workflow advised")] = "",
    since: Annotated[AwareDatetime | None, Query(description="Only what arrived from then on")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Only what arrived before then")] = None,
    after: After = 0,
    limit: Limit = 100,
) -> models.Advised:
    """What workflows in mode `advise` would have posted behind event `after`; without it the newest."""
    found = await look(
        agent,
        lambda at: advised(
            at, workflow=workflow, since=since, until=until, after=after, limit=limit, lines=caller.lines
        ),
    )
    following = found[-1]["event_id"] if found else after or None
    return models.Advised.model_validate(
        {"items": veiled(_priced(agent, found), covered(agent.config, caller)), "next": following}
    )


@router.get("/v1/deadletters", tags=["dead letters"])
async def list_dead_letters(
    agent: TheAgent,
    caller: Reader,
    state: Annotated[
        Literal["dead", "doubtful"] | None, Query(description="`dead`: refused by the ERP; `doubtful`: nobody knows")
    ] = None,
    line: Line = "",
    after: After = 0,
    limit: Limit = 100,
) -> models.Postings:
    """Postings that the ERP refused, and those of which nobody knows whether they were booked. Their lanes wait."""
    return await _postings(agent, caller, [state] if state else ["dead", "doubtful"], line, after, limit)


@router.get("/v1/trace/{name:path}", tags=["state"])
async def show_trace(
    name: Annotated[
        str,
        Path(
            max_length=512,
            description="An event's number, `posting:NUMBER`, a message id, a document's key or number",
        ),
    ],
    agent: TheAgent,
    caller: TraceReader,
) -> models.Trace:
    """One event's whole life: message, decision and why, signatures, every try, the document."""
    found = _of_lines(await look(agent, lambda connection: trace(connection, name)), name, caller)
    fields = covered(agent.config, caller)
    if found["event"]:
        found["event"] = without_message(found["event"], fields)
    hidden = frozenset().union(*(hidden_in(one, fields) for one in found["postings"]))
    found = {"event": found.pop("event"), **veiled(found, fields, hidden)}
    return models.Trace.model_validate({**found, "postings": _priced(agent, _measured(agent, found["postings"]))})


@router.get("/v1/decisions/{event}/replay", tags=["state"])
async def replay_decision(event: EventId, agent: TheAgent, caller: Reader) -> scoring_models.Recomputed:
    """The decision about one event, computed again from its record: `same` says whether the answer is, bit by bit.

    The version of the model that decided is loaded beside the one that decides now. Nothing is changed. What has been
    archived `gatepost replay` still finds.
    """
    folder, keys = agent.config.models, agent.config.model_keys

    def again(connection: apsw.Connection) -> dict[str, Any]:
        found = _decision(connection, event, caller)
        return replay.alone(found, folder, keys, decisions.ran_with(connection, found.seq))

    return scoring_models.Recomputed(**veiled(await look(agent, again), covered(agent.config, caller)))


@router.get("/v1/decisions/{event}/reasons", tags=["state"])
async def explain_decision(event: EventId, agent: TheAgent, caller: Reader) -> scoring_models.Explained:
    """Why the model scored this event as it did, in the words and units of people, for whoever opens what is held.

    The version that scored is asked again, with usual values in the place of each input; the answer is kept.
    """
    found = await look(agent, lambda connection: _decision(connection, event, caller))
    asked = asyncio.to_thread(explained, found.detail, agent.config.models, agent.config.model_keys)
    try:
        told = await asyncio.wait_for(asked, EXPLAIN_S)
    except TimeoutError:  # it goes on, and whoever asks again finds the answer
        told = silent(found.detail, f"the model was not asked within {EXPLAIN_S:g} s; ask again in a while")
    return scoring_models.Explained(event=event, **veiled(told, covered(agent.config, caller)))


def _decision(connection: apsw.Connection, event: int, caller: Identity) -> decisions.Decided:
    """The decision about this event; one of another line does not exist for this caller. Raises NotFound."""
    found = decisions.of_event(connection, event)
    if found is None or not caller.sees(found.detail.get("subject", {}).get("line", "")):
        raise NotFound(f"no decision is on record for event {event}")
    return found


@router.get("/v1/quarantine", tags=["quarantine"])
async def list_quarantine(agent: TheAgent, caller: Reader, after: After = 0, limit: Limit = 100) -> models.Quarantine:
    """Events that could not be read or were refused, with the reason and what arrived."""
    everywhere(caller)
    found = await look(agent, lambda connection: lists.quarantined(connection, after=after, limit=limit))
    fields = covered(agent.config, caller)
    found = [without_message(one, fields) for one in found]
    return models.Quarantine.model_validate({"items": found, "next": _next(found, limit)})


@router.get("/v1/events/recent", tags=["state"])
async def list_recent_events(
    agent: TheAgent, caller: Reader, after: After = 0, limit: Limit = 100
) -> models.RecentEvents:
    """What arrived behind event `after`; without it the newest. Ask again with `next` to follow the stream."""
    lines = caller.lines
    found = await look(agent, lambda at: lists.recent_events(at, after=after, limit=limit, lines=lines))
    return models.RecentEvents.model_validate({"items": found, "next": found[-1]["id"] if found else after or None})


@router.get("/v1/history", tags=["state"])
async def backlog_history(request: Request, caller: Reader) -> models.History:
    """How the backlog has moved in the last hour, oldest first."""
    points = request.app.state.history.points
    return models.History.model_validate({"every_s": EVERY_S, "items": [one._asdict() for one in points]})


@router.get("/v1/models", tags=["models"])
async def list_models(agent: TheAgent, caller: Reader) -> scoring_models.Models:
    """Which version of each configured model scores, and which stand beside it."""
    status = await look(agent, lambda _: agent.status())
    scoring, drifts = status["models"], status["drift"]
    workflows = {name: _asking(agent.config, name) for name in scoring}
    return scoring_models.Models(
        items=[
            scoring_models.Model(**one, workflows=workflows[one["name"]], drift=drifts.get(one["scores"]))
            for one in await asyncio.to_thread(_beside, agent.config.models, scoring)
        ]
    )


def _asking(config: Config, model: str) -> list[str]:
    """What asks this model: workflows about their reports or the accounts of their postings, and the forecast."""
    if config.shortages is not None and config.shortages.model == model:
        return ["shortages"]
    looks = config.accounts is not None and config.accounts.model == model
    flows = config.workflows.items()
    return [name for name, one in flows if one.model == model or (looks and Kind.SCRAP in POSTS.get(one.kind, ()))]


async def _postings(
    agent: TheAgent, caller: Identity, states: list[str], line: str, after: int, limit: int
) -> models.Postings:
    if line and not caller.sees(line):
        return models.Postings(items=[], next=None)
    lines = {line} if line else caller.lines

    def read(connection: apsw.Connection) -> list[dict[str, Any]]:
        if states == ["to_decide"]:
            return lists.to_decide(connection, after=after, limit=limit, lines=lines)
        pages = [lists.postings(connection, state, after=after, limit=limit, lines=lines) for state in states]
        return sorted((one for page in pages for one in page), key=lambda one: one["id"])[:limit]

    found = await look(agent, read)
    told = _priced(agent, _measured(agent, found))
    return models.Postings.model_validate(
        {"items": veiled(told, covered(agent.config, caller)), "next": _next(found, limit)}
    )


def _priced(agent: Agent, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the currency of their values."""
    return [{**one, "currency": agent.config.plant.currency} for one in found]


def _measured(agent: Agent, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the unit of their quantities, as the plant writes it."""
    units = agent.rules.facts.units
    return [{**one, "unit": units.shown((one["payload"] or {}).get("unit", ""))} for one in found]


def _next(found: list[dict[str, Any]], limit: int) -> int | None:
    return found[-1]["id"] if len(found) == limit else None


def _of_lines(found: dict[str, Any], name: str, caller: Identity) -> dict[str, Any]:
    """What this caller may see of it. Raises NotFound when that is nothing."""
    if not caller.lines:
        return found
    seen = [one for one in found["postings"] if caller.sees(one["line"])]
    if not seen:
        raise NotFound(f"nothing is known as {name!r}")
    ids = {one["id"] for one in seen}
    history = [one for one in found["history"] if one["posting"] is None or one["posting"] in ids]
    return {**found, "also": [], "postings": seen, "history": history}


def _beside(shelf: Folder, scoring: dict[str, Any]) -> list[dict[str, Any]]:
    """Each model with its versions and those that its aliases name; what cannot be read is told."""
    found = []
    for name, one in scoring.items():
        row = {"name": name, "scores": one["scores"], "error": one["error"]}
        row["versions"] = registry.versions(shelf, name)
        with suppress(ModelUnfit, NotFound):
            told = registry.aliases(shelf / name)
            approved = told.approved.model_dump() if told.approved else None
            row |= {**told.parts, "approved": approved}
        found.append(row)
    return found
