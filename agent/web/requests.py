"""What every route needs: the agent, who asks, strict bodies, one way to read and one way to act."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, TypeVar

import apsw
from fastapi import APIRouter, Depends, Header, Query, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from agent.access.callers import Identity
from agent.access.tokens import Scope
from agent.app import Agent
from agent.errors import BadPayload
from agent.people import approving
from agent.people.desk import Act
from agent.strict import strictjson
from agent.web.answers import Refused
from agent.web.bodies import Reasoned
from agent.web.models import Problem

T = TypeVar("T")
AGAIN: Final = "send the same request with the same Idempotency-Key again"

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (401, "No valid token"),
        (403, "The token lacks the scope"),
        (404, "There is no such thing, or it belongs to another line"),
        (409, "Somebody else was first, or it is in another state: `decided_by`, `state`, `version` say"),
        (413, "The body is too large"),
        (415, "The body is not `application/json`, or compressed"),
        (422, "A field is missing, unknown or wrong; `fields` says which"),
        (429, "Too many requests; `Retry-After` says when to come again"),
        (503, "The store takes nothing now; `Retry-After` says when to come again"),
    )
}

_bearer = HTTPBearer(auto_error=False, description="A token of `api.tokens`, or the operator's token of this run")


class StrictRequest(Request):
    """A request whose JSON was read strictly before anybody asks for it."""

    async def json(self) -> Any:
        """The body, as `strictjson` reads it."""
        return self.state.strict


class StrictRoute(APIRoute):
    """Reads the bodies of acts: JSON by its content type, no duplicate keys, no NaN, no broken text."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler behind a strict reader."""
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler
        body = body_of(self)

        async def read(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                message = f"send the body as Content-Type application/json, not {kind[:60]!r}"
                raise Refused(415, "unsupported_media_type", message)
            strict = StrictRequest(request.scope, request.receive)
            try:
                strict.state.strict = strictjson.read(await strict.body())
            except BadPayload as error:
                takes = ", ".join(name for name, one in body.model_fields.items() if one.is_required()) if body else ""
                wanted = f"one JSON object{f' with {takes}' if takes else ''}"
                message = f"the body cannot be read: {error}; send {wanted}"
                raise BadPayload(message, reason=error.reason) from None
            return await handler(strict)

        return read


def body_of(route: APIRoute) -> type[BaseModel] | None:
    """What the body of this route is read as; None: it takes none, or any object."""
    kind = route.body_field.field_info.annotation if route.body_field is not None else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def new_router(route: type[APIRoute] = StrictRoute, *, in_schema: bool = True) -> APIRouter:
    """For the routes of one page: strict bodies, and what any of them may answer beside its own."""
    return APIRouter(
        route_class=route,
        responses=REFUSALS,
        generate_unique_id_function=lambda route: route.name,
        include_in_schema=in_schema,
    )


async def agent_of(request: Request) -> Agent:
    """The agent behind this API. Async, because FastAPI sends a plain function to a thread, and waits for it."""
    agent: Agent = request.app.state.agent
    return agent


class Needs:
    """A dependency: the caller, who must hold this scope, or one of these. Raises Forbidden (403)."""

    def __init__(self, scope: Scope, *others: Scope) -> None:
        self.scope = scope
        self.others = others

    async def __call__(self, request: Request, _: Annotated[Any, Security(_bearer)]) -> Identity:
        """The caller."""
        identity: Identity = request.state.identity
        if not any(map(identity.may, self.others)):
            identity.require(self.scope)
        return identity


class Acts(Needs):
    """The same for an act: at the console it takes the password once more. Raises Forbidden, Refused (403)."""

    async def __call__(self, request: Request, _: Annotated[Any, Security(_bearer)]) -> Identity:
        """The caller."""
        identity = await super().__call__(request, _)
        if identity.door:
            request.app.state.sessions.require_proof(request.scope["headers"], request.scope["path"])
        return identity


def everywhere(caller: Identity) -> None:
    """For what belongs to no line: a token that is limited to lines has no business there. Raises Refused (403)."""
    if caller.lines:
        raise Refused(403, "forbidden", f"token {caller.name} is limited to lines, and this belongs to the whole plant")


TheAgent = Annotated[Agent, Depends(agent_of)]
After = Annotated[int, Query(ge=0, lt=2**63, description="Only what comes behind this id: `next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=500, description="How many at most")]
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=128,
        pattern=r"^[!-~]*$",
        description="Makes a repetition harmless: the same request with the same key gets the same answer",
    ),
]


async def look(agent: Agent, at: Callable[[apsw.Connection], T]) -> T:
    """Read the store without holding up the loops."""
    return await asyncio.to_thread(agent.desk.look, at)


def act_of(caller: Identity, asked: Reasoned, key: str) -> Act:
    """Who acts and why. Keys of different tokens never meet. Raises Forbidden (403)."""
    own = f"{caller.name}:{key}" if key else ""
    return Act(caller.actor(asked.on_behalf_of), asked.reason, own, caller.session)


async def committed(agent: Agent, act: Coroutine[Any, Any, T]) -> T:
    """The answer of an act once it is on disk. Raises StoreError (503) where that takes too long."""
    return await approving.committed(agent.writer, act, AGAIN)
