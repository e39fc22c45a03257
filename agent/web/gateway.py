"""What a gateway asks: the board, one posting as it is shown, a challenge, and what a person signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final

import apsw
from fastapi import Depends, Header, Query, Request

from agent import follow_ons
from agent.access.callers import Identity
from agent.access.envelope import SignatureRefused, verify
from agent.access.masking import veiled
from agent.access.rights import Action, allowed
from agent.access.tokens import Scope
from agent.app import Agent
from agent.people import approving, shown
from agent.people.board import Lines, drifted, risk_of
from agent.people.board import board as board_of
from agent.people.scrap_reasons import suggested
from agent.people.shown import Around
from agent.people.signatures import Signatures, Signed, Signer, told
from agent.people.veil import covered
from agent.ports import Kind, SaysInErpWords
from agent.store.challenges import Bound
from agent.web import gateway_models as models
from agent.web.board_findings import OpenFindings
from agent.web.looks import PostingId
from agent.web.probes import unready
from agent.web.requests import Needs, TheAgent, look, new_router

router = new_router()
Reader = Annotated[Identity, Depends(Needs(Scope.READ, Scope.GATEWAY))]
Gateway = Annotated[Identity, Depends(Needs(Scope.GATEWAY))]
Timestamp = Annotated[str, Header(alias="X-Gatepost-Timestamp", max_length=20, description="Unix time, whole seconds")]
Mac = Annotated[
    str, Header(alias="X-Gatepost-Signature", max_length=128, description="HMAC-SHA256, 64 hexadecimal digits")
]
Roles = Annotated[
    list[Annotated[str, Query(max_length=128)]],
    Query(max_length=64, description="The roles of whoever looks: what they may do, and what is masked for them"),
]
NO_ROLES: Final[list[str]] = []


# ── look ────────────────────────────────────────────────────────────────────────────────────────────────────


@router.get("/v1/board", tags=["gateway"], response_model_exclude_unset=True)
async def board(
    agent: TheAgent,
    caller: Reader,
    request: Request,
    since: Annotated[str, Query(max_length=64, description="The `version` of the answer before")] = "",
) -> models.Board:
    """Everything that lives on a gateway's screens, in one answer; nothing but the version while nothing changed."""
    known = around(agent)
    drift = {name: drifted(one) for name, one in agent.doubt.states.items() if one.drifted}
    lines: Lines = request.app.state.board_lines
    findings: OpenFindings = request.app.state.board_findings
    fields = covered(agent.config, caller)

    def read(connection: apsw.Connection) -> dict[str, Any]:
        rules = agent.rules
        found = findings.of(connection, rules, caller)
        lots = follow_ons.listed(connection, rules, caller)
        return board_of(connection, rules, caller, known, drift, lines, found, lots, fields)

    found = await look(agent, read)
    now = agent.clock().isoformat()
    if found["version"] == since:
        return models.Board(version=since, now=now, unchanged=True)
    return models.Board.model_validate({**found, "now": now, "unchanged": False})


def around(agent: Agent) -> dict[str, Any]:
    """What the loops know of the agent's health."""
    sources = [(one.name, one.status()) for one in agent.sources]
    return {
        "ready": agent.health.ready,
        "reason": unready(agent),
        "chain_ok": agent.health.chain_ok,
        "sources": [
            {"name": name, "connected": bool(status.get("connected")), "error": str(status.get("error") or "")}
            for name, status in sources
        ],
        "targets": [
            {
                "name": name,
                "available": not one.availability.trouble,
                "trouble": str(one.availability.trouble or ""),
                "in_the_air": one.in_the_air,
            }
            for name, one in agent.dispatches.items()
        ],
    }


@router.get("/v1/approvals/{id}", tags=["approvals"])
async def show_approval(id: PostingId, agent: TheAgent, caller: Reader, roles: Roles = NO_ROLES) -> models.Approval:
    """One posting as a person decides about it, in whatever state it is now, and what came before it."""
    known = surroundings(agent)
    found = await look(agent, lambda connection: _shown(connection, id, caller, roles, known, agent))
    return models.Approval.model_validate(found)


def _shown(
    connection: apsw.Connection, id: int, caller: Identity, roles: Sequence[str], known: Around, agent: Agent
) -> dict[str, Any]:
    posting = approving.visible(connection, id, caller)
    may = allowed(agent.config.rights, caller.roles or roles, posting)
    whole = shown.record(connection, posting, known)
    fields = covered(agent.config, caller, roles)
    content, digest = whole.shown(all_of_it=not fields)
    held = posting["state"] == "held"
    return {
        **veiled(posting, fields if whole.masked else ()),
        "currency": known.facts.plant.currency,
        "unit": content["unit"],
        "risk": risk_of(posting, agent.rules),
        "payload": content["payload"],
        "group": veiled(posting["group"], fields),
        "shown_sha256": digest,
        "allowed": [one.value for one in may if held and one is not Action.READ_SENSITIVE],
        "masked": list(whole.masked) if fields else [],
        "record": content,
        "history": veiled(shown.history(connection, posting, known.facts), fields),
        "suggested": suggested(connection, posting, known.facts),
    }


# ── sign ────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/v1/approvals/{id}/challenge", tags=["gateway"])
async def challenge(id: PostingId, asked: models.Challenge, agent: TheAgent, caller: Gateway) -> models.Given:
    """A nonce for one signature: good once, for five minutes, for this decision about the posting as it was shown."""
    wanted = Bound(id, asked.version, asked.decision, asked.shown_sha256 or "", asked.session_user, caller.name)
    return models.Given(**await signatures(agent).challenge(wanted, caller))


@router.post("/v1/approvals/{id}/sign", tags=["gateway"])
async def sign(
    id: PostingId,
    asked: models.Sign,
    request: Request,
    agent: TheAgent,
    caller: Gateway,
    timestamp: Timestamp = "",
    signature: Mac = "",
) -> models.SignedAnswer:
    """Approve or refuse as a person signed it. Of several who decide one wins; the others get 409 and by whom."""
    done = await _signed(agent, request, _words(id, asked, {}), caller, timestamp, signature)
    return models.SignedAnswer(**done)


@router.post("/v1/approvals/{id}/correct", tags=["gateway"])
async def correct(
    id: PostingId,
    asked: models.Correct,
    request: Request,
    agent: TheAgent,
    caller: Gateway,
    timestamp: Timestamp = "",
    signature: Mac = "",
) -> models.Corrected:
    """Put a posting with other figures in the place of this one, as a person signed it; that approves it, too."""
    done = await _signed(agent, request, _words(id, asked, asked.changes), caller, timestamp, signature)
    return models.Corrected(**done)


async def _signed(
    agent: Agent, request: Request, asked: Signed, caller: Identity, timestamp: str, signature: str
) -> Mapping[str, Any]:
    """Verify the envelope, then do it. Raises SignatureRefused, which is on record."""
    await opened(agent, request, caller, timestamp, signature, asked.posting_id, asked.nonce, told(asked))
    return await signatures(agent).sign(asked, caller)


async def opened(
    agent: Agent,
    request: Request,
    caller: Identity,
    timestamp: str,
    signature: str,
    posting_id: int,
    nonce: str,
    detail: Mapping[str, Any],
) -> None:
    """Verify the envelope around this body. Raises SignatureRefused, which is on record with `detail`."""
    body = await request.body()
    try:
        verify(_secret(agent, caller), timestamp, signature, nonce, body, agent.clock())
    except SignatureRefused as error:
        burnt = nonce if error.code == "clock_off" else ""  # only who knows the secret can use up a nonce
        await signatures(agent).refused(error, caller, posting_id, detail, burnt)
        raise


def _words(id: int, asked: models.Sign, changes: Mapping[str, str]) -> Signed:
    signer = Signer(asked.signer.user, asked.signer.full_name, tuple(asked.signer.roles), asked.signer.idp)
    return Signed(
        id, asked.nonce, asked.version, asked.decision, asked.shown_sha256, asked.meaning, asked.reason, asked.comment,
        signer, asked.session_user, asked.gateway, asked.signed_at, changes,
    )  # fmt: skip


def _secret(agent: Agent, caller: Identity) -> str:
    """What this token signs with. Raises SignatureRefused (403) for one that has none, as the operator's."""
    tokens = agent.config.api.tokens if agent.config.api else ()
    for one in tokens:
        if one.name == caller.name and one.signing_secret is not None:
            return one.signing_secret.reveal()
    raise SignatureRefused("no_right", f"token {caller.name} has no signing_secret: it signs for nobody", 403)


# ── what counts now ─────────────────────────────────────────────────────────────────────────────────────────


def signatures(agent: Agent) -> Signatures:
    """The door for signatures as the configuration has it now."""
    return Signatures(agent.desk, agent.config.rights, surroundings(agent), partial(_refusals, agent))


def surroundings(agent: Agent) -> Around:
    """What a record is made of beside the store."""
    return Around(agent.rules.facts, partial(_words_of, agent), agent.config.sensitive)


def _refusals(agent: Agent, target: str, kind: Kind, payload: Mapping[str, Any]) -> Sequence[str]:
    return agent.targets[target].check(kind, payload)


def _words_of(agent: Agent, target: str, kind: str, payload: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """A payload in the words of its ERP; as it is, where the target has none of its own."""
    found = agent.targets.get(target)
    if isinstance(found, SaysInErpWords):
        return found.in_its_words(Kind(kind), payload)
    return [(name, str(value)) for name, value in payload.items() if value not in ("", None, {})]
