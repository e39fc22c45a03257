"""The HTTP API: routes, errors and OpenAPI put together around one agent."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from agent import __version__
from agent.access.callers import Identity, NoRight
from agent.access.envelope import SignatureRefused
from agent.access.users import FILE, Users
from agent.app import Agent
from agent.configuration.face_settings import Api
from agent.errors import GatepostError
from agent.people.board import Lines
from agent.web import (
    acts,
    feasibility,
    findings,
    follow_ons,
    gateway,
    looks,
    reconciliation,
    reports,
    sequence,
    shortages,
    trail,
    unfit,
)
from agent.web.answers import Answer, Refused, answer
from agent.web.auth import Doorkeeper
from agent.web.board_findings import OpenFindings
from agent.web.console import site
from agent.web.console.history import History
from agent.web.console.sessions import Sessions, cookie_of
from agent.web.limits import Application, Gate, Limits, Scope, TokenBuckets
from agent.web.page import STYLE_HASH, page
from agent.web.probes import PATHS, Probes
from agent.web.requests import body_of

REFUSALS_PER_S: Final = 0.1  # audit rows for refused acts, per client
PAGES: Final = (
    looks, sequence, shortages, reconciliation, findings, follow_ons, gateway, trail, acts, reports, feasibility, site,
)  # fmt: skip
ABOUT: Final = """Gatepost posts shop-floor reports to the ERP exactly once. This API is for screens and for scripts.
Look, decide, stop, let go, take back, and hand in reports.

Every request carries `Authorization: Bearer TOKEN`; a token has scopes and may be limited to lines. GET never changes
anything. Acts are JSON, say why, and take an `Idempotency-Key` that makes a repetition harmless. Times are UTC,
quantities and money are decimal strings. Errors are `{"error", "message", …}`: compare `error`, show `message`."""


def application(agent: Agent, settings: Api, operator: str, history: History) -> Application:
    """Everything that listens at the API's address."""
    refusals = Refusals(agent)
    sessions = Sessions(Users(agent.config.store.path.parent / FILE), cookie_of(settings.address))
    api = routes(agent, docs=settings.docs)
    api.state.refusals, api.state.sessions, api.state.history = refusals, sessions, history
    doorkeeper = Doorkeeper(lambda: (agent.config.api or settings).tokens, operator)
    return cast(
        "Application",
        Gate(
            Probes(agent, cast("Application", api)),
            lambda: _limits(agent.config.api or settings),
            identify=lambda headers: doorkeeper.identify(headers) or sessions.identify(headers),
            open_paths=PATHS | site.open_paths(),
            told=refusals.note,
            secure=settings.tls is not None,
        ),
    )


def _limits(settings: Api) -> Limits:
    return Limits(settings.max_body_kb << 10, settings.rate_per_second)


def routes(agent: Agent | None, *, docs: bool) -> FastAPI:
    """The FastAPI application; without an agent only to write its OpenAPI."""
    api = FastAPI(
        title="Gatepost",
        version=__version__,
        description=ABOUT,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        routes=[
            route for one in PAGES for route in one.router.routes
        ],  # an included router is built at its first request
    )
    api.state.agent = agent
    api.state.board_lines, api.state.board_findings = Lines(), OpenFindings()
    for kind in (GatepostError, RequestValidationError, HTTPException, Exception):
        api.add_exception_handler(kind, _refuse)
    if docs:
        _add_docs(api)
    return api


def _add_docs(api: FastAPI) -> None:
    """The description of the API: OpenAPI for programs, a page without scripts for people."""

    async def openapi(_: Request) -> Response:
        return JSONResponse(api.openapi())

    async def docs(_: Request) -> Response:
        policy = f"default-src 'none'; style-src '{STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"
        headers = {"content-security-policy": policy}
        return Response(page(api.openapi()), media_type="text/html; charset=utf-8", headers=headers)

    api.add_route("/openapi.json", openapi, include_in_schema=False)
    api.add_route("/docs", docs, include_in_schema=False)


async def _refuse(request: Request, error: Exception) -> Response:
    """The one handler of all errors inside the routes."""
    if isinstance(error, RequestValidationError):
        told = _unfit(request, error)
    elif isinstance(error, HTTPException):
        told = _of_http(error)
    else:
        told = answer(error)
        if told.status == 403 and not isinstance(error, SignatureRefused | NoRight):  # that is on record already
            await request.app.state.refusals.note(request.scope, error, request.state.identity)
    return Response(told.encoded(), told.status, headers=dict(told.headers), media_type="application/problem+json")


def _unfit(request: Request, error: RequestValidationError) -> Answer:
    """Which fields are wrong, and how."""
    found = unfit.fields(error.errors(), body_of(request.scope["route"]))
    return Answer(422, {"error": "bad_request", "message": unfit.sentence(found), "fields": found})


def _of_http(error: HTTPException) -> Answer:
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "_").replace("-", "_")
    message = f"{status.phrase}; GET /docs lists what there is" if status in (404, 405) else str(error.detail)
    return Answer(status, {"error": code, "message": message}, dict(error.headers or {}))


class Refusals:
    """Writes refused acts to the audit trail, a few per client: who knocks at the door may not fill the disk."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._buckets = TokenBuckets()
        self._left_out = 0

    async def note(self, scope: Scope, refused: Exception, identity: Identity | None) -> None:
        """One row for a refused act; GET acts on nothing and is not noted."""
        client = (scope.get("client") or ("local",))[0]
        if scope["method"] in ("GET", "HEAD") or self._agent.writer.figures.trouble:
            return
        if self._buckets.take(client, REFUSALS_PER_S):
            self._left_out += 1
            return
        code = refused.code if isinstance(refused, Refused) else "refused"
        detail = {
            "error": code,
            "method": scope["method"],
            "path": scope["path"][:200],
            "client": client,
            "left_out_before": self._left_out,
        }
        self._left_out = 0
        actor = identity.name if identity else "unknown"
        with suppress(GatepostError, TimeoutError):  # the answer does not wait for a disk that is full
            async with asyncio.timeout(2.0):
                await self._agent.writer.run(lambda tx: tx.audit("act_refused", detail, actor=actor, alarm=True))
