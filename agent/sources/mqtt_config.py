"""How an MQTT source is configured: brokers, session, topics and limits."""

from __future__ import annotations

from typing import Any, Literal

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import Field, field_validator

from agent.configuration.brokers import Broker as Broker  # those who reach one take it from here
from agent.configuration.brokers import BrokerConnection
from agent.strict.schema import Name


class BrokerSettings(BrokerConnection):
    """How brokers are reached by what listens there."""

    max_payload_kb: int = Field(
        default=256, ge=1, le=16 * 1024, description="Of larger payloads the first 4 KiB and the SHA-256 are kept, KiB"
    )


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
