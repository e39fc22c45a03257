"""A mail server on 127.0.0.1 that keeps what it gets; where told with TLS, STARTTLS and users."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import NamedTuple


class Got(NamedTuple):
    """One mail as it came: of whom, for whom, and how it reached the server."""

    mail: EmailMessage
    receivers: tuple[str, ...]
    user: str
    encrypted: bool


@dataclass
class Mailbox:
    """`got` in order of arrival. `fault` counts once.

    ``lost`` (kept, no answer), ``cut`` (gone in the middle of the text, nothing kept), ``down`` (421), ``later`` (451
    after the text), ``refused`` (554). Who is in `unknown` is refused as a receiver, who is in `busy` not now. With
    `users` (name → password) nobody sends without logging on. `context` is for `starttls`, or for TLS from the first
    byte on.
    """

    got: list[Got] = field(default_factory=list)
    fault: str = ""
    unknown: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    users: Mapping[str, str] = field(default_factory=dict)
    context: ssl.SSLContext | None = None
    starttls: bool = False
    port: int = 0
    heard: list[str] = field(default_factory=list)  # passwords that were told

    @property
    def mails(self) -> list[EmailMessage]:
        """What was kept."""
        return [one.mail for one in self.got]

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        raw = writer.transport  # STARTTLS that fails leaves it open
        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await _Talk(self, reader, writer).run()
        finally:
            writer.close()
            raw.close()

    def fails(self, how: str) -> bool:
        """Whether this is the fault that is due; then it is over."""
        fails = self.fault == how
        self.fault = "" if fails else self.fault
        return fails


class _Talk:
    """The words of one connection."""

    def __init__(self, box: Mailbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._box, self._reader, self._writer = box, reader, writer
        self._user, self._receivers = "", list[str]()

    @property
    def _encrypted(self) -> bool:
        return self._writer.get_extra_info("sslcontext") is not None

    async def run(self) -> None:
        await self._say("421 try later" if self._box.fails("down") else "220 mailbox")
        while line := await self._reader.readline():
            words = line.strip().decode("utf-8", "replace")
            match words[:4].upper():
                case "EHLO":
                    await self._say(*self._extensions())
                case "STAR" if self._box.starttls and self._box.context is not None:
                    await self._say("220 go on")
                    await self._writer.start_tls(self._box.context)
                case "AUTH":
                    await self._say(self._logged_on(words))
                case "MAIL":
                    self._receivers.clear()
                    await self._say("530 log on first" if self._box.users and not self._user else "250 ok")
                case "RCPT":
                    await self._say(self._received(words))
                case "DATA":
                    await self._say("354 go on")
                    if not await self._text():
                        return
                case "QUIT":
                    await self._say("221 bye")
                    return
                case "STAR":
                    await self._say("502 no such command")
                case _:
                    await self._say("250 ok")

    async def _say(self, *lines: str) -> None:
        """One answer; of several lines all but the last go on."""
        told = [f"{line[:3]}{' ' if line is lines[-1] else '-'}{line[4:]}\r\n" for line in lines]
        self._writer.write("".join(told).encode())
        await self._writer.drain()

    def _extensions(self) -> list[str]:
        offers = ["250 mailbox"]
        if self._box.starttls and not self._encrypted:
            return [*offers, "250 STARTTLS"]
        return [*offers, "250 AUTH PLAIN"] if self._box.users else offers

    def _logged_on(self, words: str) -> str:
        _, user, password = base64.b64decode(words.split()[-1]).decode().split("\0")
        self._box.heard.append(password)
        if self._box.users.get(user) != password:
            return "535 no such user or password"
        self._user = user
        return "235 welcome"

    def _received(self, words: str) -> str:
        address = words.partition("<")[2].partition(">")[0]
        if address in self._box.unknown:
            return "550 nobody here has that name"
        if address in self._box.busy:
            return "450 the mailbox is busy"
        self._receivers.append(address)
        return "250 ok"

    async def _text(self) -> bool:
        """Take a mail; False where its sender hears nothing of it."""
        lines = []
        while (line := await self._reader.readline()) not in (b".\r\n", b""):
            if self._box.fails("cut"):
                return False
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        for fault, answer in (("refused", "554 not such a mail"), ("later", "451 the disk is full")):
            if self._box.fails(fault):
                await self._say(answer)
                return True
        mail = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self._box.got.append(Got(mail, tuple(self._receivers), self._user, self._encrypted))
        if self._box.fails("lost"):
            return False
        await self._say("250 kept")
        return True


@asynccontextmanager
async def mailbox(
    context: ssl.SSLContext | None = None, *, starttls: bool = False, users: Mapping[str, str] | None = None
) -> AsyncIterator[Mailbox]:
    """A mailbox that takes mail: readably, with STARTTLS, or with TLS alone."""
    box = Mailbox(context=context, starttls=starttls, users=users or {})
    server = await asyncio.start_server(box.talk, "127.0.0.1", 0, ssl=None if starttls else context)
    box.port = server.sockets[0].getsockname()[1]
    async with server:
        yield box
