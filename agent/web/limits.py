"""What every request passes before anything looks at it: who asks, how often, how large, how slow; safe headers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from agent.access.callers import Identity
from agent.web.answers import Refused, answer

log = logging.getLogger("gatepost.web")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Monotonic = Callable[[], float]

HEADER_BYTES: Final = 8 * 1024  # of the request line and all headers
BODY_S: Final = 10.0  # for the whole body to arrive
REMEMBERED: Final = 4096  # clients whose rate is known
SAFE_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
POLICY: Final = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
STRICT_TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")


class TokenBuckets:
    """One bucket per key: it holds a second's worth, at least one, and fills at the rate. Old keys are forgotten."""

    def __init__(self, monotonic: Monotonic = time.monotonic, remembered: int = REMEMBERED) -> None:
        self._monotonic = monotonic
        self._remembered = remembered
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key → what is left, when

    def take(self, key: str, rate: float) -> float:
        """Take one and return 0, or the seconds until there is one again."""
        now, holds = self._monotonic(), max(1.0, rate)
        left, since = self._buckets.pop(key, (holds, now))
        left = min(holds, left + (now - since) * rate)
        wait = 0.0 if left >= 1.0 else (1.0 - left) / rate
        self._buckets[key] = (left if wait else left - 1.0, now)
        while len(self._buckets) > self._remembered:
            self._buckets.popitem(last=False)
        return wait


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may do."""

    body_bytes: int
    rate_per_second: float


Identify = Callable[[Any], Identity | None]
Told = Callable[[Scope, Refused, Identity | None], Awaitable[None]]


class Gate:
    """ASGI around an application. Nothing but `open_paths` passes without a token, where `identify` is given.

    `limits` is asked for each request, so that a reload counts; `told` hears of refusals with 401.
    """

    def __init__(
        self,
        application: Application,
        limits: Callable[[], Limits],
        *,
        identify: Identify | None = None,
        open_paths: frozenset[str] = frozenset(),
        told: Told | None = None,
        secure: bool = False,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._application = application
        self._limits = limits
        self._identify = identify
        self._open_paths = open_paths
        self._told = told
        self._headers = [*SAFE_HEADERS, *([STRICT_TRANSPORT] if secure else [])]
        self._rates = TokenBuckets(monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it."""
        if scope["type"] != "http":
            return
        reply = _Reply(send, self._headers)
        try:
            limits = self._limits()
            await self._admit(scope, limits)
            await self._application(scope, Body(receive, limits.body_bytes), reply)
        except Exception as error:  # the last resort: whatever it was, the caller gets a plain answer
            if reply.started:
                log.exception("an answer broke off")
            else:
                await _send(reply, error)

    async def _admit(self, scope: Scope, limits: Limits) -> None:
        """Raises Refused: 431, 429, 401, 413."""
        headers = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) + len(scope.get("raw_path", b"")) > HEADER_BYTES:
            raise Refused(431, "headers_too_large", f"request line and headers are limited to {HEADER_BYTES} bytes")
        identity = self._identify(headers) if self._identify else None
        address = (scope.get("client") or ("local",))[0]
        wait = self._rates.take(f"token {identity.name}" if identity else address, limits.rate_per_second)
        if wait:
            message = f"more than {limits.rate_per_second:g} requests per second; come again in {wait:.1f} s"
            raise Refused(429, "too_many_requests", message, retry_after=wait)
        if identity is None and self._identify is not None and scope["path"] not in self._open_paths:
            refused = Refused(401, "unauthorized", "send a valid token in the header `Authorization: Bearer TOKEN`")
            if self._told is not None:
                await self._told(scope, refused, None)
            raise refused
        scope.setdefault("state", {})["identity"] = identity
        _refuse_large(headers, limits.body_bytes)


def _refuse_large(headers: Any, body_bytes: int) -> None:
    """A body that says beforehand that it is too large is not read at all."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > body_bytes:
            raise too_large(body_bytes)
        if name == b"content-encoding" and value.strip().lower() != b"identity":
            raise Refused(415, "unsupported_encoding", "send the body as it is: compressed bodies are not unpacked")


def too_large(limit: int) -> Refused:
    """The refusal of a body beyond the limit."""
    return Refused(413, "too_large", f"the body is larger than the {limit} bytes that api.max_body_kb allows")


class Body:
    """Receives the body of one request and stops at the limit of bytes, or of time for all of it."""

    def __init__(self, receive: Receive, limit: int, seconds: float = BODY_S) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._read = 0
        self._until: float | None = None
        self._complete = False

    async def __call__(self) -> Message:
        """The next piece. Raises Refused: 413, 408."""
        if self._complete:  # what is waited for now is the end of the connection, and that may take its time
            return await self._receive()
        loop = asyncio.get_running_loop()
        self._until = self._until or loop.time() + self._seconds
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise Refused(408, "too_slow", f"the body did not arrive within {self._seconds:g} s") from None
        self._read += len(message.get("body", b""))
        if self._read > self._limit:
            raise too_large(self._limit)
        self._complete = not message.get("more_body", False)
        return message


class _Reply:
    """Sends an answer with the headers that every answer carries."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            own = list(message.get("headers", []))
            policy = [] if any(name == b"content-security-policy" for name, _ in own) else [POLICY]
            message["headers"] = [*own, *self._headers, *((b"content-security-policy", one) for one in policy)]
        await self._send(message)


async def _send(send: Send, error: Exception) -> None:
    told = answer(error)
    body = told.encoded()
    headers = [*told.raw_headers(), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": told.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
