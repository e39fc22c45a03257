"""A link that can go silent as a router does that has forgotten it: connections stay open, and nothing passes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class QuietLink:
    """A proxy to a local port. What was silenced once stays so; connections that are made after `speak` work."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        self._passes = asyncio.Event()  # of the connections there are now; another one for those after a silence
        self._passes.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._all: list[asyncio.StreamWriter] = []
        self._talks: set[asyncio.Task[None] | None] = set()

    def silence(self) -> None:
        """From now on nothing passes, in either direction; also new connections are taken and hear nothing."""
        self._passes.clear()

    def speak(self) -> None:
        """New connections work; those of the silence are never told that they are dead."""
        self._passes = asyncio.Event()
        self._passes.set()

    def cut(self) -> None:
        """Every connection is reset at once."""
        for one in self._ends:
            one.transport.abort()

    async def end(self) -> None:
        """Nothing of it is left."""
        talks = [one for one in self._talks if one is not None]
        for one in talks:
            one.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        for end in self._all:
            end.transport.abort()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either end leaves."""
        self.connections += 1
        self._talks.add(asyncio.current_task())
        passes = self._passes
        self._all.append(writer)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._all.append(far_writer)
        ends = {writer, far_writer}
        self._ends |= ends
        directions = [
            asyncio.create_task(_pass(reader, far_writer, passes)),
            asyncio.create_task(_pass(far_reader, writer, passes)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in directions:
                one.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            self._ends -= ends
            for end in ends:
                end.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event) -> None:
    while piece := await reader.read(65536):
        await passes.wait()
        writer.write(piece)
        await writer.drain()


@contextlib.asynccontextmanager
async def quiet_link(target: int) -> AsyncIterator[QuietLink]:
    """A link that works until it is told otherwise."""
    link = QuietLink(target)
    server = await asyncio.start_server(link.talk, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield link
        finally:
            await link.end()
