"""POST: everything a person can do. Each act says who and why, is one commit, and stands in the audit trail."""

from __future__ import annotations

from typing import Annotated, Any

import apsw
from fastapi import Depends, Path

from agent.access.callers import Identity
from agent.access.rights import Action
from agent.access.tokens import Scope
from agent.app import Agent
from agent.errors import NotFound
from agent.people.approving import Asked, decide, visible
from agent.people.permission import Matter, permit
from agent.scoring.modelfiles import FOLDER_NAME
from agent.store.approvals import show
from agent.web import bodies, models, scoring_models
from agent.web.answers import Refused
from agent.web.gateway import signatures
from agent.web.looks import PostingId
from agent.web.requests import AGAIN, Acts, Key, TheAgent, act_of, committed, everywhere, look, new_router

router = new_router()
Approver = Annotated[Identity, Depends(Acts(Scope.APPROVE))]
Replayer = Annotated[Identity, Depends(Acts(Scope.REPLAY))]
Pauser = Annotated[Identity, Depends(Acts(Scope.PAUSE))]
Reverser = Annotated[Identity, Depends(Acts(Scope.REVERSE))]
Admin = Annotated[Identity, Depends(Acts(Scope.ADMIN))]
ModelName = Annotated[str, Path(pattern=FOLDER_NAME, description="The folder of the model")]
EventId = Annotated[int, Path(ge=1, lt=2**63, description="The `id` of the event")]


# ── approvals ───────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/v1/approvals/{id}/approve", tags=["approvals"])
async def approve(
    id: PostingId, asked: bodies.Decide, agent: TheAgent, caller: Approver, key: Key = ""
) -> models.Acted:
    """Sign a held posting: it joins its lane. Of several who decide one wins; the others get 409 and by whom."""
    return await _decide("approve", id, asked, agent, caller, key)


@router.post("/v1/approvals/{id}/refuse", tags=["approvals"])
async def refuse(id: PostingId, asked: bodies.Decide, agent: TheAgent, caller: Approver, key: Key = "") -> models.Acted:
    """Refuse a held posting: it is never sent."""
    return await _decide("refuse", id, asked, agent, caller, key)


@router.post("/v1/approvals/{id}/correction", tags=["approvals"])
async def amend(id: PostingId, asked: bodies.Amend, agent: TheAgent, caller: Approver, key: Key = "") -> models.Acted:
    """Correct a held posting: one with these figures takes its place, approved. The cause of scrap brings with it who
    bears it; what people correct is a label for the next training."""
    wanted = _wanted("correct", id, asked, caller, key)
    return models.Acted.model_validate(await signatures(agent).correct(wanted, asked.changes, caller))


async def _decide(
    meaning: str, id: int, asked: bodies.Decide, agent: Agent, caller: Identity, key: str
) -> models.Acted:
    wanted = _wanted(meaning, id, asked, caller, key)
    return models.Acted(**await decide(agent.desk, wanted, caller, agent.config.rights, AGAIN))


def _wanted(meaning: str, id: int, asked: bodies.Decide, caller: Identity, key: str) -> Asked:
    """What somebody wants of a held posting. Raises Refused."""
    if caller.door:
        raise Refused(403, "signature_needed", "at the console a decision is signed: with the password, on its page")
    return Asked(meaning, id, asked.expected_version, asked.reason, asked.on_behalf_of, asked.record_hash or "", key)


async def _permit(agent: Agent, caller: Identity, action: Action, matter: Matter, asked: bodies.Reasoned) -> None:
    """Raises NoRight, which is on record."""
    await permit(agent.desk, caller, agent.config.rights, action, matter, caller.actor(asked.on_behalf_of))


async def _everywhere(agent: Agent, caller: Identity, action: Action, asked: bodies.Reasoned) -> None:
    """For what belongs to no line. Raises Refused, NoRight."""
    everywhere(caller)
    await _permit(agent, caller, action, Matter(), asked)


# ── dead letters, doubt ─────────────────────────────────────────────────────────────────────────────────────


@router.post("/v1/deadletters/{id}/replay", tags=["dead letters"])
async def replay(
    id: PostingId, asked: bodies.Reasoned, agent: TheAgent, caller: Replayer, key: Key = ""
) -> models.Acted:
    """Send a dead letter again, unchanged, after its cause was removed in the ERP."""
    await _permit_replay(agent, id, asked, caller)
    return models.Acted(**await committed(agent, agent.desk.replay(id, act_of(caller, asked, key))))


@router.post("/v1/deadletters/{id}/refuse", tags=["dead letters"])
async def give_up(
    id: PostingId, asked: bodies.Reasoned, agent: TheAgent, caller: Replayer, key: Key = ""
) -> models.Acted:
    """Never send a dead or doubtful posting; its lane goes on."""
    await _permit_replay(agent, id, asked, caller)
    return models.Acted(**await committed(agent, agent.desk.give_up(id, act_of(caller, asked, key))))


@router.post("/v1/doubtful/{id}/document", tags=["dead letters"])
async def name_document(
    id: PostingId, asked: bodies.Document, agent: TheAgent, caller: Replayer, key: Key = ""
) -> models.Acted:
    """Name the document that a person found in the ERP for a doubtful posting."""
    await _permit_replay(agent, id, asked, caller)
    act = act_of(caller, asked, key)
    return models.Acted(**await committed(agent, agent.desk.name_document(id, asked.document, act)))


@router.post("/v1/doubtful/{id}/not-booked", tags=["dead letters"])
async def not_booked(
    id: PostingId, asked: bodies.Reasoned, agent: TheAgent, caller: Replayer, key: Key = ""
) -> models.Acted:
    """Say that a doubtful posting is surely not in the ERP: it is sent again."""
    await _permit_replay(agent, id, asked, caller)
    return models.Acted(**await committed(agent, agent.desk.not_booked(id, act_of(caller, asked, key))))


@router.post("/v1/notifications/{id}/seen", tags=["control"])
async def seen(id: PostingId, asked: bodies.Reasoned, agent: TheAgent, caller: Approver, key: Key = "") -> models.Acted:
    """Say that somebody has seen a notification and looks after it: who would be next is not told."""
    await look(agent, lambda connection: visible(connection, id, caller))
    return models.Acted(**await committed(agent, agent.desk.seen(id, act_of(caller, asked, key))))


@router.post("/v1/quarantine/{event}/replay", tags=["quarantine"])
async def replay_event(
    event: EventId, asked: bodies.Reasoned, agent: TheAgent, caller: Replayer, key: Key = ""
) -> models.Replayed:
    """Read a quarantined event again, after the mapping or the master data was mended."""
    await _everywhere(agent, caller, Action.REPLAY, asked)
    return models.Replayed(**await committed(agent, agent.desk.replay_event(event, act_of(caller, asked, key))))


@router.post("/v1/quarantine/{event}/keep", tags=["quarantine"])
async def keep_event(
    event: EventId, asked: bodies.Reasoned, agent: TheAgent, caller: Replayer, key: Key = ""
) -> models.Replayed:
    """Leave a report in quarantine, also when the order that it waits for becomes known: it was booked by hand."""
    await _everywhere(agent, caller, Action.REPLAY, asked)
    return models.Replayed(**await committed(agent, agent.desk.keep_event(event, act_of(caller, asked, key))))


async def _permit_replay(agent: Agent, id: int, asked: bodies.Reasoned, caller: Identity) -> None:
    """Raises NotFound, NoRight."""
    found = await look(agent, lambda connection: visible(connection, id, caller))
    await _permit(agent, caller, Action.REPLAY, Matter.of(found), asked)


# ── stop, go on, take back ──────────────────────────────────────────────────────────────────────────────────


@router.post("/v1/pause", tags=["control"])
async def pause(asked: bodies.Pause, agent: TheAgent, caller: Pauser, key: Key = "") -> models.Stopped:
    """Stop sending for a target, a line or an order. Reports are still taken in and decided; nothing is lost."""
    await _require_line(agent, asked, caller)
    if asked.scope == "target" and asked.key != "*":
        agent.config.target(asked.key)
    return models.Stopped(
        **await committed(
            agent, agent.desk.pause(asked.scope, asked.key, act_of(caller, asked, key), force=asked.force)
        )
    )


@router.post("/v1/resume", tags=["control"])
async def resume(asked: bodies.Stop, agent: TheAgent, caller: Pauser, key: Key = "") -> models.Stopped:
    """Let it go on."""
    await _require_line(agent, asked, caller)
    return models.Stopped(
        **await committed(agent, agent.desk.resume(asked.scope, asked.key, act_of(caller, asked, key)))
    )


@router.post("/v1/reversals", tags=["control"])
async def reverse(asked: bodies.Document, agent: TheAgent, caller: Reverser, key: Key = "") -> models.Reversed:
    """Take back a booked document by a posting of its own, signed by whoever asks. Booked once per document."""
    await _permit_reversal(agent, asked, caller)
    return models.Reversed(**await committed(agent, agent.desk.reverse(asked.document, act_of(caller, asked, key))))


# ── models ──────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/v1/models/{name}/promote", tags=["models"])
async def promote(
    name: ModelName, asked: bodies.Promotion, agent: TheAgent, caller: Admin, key: Key = ""
) -> scoring_models.Promoted:
    """Let this version of a model decide from the next batch on, after every check. What is unfit changes nothing.

    409 where it has not shown on the plant's own reports that it is better: the message says what is missing.
    """
    await _everywhere(agent, caller, Action.PROMOTE, asked)
    act = act_of(caller, asked, key)
    return scoring_models.Promoted(**await agent.promote(name, asked.version, act, anyway=asked.anyway))


@router.post("/v1/models/{name}/rollback", tags=["models"])
async def roll_back(
    name: ModelName, asked: bodies.Reasoned, agent: TheAgent, caller: Admin, key: Key = ""
) -> scoring_models.Promoted:
    """Let the version before the champion decide again."""
    await _everywhere(agent, caller, Action.PROMOTE, asked)
    return scoring_models.Promoted(**await agent.promote(name, None, act_of(caller, asked, key)))


@router.post("/v1/models/{name}/challenge", tags=["models"])
async def ask_in_shadow(
    name: ModelName, asked: bodies.Challenge, agent: TheAgent, caller: Admin, key: Key = ""
) -> scoring_models.Challenged:
    """Ask this version in shadow about everything the champion decides; it has no effect. `null` ends it."""
    await _everywhere(agent, caller, Action.PROMOTE, asked)
    return scoring_models.Challenged(**await agent.challenge(name, asked.version, act_of(caller, asked, key)))


@router.post("/v1/models/{name}/accept-drift", tags=["models"])
async def accept_drift(
    name: ModelName, asked: bodies.Reasoned, agent: TheAgent, caller: Admin, key: Key = ""
) -> scoring_models.Accepted:
    """Say that what the model is asked now is right: the bar comes down, later reports are held against these.

    409 where nothing has drifted.
    """
    await _everywhere(agent, caller, Action.PROMOTE, asked)
    return scoring_models.Accepted(**await agent.doubt.accept(name, act_of(caller, asked, key)))


async def _require_line(agent: Agent, asked: bodies.Stop, caller: Identity) -> None:
    """Whoever is limited to lines stops these, and orders that are all theirs. Raises NotFound, Refused, NoRight."""
    lines = await _lines_of(agent, asked)
    if asked.scope == "target":
        everywhere(caller)
    elif caller.lines and not (lines and all(map(caller.sees, lines))):
        raise NotFound(f"there is no {asked.scope} {asked.key} with open postings on the lines of token {caller.name}")
    for matter in [Matter(line) for line in sorted(lines)] or [Matter()]:
        await _permit(agent, caller, Action.PAUSE, matter, asked)


async def _lines_of(agent: Agent, asked: bodies.Stop) -> set[str]:
    """The lines that would stand still; none: the whole plant, or nobody knows."""
    if asked.scope == "line":
        return {asked.key}

    def lines(connection: apsw.Connection) -> set[str]:
        key = f"order/{asked.key.removeprefix('order/')}"
        return {line for (line,) in connection.execute("SELECT line FROM lane WHERE ordering_key = ?", (key,))}

    return await look(agent, lines) if asked.scope == "order" else set()


async def _permit_reversal(agent: Agent, asked: bodies.Document, caller: Identity) -> None:
    """Raises NotFound, NoRight; of a document that nobody knows the act itself says so."""

    def found(connection: apsw.Connection) -> dict[str, Any] | None:
        row = connection.execute("SELECT id FROM posting WHERE document = ?", (asked.document,)).fetchone()
        return show(connection, row[0]) if row else None

    posting = await look(agent, found)
    if caller.lines and (posting is None or not caller.sees(posting["line"])):
        raise NotFound(f"no posting of this agent booked document {asked.document!r}")
    if posting is not None:
        await _permit(agent, caller, Action.REVERSE, Matter.of(posting), asked)
