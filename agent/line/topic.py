"""A line that listens to a topic, and answers on another; or where the broker's acknowledgement is enough."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from agent.configuration.brokers import BrokerConnection
from agent.errors import ErpInDoubt, ErpRejected, ErpUnavailable
from agent.publisher import Publisher

log = logging.getLogger("gatepost.line")
MOST_REMEMBERED: Final = 1000  # answers that came late, or that nobody asked for


class TopicConfig(BrokerConnection):
    """Where the line listens."""

    client_id: str = Field(
        default="gatepost-line", min_length=1, max_length=128, description="Its name at the broker, nobody else's"
    )
    topic: str = Field(description="Where orders are published; `{work_center}` stands for the work centre")
    acknowledged_by: Literal["answer", "broker"] = Field(
        default="answer",
        description="`answer`: the line says that it took the order; `broker`: its acknowledgement is all",
    )
    answers: str | None = Field(
        default=None, description="Where the line answers, with `{work_center}` or + for it; needed for `answer`"
    )

    @model_validator(mode="after")
    def _topics_fit(self) -> Self:
        topic = self.topic.replace("{work_center}", "x")
        if not topic or any(sign in topic for sign in "+#{}\0") or topic.startswith("$"):
            raise ValueError(f"topic: {self.topic!r} is no topic to publish on; it has no + and no #")
        if (self.acknowledged_by == "answer") != (self.answers is not None):
            raise ValueError("answers: needed where acknowledged_by is answer, and only there")
        if self.answers is not None and any(sign in self.listened for sign in "{}\0"):
            raise ValueError(f"answers: {self.answers!r}: only {{work_center}} can be filled in")
        return self

    @property
    def listened(self) -> str:
        """The topic filter of the answers."""
        return (self.answers or "").replace("{work_center}", "+")


class Said(NamedTuple):
    """What the line answered."""

    accepted: bool
    reason: str


class Topic:
    """Publishes an order and waits for its answer."""

    def __init__(self, config: TopicConfig, answer_s: float) -> None:
        self.config = config
        self.odd_answers = 0  # that could not be read
        self._answer_s = answer_s
        topics = [config.listened] if config.answers is not None else []
        self._publisher = Publisher(config, config.client_id, answer_s, topics, self._heard)
        self._waiting: dict[str, asyncio.Future[Said]] = {}
        self._said: OrderedDict[str, Said] = OrderedDict()

    async def send(self, wire: bytes, told: Mapping[str, str]) -> tuple[str, ...]:
        """Returns what people should know. Raises ErpUnavailable, ErpInDoubt, ErpRejected."""
        topic = self.config.topic.replace("{work_center}", told["work_center"])
        if self.config.answers is None:
            return () if await self._publisher.publish(topic, wire) else (f"nobody listens to {topic}",)
        answer = self._waiting[told["id"]] = asyncio.get_running_loop().create_future()
        try:
            if not await self._publisher.publish(topic, wire):
                raise ErpUnavailable(f"nobody listens to {topic}; is the line connected?", scope="lane")
            async with asyncio.timeout(self._answer_s):
                said = await answer
        except TimeoutError:
            raise ErpInDoubt(f"{topic}: sent, but the line has not answered on {self.config.listened}") from None
        finally:
            del self._waiting[told["id"]]
        if not said.accepted:
            raise ErpRejected(f"the line refuses it: {said.reason or 'without a reason'}", code="line_refused")
        return ()

    async def reach(self) -> None:
        """Connect and listen for answers. Raises ErpUnavailable."""
        await self._publisher.connect()

    async def taken(self, told: Mapping[str, str]) -> bool:
        """Whether the line answered late that it took it. What it refused late it is asked again."""
        said = self._said.get(told["id"])
        return said is not None and said.accepted

    async def close(self) -> None:
        """Leave the broker."""
        await self._publisher.close()

    def _heard(self, topic: str, payload: bytes) -> None:
        try:
            told: Any = json.loads(payload)
            key, said = str(told["id"]), Said(told["accepted"] is True, str(told.get("reason") or "")[:300])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            if not self.odd_answers:
                log.warning("line: an answer on %s cannot be read; it must be JSON with id and accepted", topic)
            self.odd_answers += 1
            return
        self._said[key] = said
        if len(self._said) > MOST_REMEMBERED:
            self._said.popitem(last=False)
        answer = self._waiting.get(key)
        if answer is not None and not answer.done():
            answer.set_result(said)
