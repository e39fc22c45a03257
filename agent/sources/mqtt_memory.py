"""What of an MQTT session outlives a restart: it tells a session that the broker lost from one that is new."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Self

from agent.ports import Notice


@dataclass(slots=True)
class Memory:
    """What each broker should remember of us, and the last message seen. Commits with every batch."""

    client_id: str
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)  # broker → since, topics
    last: dict[str, Any] = field(default_factory=dict)  # topic, packet_id, at

    @classmethod
    def read(cls, client_id: str, checkpoint: bytes | None) -> Self:
        """The memory of a checkpoint; under another client id there is no session to remember."""
        found = json.loads(checkpoint) if checkpoint else {}
        if found.get("client_id") != client_id:
            return cls(client_id)
        return cls(client_id, found["sessions"], found["last"])

    def write(self) -> bytes:
        """The checkpoint."""
        found = {"client_id": self.client_id, "sessions": self.sessions, "last": self.last}
        return json.dumps(found, separators=(",", ":")).encode()

    def compared(self, broker: str, *, present: bool, persistent: bool) -> Notice | None:
        """What it means that the broker has the session (`present`) or not; where it keeps none, nothing is lost."""
        known = self.sessions.get(broker)
        about = {"broker": broker, "client_id": self.client_id}
        if known is None:
            return Notice("session_started", {**about, "session_present": present}, alarm=False)
        if not present and persistent:
            return Notice("session_lost", {**about, "since": known["since"], "last": self.last})
        return None

    def subscribed(self, broker: str, topics: list[str], now: str, *, present: bool) -> list[str]:
        """Note what the session holds from now on; returns the topics it still delivers although nobody asks."""
        before = self.sessions.get(broker)
        kept = before if before and present else {"since": now, "topics": []}
        self.sessions[broker] = {"since": kept["since"], "topics": topics}
        return [topic for topic in kept["topics"] if topic not in topics]
