"""What a face of the agent says about itself: the sides that only show it, in the shape that sources have."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.ports import Clock


class Face:
    """Whether one of them is up, since when, and what is wrong. Its own loop writes, status and metrics read."""

    def __init__(self, clock: Clock) -> None:
        self.connected: bool | None = None  # None: nobody knows yet
        self.since: datetime | None = None
        self.error: str | None = None
        self._clock = clock

    def up(self, but: str = "") -> None:
        """It is there; `but` is what is wrong all the same."""
        self._turn(connected=True)
        self.error = but or None

    def down(self, why: str) -> None:
        """It is not there."""
        self._turn(connected=False)
        self.error = why

    def status(self) -> Mapping[str, Any]:
        """``connected``, ``since``, ``error``."""
        return {"connected": bool(self.connected), "since": self.since, "error": self.error}

    def _turn(self, *, connected: bool) -> None:
        if connected is not self.connected:
            self.connected, self.since = connected, self._clock()
