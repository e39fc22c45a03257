"""One connection over a real socket: what arrives, what does not, and whether anything was sent."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.sap import channel as module
from agent.sap.channel import LARGEST_ANSWER, LARGEST_HEAD, Channel, NoAnswer, NotSent, Reply, host, request
from simulators.erp.tls import Certificates, make_certificates

GET = request(b"GET", b"/x", [(b"Host", b"h")], b"")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Server:
    """Answers the n-th request with the n-th of `replies`, the last one for ever; None closes without an answer."""

    replies: list[bytes | None]
    end: bool = False  # close after every answer without a word
    asked: list[bytes] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.asked.append(await reader.readuntil(b"\r\n\r\n"))
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
                if self.end:
                    break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def served(
    *replies: bytes | None, end: bool = False, tls: Certificates | None = None
) -> AsyncIterator[tuple[Server, Channel]]:
    one = Server(list(replies), end)
    mine = theirs = None
    if tls:
        mine, theirs = ssl.create_default_context(cafile=tls.ca), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        theirs.load_cert_chain(tls.server)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=theirs)
    one.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    channel = Channel(one.url, mine, 5)
    try:
        yield one, channel
    finally:
        await channel.close()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*one.tasks)


async def exchange(channel: Channel) -> Reply:
    async with asyncio.timeout(60):
        return await channel.exchange(GET)


def packed(body: bytes) -> bytes:
    content = gzip.compress(body)
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


# ── what arrives ────────────────────────────────────────────────────────────────────────────────────────────

CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
PACKED = packed(b"packed")


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (OK, 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n", 204, b""),
        (CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", 201, b"abcde"),
        (CHUNKED + b"3 \r\nabc\r\n0\r\nAfter: x\r\n\r\n", 201, b"abc"),
        (b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\nHTTP/1.1 103 Early\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (PACKED, 200, b"packed"),
        (b"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: h2,h2c\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    ],
    ids=["length", "no body", "empty", "chunked", "padded", "interim", "no reason", "packed", "upgrade"],
)  # fmt: skip
async def test_whole_answers_are_read_and_the_connection_is_kept(reply: bytes, status: int, body: bytes):
    """Every frame of HTTP/1.1 is understood, and the next request takes the same connection."""
    async with served(reply, OK) as (server, channel):
        got = await exchange(channel)
        assert (got.status, got.body) == (status, body)
        assert {name for name, _ in got.headers}.isdisjoint({b"x", b"after"})
        assert (await exchange(channel)).body == b"ok"
        assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\n\r\nto the end",
        b"HTTP/1.0 200 OK\r\n\r\nto the end",
        b"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\nto the end",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nto the end",
    ],
)
async def test_an_answer_may_end_with_its_connection(reply: bytes):
    """Without a length the end of the connection is the end of the answer; the next request gets a new one."""
    async with served(reply, OK, end=True) as (server, channel):
        assert (await exchange(channel)).body == b"to the end"
        assert (await exchange(channel)).body == b"ok"
        assert server.connections == 2


async def test_headers_arrive_in_order_and_repeated():
    """Names are in lower case; Set-Cookie may come many times; bytes are left as they are."""
    reply = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-Y: \xc3\xa4\xff \r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n"
    async with served(reply) as (_, channel):
        found = (await exchange(channel)).headers
        expected = [
            (b"set-cookie", b"a=1"),
            (b"x-y", b"\xc3\xa4\xff"),
            (b"set-cookie", b"b"),
            (b"content-length", b"0"),
        ]
        assert found == expected


async def test_an_answer_in_single_bytes_is_read():
    """Whatever TCP does to the pieces, the answer is the same."""
    reply = CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"

    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in reply:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(dribble, "127.0.0.1", 0)
    channel = Channel(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None, 5)
    assert (await exchange(channel)).body == b"abc"
    await channel.close()
    server.close()
    await server.wait_closed()


# ── what does not ───────────────────────────────────────────────────────────────────────────────────────────


BROKEN: dict[str, Callable[[], bytes | None]] = {
    "nothing": lambda: None,
    "half a head": lambda: b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    "half a chunk": lambda: CHUNKED + b"9\r\nhalf",
    "no last chunk": lambda: CHUNKED + b"4\r\nhalf\r\n",
    "no chunk": lambda: CHUNKED + b"zz\r\n",
    "two lengths": lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
    "length and chunks": lambda: CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "negative length": lambda: b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "another protocol": lambda: b"SSH-2.0-OpenSSH_9.2\r\n",
    "switched": lambda: b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nPRI",
    "interim only": lambda: b"HTTP/1.1 100 Continue\r\n\r\n",
    "NUL in a header": lambda: b"HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 0\r\n\r\n",
    "endless head": lambda: b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (LARGEST_HEAD // 6 + 99999),
    "endless header": lambda: b"HTTP/1.1 200 OK\r\nA: " + b"b" * (LARGEST_HEAD + 300000),
    "too large": lambda: b"HTTP/1.1 200 OK\r\n\r\n" + bytes(LARGEST_ANSWER + 1),
    "no gzip": lambda: b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "gzip bomb": lambda: packed(bytes(LARGEST_ANSWER + 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_answer_is_none_and_ends_its_connection(name: str):
    """Cut off, malformed, ambiguous or too large: the request may have arrived, nothing is known, nothing is kept."""
    async with served(BROKEN[name](), OK, end=True) as (server, channel):
        with pytest.raises(NoAnswer):
            await exchange(channel)
        assert (await exchange(channel)).body == b"ok"
        assert server.connections == 2


async def test_a_request_that_is_given_up_takes_its_connection_along():
    """The answer to a request that was cut off is never taken for the answer to the next."""
    async with served(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nlate", OK) as (server, channel):
        given_up = asyncio.create_task(channel.exchange(GET))
        while not server.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert (await exchange(channel)).body == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize("more", [OK, b"\x00\x01"], ids=["answer", "garbage"])
async def test_bytes_that_nobody_asked_for_answer_nothing(more: bytes):
    """What a server sends behind an answer is not the answer to the next request."""
    first = b"HTTP/1.1 201 OK\r\nContent-Length: 1\r\n\r\n1"
    async with served(first + more, b"HTTP/1.1 202 OK\r\nContent-Length: 1\r\n\r\n2") as (server, channel):
        assert (await exchange(channel)).status == 201
        assert (await exchange(channel)).status == 202
        assert server.connections == 2


async def test_whoever_waits_hears_that_the_session_was_closed():
    """Closing while an answer is awaited leaves nobody waiting; a body without a length is not taken for whole."""
    async with served(b"HTTP/1.1 200 OK\r\n\r\nhalf") as (server, channel):
        waiting = asyncio.create_task(exchange(channel))
        while not server.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # for the half to arrive, if it is quick
        await channel.close()
        with pytest.raises(NoAnswer, match="closed"):
            await waiting


# ── what was not even sent ──────────────────────────────────────────────────────────────────────────────────


def unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return port


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}", "https://127.0.0.1:{}", "http://nowhere.invalid:{}"])
async def test_without_a_connection_nothing_is_sent(url: str):
    """Refused, or a name that nobody has."""
    channel = Channel(url.format(unused()), ssl.create_default_context(), 5)
    with pytest.raises(NotSent):
        await exchange(channel)
    await channel.close()


@pytest.mark.parametrize("says", [b"", b"no TLS\r\n"], ids=["silent", "plain"])
async def test_a_handshake_that_fails_has_sent_nothing(says: bytes):
    """A server that never finishes TLS costs connect_s, one that speaks something else ends it at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(says)
                while connection.recv(4096):
                    pass

        serving = asyncio.create_task(asyncio.to_thread(serve))
        channel = Channel(f"https://127.0.0.1:{server.getsockname()[1]}", ssl.create_default_context(), 0.3)
        with pytest.raises(NotSent):
            await exchange(channel)
        await channel.close()
        await serving


@pytest.mark.parametrize("wrong", ["host", "authority"])
async def test_a_server_that_is_not_the_right_one_gets_nothing(tmp_path: Path, wrong: str):
    """A certificate for another host, or of an authority that nobody trusts, ends it before a byte of the request."""
    theirs = make_certificates(tmp_path, "U")
    trusted = make_certificates(tmp_path / "other", "U") if wrong == "authority" else theirs
    address = "127.0.0.2" if wrong == "host" else "127.0.0.1"  # the certificate is for the latter
    one, context = Server([OK]), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(theirs.server)
    server = await asyncio.start_server(one.serve, address, 0, ssl=context)
    url = f"https://{address}:{server.sockets[0].getsockname()[1]}"
    channel = Channel(url, ssl.create_default_context(cafile=trusted.ca), 5)
    with pytest.raises(NotSent, match="certificate verify failed"):
        await exchange(channel)
    await channel.close()
    server.close()
    await server.wait_closed()
    assert one.asked == []


@pytest.mark.parametrize("secure", [False, True])
async def test_nothing_is_sent_once_it_is_closed(tmp_path: Path, secure: bool):
    """Closed while it connects: the request does not leave after all; nor does the next one."""
    tls = make_certificates(tmp_path, "U") if secure else None
    for turns in range(1, 25):
        async with served(OK, tls=tls) as (server, channel):
            call = asyncio.create_task(exchange(channel))
            for _ in range(turns):
                await asyncio.sleep(0)
            asked = bool(server.asked)
            await channel.close()
            await asyncio.gather(call, return_exceptions=True)
            assert asked or isinstance(call.exception(), (NotSent, NoAnswer))
            with pytest.raises(NotSent, match="closed"):
                await exchange(channel)


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used():
    """The end has come but was not noticed yet: the request goes out on a new connection and is no doubt."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = threading.Event()

        def serve() -> None:
            for end in (True, False):
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(OK)
                    if not end:
                        connection.recv(4096)
                closed.set()

        serving = asyncio.create_task(asyncio.to_thread(serve))
        channel = Channel(f"http://127.0.0.1:{server.getsockname()[1]}", None, 5)
        assert (await exchange(channel)).body == b"ok"
        closed.wait(60)  # the event loop stands still: nobody has told it of the end
        time.sleep(0.05)  # noqa: ASYNC251 - the same
        assert (await exchange(channel)).body == b"ok"
        await channel.close()
        await serving


async def test_a_tls_connection_is_kept(tmp_path: Path):
    """The session tickets of TLS 1.3, which nobody asked for either, are no reason to connect again."""
    async with served(OK, tls=make_certificates(tmp_path, "U")) as (server, channel):
        for _ in range(4):
            assert (await exchange(channel)).body == b"ok"
        assert server.connections == 1


async def test_a_name_with_several_addresses_is_tried_in_turn():
    """Where localhost is ::1 too, nobody listens there: the address that answers is used."""
    try:
        socket.getaddrinfo("localhost", 0)
    except OSError as error:
        pytest.skip(f"this machine does not know localhost: {error}")
    async with served(OK) as (server, _):
        channel = Channel(server.url.replace("127.0.0.1", "localhost"), None, 5)
        assert (await exchange(channel)).body == b"ok"
        await channel.close()


async def test_an_old_connection_is_not_used(monkeypatch: pytest.MonkeyPatch):
    """One that was idle for longer than servers allow is replaced before anything is sent on it."""
    async with served(OK) as (server, channel):
        await exchange(channel)
        monkeypatch.setattr(module, "KEPT_ALIVE", 0.0)
        await exchange(channel)
        assert server.connections == 2


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("kept", [False, True])
async def test_a_call_may_be_cancelled_anywhere(tmp_path: Path, kept: bool, secure: bool):
    """Wherever a deadline strikes, the next call goes through and no socket stays open (that is a ResourceWarning)."""
    tls = make_certificates(tmp_path, "U") if secure else None
    for turns in range(25):
        async with served(OK, tls=tls) as (_, channel):
            if kept:
                await exchange(channel)
            call = asyncio.create_task(exchange(channel))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert (await exchange(channel)).body == b"ok"


# ── what is sent ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_its_lines_and_its_body():
    """Headers keep order and case; a body has a length, also an empty one where a body is expected."""
    headers = [(b"Host", b"h:1"), (b"RequestID", b"R")]
    assert request(b"POST", b"/a?b", headers, b"{}") == (
        b"POST /a?b HTTP/1.1\r\nHost: h:1\r\nRequestID: R\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert request(b"POST", b"/a", [], b"").endswith(b"\r\nContent-Length: 0\r\n\r\n")
    assert request(b"GET", b"/a", [], b"") == b"GET /a HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("odd", [b"a\r\nX: y", b"a\nb", b"a\rb"])
def test_nothing_breaks_out_of_its_line(odd: bytes):
    """A line break in a value is no second header: nothing is sent at all."""
    with pytest.raises(NotSent):
        request(b"POST", b"/a", [(b"Cookie", odd)], b"")
    with pytest.raises(NotSent):
        request(b"POST", b"/" + odd, [], b"")


def test_host_is_what_the_address_says():
    """Port and brackets stay; a name beyond ASCII becomes its ASCII form."""
    assert host("https://s4.example:44300/x") == b"s4.example:44300"
    assert host("https://[::1]:8") == b"[::1]:8"
    assert host("https://w\u00e4rk.example") == b"xn--wrk-qla.example"
