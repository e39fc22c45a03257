"""Application receipts: what became of a message is told to its sender, with QoS 1, on a topic of its own."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable

from agent.ports import Receipt
from agent.sources.mqtt_wire import Session

log = logging.getLogger("gatepost.mqtt")

MAX_RECEIPTS = 10_000  # waiting for a connection; the oldest go first: a sender that misses one repeats its report


class Receipts:
    """Receipts of one source that wait for its connection. `topic` may name ``{sender}``; None: none are given."""

    def __init__(self, source: str, topic: str | None, ring: Callable[[], None]) -> None:
        self.topic = topic
        self._source = source
        self._ring = ring
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=MAX_RECEIPTS)  # filled by any thread

    def put(self, topic: str, payload: bytes) -> None:
        """Publish as soon as there is a connection; from any thread, after the commit it speaks of.

        Raises ValueError for a topic that cannot be published to.
        """
        if not topic or any(sign in topic for sign in "+#\0") or len(topic.encode()) > 65535:
            raise ValueError(f"{topic!r} is no topic to publish a receipt to; it must be without wildcards")
        self._waiting.append((topic, payload))
        self._ring()

    def give(self, receipt: Receipt) -> None:
        """Tell what became of a message: ``{"id": …, "event": …, "state": …}``."""
        if self.topic is None:
            return
        body = {"id": receipt.message_id, "event": receipt.event_id, "state": receipt.state}
        try:
            self.put(self.topic.replace("{sender}", receipt.sender), json.dumps(body).encode())
        except ValueError as error:  # a sender whose name is no topic level
            log.warning("source %s gives no receipt: %s", self._source, error)

    def publish(self, session: Session) -> None:
        """Hand what waits to a connected session."""
        while self._waiting:
            topic, payload = self._waiting.popleft()
            session.publish(topic, payload, qos=1)
