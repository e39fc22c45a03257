"""Mail by SMTP: one message for all addresses, with a Message-ID that is the same at every repetition."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from agent.access.secrets import Secret
from agent.channels.message import Message
from agent.errors import ErpError, ErpInDoubt, ErpRejected, ErpUnavailable
from agent.strict.schema import Settings

PRIORITY: Final[Mapping[str, str]] = {"alarm": "1", "warning": "3", "info": "5"}


NEVER: Final = 500  # from this answer on: below it, trying later may help
MOST_REMEMBERED: Final = 1000  # messages that some of their receivers have


class Handed(NamedTuple):
    """What became of one mail: who has it, whom it is for later, and whom it is never for, the last two in words."""

    taken: Sequence[str]
    later: Sequence[str]
    refused: Sequence[str]


class MailConfig(Settings):
    """A mail server that takes mail of the agent."""

    kind: Literal["mail"] = Field(description="mail")
    host: str = Field(min_length=1, description="The mail server")
    port: int = Field(default=587, ge=1, le=65535, description="Its port: 587 with starttls, 465 with tls")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="`none` sends readably: only to a server on this machine"
    )
    ca_file: Path | None = Field(default=None, description="PEM; the only authority trusted; absent: the system's")
    sender: str = Field(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$", description="From which address it comes")
    user: str | None = Field(default=None, description="User name at the server; absent: none is told")
    password: Secret | None = Field(default=None, description="Its password")
    total_s: float = Field(default=20, ge=1, le=120, description="Longest wait for one answer of the server")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together")
        if self.security == "none" and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("security none sends mail readably; choose starttls or tls")
        return self

    def refusal(self, address: str) -> str:
        """Why nobody can be reached under this address; empty: somebody may."""
        name, _, domain = address.partition("@")
        fits = name and domain and address.isascii() and not any(sign.isspace() or sign in "<>,\0" for sign in address)
        return "" if fits else f"{address!r} is no mail address"


class Mail:
    """Sends by smtplib on a thread; a connection for each message, since they are few."""

    def __init__(self, config: MailConfig) -> None:
        self.config = config
        self._have: OrderedDict[str, set[str]] = OrderedDict()  # id → receivers that have it, where others do not yet

    async def send(self, message: Message, addresses: Sequence[str]) -> Sequence[str]:
        """Hand it to the server; who has it already does not get it again while the agent runs.

        Raises ErpUnavailable (also where it is for some of them), ErpInDoubt, ErpRejected (for all of them).
        """
        have = self._have.setdefault(message.id, set())
        while len(self._have) > MOST_REMEMBERED:
            self._have.popitem(last=False)
        left = [one for one in addresses if one not in have]
        mail = made(message, self.config.sender, addresses)
        try:
            done = await asyncio.to_thread(self._send, mail, left) if left else Handed((), (), ())
        except ErpRejected:
            if not have:
                raise
            done = Handed((), (), tuple(f"{one}: refused by the mail server" for one in left))
        have.update(done.taken)
        if done.later:
            said = f"{self._where}: not yet for {'; '.join(done.later)}"
            raise ErpUnavailable(f"{said} (it is with {len(have)} of {len(addresses)})", scope="lane", code="smtp/4xx")
        del self._have[message.id]
        return done.refused

    async def reach(self) -> None:
        """Connect and log on. Raises ErpUnavailable."""
        await asyncio.to_thread(self._look)

    async def close(self) -> None:
        """Nothing is kept open."""

    def _look(self) -> None:
        try:
            self._connected().close()
        except (OSError, smtplib.SMTPException) as error:
            raise self._not_now(error) from None

    def _send(self, mail: EmailMessage, addresses: Sequence[str]) -> Handed:
        try:
            server = self._connected()
        except (OSError, smtplib.SMTPException) as error:  # TimeoutError, ssl.SSLError are OSErrors
            raise self._not_now(error) from None
        try:
            return self._handed_over(server, mail, addresses)
        finally:
            server.close()

    def _connected(self) -> smtplib.SMTP:
        to = self.config
        context = None
        if to.security != "none":
            context = ssl.create_default_context(cafile=to.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        if to.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(to.host, to.port, timeout=to.total_s, context=context)
        else:
            server = smtplib.SMTP(to.host, to.port, timeout=to.total_s)
        try:
            if to.security == "starttls":
                server.starttls(context=context)
            if to.user is not None and to.password is not None:
                server.login(to.user, to.password.reveal())
        except BaseException:
            server.close()
            raise
        return server

    def _handed_over(self, server: smtplib.SMTP, mail: EmailMessage, addresses: Sequence[str]) -> Handed:
        """Sender and receivers first: until the text itself is sent, nothing is delivered."""
        refused: list[tuple[str, int, str]] = []
        try:
            server.ehlo_or_helo_if_needed()
            _require(*server.mail(self.config.sender), f"{self._where}: does not take the sender {self.config.sender}")
            for address in addresses:
                code, said = server.rcpt(address)
                if code not in (250, 251):
                    refused.append((address, code, _text(said)))
            if len(refused) == len(addresses):
                address, code, said_of_first = min(refused, key=lambda one: one[1])  # what may change goes before
                _require(code, said_of_first, f"{self._where}: does not take the receiver {address}")
        except (OSError, smtplib.SMTPException) as error:
            raise self._not_now(error) from None
        try:
            code, said = server.data(mail.as_bytes())
        except (OSError, smtplib.SMTPServerDisconnected) as error:
            raise ErpInDoubt(f"{self._where}: sent, but not answered ({error})") from None
        except smtplib.SMTPDataError as error:  # before the text: DATA itself is refused
            code, said = error.smtp_code, _text(error.smtp_error).encode()
        _require(code, said, f"{self._where}: does not take the message")
        told = {name for name, _, _ in refused}
        return Handed(
            tuple(one for one in addresses if one not in told),
            tuple(f"{one} ({code} {said})" for one, code, said in refused if code < NEVER),
            tuple(f"{one}: refused by the mail server ({code} {said})" for one, code, said in refused if code >= NEVER),
        )

    @property
    def _where(self) -> str:
        return f"mail server {self.config.host}:{self.config.port}"

    def _not_now(self, error: Exception) -> ErpError:
        """Nothing was delivered: the way to the server, or what it thinks of us, must be mended first."""
        if isinstance(error, smtplib.SMTPAuthenticationError):
            said = f"does not take user {self.config.user} ({error.smtp_code}); check user and password"
            return ErpUnavailable(f"{self._where}: {said}", scope="lane", code="not_authorised")
        words = str(error) or type(error).__name__
        return ErpUnavailable(
            f"{self._where}: not reachable ({words}); check host, port, security and certificates", scope="lane"
        )


def made(message: Message, sender: str, addresses: Sequence[str]) -> EmailMessage:
    """The mail. Pure: the same message is the same bytes, but for the boundary that it does not need."""
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(addresses)
    mail["Subject"] = f"[{message.severity}] {message.subject}"
    mail["Date"] = format_datetime(message.sent)
    mail["Message-ID"] = f"<{message.id}@{sender.partition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # no out-of-office answers it
    mail["X-Priority"] = PRIORITY[message.severity]
    mail.set_content(f"{message.text}\n" + (f"\n{message.link}\n" if message.link else ""))
    return mail


def _require(code: int, said: bytes | str, what: str) -> None:
    """Raises ErpUnavailable for "not now" (4xx) and ErpRejected for "never" (5xx)."""
    if code < 400:
        return
    words = f"{what} ({code} {_text(said)})"
    if code < NEVER:
        raise ErpUnavailable(words, scope="lane", code=f"smtp/{code}")
    raise ErpRejected(words, code=f"smtp/{code}")


def _text(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return "".join(sign if sign.isprintable() else " " for sign in text)[:200]
