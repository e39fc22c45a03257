"""Reports by HTTP: whoever posts gets an answer when they are on disk, not before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from agent.errors import GatepostError
from agent.ports import Batch, Clock, Delivery, Intake, Surroundings
from agent.strict.schema import Settings


class IntakeFull(GatepostError):  # noqa: N818  # named by what happened, as all of agent.errors
    """The store takes nothing more just now; nothing was kept, send it again in a few seconds."""


class HttpConfig(Settings):
    """Nothing but its name: the API listens, and its tokens say who may report."""

    name: str = Field("http", min_length=1)


class HttpSource:
    """Source behind ``POST /v1/events``; the web server calls `submit`."""

    def __init__(self, config: HttpConfig, *, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self.name = config.name
        self._clock = clock
        self._last: datetime | None = None

    @classmethod
    def of(cls, config: HttpConfig, around: Surroundings) -> HttpSource:
        """Made by the app."""
        return cls(config, clock=around.clock)

    async def run(self, intake: Intake) -> None:
        """Nothing to do until cancelled: requests come through `submit`."""
        await asyncio.Event().wait()

    def status(self) -> Mapping[str, Any]:
        """Always connected: the web server's own health says the rest."""
        return {"connected": True, "since": None, "last_delivery_at": self._last, "error": None}

    async def submit(self, intake: Intake, deliveries: Sequence[Delivery]) -> None:
        """Return when all of them are committed, together. Raises IntakeFull (answer 503: nothing was kept).

        Cancelled while waiting (the client hung up, a deadline passed), the outcome is unknown to the sender, who
        may send the same ids again.
        """
        loop = asyncio.get_running_loop()
        committed = loop.create_future()

        def settle() -> None:
            if not committed.done():
                committed.set_result(None)

        def stored() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle)

        now = self._clock()
        if not intake.put(Batch(self.name, tuple(deliveries), now, stored), 0):
            raise IntakeFull
        await committed
        self._last = now
