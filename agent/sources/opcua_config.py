"""How an OPC UA source is configured: endpoints, security, who we are, which tags, and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from agent.access.secrets import Secret
from agent.sources.opcua_address import Address, alias_refusal, parse
from agent.strict.schema import Name, Settings
from agent.tags.config import Tag, Tagged, refuse_addresses

MOST_KEEP_ALIVE_S = 5.0


class Policy(StrEnum):
    """How messages are protected."""

    NONE = "none"
    BASIC256SHA256 = "basic256sha256"
    AES128 = "aes128_sha256_rsaoaep"
    AES256 = "aes256_sha256_rsapss"


class Override(Settings):
    """What is different for one tag."""

    sampling_ms: int | None = Field(default=None, ge=0, le=3_600_000, description="Instead of the source's, ms")
    queue_size: int | None = Field(default=None, ge=1, le=100_000, description="Instead of the source's")


class Sampling(NamedTuple):
    """How one tag is watched by the server."""

    interval_ms: int
    queue_size: int


class OpcuaConnection(Settings):
    """An OPC UA server, or several with the same nodes in fail-over order, and who we are there."""

    name: Name = Field(description="Appears in events, metrics and logs; part of the identity of its messages")
    endpoints: tuple[str, ...] = Field(
        min_length=1, max_length=8, description="opc.tcp://HOST:PORT/PATH in fail-over order"
    )
    policy: Policy = Field(
        default=Policy.BASIC256SHA256,
        description="Protection of messages. none: anybody on the way can read and change them, and nobody is known",
    )
    mode: Literal["sign", "sign_and_encrypt"] = Field(
        default="sign_and_encrypt",
        description="Signed only, or encrypted as well; without meaning where policy is none",
    )
    user: str | None = Field(default=None, min_length=1, description="User name at the server; absent: anonymous")
    password: Secret | None = Field(default=None, description="Its password")
    user_cert_file: Path | None = Field(
        default=None, description="PEM or DER; certificate of a user, instead of a name"
    )
    user_key_file: Path | None = Field(default=None, description="PEM; the key of the user's certificate")
    certificates: Path | None = Field(
        default=None,
        description="Folder with own/, trusted/, rejected/ and revoked/; absent: opcua/ in the folder of the store",
    )
    namespaces: Mapping[str, str] = Field(default={}, description="Alias → namespace URI, for addresses and paths")
    active: str | None = Field(
        default=None,
        description="Address of a Boolean that is true on the active one of redundant servers; the others are left",
    )
    publishing_ms: int = Field(default=250, ge=10, le=60_000, description="How often the server tells what it saw, ms")
    silent_s: float = Field(default=4, ge=1, le=60, description="A server that answers nothing for so long is lost")
    request_timeout_s: float = Field(
        default=15, ge=1, le=120, description="Longest wait for one answer while connecting"
    )
    max_message_mb: int = Field(default=32, ge=1, le=512, description="A server that sends more at once is left")

    @field_validator("endpoints")
    @classmethod
    def _endpoints_parse(cls, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        for url in endpoints:
            parts = urlsplit(url)
            try:
                port = parts.port
            except ValueError:  # no number, or too large a one
                port = None
            if parts.scheme != "opc.tcp" or not parts.hostname or not port or parts.username is not None:
                shown = "…@" * ("@" in url) + url.rpartition("@")[2]
                raise ValueError(f"{shown!r} is no endpoint; write opc.tcp://HOST:PORT/PATH, without a user")
        if len(set(endpoints)) < len(endpoints):
            raise ValueError("names the same endpoint twice")
        return endpoints

    @model_validator(mode="after")
    def _identity_fits(self) -> Self:
        if self.password is not None and self.user is None:
            raise ValueError("password needs user")
        if (self.user_cert_file is None) != (self.user_key_file is None):
            raise ValueError("user_cert_file and user_key_file belong together")
        if self.user is not None and self.user_cert_file is not None:
            raise ValueError("user and user_cert_file are two identities; name one")
        if self.policy is Policy.NONE and (self.user is not None or self.user_cert_file is not None):
            raise ValueError(
                "policy none would show who we are to anybody who listens, and to whoever poses as the server; "
                "choose basic256sha256, or stay anonymous"
            )
        return self

    @model_validator(mode="after")
    def _namespaces_fit(self) -> Self:
        wrong = [why for alias, uri in self.namespaces.items() if (why := alias_refusal(alias, uri))]
        wrong += [f"active: {why}" for _, why in self.unread({"active": self.active} if self.active else {})]
        if wrong:
            raise ValueError("; ".join(wrong[:20]))
        return self

    def unread(self, written: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The addresses that cannot be read, and why."""
        for name, text in written.items():
            try:
                parse(text, self.namespaces)
            except ValueError as error:
                yield name, str(error)

    def active_address(self) -> Address | None:
        """The node that says whether this is the active server of a redundant pair."""
        return parse(self.active, self.namespaces) if self.active else None

    @property
    def secured(self) -> bool:
        """Whether messages are at least signed."""
        return self.policy is not Policy.NONE

    @property
    def warnings(self) -> tuple[str, ...]:
        """What `gatepost check` says although it is allowed."""
        none = "policy none: anybody on the way can read and change what it says, and no server is known by certificate"
        return () if self.secured else (none,)


class OpcuaConfig(OpcuaConnection, Tagged):
    """One OPC UA server, or several with the same nodes in fail-over order, as a pair of redundant gateways is."""

    kind: Literal["opcua"] = Field(default="opcua", description="opcua")
    sampling_ms: int = Field(default=250, ge=0, le=3_600_000, description="How often the server looks at a node, ms")
    queue_size: int = Field(
        default=100, ge=1, le=100_000, description="Values that the server keeps per node between two publishings"
    )
    overrides: Mapping[Tag, Override] = Field(default={}, description="Tag → what is different for it")
    history: bool = Field(
        default=False,
        description="Make up from the server's history for outages and restarts; off: totals alone catch up",
    )
    history_values: int = Field(
        default=10_000,
        ge=1,
        le=100_000,
        description="Values of one outage per tag, ten times as many in all; more: none",
    )
    max_clock_skew_s: int = Field(
        default=60, ge=1, le=86_400, description="Values whose time stamp is further ahead are uncertain"
    )
    max_text: int = Field(default=4096, ge=1, le=1_000_000, description="Longer texts are bad; characters")

    @model_validator(mode="after")
    def _tags_parse(self) -> Self:
        refuse_addresses({tag: f"{tag}: {why}" for tag, why in self.unread(self.tags)}, self.tags)
        if wrong := [f"overrides: there is no tag {tag!r}" for tag in self.overrides if tag not in self.tags]:
            raise ValueError("; ".join(wrong[:20]))
        return self

    @property
    def vouches_s(self) -> float:
        """How old a live fact may look although nothing is wrong: the subscription says so often that it is there."""
        return max(1.0, self.publishing_ms / 1000) + 1

    @property
    def max_skew(self) -> timedelta:
        """`max_clock_skew_s` as a span."""
        return timedelta(seconds=self.max_clock_skew_s)

    def addresses(self) -> Mapping[str, Address]:
        """Tag → the node that it means."""
        return {tag: parse(text, self.namespaces) for tag, text in self.tags.items()}

    def sampling(self, tag: str) -> Sampling:
        """How this tag is watched."""
        own = self.overrides.get(tag, Override())
        interval = self.sampling_ms if own.sampling_ms is None else own.sampling_ms
        return Sampling(interval, own.queue_size or self.queue_size)
