"""A topic of an MQTT broker: QoS 1, acknowledged by the broker; each address is a topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from agent.channels.message import Message
from agent.configuration.brokers import BrokerConnection
from agent.publisher import Publisher


class TopicConfig(BrokerConnection):
    """A broker, where panels, lights and other programs listen."""

    kind: Literal["mqtt"] = Field(description="mqtt")
    client_id: str = Field(
        default="gatepost-notify",
        min_length=1,
        max_length=128,
        description="Its name at the broker, nobody else's",
    )
    answer_s: float = Field(default=10, ge=0.1, le=60, description="Longest wait for an acknowledgement, seconds")

    def refusal(self, address: str) -> str:
        """Why nobody can be reached under this address; empty: somebody may."""
        return topic_refusal(address)


class Topic:
    """Publishes each message; who listens is the broker's business, and that nobody does is told."""

    def __init__(self, config: TopicConfig) -> None:
        self._publisher = Publisher(config, config.client_id, config.answer_s)

    async def send(self, message: Message, addresses: Sequence[str]) -> Sequence[str]:
        """Publish it on each topic. Raises ErpUnavailable, ErpInDoubt, ErpRejected."""
        body = message.json()
        unheard = [topic for topic in addresses if not await self._publisher.publish(topic, body)]
        return [f"nobody listens to {topic}" for topic in unheard]

    async def reach(self) -> None:
        """Connect. Raises ErpUnavailable."""
        await self._publisher.connect()

    async def close(self) -> None:
        """Leave the broker."""
        await self._publisher.close()


def topic_refusal(topic: str) -> str:
    """Why nothing can be published on this topic; empty: it can."""
    if not topic or len(topic) > 512 or any(sign in topic for sign in "+#\0") or topic.startswith("$"):
        return f"{topic!r} is no topic to publish on; it has no + and no #"
    return ""
