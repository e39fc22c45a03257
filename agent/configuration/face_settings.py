"""What can be configured of the faces of the agent: HTTP API, OPC UA server, Sparkplug node, metrics and health."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from agent.access.tokens import Token
from agent.configuration.brokers import BrokerConnection
from agent.strict.schema import Settings


def _host_and_port(address: str) -> str:
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", address)
    if not match or not 0 < int(match[2]) < 65536:
        raise ValueError("must be host:port, for example 127.0.0.1:18080")
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name that is no address
        return False


Address = Annotated[str, AfterValidator(_host_and_port)]


class Tls(Settings):
    """A server certificate."""

    cert: Path = Field(description="Certificate chain, PEM")
    key: Path = Field(description="Private key, PEM")


class Api(Settings):
    """The HTTP API for people and machines."""

    address: Address = Field(description="host:port to listen on")
    tls: Tls | None = Field(
        default=None, description="Without it the API speaks plain HTTP: loopback, or behind a TLS proxy"
    )
    tokens: tuple[Token, ...] = Field(default=(), description="Who may use it; none: nobody")
    max_body_kb: int = Field(default=256, ge=1, le=10_240, description="Largest request body")
    rate_per_second: int = Field(default=50, ge=1, le=100_000, description="Requests per second and client before 429")
    docs: bool = Field(default=True, description="Serve the OpenAPI pages under /docs")


class OpcuaServer(Settings):
    """The agent as an OPC UA server, for Ignition and any OPC UA client. Its users are the tokens of `api`."""

    address: Address = Field(default="127.0.0.1:48010", description="host:port to listen on")
    security: tuple[Literal["none", "basic256sha256", "aes128", "aes256"], ...] = Field(
        default=("basic256sha256", "aes256"),
        min_length=1,
        description="Policies that clients may choose from, each with Sign & Encrypt; `none` only on this machine",
    )
    certificates: Path | None = Field(
        default=None,
        description="Folder of its own certificate and of those that are trusted; `opcua_server` beside the store "
        "if absent",
    )
    anonymous: bool = Field(default=False, description="Clients without a user may read; they may never call a method")
    max_sessions: int = Field(default=20, ge=1, le=500, description="Clients at the same time")

    @field_validator("security")
    @classmethod
    def _open_on_this_machine_only(cls, security: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        host = str(info.data.get("address", "")).rpartition(":")[0].strip("[]")
        if "none" in security and not (host == "localhost" or _is_loopback(host)):
            raise ValueError("none sends tokens readably; listen on 127.0.0.1, or leave it out of the list")
        return security


Level = Annotated[str, StringConstraints(pattern=r"^[^+#/\x00]{1,100}$")]  # of a topic


class SparkplugNode(BrokerConnection):
    """The agent as a Sparkplug B edge node, so that it appears under MQTT Engine or any host application."""

    group: Level = Field(description="Group id, as MQTT Engine sorts nodes: the plant, mostly")
    node: Level = Field(default="gatepost", description="Edge node id, unique in the group")
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Its name at the broker; nobody else may have it. `gatepost-GROUP-NODE` if absent",
    )
    primary_host: Level | None = Field(
        default=None, description="Host id: it speaks only while this host says that it is online; none: always"
    )
    primary_host_s: float = Field(
        default=30,
        ge=1,
        le=3600,
        description="Where several brokers are listed: how long it waits at one for the primary host to be online",
    )
    every_s: float = Field(default=1, ge=0.2, le=3600, description="How often it looks for what has changed")

    @field_validator("group")
    @classmethod
    def _group_is_none_of_theirs(cls, group: str) -> str:
        if group == "STATE":
            raise ValueError("STATE is no group, host applications speak there")
        return group


class Management(Settings):
    """Metrics and health for the monitoring network."""

    address: Address = Field(description="host:port of /metrics, /live and /ready; keep it off the plant network")
