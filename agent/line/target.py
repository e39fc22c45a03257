"""A line as a target: postings of kind ``dispatch``, each acknowledged by the line before it counts, at least once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from agent.errors import ErpError, ErpRejected
from agent.line import order
from agent.line.nodes import Nodes, NodesConfig
from agent.line.topic import Topic, TopicConfig
from agent.ports import Acknowledgement, Kind, Posting, Surroundings
from agent.strict.schema import Name, Settings


class LineConfig(Settings):
    """How orders reach the line: by `mqtt` or by `opcua`."""

    kind: Literal["line"] = Field(default="line", description="line")
    name: Name = Field(description="How workflows, metrics and `gatepost pause` call it")
    mqtt: TopicConfig | None = Field(default=None, description="A topic, acknowledged by an answer or by the broker")
    opcua: NodesConfig | None = Field(default=None, description="A set of nodes with a handshake, or a method")
    answer_s: float = Field(default=10, ge=0.1, le=300, description="Longest wait for the line's answer")
    settle_s: float = Field(default=5, gt=0, le=600, description="Seconds from a lost answer to the next try, twice")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.mqtt is None) == (self.opcua is None):
            raise ValueError("name either mqtt or opcua; two lines are two targets")
        return self

    @property
    def warnings(self) -> tuple[str, ...]:
        """What `gatepost check` says although it is allowed."""
        return self.opcua.warnings if self.opcua is not None else ()


class Line:
    """An ErpTarget. The line must know a repeated id again and answer it as before, without doing it twice."""

    lookup_reliable = True  # what is not found is sent again under its id, and does no harm

    def __init__(self, config: LineConfig, *, around: Surroundings) -> None:
        self.config = config
        self.name = config.name
        self.settle_seconds = config.settle_s
        self._error = ""
        self._topic = Topic(config.mqtt, config.answer_s) if config.mqtt is not None else None
        self._nodes = (
            Nodes(config.opcua, config.answer_s, around.data / "opcua", around.clock)
            if config.opcua is not None
            else None
        )

    @classmethod
    def of(cls, config: LineConfig, around: Surroundings) -> Line:
        """Made by the app."""
        return cls(config, around=around)

    async def open(self) -> None:
        """Reach the broker or the server. Raises ErpUnavailable."""
        if self._nodes is not None:
            await self._nodes.reach()
        if self._topic is not None:
            await self._topic.reach()

    async def close(self) -> None:
        """Leave broker or server."""
        for way in (self._topic, self._nodes):
            if way is not None:
                await way.close()

    def check(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[str]:
        """What cannot be sent; empty: nothing. Pure."""
        return order.refusals(payload) if kind is Kind.DISPATCH else [f"{self.name} is a line; it takes no {kind}"]

    def freeze(self, posting: Posting) -> bytes:
        """What the line gets, now and at every retry. Pure."""
        return order.frozen(posting)

    def in_its_words(self, kind: Kind, payload: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
        """What the line will read. Pure."""
        if kind is not Kind.DISPATCH:
            return ()
        return [(name, str(payload[name])) for name in order.FIELDS if payload.get(name) not in (None, "")]

    async def post(self, posting: Posting) -> Acknowledgement:
        """Send it and wait for the line. Raises ErpUnavailable, ErpInDoubt, ErpRejected."""
        if posting.wire is None:
            raise ValueError(f"posting {posting.id} was not frozen before it was sent")
        told = order.thawed(posting.wire)
        try:
            if self._topic is not None:
                warnings = await self._topic.send(posting.wire, told)
            else:
                assert self._nodes is not None  # noqa: S101  # the configuration has one of both
                warnings = await self._nodes.send(told)
        except ErpError as error:
            self._error = "" if isinstance(error, ErpRejected) else str(error)
            raise
        self._error = ""
        return Acknowledgement(_document(told), warnings=warnings)

    async def find(self, posting: Posting) -> Acknowledgement | None:
        """Whether the line says that it has it: by a late answer, or in its answer node. Raises ErpUnavailable."""
        if posting.wire is None:
            return None
        told = order.thawed(posting.wire)
        way = self._topic or self._nodes
        assert way is not None  # noqa: S101  # the configuration has one of both
        return Acknowledgement(_document(told), found=True) if await way.taken(told) else None

    def status(self) -> Mapping[str, Any]:
        """``connected``, ``error``, and how many answers could not be read."""
        odd = self._topic.odd_answers if self._topic is not None else 0
        return {"connected": not self._error, "error": self._error, "odd_answers": odd}


def _document(told: Mapping[str, str]) -> str:
    return f"{told['work_center']}/{told['id']}"
