"""/live, /ready and /metrics: what supervisors and Prometheus ask, without a body and without a token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from agent import metrics
from agent.app import Agent
from agent.web.limits import Application, Receive, Scope, Send
from agent.web.snapshot import snapshot

STUCK_S = 30.0  # a loop that owes a step and has not made it for so long
PATHS = frozenset({"/live", "/ready"})


def stuck(agent: Agent) -> list[str]:
    """Loops that made no progress although they had to. What waits for the disk or the ERP waits by design."""
    return [] if agent.writer.figures.trouble else list(_stuck(agent, time.monotonic()))


def _stuck(agent: Agent, now: float) -> Iterator[str]:
    figures = agent.writer.figures
    if figures.busy_since and now - figures.busy_since > STUCK_S:
        yield "writer"
    if agent.health.watched_at and now - agent.health.watched_at > STUCK_S:
        yield "watch"
    if agent.process is not None and agent.process.busy_since and now - agent.process.busy_since > STUCK_S:
        yield "process"
    for source in agent.sources:
        if (source.status().get("loop_silent_s") or 0.0) > STUCK_S:
            yield f"source {source.name}"


def unready(agent: Agent) -> str:
    """Why the agent takes nothing in, as a code: it tells strangers nothing about the machine. Empty: it is ready."""
    if agent.writer.failed is not None:
        return "store_stopped"
    if agent.writer.figures.trouble:
        return "store_cannot_commit"
    return "" if agent.health.ready else agent.health.code


class Probes:
    """Answers /live and /ready, and /metrics where asked to; hands the rest on."""

    def __init__(self, agent: Agent, rest: Application | None = None, *, with_metrics: bool = False) -> None:
        self._agent = agent
        self._rest = rest
        self._registry = metrics.registry(lambda: snapshot(agent)) if with_metrics else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path, reading = scope["path"], scope["method"] in ("GET", "HEAD")
        if path == "/live" and reading:
            await _probe(send, ", ".join(stuck(self._agent)))
        elif path == "/ready" and reading:
            await _probe(send, unready(self._agent))
        elif path == "/metrics" and reading and self._registry is not None:
            text = await asyncio.to_thread(metrics.exposition, self._registry)
            await _answer(send, 200, text, (b"content-type", metrics.CONTENT_TYPE.encode()))
        elif self._rest is not None:
            await self._rest(scope, receive, send)
        else:
            await _answer(send, 404 if reading else 405, b"")


async def _probe(send: Send, trouble: str) -> None:
    if trouble:
        await _answer(send, 503, b"", (b"x-reason", trouble.encode("ascii", "replace")))
    else:
        await _answer(send, 200, b"")


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})
