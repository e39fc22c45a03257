"""The console over HTTP: its files, login, logout, signatures. All else that it shows and does is the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from agent import __version__
from agent.access.rights import Action, Right
from agent.access.tokens import Scope
from agent.access.users import User
from agent.app import Agent
from agent.people.signatures import Signed, Signer
from agent.web import gateway
from agent.web.answers import Refused
from agent.web.bodies import Reason, Word
from agent.web.console.sessions import Session, Sessions
from agent.web.requests import Key, TheAgent, committed, new_router

KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
)
ACTS: Final = {  # scope → what people do by it, as `rights` name it; others are no matter of rights
    Scope.APPROVE: (Action.APPROVE, Action.REFUSE, Action.CORRECT), Scope.REPLAY: (Action.REPLAY,),
    Scope.PAUSE: (Action.PAUSE,), Scope.REVERSE: (Action.REVERSE,), Scope.ADMIN: (Action.PROMOTE,),
}  # fmt: skip
MEANINGS: Final = {"approve": "approved", "refuse": "refused", "correct": "corrected and approved"}
router = new_router(in_schema=False)


class Signing(BaseModel):
    """A decision about a held posting, with the password once more."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: int = Field(ge=1, lt=2**63)
    version: int = Field(ge=1, lt=2**63)
    decision: Literal["approve", "refuse", "correct"]
    shown_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    reason: Reason
    changes: dict[Word, Word] = Field(default={}, max_length=8)  # of a correction
    password: str = Field(max_length=256)


class Proving(BaseModel):
    """The password once more, for one act at this path."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    path: str = Field(min_length=1, max_length=256)
    password: str = Field(max_length=256)


class Login(BaseModel):
    """A name and a password."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    user: Word
    password: str = Field(max_length=256)


@cache
def static() -> dict[str, tuple[bytes, str]]:
    """Path → content and its type: read once, nothing else is ever served."""
    folder = files("agent.web.console") / "static"
    found = {
        f"/console/{one.name}": (one.read_bytes(), KINDS[PurePosixPath(one.name).suffix]) for one in folder.iterdir()
    }
    return {**found, "/": found["/console/index.html"]}


def open_paths() -> frozenset[str]:
    """What answers without a token: the files, and the door."""
    return frozenset(static()) | {"/console/login", "/console/logout", "/console/me"}


async def sessions_of(request: Request) -> Sessions:
    """Who is logged in."""
    sessions: Sessions = request.app.state.sessions
    return sessions


TheSessions = Annotated[Sessions, Depends(sessions_of)]


async def show(request: Request) -> Response:
    """One file of the console."""
    content, kind = static()[request.url.path]
    return Response(content, media_type=kind, headers={"content-security-policy": POLICY})


for _path in static():
    router.add_api_route(_path, show, methods=["GET", "HEAD"], name=f"console {_path}")


@router.post("/console/login")
async def log_in(asked: Login, request: Request, sessions: TheSessions, agent: TheAgent) -> Response:
    """Whose password it is gets a cookie that no script can read, and the page's secret."""
    address = _address(request)
    async with _on_record(agent, "console_login_refused", asked.user, address):
        cookie, session, user = await sessions.log_in(asked.user, asked.password, address)
    detail = {"session": session.id, "client": address}
    await committed(agent, agent.writer.run(lambda tx: tx.audit("console_login", detail, actor=user.name)))
    answer = JSONResponse(_me(session, user, agent))
    answer.set_cookie(sessions.cookie, cookie, httponly=True, samesite="strict", path="/", secure=_by_tls(request))
    return answer


@router.post("/console/sign")
async def sign(asked: Signing, request: Request, sessions: TheSessions, agent: TheAgent, key: Key = "") -> Response:
    """Approve or refuse: who is logged in proves once more that they are there. Raises Refused, Conflict."""
    caller = sessions.identify(request.scope["headers"])
    if caller is None:
        raise Refused(401, "unauthorized", "log in first")
    caller.require(Scope.APPROVE)
    async with _on_record(agent, "signature_refused", caller.name, _address(request)):
        user = await sessions.proven(caller.name, asked.password, _address(request))
    scopes = () if agent.config.rights else tuple(one.value for one in user.scopes)  # a right may be called as a scope
    signer = Signer(user.name, user.full_name, user.roles or scopes, "console")
    signed = Signed(
        asked.id, "", asked.version, asked.decision, asked.shown_sha256, MEANINGS[asked.decision], asked.reason, "",
        signer, user.name, "", agent.clock().isoformat(), asked.changes, proven=True,
    )  # fmt: skip
    return JSONResponse(dict(await gateway.signatures(agent).sign(signed, caller)))


@router.post("/console/prove")
async def prove(asked: Proving, request: Request, sessions: TheSessions, agent: TheAgent) -> Response:
    """What lets whoever is logged in do one act of the API: their password, once more. Raises Refused."""
    headers = request.scope["headers"]
    caller, session = sessions.identify(headers), sessions.of(headers)
    if caller is None or session is None:
        raise Refused(401, "unauthorized", "log in first")
    async with _on_record(agent, "act_refused", caller.name, _address(request)):
        await sessions.proven(caller.name, asked.password, _address(request))
    return JSONResponse({"proof": sessions.prove(session, asked.path)})


@router.get("/console/me")
async def me(request: Request, sessions: TheSessions, agent: TheAgent) -> Response:
    """Whose cookie this is, for a page that was loaded again; another site may ask but never read the answer."""
    session = sessions.of(request.scope["headers"])
    user = sessions.whose(session) if session else None
    if session is None or user is None:
        return JSONResponse({"user": None, "anybody": sessions.anybody, "about": _about(agent)})
    return JSONResponse(_me(session, user, agent))


@router.post("/console/logout")
async def log_out(asked: dict[str, Any], request: Request, sessions: TheSessions, agent: TheAgent) -> Response:
    """End the session of the cookie; only for our own page, as every act."""
    headers = request.scope["headers"]
    session, caller = sessions.of(headers), sessions.identify(headers)
    if session is not None and caller is not None:
        sessions.log_out(headers)
        detail = {"session": session.id, "client": _address(request)}
        await committed(agent, agent.writer.run(lambda tx: tx.audit("console_logout", detail, actor=caller.name)))
    answer = JSONResponse({"user": None})
    answer.delete_cookie(sessions.cookie, path="/")
    return answer


def _by_tls(request: Request) -> bool:
    """Whether the browser loaded the page by TLS; behind a proxy only the browser knows that, and says it in Origin."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def _address(request: Request) -> str:
    return str((request.scope.get("client") or ("local",))[0])


@asynccontextmanager
async def _on_record(agent: Agent, action: str, name: str, address: str) -> AsyncIterator[None]:
    """A wrong password is an alarm; of an address that is shut out nothing more is written."""
    try:
        yield
    except Refused as refused:
        if refused.status == 401:
            detail = {"user": name, "client": address, "error": refused.code}
            await committed(agent, agent.writer.run(lambda tx: tx.audit(action, detail, alarm=True)))
        raise


def _me(session: Session, user: User, agent: Agent) -> dict[str, Any]:
    scopes = _offered(user, agent.config.rights)
    return {
        "user": user.name, "full_name": user.full_name, "scopes": scopes, "lines": list(user.lines),
        "roles": list(user.roles), "page": session.page, "about": _about(agent),
    }  # fmt: skip


def _offered(user: User, rights: Sequence[Right]) -> list[str]:
    """The scopes of whom the page offers the acts: where there are rights, those alone of which a role grants any."""
    held = list(Scope) if Scope.ADMIN in user.scopes else user.scopes
    granted = {action for right in rights if right.role in user.roles for action in right.actions}
    return [one.value for one in held if not rights or one not in ACTS or not granted.isdisjoint(ACTS[one])]


def _about(agent: Agent) -> dict[str, Any]:
    plant = agent.config.plant
    table = agent.process.rules.facts.units if agent.process else None
    return {
        "rights": bool(agent.config.rights),
        "version": __version__, "site": plant.site, "zone": plant.time_zone, "currency": plant.currency,
        "units": {code: table.shown(code) for code in table.sap} if table else {},
    }  # fmt: skip
