"""How to reach one SAP system: address, client, identity, certificates and deadlines, as YAML says it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from agent.access.secrets import Secret
from agent.errors import ErpUnavailable
from agent.sap.channel import host
from agent.strict.schema import Settings


class BasicAuth(Settings):
    """A communication user with its password."""

    kind: Literal["basic"] = "basic"
    user: str = Field(min_length=1, description="the communication user")
    password: Secret = Field(description="its password, as {secret: NAME}")


class OAuth2(Settings):
    """OAuth 2.0 client credentials."""

    kind: Literal["oauth2"]
    token_url: str = Field(description="token endpoint, https://…")
    client_id: str = Field(min_length=1)
    client_secret: Secret = Field(description="its secret, as {secret: NAME}")
    scope: str = ""

    @field_validator("token_url")
    @classmethod
    def _safe(cls, url: str) -> str:
        return safe_url(url, allow_http=False)


class CertificateAuth(Settings):
    """The client certificate alone says who the agent is; set `client_certificate` beside it."""

    kind: Literal["certificate"]


class SapConnection(Settings):
    """The connection settings that the target and its order source share."""

    url: str = Field(description="scheme, host and port of SAP, https://s4.plant.example:44300")
    path: str = Field(default="/sap/opu/odata/sap", description="where the OData V2 services are")
    client: str = Field(
        default="", pattern=r"^(\d{3})?$", description="SAP client, three digits; empty in S/4HANA Cloud"
    )
    language: str = Field(
        default="EN", min_length=2, max_length=2, description="logon language; unit codes depend on it"
    )
    auth: Annotated[BasicAuth | OAuth2 | CertificateAuth, Field(discriminator="kind")]
    ca_file: Path | None = Field(default=None, description="PEM file of the plant's own certificate authority")
    client_certificate: Path | None = Field(default=None, description="PEM file")
    client_key: Path | None = Field(default=None, description="PEM file of its private key, where it is a separate one")
    allow_http: bool = Field(default=False, description="plain HTTP to a host other than this one: benches only")
    concurrency: int = Field(default=4, ge=1, le=64, description="calls at the same time, and connections kept alive")
    connect_s: float = Field(
        default=5, gt=0, le=60, description="seconds for a connection, its TLS handshake and a free slot"
    )
    total_s: float = Field(
        default=60, gt=0, le=600, description="seconds for a whole call; after that its outcome is unknown"
    )

    @model_validator(mode="after")
    def _fits(self) -> SapConnection:
        safe_url(self.url, allow_http=self.allow_http)
        if self.total_s <= 2 * self.connect_s:
            raise ValueError("total_s must be more than twice connect_s, or a slow connect looks like a lost answer")
        if self.client_key and not self.client_certificate:
            raise ValueError("client_key needs client_certificate beside it")
        if self.auth.kind == "certificate" and not self.client_certificate:
            raise ValueError("auth kind certificate needs client_certificate")
        return self


def safe_url(url: str, *, allow_http: bool) -> str:
    """The URL, if no secret can leave through it: https, or http to this machine. Raises ValueError."""
    parts = urlsplit(url)
    host(url)  # a UnicodeError is a ValueError: no such name can be asked for
    if parts.port == 0:  # and a ValueError where it is no number, or beyond 65535
        raise ValueError("Port 0 is no port")
    if parts.username or parts.password:
        raise ValueError("must not carry credentials; use auth")
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be scheme, host and port, for example https://s4.plant.example:44300")
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and (local or allow_http)):
        raise ValueError("must start with https:// (http:// only to this machine, or with allow_http)")
    return url


def tls_context(connection: SapConnection) -> ssl.SSLContext:
    """TLS 1.2 or newer with the plant's authority and the client certificate. Raises ErpUnavailable naming the file."""
    try:
        context = ssl.create_default_context(cafile=str(connection.ca_file) if connection.ca_file else None)
        if connection.client_certificate:
            context.load_cert_chain(connection.client_certificate, connection.client_key)
    except (OSError, ssl.SSLError) as error:
        files = [connection.ca_file, connection.client_certificate, connection.client_key]
        named = ", ".join(str(file) for file in files if file)
        raise ErpUnavailable(f"certificate files cannot be used ({named}): {error}; mend them or their path") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
