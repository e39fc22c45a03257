"""A mail server on 127.0.0.1 that keeps what it gets; no TLS, no users."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class Mailbox:
    """`mails` in order of arrival. `fault` counts once: ``lost`` (kept, no answer), ``down`` (421), ``refused`` (554).

    Who is in `unknown` is refused as a receiver.
    """

    mails: list[EmailMessage] = field(default_factory=list)
    fault: str = ""
    unknown: frozenset[str] = frozenset()
    port: int = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"421 try later\r\n" if self._fails("down") else b"220 mailbox\r\n")
        while line := await reader.readline():
            command = line.strip().decode("utf-8", "replace")
            verb = command[:4].upper()
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                await writer.drain()
                if not await self._mail(reader, writer):
                    return
            elif verb == "RCPT" and any(one in command for one in self.unknown):
                writer.write(b"550 nobody here has that name\r\n")
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")
            await writer.drain()

    async def _mail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Take a mail; False where its sender hears nothing of it."""
        lines = []
        while (line := await reader.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        if self._fails("refused"):
            writer.write(b"554 not such a mail\r\n")
            return True
        mail = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        if self._fails("lost"):
            return False
        writer.write(b"250 kept\r\n")
        return True

    def _fails(self, how: str) -> bool:
        fails = self.fault == how
        self.fault = "" if fails else self.fault
        return fails


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    """A mailbox that takes mail."""
    box = Mailbox()
    server = await asyncio.start_server(box.talk, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    async with server:
        yield box
