"""How a Sparkplug B source is configured: brokers, who we are as a host, which metrics, and patience."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from agent.sources.mqtt_config import BrokerSettings, MqttConfig
from agent.sparkplug.names import Address, node_filter, read_address, state_topic, usable
from agent.sparkplug.session import Patience
from agent.strict.schema import Name
from agent.tags.config import Tagged, refuse_addresses


class SparkplugConfig(Tagged, BrokerSettings):
    """Edge nodes that speak Sparkplug B v3.0 at one broker, or at several in fail-over order."""

    name: Name = Field(description="Appears in events, metrics and logs; part of the identity of its messages")
    kind: Literal["sparkplug"] = Field(default="sparkplug", description="sparkplug")
    client_id: str = Field(min_length=1, max_length=128, description="Our name at the broker; nobody else may have it")
    host_id: str | None = Field(
        default=None,
        description="Our Sparkplug host id: nodes that have it as their primary host keep data while we are away",
    )
    reorder_s: float = Field(
        default=2, ge=0, le=60, description="How long a missing sequence number is waited for; 0: not at all"
    )
    rebirth_s: float = Field(
        default=30, ge=1, le=3600, description="Shortest time between two requests to one node for its births"
    )
    max_clock_skew_s: float = Field(
        default=300, gt=0, le=86_400, description="A node whose clock is further off is an alarm"
    )

    @field_validator("host_id")
    @classmethod
    def _host_id_fits(cls, host_id: str | None) -> str | None:
        if host_id is not None and not usable(host_id):
            raise ValueError(f"{host_id!r} is no host id; it is one level of a topic, without + # and /")
        return host_id

    @model_validator(mode="after")
    def _addresses_parse(self) -> Self:
        wrong = {}
        for tag, text in self.tags.items():
            try:
                read_address(text)
            except ValueError as error:
                wrong[tag] = f"{tag}: {error}"
        refuse_addresses(wrong, self.tags)
        if not self.tags:
            raise ValueError("tags names nothing to read; write TAG: GROUP/NODE/DEVICE:METRIC, or name a tags_file")
        return self

    @property
    def addresses(self) -> Mapping[str, Address]:
        """`tags`, taken apart."""
        return {tag: read_address(text) for tag, text in self.tags.items()}

    @property
    def patience(self) -> Patience:
        """How long is waited for what."""
        return Patience(self.reorder_s, self.rebirth_s, self.max_clock_skew_s)

    @property
    def vouches_s(self) -> float:
        """How old a live fact may look although nothing is wrong: a quiet broker is asked after half the keep-alive."""
        return self.keep_alive_s / 2 + 1

    def connection(self) -> MqttConfig:
        """The MQTT side of it: everything of the nodes that are read, and what is said of us."""
        filters = tuple(sorted({node_filter(address.node) for address in self.addresses.values()}))
        ours = (state_topic(self.host_id),) if self.host_id else ()
        shared = {name: getattr(self, name) for name in (*BrokerSettings.model_fields, "name", "client_id")}
        return _CleanConnection.model_construct(**shared, topics=(*filters, *ours), expects_persistent=False)


class _CleanConnection(MqttConfig):
    """Sparkplug wants a session that ends with its connection: nodes say everything anew."""

    def connect_options(self) -> dict[str, Any]:
        return {"clean_start": True} if self.version == "5" else {}
