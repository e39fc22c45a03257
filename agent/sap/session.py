"""One HTTP session with SAP: kept connections, CSRF token bound to its cookies, identity, a deadline for every call.

A call is made once; only what SAP itself says it has not processed (403 with ``x-csrf-token: Required``, 401) is sent
a second time, byte for byte.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from agent.errors import ErpUnavailable
from agent.sap.auth import Monotonic, identity
from agent.sap.channel import Channel, Headers, NoAnswer, NotSent, Reply, host, request
from agent.sap.connection import SapConnection, tls_context
from agent.sap.errors import excerpt, read_error, retry_after, without_answer

JSON = (b"Accept", b"application/json")
_AS_IT_IS = "%/:=&?~+!$,;'@()*[]"  # in an address: what is quoted already stays so


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, read to its end; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def where(self) -> str:
        """The place for a message: path without host and query."""
        return self.url.partition("?")[0]


@dataclass(frozen=True, slots=True)
class _Token:
    """A CSRF token and the cookies it came with: worthless apart."""

    value: bytes
    cookies: bytes


class SapSession:
    """Calls the services of one SAP system. Constructed cold; `open` and `close` inside the running loop.

    Shared by the target and the order source. Errors: ErpUnavailable, and from `write` also ErpInDoubt.
    """

    def __init__(self, connection: SapConnection, monotonic: Monotonic = time.monotonic) -> None:
        self.connection = connection
        self._monotonic = monotonic
        self._identity = identity(connection, self._exchange, monotonic)
        self._base = urlsplit(connection.url).path.rstrip("/") + "/" + connection.path.strip("/")
        self._tokens: dict[str, _Token] = {}
        self._token_flights: dict[str, asyncio.Lock] = {}
        self._targets: dict[str, bytes] = {}
        self._free: asyncio.LifoQueue[Channel] = asyncio.LifoQueue()  # the connection used last is used next
        self._all: tuple[Channel, ...] = ()
        self._context: ssl.SSLContext | None = None
        self._common: Headers = [
            (b"Host", host(connection.url)),
            (b"Accept-Encoding", b"identity"),
            (b"Accept-Language", connection.language.encode()),
            (b"User-Agent", b"gatepost"),
        ]

    async def open(self) -> None:
        """Read the certificates; connects to nobody. Raises ErpUnavailable where a file cannot be used."""
        if self._all:
            return
        to = self.connection
        if urlsplit(to.url).scheme == "https" or to.auth.kind == "oauth2":
            self._context = await asyncio.to_thread(tls_context, to)
        size = to.concurrency + 2  # two more for token, find and orders beside a full window of postings
        self._all = tuple(Channel(to.url, self._context, to.connect_s) for _ in range(size))
        self._free = asyncio.LifoQueue()
        for channel in self._all:
            self._free.put_nowait(channel)

    async def close(self) -> None:
        """Let go of the connections; the token stays and is renewed where SAP has forgotten it."""
        channels, self._all = self._all, ()
        for channel in channels:
            await channel.close()

    # ── calls ───────────────────────────────────────────────────────────────────────────────────────────────

    async def read(self, path: str, accept: str = "application/json") -> Answer:
        """GET ``SERVICE/…`` and return any answer. Raises ErpUnavailable where there is none."""
        return await self._get(path, [(b"Accept", accept.encode())])

    async def _get(self, path: str, more: Headers) -> Answer:
        """A read with the identity; on 401 once more where another access token can be had."""
        target = self._target(path)
        for last in (False, True):
            authorization = await self._identity.authorization()
            headers = self._headers(authorization, more)
            answer = await self._send(b"GET", target, headers, b"", reading=True)
            if last or answer.status != 401 or not self._identity.refused(authorization):
                break
        return answer

    def _headers(self, authorization: str, more: Headers) -> Headers:
        identified = [(b"Authorization", authorization.encode())] if authorization else []
        return [*self._common, *identified, *more]

    async def write(self, service: str, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        """Send a modifying request of `service` with its CSRF token; returns any answer but 401 and 403.

        Raises ErpUnavailable (nothing was processed: not reachable, not authorised) and ErpInDoubt.
        """
        verb, target = method.encode(), self._target(path)
        renewed = False
        while True:
            token = self._tokens.get(service) or await self._token(service)
            authorization = await self._identity.authorization()
            fixed = [JSON, (b"X-CSRF-Token", token.value), (b"Cookie", token.cookies), *headers]
            answer = await self._send(verb, target, self._headers(authorization, fixed), body, reading=False)
            if answer.status not in (401, 403):
                return answer
            if renewed or not self._renewable(answer):
                raise not_authorised(answer)
            renewed = True
            self._forget(service, token)
            if answer.status == 401:
                self._identity.refused(authorization)

    @staticmethod
    def _renewable(answer: Answer) -> bool:
        return answer.status == 401 or answer.headers.get("x-csrf-token", "").lower() == "required"

    def _forget(self, service: str, token: _Token) -> None:
        """Drop the token, unless another call has renewed it meanwhile."""
        if self._tokens.get(service) is token:
            del self._tokens[service]

    async def _token(self, service: str) -> _Token:
        """The CSRF token of a service, fetched once for all callers that wait for it."""
        async with self._token_flights.setdefault(service, asyncio.Lock()):
            if token := self._tokens.get(service):
                return token
            token = await self._fetch_token(service)
            self._tokens[service] = token
            return token

    async def _fetch_token(self, service: str) -> _Token:
        answer = await self._get(f"{service}/", [JSON, (b"X-CSRF-Token", b"Fetch")])
        if answer.status in (401, 403):
            raise not_authorised(answer)
        value = answer.headers.get("x-csrf-token", "")
        if answer.status != 200 or not value or not value.isascii() or value.lower() in ("required", "fetch"):
            raise unavailable(answer, "gave no CSRF token; check the address and that the service is active")
        return _Token(value.encode(), _cookies(answer.headers).encode())

    # ── the wire ────────────────────────────────────────────────────────────────────────────────────────────

    def _target(self, path: str) -> bytes:
        """What a request asks for; those without a query are few and kept."""
        if (known := self._targets.get(path)) is not None:
            return known
        text = f"{self._base}/{path}"
        if self.connection.client:
            text += ("&" if "?" in text else "?") + f"sap-client={self.connection.client}"
        target = quote(text, safe=_AS_IT_IS).encode()
        if "?" not in path and "(" not in path:
            self._targets[path] = target
        return target

    async def _send(self, method: bytes, target: bytes, headers: Headers, body: bytes, *, reading: bool) -> Answer:
        free = self._free
        channel = await self._channel()
        try:
            return await self._call(channel, method, target, headers, body, reading=reading)
        finally:
            free.put_nowait(channel)

    async def _channel(self) -> Channel:
        """A connection that nobody uses. Raises ErpUnavailable where none comes free in time."""
        if not self._all:
            raise ErpUnavailable(f"{self.connection.url}: the session is not open")
        try:
            return self._free.get_nowait()
        except asyncio.QueueEmpty:
            try:
                async with asyncio.timeout(self.connection.connect_s):  # wait_for can swallow a cancellation
                    return await self._free.get()
            except TimeoutError:
                waited = f"no connection came free within {self.connection.connect_s:g} s"
                raise ErpUnavailable(f"{self.connection.url}: not reachable ({waited})") from None

    async def _call(
        self, channel: Channel, method: bytes, target: bytes, headers: Headers, body: bytes, *, reading: bool
    ) -> Answer:
        try:
            async with asyncio.timeout(self.connection.total_s):
                reply = await channel.exchange(request(method, target, headers, body))
        except (NotSent, NoAnswer, TimeoutError) as error:
            where = f"{method.decode()} {_path(target)}"
            raise without_answer(error, where, reading=reading) from error
        return Answer(reply.status, _headers(reply), reply.body, _path(target))

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """The token request of OAuth: another host, outside SAP's services, without cookies; it changes nothing."""
        fixed = [(b"Host", host(url)), *((name.encode(), value.encode()) for name, value in headers.items())]
        parts = urlsplit(url)
        target = quote(parts.path or "/", safe=_AS_IT_IS).encode()
        channel = Channel(url, self._context, self.connection.connect_s)
        try:
            answer = await self._call(channel, b"POST", target, fixed, body, reading=True)
        finally:
            await channel.close()
        return answer.status, answer.body


def _path(target: bytes) -> str:
    return target.partition(b"?")[0].decode()


def _headers(reply: Reply) -> dict[str, str]:
    """Header → value; repeated ones in one value, as RFC 9110 allows for all but Set-Cookie, which gets lines."""
    found: dict[str, str] = {}
    for raw, value in reply.headers:
        name, text = raw.decode("latin-1"), _text(value)
        found[name] = text if name not in found else found[name] + ("\n" if name == "set-cookie" else ", ") + text
    return found


def _text(value: bytes) -> str:
    """A header's value; outside ASCII it is UTF-8 by custom, and anything by the standard."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _cookies(headers: Mapping[str, str]) -> str:
    """All cookies of an answer as one Cookie header: SAP's names change, so none is chosen."""
    pairs = (cookie.partition(";")[0].strip() for cookie in headers.get("set-cookie", "").split("\n"))
    return "; ".join(pair for pair in pairs if pair.partition("=")[2])  # an empty value deletes a cookie


def not_authorised(answer: Answer) -> ErpUnavailable:
    """401 or 403: nothing was processed; a person must mend roles or password, then everything goes on by itself."""
    said = read_error(answer.body)
    words = str(said) if said else excerpt(answer.body)
    return ErpUnavailable(
        f"{answer.where}: not authorised ({answer.status}): {words}; check user, password and roles in SAP",
        code="not_authorised",
        details={"status": str(answer.status)} | ({"transactionid": said.transactionid} if said else {}),
    )


def unavailable(answer: Answer, what: str) -> ErpUnavailable:
    """An answer to a read that is no answer."""
    said = read_error(answer.body)
    return ErpUnavailable(
        f"{answer.where}: {what} (status {answer.status}: {said or excerpt(answer.body)})",
        details={"status": str(answer.status)},
        retry_after=retry_after(answer.headers),
    )
