"""One kept HTTP/1.1 connection to one server, one request at a time; it knows whether a byte of the request has left.

That one bit decides between «send it again» and «look for it first», so it is not left to a general HTTP client: see
docs/adr/0010. asyncio connects, llhttp parses (httptools, as in the agent's own HTTP server). Every request is sent
once: no retries, no redirects, no cookies, no proxies.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import zlib
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httptools

Headers = list[tuple[bytes, bytes]]
LARGEST_ANSWER: Final = 16 * 1024 * 1024  # bytes; $metadata of a large service has about 1 MiB
LARGEST_HEAD: Final = 256 * 1024  # bytes of status line and headers
KEPT_ALIVE: Final = 20.0  # seconds; shorter than the 30 s after which SAP's ICM closes an idle connection
_PORTS: Final = {"http": 80, "https": 443}


class NotSent(Exception):  # noqa: N818 - named by what is known, as in agent.errors
    """Not one byte of the request has left: refused, no such host, TLS, no connection in time."""


class NoAnswer(Exception):  # noqa: N818
    """The request may have arrived; its answer did not come, or is not HTTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end; header names in lower case."""

    status: int
    headers: Headers
    body: bytes


def host(url: str) -> bytes:
    """The value of the Host header for a URL."""
    return urlsplit(url).netloc.encode("idna")


def request(method: bytes, target: bytes, headers: Headers, body: bytes) -> bytes:
    """The bytes of a request. Raises NotSent where a value would break out of its line."""
    lines = [b"%b %b HTTP/1.1" % (method, target), *(b"%b: %b" % header for header in headers)]
    if body or method != b"GET":
        lines.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or target.count(b" "):
        raise NotSent(f"a header or the address holds a line break or a space: {target!r}")
    return b"%b\r\n\r\n%b" % (head, body)


class Channel:
    """A connection that is made when it is needed, and again when it is old or the server has closed it."""

    def __init__(self, url: str, context: ssl.SSLContext | None, connect_s: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._tls: dict[str, Any] = {}
        if parts.scheme == "https":
            self._tls = {"ssl": context, "server_hostname": self._host}
        self._address = ""  # the one that answered last
        self._connect_s = connect_s
        self._connection: _Connection | None = None
        self._closed = False

    async def exchange(self, sent: bytes) -> Reply:
        """Send a request and read its answer to the end. Raises NotSent or NoAnswer; no deadline but for connecting."""
        connection = self._connection
        if connection is None or not connection.is_fit():
            connection = await self._connect()
        return await connection.exchange(sent)

    async def _connect(self) -> _Connection:
        await self._let_go()
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await self._reach()
        except (OSError, UnicodeError) as error:  # TimeoutError and ssl.SSLError are OSErrors; a name can be no name
            words = str(error) or f"no connection within {self._connect_s:g} s"
            raise NotSent(f"{type(error).__name__}: {words}") from error
        if self._closed:  # meanwhile
            await connection.close()
            raise NotSent("the session was closed")
        self._connection = connection
        return connection

    async def _reach(self) -> _Connection:
        """The first address of the host that answers; the one that did before is asked first.

        Each gets its share of the time, a third at least. In turn and not side by side: asyncio's
        `happy_eyeballs_delay` leaves sockets open when it is cancelled.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = sorted(dict.fromkeys(str(place[0]) for *_, place in found), key=lambda one: one != self._address)
        for number, address in enumerate(addresses, 1):
            try:
                async with asyncio.timeout(self._connect_s / min(3, len(addresses))):
                    _, connection = await loop.create_connection(_Connection, address, self._port, **self._tls)
            except OSError:
                if number == len(addresses):
                    raise
            else:
                self._address = address
                return connection
        raise OSError(f"{self._host} has no address")

    async def close(self) -> None:
        """Send no more; whoever waits for an answer hears NoAnswer, and NotSent who waits for a connection."""
        self._closed = True
        await self._let_go()

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class _Connection(asyncio.Protocol):
    """One connection, from its handshake to its end: asyncio feeds the parser, and the parser calls `on_…`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._answer: asyncio.Future[Reply] | None = None  # none: nothing was asked
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)  # some gateways pad it
        self._headers: Headers = []
        self._body = bytearray()
        self._size = 0  # bytes of this answer so far
        self._in_body = self._until_eof = False
        self._idle_since = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, and where it is TLS the certificate is trusted."""
        self._transport = cast(asyncio.Transport, transport)  # a stream connection has no other
        self._incoming = select.poll()
        self._incoming.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def is_fit(self) -> bool:
        """Whether a request may be sent: open, not old, and nothing has come that nobody asked for, such as its end."""
        if self._transport.is_closing() or self._loop.time() - self._idle_since > KEPT_ALIVE:
            return False
        return not self._incoming.poll(0)

    async def exchange(self, sent: bytes) -> Reply:
        """Send a request and read its answer to the end. Raises NotSent or NoAnswer; the connection ends with both."""
        if self._transport.is_closing():
            raise NotSent("the server closed the connection as soon as it was made")
        self._answer = self._loop.create_future()
        self._begin()
        whole = False
        try:
            self._transport.write(sent)
            reply = await self._answer
            whole = True
            return reply
        finally:
            self._answer, self._idle_since = None, self._loop.time()
            if not whole:  # cut off by its deadline, or broken: what may still come belongs to nobody
                self._transport.abort()

    async def close(self) -> None:
        """End it and wait until the socket is closed."""
        self._fail("the session was closed")
        await self._ended

    # ── what asyncio calls ──────────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        """Parse on."""
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"an answer that is no HTTP: {error}")
        if self._size > (LARGEST_ANSWER if self._in_body else LARGEST_HEAD):
            self._fail(f"an answer of more than {self._size} bytes")

    def eof_received(self) -> None:
        """The server sends no more: that is how an answer without a length ends. asyncio closes our side."""
        if self._in_body and self._until_eof:
            self._complete()

    def connection_lost(self, error: Exception | None) -> None:
        """The end, whoever wanted it."""
        self._fail(str(error) if error else "the server closed the connection before its answer was complete")
        del self._parser  # which holds this object
        if not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NoAnswer(why))
        self._transport.abort()

    # ── what the parser calls ───────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """An answer begins; one that nobody waits for belongs to no request, so the connection is given up."""
        if self._answer is None or self._answer.done():
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; what follows a chunked body is left alone."""
        if not self._in_body:
            self._headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        names = {name for name, _ in self._headers}
        self._in_body = self._parser.get_status_code() >= 200
        self._until_eof = not names & {b"content-length", b"transfer-encoding"}

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without what frames it."""
        self._body += body

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was an interim one (1xx)."""
        if not self._in_body:
            self._begin()
            return
        if not self._parser.should_keep_alive():
            self._transport.close()
        self._complete()

    def _begin(self) -> None:
        self._headers, self._body, self._in_body = [], bytearray(), False
        self._size = 0

    def _complete(self) -> None:
        if self._answer is None or self._answer.done():
            return
        try:
            body = _decoded(self._headers, bytes(self._body))
        except zlib.error as error:
            self._fail(f"an answer that cannot be unpacked: {error}")
        else:
            self._answer.set_result(Reply(self._parser.get_status_code(), self._headers, body))


def _decoded(headers: Headers, body: bytes) -> bytes:
    """The body as it was before a gateway packed it, although it was told not to. Raises zlib.error."""
    coding = next((value.lower() for name, value in headers if name == b"content-encoding"), b"identity")
    if coding not in (b"gzip", b"x-gzip") or not body:
        return body  # another coding is no JSON, and is shown as it is; and nothing need not be packed
    unpacking = zlib.decompressobj(wbits=31)
    unpacked = unpacking.decompress(body, LARGEST_ANSWER)
    if not unpacking.eof:
        raise zlib.error(f"cut off, or more than {LARGEST_ANSWER} bytes")
    return unpacked
