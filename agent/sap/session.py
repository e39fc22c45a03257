"""One HTTP session with SAP: kept connections, CSRF token bound to its cookies, identity, a deadline for every call.

httpx's transport is used without the client around it: no redirects, no cookie jar, no proxies from the environment,
and a fifth less CPU per call. A call is made once; only what SAP itself says it has not processed (403 with
``x-csrf-token: Required``, 401) is sent a second time, byte for byte.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from agent.errors import ErpUnavailable
from agent.sap.auth import Monotonic, identity
from agent.sap.connection import SapConnection, tls_context
from agent.sap.errors import FOREIGN, excerpt, from_foreign, read_error, retry_after

Headers = list[tuple[bytes, bytes]]
JSON = (b"Accept", b"application/json")
LARGEST_ANSWER = 16 * 1024 * 1024  # bytes; $metadata of a large service has about 1 MiB
KEPT_ALIVE = 20.0  # seconds; shorter than the 30 s after which SAP's ICM closes an idle connection


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, read to its end."""

    status: int
    headers: httpx.Headers
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
        self._base = connection.url.rstrip("/") + "/" + connection.path.strip("/")
        self._tokens: dict[str, _Token] = {}
        self._token_flights: dict[str, asyncio.Lock] = {}
        self._urls: dict[str, httpx.URL] = {}
        # One pool for each connection: a shared pool looks over all its connections at every request.
        self._lines: asyncio.LifoQueue[httpx.AsyncHTTPTransport] = asyncio.LifoQueue()
        self._all: tuple[httpx.AsyncHTTPTransport, ...] = ()
        self._common: Headers = [
            (b"Host", httpx.URL(connection.url).netloc),
            (b"Accept-Encoding", b"identity"),
            (b"Accept-Language", connection.language.encode()),
            (b"User-Agent", b"gatepost"),
        ]
        limits = {"connect": connection.connect_s, "pool": connection.connect_s, "read": None, "write": None}
        self._extensions = {"timeout": limits}
        self._total = connection.total_s

    async def open(self) -> None:
        """Read the certificates; connects to nobody. Raises ErpUnavailable where a file cannot be used."""
        if self._all:
            return
        secure = self._base.startswith("https") or self.connection.auth.kind == "oauth2"
        context: ssl.SSLContext | bool = await asyncio.to_thread(tls_context, self.connection) if secure else False
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEPT_ALIVE)
        size = self.connection.concurrency + 2  # two more for token, find and orders beside a full window of postings
        self._all = tuple(httpx.AsyncHTTPTransport(verify=context, limits=limits) for _ in range(size))
        self._lines = asyncio.LifoQueue()
        for line in self._all:
            self._lines.put_nowait(line)

    async def close(self) -> None:
        """Let go of the connections; the token stays and is renewed where SAP has forgotten it."""
        lines, self._all = self._all, ()
        for line in lines:
            await line.aclose()

    # ── calls ───────────────────────────────────────────────────────────────────────────────────────────────

    async def read(self, path: str, accept: str = "application/json") -> Answer:
        """GET ``SERVICE/…`` and return any answer. Raises ErpUnavailable where there is none."""
        return await self._get(path, [(b"Accept", accept.encode())])

    async def _get(self, path: str, more: Headers) -> Answer:
        """A read with the identity; on 401 once more where another access token can be had."""
        url = self._url(path)
        for last in (False, True):
            authorization = await self._identity.authorization()
            headers = self._headers(authorization, more)
            answer = await self._send("GET", url, headers, b"", reading=True)
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
        url = self._url(path)
        renewed = False
        while True:
            token = self._tokens.get(service) or await self._token(service)
            authorization = await self._identity.authorization()
            fixed = [JSON, (b"X-CSRF-Token", token.value), (b"Cookie", token.cookies), *headers]
            answer = await self._send(method, url, self._headers(authorization, fixed), body, reading=False)
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
        if answer.status != 200 or not value or value.lower() in ("required", "fetch"):
            raise unavailable(answer, "gave no CSRF token; check the address and that the service is active")
        return _Token(value.encode("latin-1"), _cookies(answer.headers).encode("latin-1"))

    # ── the wire ────────────────────────────────────────────────────────────────────────────────────────────

    def _url(self, path: str) -> httpx.URL:
        """The URL of a path; those without a query are few and kept."""
        if (known := self._urls.get(path)) is not None:
            return known
        text = f"{self._base}/{path}"
        if self.connection.client:
            text += ("&" if "?" in text else "?") + f"sap-client={self.connection.client}"
        url = httpx.URL(text)
        if "?" not in path and "(" not in path:
            self._urls[path] = url
        return url

    async def _send(self, method: str, url: httpx.URL, headers: Headers, body: bytes, *, reading: bool) -> Answer:
        request = httpx.Request(method, url, headers=headers, content=body, extensions=self._extensions)
        try:
            async with asyncio.timeout(self._total):
                line = await self._line(url)
                try:
                    response = await line.handle_async_request(request)
                    try:
                        return Answer(response.status_code, response.headers, await _body(response), url.path)
                    finally:
                        await response.aclose()
                finally:
                    self._lines.put_nowait(line)
        except FOREIGN as error:
            raise from_foreign(error, f"{method} {url.path}", reading=reading) from error

    async def _line(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        """A connection that nobody uses. Raises ErpUnavailable, and httpx.PoolTimeout when none comes free in time."""
        if not self._all:
            raise ErpUnavailable(f"{url.host}: the session is not open")
        try:
            return self._lines.get_nowait()
        except asyncio.QueueEmpty:
            try:
                return await asyncio.wait_for(self._lines.get(), self.connection.connect_s)
            except TimeoutError:
                raise httpx.PoolTimeout("no connection came free in time") from None

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """The token request of OAuth: outside SAP's services, without cookies; it changes nothing."""
        fixed = [(name.encode(), value.encode()) for name, value in headers.items()]
        answer = await self._send("POST", httpx.URL(url), fixed, body, reading=True)
        return answer.status, answer.body


async def _body(response: httpx.Response) -> bytes:
    """The body, as far as it is reasonable. Raises httpx.DecodingError beyond."""
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise httpx.DecodingError(f"answer is larger than {LARGEST_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


def _cookies(headers: httpx.Headers) -> str:
    """All cookies of an answer as one Cookie header: SAP's names change, so none is chosen."""
    pairs = (cookie.partition(";")[0].strip() for cookie in headers.get_list("set-cookie"))
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
