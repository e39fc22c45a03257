"""POST /v1/events: a report by HTTP, answered when it is on disk, not before."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Final

from fastapi import Depends, Header, Path, Query, Request
from fastapi.routing import APIRoute

from agent.access.callers import Identity
from agent.access.tokens import Scope
from agent.app import Agent
from agent.errors import NotFound, StoreError
from agent.ports import Delivery
from agent.sources.http import HttpSource
from agent.web import models
from agent.web.answers import Refused
from agent.web.probes import unready
from agent.web.requests import Needs, TheAgent, new_router

router = new_router(APIRoute)
Sender = Annotated[Identity, Depends(Needs(Scope.INGEST))]
STORE_S: Final = 10.0  # how long a report waits for its commit before the answer is 503
LONGEST_TOPIC: Final = 512
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f+#\ud800-\udfff\ufffd]")  # control characters, MQTT's wildcards, broken UTF-8

Source = Annotated[str, Query(max_length=32, description="Which source of kind `http`, where several are configured")]
ANY_BODY = {
    "requestBody": {
        "required": True,
        "description": "The message itself, byte for byte as a broker would carry it",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "id": "S3-000815",
                    "order": "1000100",
                    "material": "RM-RESIN",
                    "quantity": 12.5,
                    "unit": "KG",
                },
            },
            "*/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post("/v1/events", status_code=202, tags=["reports"], openapi_extra=ANY_BODY)
async def report(
    request: Request,
    agent: TheAgent,
    caller: Sender,
    x_topic: Annotated[str, Header(description="The topic, as on a broker")] = "",
    topic: Annotated[str, Query(description="The same, for senders that cannot set headers")] = "",
    source: Source = "",
) -> models.Stored:
    """Hand in one report. 202 means: on disk. What it becomes is decided behind it; `/v1/trace` tells.

    After 503, a broken connection or no answer send the same report again: a repetition is recognised by its id.
    """
    return await _store(request, agent, caller, x_topic or topic, source)


@router.post("/v1/events/{topic:path}", status_code=202, tags=["reports"], openapi_extra=ANY_BODY)
async def report_to(
    request: Request,
    agent: TheAgent,
    caller: Sender,
    topic: Annotated[str, Path(description="The topic, as on a broker")],
    source: Source = "",
) -> models.Stored:
    """The same with the topic in the path."""
    return await _store(request, agent, caller, topic, source)


async def _store(request: Request, agent: Agent, caller: Identity, topic: str, source: str) -> models.Stored:
    if not topic or len(topic) > LONGEST_TOPIC or _UNFIT.search(topic):
        message = (
            f"name the topic (at most {LONGEST_TOPIC} characters, no wildcards, no control characters): {topic[:60]!a}"
        )
        raise Refused(422, "bad_topic", message)
    door, intake, why = _source(agent, source), agent.intake, unready(agent)
    payload = await request.body()
    if intake is None or why:
        raise StoreError(f"nothing is taken in now ({why or 'starting'}); send it again later")
    try:
        async with asyncio.timeout(STORE_S):
            await door.submit(intake, [Delivery(topic, payload, {"user": caller.name})])
    except TimeoutError:
        raise StoreError(f"not on disk within {STORE_S:g} s, perhaps later; send the same report again") from None
    return models.Stored(stored=1)


def _source(agent: Agent, name: str) -> HttpSource:
    doors = [one for one in agent.sources if isinstance(one, HttpSource) and name in ("", one.name)]
    if not doors:
        raise NotFound(f"no source of kind http {name or 'at all'} is configured; add one under sources")
    if len(doors) > 1:
        names = ", ".join(one.name for one in doors)
        raise Refused(422, "which_source", f"say which source it is for: ?source= one of {names}")
    return doors[0]
