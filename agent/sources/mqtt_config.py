"""How an MQTT source is configured: brokers, session, topics and limits."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import Field, field_validator, model_validator

from agent.schema import Settings
from agent.secrets import Secret
from agent.settings import Name


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


class BrokerSettings(Settings):
    """How brokers are reached: the part that is the same for everything that speaks MQTT."""

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
    max_payload_kb: int = Field(
        default=256, ge=1, le=16 * 1024, description="Of larger payloads the first 4 KiB and the SHA-256 are kept, KiB"
    )

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
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


class MqttConfig(BrokerSettings):
    """One MQTT source: a fixed client id with a persistent session at one broker, or at several in fail-over order."""

    name: Name = Field(description="Appears in events, metrics and logs; part of the identity of its messages")
    kind: Literal["mqtt"] = Field(default="mqtt", description="mqtt")
    client_id: str = Field(
        min_length=1, max_length=128, description="Fixed for life: the broker keeps the session under this name"
    )
    topics: tuple[str, ...] = Field(min_length=1, description="Topic filters, subscribed with QoS 1")
    session_expiry_s: int = Field(
        default=7 * 24 * 3600, ge=60, le=0xFFFFFFFF, description="How long the broker keeps the session (MQTT 5)"
    )
    receive_maximum: int = Field(
        default=100, ge=1, le=65535, description="Messages under way without acknowledgement (MQTT 5)"
    )
    receipts: str | None = Field(
        default=None, description="Topic of the receipts that are published after the commit, as plant/ack/{sender}"
    )
    expects_persistent: bool = Field(
        default=True, description="false: this broker keeps no sessions, and a lost one is no loss event"
    )

    @field_validator("topics")
    @classmethod
    def _topics_parse(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        for topic in topics:
            levels = topic.split("/")
            if levels[0] == "$share":
                raise ValueError(f"{topic}: a shared subscription breaks the order; name the topic itself")
            stray = any(len(level) > 1 and ("+" in level or "#" in level) for level in levels)
            if not topic or "\0" in topic or stray or "#" in levels[:-1]:
                raise ValueError(f"{topic!r} is no topic filter; + stands for one level, # for the rest")
        return topics

    @property
    def warnings(self) -> tuple[str, ...]:
        """What `gatepost check` says although it is allowed."""
        told = (
            "version 3.1.1: session_expiry_s and receive_maximum do not reach the broker, and it does not tell "
            "persistent_client_expiration and max_packet_size; look into its configuration"
        )
        return () if self.version == "5" else (told,)

    def connect_options(self) -> dict[str, Any]:
        """What MQTT 5 says at CONNECT; 3.1.1 has nothing of the kind."""
        if self.version != "5":
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.SessionExpiryInterval = self.session_expiry_s
        properties.ReceiveMaximum = self.receive_maximum
        return {"clean_start": False, "properties": properties}
