"""How MQTT brokers are reached: their addresses, user, certificates and keep-alive. No client library."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from agent.access.secrets import Secret
from agent.strict.schema import Settings


class Broker(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def _broker(url: str) -> Broker:
    parts = urlsplit(url)
    tls = parts.scheme == "mqtts"
    bare = parts.hostname and not parts.path and parts.username is None
    try:
        port = parts.port if parts.port is not None else 8883 if tls else 1883
    except ValueError:  # no number, or too large a one
        port = 0
    if parts.scheme not in ("mqtt", "mqtts") or not bare or not port:
        shown = "…@" * ("@" in url) + url.rpartition("@")[2]
        raise ValueError(f"{shown!r} is no broker; write mqtt://HOST:PORT or mqtts://HOST:PORT, without user or path")
    return Broker(str(parts.hostname), port, tls)


class BrokerConnection(Settings):
    """Brokers, who we are there, and what is trusted: the same for everything that speaks MQTT."""

    brokers: tuple[str, ...] = Field(
        min_length=1, description="mqtt://HOST:PORT or mqtts://HOST:PORT in fail-over order, all of one kind"
    )
    version: Literal["3.1.1", "5"] = Field(default="5", description="MQTT version")
    user: str | None = Field(default=None, description="User name at the broker")
    password: Secret | None = Field(default=None, description="Its password")
    ca_file: Path | None = Field(default=None, description="PEM; the only authority trusted for mqtts://")
    cert_file: Path | None = Field(default=None, description="PEM; client certificate, read anew at every connection")
    key_file: Path | None = Field(default=None, description="PEM; the key of the client certificate")
    keep_alive_s: int = Field(default=20, ge=1, le=3600, description="A dead link is noticed after 1.5 times this")

    @field_validator("brokers")
    @classmethod
    def _brokers_parse(cls, brokers: tuple[str, ...]) -> tuple[str, ...]:
        if len({_broker(url).tls for url in brokers}) > 1:
            raise ValueError("mixes mqtt:// and mqtts://; a fail-over must not fall back to plain text")
        return brokers

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.endpoints[0].tls and self.ca_file is None:
            raise ValueError("mqtts:// needs ca_file, the certificate authority of the broker")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        if self.password is not None and self.user is None:
            raise ValueError("password needs user")
        return self

    @property
    def endpoints(self) -> tuple[Broker, ...]:
        """`brokers`, taken apart."""
        return tuple(_broker(url) for url in self.brokers)

    def tls_context(self) -> ssl.SSLContext | None:
        """TLS that trusts this CA alone and checks the host name; None for mqtt://. Raises OSError: unreadable file."""
        if not self.endpoints[0].tls:
            return None
        for file in filter(None, (self.ca_file, self.cert_file, self.key_file)):
            file.open("rb").close()  # an error that names the file: TLS names none
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context
