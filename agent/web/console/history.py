"""How the backlog has moved: a point every ten seconds, the last hour, in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple

from agent.app import Agent
from agent.errors import GatepostError
from agent.store import balance, lists

EVERY_S: Final = 10.0
KEPT: Final = 361  # an hour, both ends


class Point(NamedTuple):
    """How many postings stood where."""

    at: datetime
    waiting: int  # ready, being sent, or looked up
    held: int  # that somebody has to decide about, a group as one
    dead: int  # or doubtful
    acknowledged: int  # since the beginning


class History:
    """The points, oldest first."""

    def __init__(self, agent: Agent) -> None:
        self.points: deque[Point] = deque(maxlen=KEPT)
        self._agent = agent

    async def run(self) -> None:
        """Look for ever; a moment in which the store cannot be read leaves a gap."""
        while True:
            with suppress(GatepostError):
                self.points.append(await asyncio.to_thread(self._look))
            await asyncio.sleep(EVERY_S)

    def _look(self) -> Point:
        (_, postings), asked = self._agent.desk.look(lambda at: (balance.running(at), lists.waiting(at)))
        state = postings.by_state
        return Point(
            self._agent.clock(),
            state["ready"] + state["sending"] + state["in_doubt"],
            asked["to_decide"],
            state["dead"] + state["doubtful"],
            state["acknowledged"],
        )
