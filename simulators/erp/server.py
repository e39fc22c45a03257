"""The HTTP side: requests in, faults in between, answers out; and `running(...)` for tests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from simulators import scenario
from simulators.erp import services, writes
from simulators.erp.answers import csrf_required, distorted, instead
from simulators.erp.control import control
from simulators.erp.faults import Rule, Stage, read_rules
from simulators.erp.odata import Answer, ODataError, error_answer
from simulators.erp.services import ROOT, Call
from simulators.erp.sessions import read_cookies
from simulators.erp.state import Clock, Erp, Settings, new_erp, utc_now
from simulators.erp.tls import Certificates, make_certificates

_SAFE = frozenset({"GET", "HEAD"})


class Dropped(Exception):  # noqa: N818 - not an error: the connection is to be closed without an answer
    """Close the connection without an answer."""


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also tells the application its transport: a fault must be able to close it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["transport"] = self.transport  # type: ignore[typeddict-unknown-key]


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: whoever starts it, stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Application:
    """The ASGI application over one ERP."""

    def __init__(self, erp: Erp) -> None:
        self.erp = erp
        self.tasks: set[asyncio.Task[None]] = set()
        self.closing = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, or close its connection."""
        pace = 0.0
        try:
            call = await _read_call(scope, receive)
            if call.path.startswith("/_sim/"):
                answer = control(self.erp, call)
            else:
                answer, pace = await self.answer(call, receive, scope["transport"])
        except Dropped:
            scope["transport"].abort()
            await _gone(receive)
            return
        await _send(send, answer, head=call.method == "HEAD", pace=pace)

    async def answer(self, call: Call, receive: Any, transport: asyncio.Transport) -> tuple[Answer, float]:
        """The answer to an ERP request, and the seconds between its bytes (0: at once)."""
        erp, now = self.erp, self.erp.clock()
        rule = erp.faults.pick(call.method, call.path, call.order) if erp.faults.rules else None
        if rule is not None and rule.stage is Stage.BEFORE:
            return await self.refuse(call, rule, receive), 0.0
        if call.path == "/oauth/token":
            return erp.sessions.issue(call.headers, call.body, now), 0.0
        if not call.path.startswith(ROOT):
            return Answer(404, b"Not found", content_type=b"text/plain"), 0.0
        user = erp.sessions.user_of(call.headers, _certificate_name(transport), now)
        if user is None or call.options.get("sap-client", erp.sessions.client) != erp.sessions.client:
            return instead(Rule("unauthorized"), call.service, now), 0.0
        call.user = user
        if call.method in _SAFE:
            return await self.read(call, rule, now), _pace(rule)
        if not erp.sessions.may_write(call.headers, call.cookies, call.service, now):
            if rule is not None:
                rule.hits -= 1  # it was meant for a write that gets this far
            return csrf_required(), 0.0
        return await self.write(call, rule, receive, transport), _pace(rule)

    async def refuse(self, call: Call, rule: Rule, receive: Any) -> Answer:
        """A fault that strikes before anything is booked."""
        match rule.fault:
            case "reset":
                raise Dropped
            case "hang":
                await self.until_gone(receive, rule.seconds or None)
                raise Dropped
            case "expired_token":
                self.erp.sessions.end(call.cookies)
                return csrf_required()
        return instead(rule, call.service, self.erp.clock())

    async def read(self, call: Call, rule: Rule | None, now: datetime) -> Answer:
        """GET and HEAD."""
        if rule is not None and rule.stage is Stage.DELAY:
            await self.pause(rule.seconds)
        try:
            answer = services.read(self.erp, call)
        except ODataError as error:
            answer = error_answer(error, call.service, now)
        if call.headers.get("x-csrf-token", "").lower() == "fetch":
            secure = call.base.startswith("https")
            self.erp.sessions.fetch(answer, call.cookies, call.service, now, secure=secure)
        return answer if rule is None else distorted(rule, answer, call.service, now)

    async def write(self, call: Call, rule: Rule | None, receive: Any, transport: asyncio.Transport) -> Answer:
        """POST and PATCH, with the order locked for as long as it takes."""
        if rule is not None and rule.stage is Stage.LATE:
            await self.commit_late(call, rule, receive, transport)
            raise Dropped
        try:
            order = call.order() if self.erp.settings.locking else ""
            if order and order in self.erp.locked:
                raise ODataError(423, "CO/469", f"Order {order} is already being processed by {call.user}")
            self.erp.locked.add(order)
            try:
                if rule is not None and rule.stage is Stage.DELAY:
                    await self.pause(rule.seconds)
                cogi = rule is not None and rule.fault == "cogi"
                answer = writes.write(self.erp, call, time.monotonic(), cogi=cogi)
            finally:
                self.erp.locked.discard(order)
        except ODataError as error:
            return error_answer(error, call.service, self.erp.clock())
        if rule is None:
            return answer
        if rule.fault == "answer_lost":
            raise Dropped
        return distorted(rule, answer, call.service, self.erp.clock())

    async def commit_late(self, call: Call, rule: Rule, receive: Any, transport: asyncio.Transport) -> None:
        """Close the connection, or wait until the client does; the commit follows `seconds` later.

        The order is not locked meanwhile: the request stands in a queue before its work process has begun.
        """
        self.erp.pending += 1
        try:
            if rule.fault == "late_commit":
                transport.abort()
            else:
                await self.until_gone(receive, None)
        except asyncio.CancelledError:
            self.erp.pending -= 1
            raise
        task = asyncio.create_task(self._commit_after(call, rule.seconds), name="late commit")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _commit_after(self, call: Call, seconds: float) -> None:
        gone = time.monotonic()
        try:
            await asyncio.sleep(seconds)
            booked, now = len(self.erp.books.documents), time.monotonic()
            with contextlib.suppress(ODataError):  # nobody listens: what would be refused is simply not booked
                writes.write(self.erp, call, now)
            if len(self.erp.books.documents) > booked:
                late = max(self.erp.latest_commit_after_disconnect_seconds, now - gone)
                self.erp.latest_commit_after_disconnect_seconds = late
        finally:
            self.erp.pending -= 1

    async def pause(self, seconds: float) -> None:
        """Take time, but not beyond the end of the server."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds)

    async def until_gone(self, receive: Any, seconds: float | None) -> None:
        """Keep silent until the client gives up, the time is over, or the server ends."""
        waits = {asyncio.ensure_future(_gone(receive)), asyncio.ensure_future(self.closing.wait())}
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    async def close(self) -> None:
        """End what waits; late commits that did not happen yet never will, as in a killed server."""
        self.closing.set()
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _read_call(scope: Any, receive: Any) -> Call:
    arrived = time.monotonic()
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    body = b""
    if scope["method"] not in _SAFE:
        chunks, more = [], True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":  # half a request is no request
                raise Dropped
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(chunks)
    query = scope["query_string"].decode("latin-1")
    return Call(
        method=scope["method"],
        path=scope["path"],
        options=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
        headers=headers,
        body=body,
        base=f"{scope['scheme']}://{headers.get('host', 'localhost')}",
        cookies=read_cookies(headers.get("cookie", "")),
        arrived=arrived,
    )


async def _send(send: Any, answer: Answer, *, head: bool, pace: float) -> None:
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if pace and not head:
        for position in range(len(answer.body)):
            await send({"type": "http.response.body", "body": answer.body[position : position + 1], "more_body": True})
            await asyncio.sleep(pace)
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": b"" if head else answer.body})


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _pace(rule: Rule | None) -> float:
    return rule.seconds if rule is not None and rule.fault == "trickle" else 0.0


def _certificate_name(transport: asyncio.Transport) -> str:
    certificate = transport.get_extra_info("peercert")
    if not certificate:
        return ""
    return next((value for ((name, value),) in certificate["subject"] if name == "commonName"), "")


# ── starting and stopping ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Running:
    """A started simulator: where it listens, and its state."""

    base_url: str
    https_url: str  # empty without TLS
    certificates: Certificates | None
    erp: Erp
    port: int


@contextlib.asynccontextmanager
async def running(
    *,
    http: int = 0,
    https: int | None = None,
    user: str = "",
    password: str = "",
    seed: int = 0,
    books: Path | None = None,
    faults: Any = (),
    settings: Settings | None = None,
    plan: scenario.Scenario | None = None,
    clock: Clock = utc_now,
    tls_folder: Path | None = None,
    dates: bool = False,
) -> AsyncIterator[Running]:
    """Serve on loopback until the block ends; port 0 is a free one, `https=None` means no TLS.

    `faults` are rules as in POST /_sim/faults. Raises OSError when a port is taken, ValueError for a wrong rule.
    """
    rules = read_rules(list(faults))
    erp = new_erp(
        plan=plan, books=books, rules=rules, seed=seed, user=user, password=password, settings=settings, clock=clock,
        dates=dates,
    )  # fmt: skip
    application = Application(erp)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(lambda: erp.books.close())  # a reset replaces the books
        certificates = None
        port, sockets = _listen(http)
        await stack.enter_async_context(_serving(application, sockets, None))
        https_url = ""
        if https is not None:
            folder = tls_folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            certificates = make_certificates(folder, user)
            https_port, sockets = _listen(https)
            await stack.enter_async_context(_serving(application, sockets, certificates))
            https_url = f"https://127.0.0.1:{https_port}"
        stack.push_async_callback(application.close)
        yield Running(f"http://127.0.0.1:{port}", https_url, certificates, erp, port)


def _listen(port: int) -> tuple[int, list[socket.socket]]:
    # Named, not 0: asyncio switches Nagle off only where the protocol says TCP, and it would cost 40 ms per answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener.getsockname()[1], [listener]


@contextlib.asynccontextmanager
async def _serving(
    application: Application, sockets: Sequence[socket.socket], certificates: Certificates | None
) -> AsyncIterator[None]:
    config = uvicorn.Config(
        application,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=60,
        ssl_certfile=certificates.server if certificates else None,
        ssl_ca_certs=str(certificates.ca) if certificates else None,
        ssl_cert_reqs=ssl.CERT_OPTIONAL if certificates else ssl.CERT_NONE,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=list(sockets)), name="erp simulator")
    try:
        while not server.started:
            if task.done():
                await task
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await task
