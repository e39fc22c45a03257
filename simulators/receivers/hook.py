"""A web address on 127.0.0.1 that keeps what is posted to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple


class Posted(NamedTuple):
    """One request; names of headers in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Hook:
    """`fault` counts once: ``lost`` (kept, no answer), or the status of an answer without effect, as ``503``.

    `retry_after` goes with such an answer, `location` with one that leads elsewhere.
    """

    posted: list[Posted] = field(default_factory=list)
    fault: str = ""
    retry_after: str = ""
    location: str = ""
    port: int = 0

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}/told"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            fault, self.fault = self.fault, ""
            if fault in ("", "lost"):
                self.posted.append(Posted(head[0].split(" ")[1], headers, body))
            if fault != "lost":
                told = {"Retry-After": self.retry_after, "Location": self.location} if fault else {}
                more = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
                writer.write(f"HTTP/1.1 {fault or '204'} said\r\n{more}Content-Length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()


@asynccontextmanager
async def hook() -> AsyncIterator[Hook]:
    """A web address that takes everything."""
    one = Hook()
    server = await asyncio.start_server(one.talk, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    async with server:
        yield one
