"""The session with SAP over a real socket: token and cookies, renewal, single flight, deadline, identity."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.access.secrets import Secret
from agent.errors import ErpError, ErpInDoubt, ErpUnavailable
from agent.sap.auth import ClientCredentials
from agent.sap.connection import BasicAuth, OAuth2, SapConnection
from agent.sap.session import SapSession

BASIC = BasicAuth(user="U", password=Secret("erp", "p"))
OAUTH = OAuth2(kind="oauth2", token_url="https://idp/token", client_id="C", client_secret=Secret("s", "x"), scope="all")
Reply = bytes | Callable[[int], bytes]


def http(status: int, body: bytes = b"{}", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *lines])
    return head.encode() + b"\r\n\r\n" + body


TOKEN = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-csrf-token: T%d\r\n"
    b"Set-Cookie: a=%d; path=/\r\nSet-Cookie: b=; Max-Age=0\r\nSet-Cookie: c=x==; secure\r\n\r\n{}"
)


@dataclass
class Sap:
    """A scripted server: GET answers with a token, POST with what `posts` says for the n-th one."""

    posts: Callable[[int, str], bytes] = lambda number, head: http(201)
    gets: Callable[[int], bytes] | None = None
    heads: list[str] = field(default_factory=list)
    url: str = ""
    connections: set[asyncio.Task[Any]] = field(default_factory=set)

    def count(self, method: str) -> int:
        return sum(head.startswith(method) for head in self.heads)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                if size:
                    await reader.readexactly(int(size[0].partition(":")[2]))
                self.heads.append(head)
                if head.startswith("GET"):
                    number = self.count("GET")
                    writer.write(self.gets(number) if self.gets else TOKEN % (number, number))
                else:
                    writer.write(self.posts(self.count("POST"), head))
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def session_with(sap: Sap, **changes: Any) -> AsyncIterator[SapSession]:
    server = await asyncio.start_server(sap.serve, "127.0.0.1", 0)
    sap.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    options: dict[str, Any] = {"url": sap.url, "auth": BASIC, "client": "100"}
    session = SapSession(SapConnection(**(options | changes)))
    await session.open()
    try:
        yield session
    finally:
        await session.close()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*sap.connections)


async def write(session: SapSession, body: bytes = b"{}") -> int:
    answer = await session.write("S", "POST", "S/A", [(b"RequestID", b"R")], body)
    return answer.status


async def test_token_travels_with_its_cookies_and_client():
    """Every write carries the token, all cookies it came with, the identity and the client."""
    sap = Sap()
    async with session_with(sap) as session:
        assert [await write(session), await write(session)] == [201, 201]
    assert (sap.count("GET"), sap.count("POST")) == (1, 2)
    head = sap.heads[-1]
    assert head.startswith("POST /sap/opu/odata/sap/S/A?sap-client=100 ")
    for line in ("X-CSRF-Token: T1", "Cookie: a=1; c=x==\r\n", "Authorization: Basic VTpw", "RequestID: R\r\n"):
        assert line in head


async def test_one_token_for_all_who_wait_for_it():
    """Twenty writes at once fetch one token; when it expires, one more."""
    expired = http(403, b"CSRF", x_csrf_token="Required")
    sap = Sap()
    async with session_with(sap) as session:
        await asyncio.gather(*(write(session) for _ in range(20)))
        assert sap.count("GET") == 1
        sap.posts = lambda number, head: expired if "X-CSRF-Token: T1" in head else http(201)
        assert set(await asyncio.gather(*(write(session) for _ in range(20)))) == {201}
        assert sap.count("GET") == 2


async def test_renewal_sends_the_same_request_again():
    """After 403 Required the same bytes are sent once more, with the new token and its cookies."""
    sap = Sap(posts=lambda number, head: http(403, b"", x_csrf_token="Required") if number == 1 else http(201))
    async with session_with(sap) as session:
        assert await write(session) == 201
    first, second = (head for head in sap.heads if head.startswith("POST"))
    assert first.replace("T1", "T2").replace("a=1", "a=2") == second


async def test_a_token_that_is_refused_twice_is_not_asked_for_for_ever():
    """A proxy that strips cookies leads to one renewal, then to a pause."""
    sap = Sap(posts=lambda number, head: http(403, b"", x_csrf_token="Required"))
    async with session_with(sap) as session:
        with pytest.raises(ErpUnavailable, match="not authorised"):
            await write(session)
    assert (sap.count("GET"), sap.count("POST")) == (2, 2)


@pytest.mark.parametrize(("status", "posts"), [(401, 2), (403, 1)])
async def test_missing_authorisation_is_nothing_sent(status: int, posts: int):
    """401 is tried once more with a new session, 403 without Required not at all; both are unavailable."""
    sap = Sap(posts=lambda number, head: http(status, b"<html>no</html>"))
    async with session_with(sap) as session:
        with pytest.raises(ErpUnavailable) as refused:
            await write(session)
    assert refused.value.code == "not_authorised"
    assert sap.count("POST") == posts


async def test_redirects_are_not_followed():
    """A 302 is an answer like any other; nobody is called at its address, with a POST least of all."""
    sap = Sap(posts=lambda number, head: http(302, b"", location="/elsewhere"))
    async with session_with(sap) as session:
        assert await write(session) == 302
    assert sap.count("POST") == 1
    assert not any("elsewhere" in head for head in sap.heads)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 201 X\r\nContent-Length: 10\r\n\r\n{",
        b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x00\x01nonsense\r\n\r\n",
        b"HTTP/1.1 201 X\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["silence", "continue-then-silence", "cut-body", "broken-chunk", "no-http", "no-gzip"],
)
async def test_what_is_no_answer_is_a_doubt_for_a_write_and_nothing_for_a_read(reply: bytes):
    """Silence beyond the deadline and every broken answer: a write is in doubt, a read is only unavailable."""
    sap = Sap(posts=lambda number, head: reply)
    async with session_with(sap, total_s=0.3, connect_s=0.1) as session:
        with pytest.raises(ErpInDoubt):
            await write(session)
        sap.gets = lambda number: reply
        with pytest.raises(ErpUnavailable):
            await session.read("S/A")


@pytest.mark.parametrize(
    "reply",
    [
        http(200, b"<html>logon</html>"),
        http(302, b"", location="/login"),
        http(404, b"<html>no service</html>"),
        http(503, b"", retry_after="9"),
        http(200, b"{}", x_csrf_token="Required"),
    ],
)
async def test_without_a_token_nothing_is_sent(reply: bytes):
    """Where no CSRF token can be had, the write never leaves."""
    sap = Sap(gets=lambda number: reply)
    async with session_with(sap) as session:
        with pytest.raises(ErpUnavailable):
            await write(session)
    assert sap.count("POST") == 0


async def test_a_session_that_is_not_open_sends_nothing():
    """Before `open` and after `close` every call is unavailable."""
    session = SapSession(SapConnection(url="http://127.0.0.1:1", auth=BASIC))
    with pytest.raises(ErpUnavailable, match="not open"):
        await session.read("S/A")


class Issuer:
    """Gives tokens that live 100 s, and counts them."""

    def __init__(self, status: int = 200, body: bytes = b'{"access_token":"t%d","expires_in":100}') -> None:
        self.status, self.body, self.calls, self.now = status, body, 0, 0.0

    async def __call__(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.calls += 1
        assert (url, body) == ("https://idp/token", b"grant_type=client_credentials&scope=all")
        await asyncio.sleep(0)
        return self.status, self.body % self.calls if b"%d" in self.body else self.body


async def test_an_access_token_is_renewed_at_80_percent_of_its_life_by_one_caller():
    """One fetch for many callers; none before 80 s of 100 s, one after; one after a refusal."""
    issuer = Issuer()
    identity = ClientCredentials(OAUTH, issuer, lambda: issuer.now)
    assert set(await asyncio.gather(*(identity.authorization() for _ in range(9)))) == {"Bearer t1"}
    issuer.now = 79.9
    assert await identity.authorization() == "Bearer t1"
    issuer.now = 80.0
    assert set(await asyncio.gather(*(identity.authorization() for _ in range(9)))) == {"Bearer t2"}
    identity.refused("Bearer t1")
    assert await identity.authorization() == "Bearer t2"
    identity.refused("Bearer t2")
    assert await identity.authorization() == "Bearer t3"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, b'{"error":"invalid_client"}'),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"access_token":""}'),
        (200, b'{"access_token":"a\\nb"}'),
        (200, b'{"access_token":5}'),
    ],
)
async def test_no_access_token_is_unavailable_and_shows_no_secret(status: int, body: bytes):
    """A refused or broken token answer names the address and what to check, never the answer."""
    identity = ClientCredentials(OAUTH, Issuer(status, body), lambda: 0.0)
    with pytest.raises(ErpError, match="https://idp/token") as refused:
        await identity.authorization()
    assert type(refused.value) is ErpUnavailable
    assert "x" not in str(refused.value).split("access token")[0].removeprefix("https://idp/token")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "http://sap.example:8000"}, "https"),
        ({"url": "https://user:secret@sap.example"}, "credentials"),
        ({"url": "sap.example"}, "scheme"),
        ({"url": "https://sap.example:99999"}, "[Pp]ort"),
        ({"url": "https://sap.example:44x"}, "[Pp]ort"),
        ({"url": "https://sap.example:0"}, "[Pp]ort"),
        ({"total_s": 5, "connect_s": 3}, "twice"),
        ({"client": "1"}, "pattern"),
        ({"client_key": "/k.pem"}, "client_certificate"),
        ({"auth": {"kind": "certificate"}}, "client_certificate"),
        ({"auth": {"kind": "oauth2", "token_url": "http://idp.example/t", "client_id": "c"}}, "https"),
    ],
)
def test_connections_that_leak_or_cannot_work_are_refused(change: dict[str, Any], words: str):
    """Plain HTTP to another host, credentials in an address and deadlines that cannot work are configuration errors."""
    options: dict[str, Any] = {"url": "https://sap.example", "auth": BASIC}
    with pytest.raises(ValidationError, match=words):
        SapConnection(**(options | change))


async def test_an_address_in_capitals_is_an_address():
    """``HTTPS://`` is TLS like ``https://``, and nobody there is no mistake of the agent."""
    session = SapSession(SapConnection(url="HTTPS://127.0.0.1:1", auth=BASIC))
    await session.open()
    with pytest.raises(ErpUnavailable, match="not reachable"):
        await session.read("X/")
    await session.close()


async def test_unreadable_certificates_are_named():
    """A certificate file that is missing stops the target with its path, not the agent."""
    session = SapSession(SapConnection(url="https://sap.example", auth=BASIC, ca_file=Path("/nowhere/ca.pem")))
    with pytest.raises(ErpUnavailable, match=r"/nowhere/ca\.pem"):
        await session.open()
