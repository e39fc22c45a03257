"""A web address that gets a POST: JSON, signed, with the key of the message as ``Idempotency-Key``."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, field_validator

from agent.access.envelope import sign
from agent.access.secrets import Secret
from agent.channels.message import Message
from agent.errors import ErpInDoubt, ErpRejected, ErpUnavailable
from agent.ports import Clock
from agent.sap.channel import Channel, Headers, NoAnswer, NotSent, Reply, host, request
from agent.sap.errors import excerpt, retry_after
from agent.strict.schema import Settings

NOT_NOW: Final = (401, 403, 408, 425, 429, 503)  # nothing was done, and mending or waiting helps
_AS_IT_IS: Final = "%/:=&?~+!$,;'@()*[]"


class WebhookConfig(Settings):
    """Somebody who takes messages over HTTP."""

    kind: Literal["webhook"] = Field(description="webhook")
    url: str = Field(description="https://HOST/PATH; http:// only to this machine")
    secret: Secret | None = Field(
        default=None, description="Signs time, key and body (X-Gatepost-Signature); absent: not signed"
    )
    secret_path: Secret | None = Field(
        default=None, description="What follows the url, where the address itself is a secret, as chat rooms give it"
    )
    ca_file: Path | None = Field(default=None, description="PEM; the only authority trusted; absent: the system's")
    connect_s: float = Field(default=5, gt=0, le=60, description="Seconds for a connection and its TLS handshake")
    total_s: float = Field(default=15, gt=0, le=120, description="Seconds for a whole call; then its end is unknown")

    @field_validator("url")
    @classmethod
    def _safe(cls, url: str) -> str:
        parts = urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts.username or parts.password or not parts.hostname or parts.fragment:
            raise ValueError("must be scheme, host and path, without a user; sign with `secret`")
        if parts.port == 0 or (parts.scheme != "https" and not (parts.scheme == "http" and local)):
            raise ValueError("must start with https:// (http:// only to this machine)")
        return url

    def refusal(self, address: str) -> str:
        """It is one place: who it is for stands in the message."""
        return "a webhook has no addresses; write its name alone" if address else ""


class Webhook:
    """Posts each message over a connection of its own: they are few, and none is lost in an old one."""

    def __init__(self, config: WebhookConfig, clock: Clock) -> None:
        self.config = config
        self._clock = clock
        self._where = f"POST {config.url.partition('?')[0]}"  # a query may be a secret, too

    async def send(self, message: Message, addresses: Sequence[str]) -> Sequence[str]:
        """Post it. Raises ErpUnavailable, ErpInDoubt, ErpRejected."""
        context = await asyncio.to_thread(self._tls) if self.config.url.startswith("https") else None
        channel = Channel(self.config.url, context, self.config.connect_s)
        try:
            async with asyncio.timeout(self.config.total_s):
                reply = await channel.exchange(self._request(message))
        except NotSent as error:
            raise ErpUnavailable(
                f"{self._where}: not reachable ({error}); check address, network and certificate", scope="lane"
            ) from None
        except (NoAnswer, TimeoutError) as error:
            raise ErpInDoubt(f"{self._where}: sent, but no answer ({error or 'none in time'})") from None
        finally:
            await channel.close()
        self._judge(reply)
        return ()

    async def reach(self) -> None:
        """Nothing can be asked there without telling something."""

    async def close(self) -> None:
        """Nothing is kept open."""

    def _request(self, message: Message) -> bytes:
        body, config = message.json(), self.config
        headers: Headers = [
            (b"Host", host(config.url)),
            (b"Content-Type", b"application/json"),
            (b"Accept-Encoding", b"identity"),
            (b"User-Agent", b"gatepost"),
            (b"Idempotency-Key", message.id.encode()),
        ]
        if config.secret is not None:
            now = str(int(self._clock().timestamp()))
            headers.append((b"X-Gatepost-Timestamp", now.encode()))
            headers.append((b"X-Gatepost-Signature", sign(config.secret.reveal(), now, message.id, body).encode()))
        return request(b"POST", self._target(), headers, body)

    def _target(self) -> bytes:
        parts = urlsplit(self.config.url)
        path = parts.path + (self.config.secret_path.reveal() if self.config.secret_path else "")
        return quote((path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_AS_IT_IS).encode()

    def _judge(self, reply: Reply) -> None:
        if 200 <= reply.status < 300:
            return
        said = f"{self._where}: answers {reply.status} ({excerpt(self._without_secret(reply.body))})"
        code = f"http/{reply.status}"
        if reply.status in NOT_NOW:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reply.headers}
            raise ErpUnavailable(said, scope="lane", code=code, retry_after=retry_after(headers))
        if reply.status >= 500:
            raise ErpInDoubt(said, code=code)
        raise ErpRejected(said, code=code)

    def _without_secret(self, body: bytes) -> bytes:
        """An answer that may repeat its address, as many servers do where they do not know it."""
        path = self.config.secret_path.reveal() if self.config.secret_path else ""
        for spelling in (path, quote(path, safe=_AS_IT_IS), escape(path)) if path else ():
            body = body.replace(spelling.encode(), b"***")
        return body

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.config.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ErpUnavailable(f"{self.config.ca_file}: cannot be used ({error}); mend it", scope="lane") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
