"""What tests of events out of tags share: a plant of tags, and an agent that can be killed and cut off."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from agent.tags.config import TagEvent
from agent.tags.engine import NO_ADDRESSES, Made, TagEvents
from agent.tags.values import Change, Quality, Scalar, TagValue, Write

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
TOPIC = "plant/1710/ASSY-05/ASSY-05/consumption"
TOTAL = {"tag": "total", "max_step": 50}
LOT = {"when": {"rising": "done"}, "fields": {"order": "order"}, "counted": {"quantity": TOTAL}}


def at(seconds: float) -> datetime:
    """A moment of the test."""
    return START + timedelta(seconds=seconds)


def event(**keys: Any) -> TagEvent:
    """A declared event; numbers may be written as texts, as in a file."""
    return TagEvent.model_validate({"name": "lot", "topic": TOPIC, **keys})


def change(
    tag: str, value: Scalar, seconds: float = 0, quality: Quality = Quality.GOOD, *, historical: bool = False
) -> Change:
    """A tag says something."""
    return Change(tag, TagValue(value, quality, at(seconds)), historical)


def read(payload: bytes) -> dict[str, Any]:
    """What a delivery says, with its numbers as they are written."""
    body = json.loads(payload, parse_float=Decimal)
    assert type(body) is dict
    return body


class Agent:
    """An engine with a store that commits when it is told to, and a controller's write pins behind it."""

    def __init__(
        self, events: Sequence[TagEvent], source: str = "plc", addresses: Mapping[str, str] = NO_ADDRESSES
    ) -> None:
        self.events, self.source, self.addresses = events, source, addresses
        self.committed: bytes | None = None
        self.stored: list[dict[str, Any]] = []  # bodies of events on disk
        self.noticed: list[tuple[str, Mapping[str, Any]]] = []  # on disk
        self.pins: dict[str, Any] = {}  # what was written to the controller
        self.cut = False  # nothing reaches the controller
        self.now = 0.0
        self._queue: list[Made] = []
        self.engine = TagEvents(events, source, None, addresses)

    def send(self, *changes: Change) -> Made:
        """A message arrives; nothing is committed yet."""
        return self._take(self.engine.changed(changes, at(self.now)))

    def say(self, quality: Quality = Quality.GOOD, **values: Scalar) -> list[dict[str, Any]]:
        """A message of these values arrives now, and is committed; returns the events that it made."""
        before = len(self.stored)
        self.send(*(change(tag, value, self.now, quality) for tag, value in values.items()))
        self.commit()
        return self.stored[before:]

    def tick(self, seconds: float = 0) -> list[dict[str, Any]]:
        """Time passes; what is due is made and committed."""
        self.now += seconds
        before = len(self.stored)
        self.look_at_clock()
        self.commit()
        return self.stored[before:]

    def look_at_clock(self) -> None:
        """What is due is made; nothing is committed yet."""
        due = self.engine.due()
        if due is not None and due <= at(self.now):
            self._take(self.engine.tick(at(self.now)))

    def lose(self, *tags: str) -> None:
        """The connection breaks, or these tags go stale."""
        self._take(self.engine.lost(tags or None, at(self.now)))

    def commit(self, batches: int | None = None) -> None:
        """The store writes the oldest batches, all of them if not told otherwise."""
        count = len(self._queue) if batches is None else batches
        done, self._queue = self._queue[:count], self._queue[count:]
        for made in done:
            self.committed = made.checkpoint
            self.stored += [read(delivery.payload) for delivery in made.deliveries]
            self.noticed += [(notice.action, notice.detail) for notice in made.notices]
            self._write(made.writes)

    def kill(self) -> None:
        """What is not committed is gone; the agent starts again from what is."""
        self._queue.clear()
        self.engine = TagEvents(self.events, self.source, self.committed, self.addresses)

    def actions(self) -> list[str]:
        """What was noticed, without the counters' first readings."""
        return [action for action, _ in self.noticed if action != "counter_started"]

    def _take(self, made: Made) -> Made:
        if made.to_store:
            self._queue.append(made)
        else:
            self._write(made.writes)
        return made

    def _write(self, writes: Iterable[Write]) -> None:
        if not self.cut:
            self.pins.update({write.tag: write.value for write in writes})


def lots(**keys: Any) -> Agent:
    """An agent that counts one lot after the other for order 77."""
    agent = Agent([event(**{**LOT, **keys})])
    agent.say(done=False, order="77", total=100)
    return agent
