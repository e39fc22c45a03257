"""Notices what touches an order that is not released yet, and puts it before its workflow as an event of the agent.

An order is created or changed in the ERP, a machine goes down or comes back, stock moves, an operator logs off, a
certificate expires: a workflow that can be watched says of each order by which signature it would be decided now. Where
that is another one than it was decided by, it is decided again, once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, Final, Protocol, runtime_checkable

import apsw

from agent import own_events
from agent.facts import Facts, LiveState
from agent.isa95 import SegmentResponse
from agent.ports import Batch, Clock, Intake
from agent.rules import Rules
from agent.store import inbox

log = logging.getLogger("gatepost")

EVERY_S: Final = 1.0
ANYWAY_S: Final = 60.0  # also where no fact has changed: time passes
AGAIN_S: Final = 900.0  # what is at risk may be no more, as the queue gets shorter; what depends on an OEE drifts
AT_RISK: Final = "AT_RISK"
PIECE: Final = 500  # states of one read


@runtime_checkable
class Watched(Protocol):
    """A workflow whose subjects are looked at again when what they depend on changes. Pure."""

    name: str

    def watched(self, facts: Facts, at: datetime) -> Iterator[tuple[str, str]]:
        """Each order, and the signature of what it depends on."""


class Watching:
    """One look per second at most, and only where something may have changed."""

    def __init__(
        self,
        rules: Callable[[], Rules],
        live: Callable[[], LiveState],
        look: Callable[[Callable[[apsw.Connection], Any]], Any],
        clock: Clock,
    ) -> None:
        self._rules = rules
        self._live = live
        self._look = look
        self._clock = clock
        self._seen: tuple[Any, ...] = ()
        self._looked_at = float("-inf")
        self._asked: dict[tuple[str, str], tuple[str, float]] = {}  # workflow and order → signature, when (monotonic)

    async def run(self, intake: Intake) -> None:
        """Until cancelled. A mistake costs one look."""
        while True:
            try:
                await self.once(intake)
            except Exception:  # whatever it is, it may not end what decides
                log.exception("orders could not be looked at; it is tried again")
            await asyncio.sleep(EVERY_S)

    async def once(self, intake: Intake) -> int:
        """One look; returns how many orders are put before their workflow."""
        rules, live = self._rules(), self._live()
        workflows = [one.workflow for one in rules.assignments.values() if isinstance(one.workflow, Watched)]
        told = tuple((key, one.value, one.quality) for part in live.parts for key, one in part.facts.items())
        stale = tuple(part.silent_s > ANYWAY_S for part in live.parts)
        seen = (rules.facts.version, rules.version, told, stale)
        now = time.monotonic()
        if not workflows or (seen == self._seen and now - self._looked_at < ANYWAY_S):
            return 0
        self._seen, self._looked_at = seen, now
        found = [
            one
            for workflow in dict.fromkeys(workflows)
            for one in await asyncio.to_thread(self._changed, workflow, rules.facts.seeing(live))
        ]
        for one in found:
            await self._put(intake, one)
        return len(found)

    def _changed(self, workflow: Any, facts: Facts) -> list[SegmentResponse]:
        """What is to be decided again. Runs beside the loops."""
        at, now = self._clock(), time.monotonic()
        signatures = dict(workflow.watched(facts, at))
        keys = [f"{workflow.name}/{order}" for order in signatures]
        decided: dict[str, Any] = {}
        for start in range(0, len(keys), PIECE):
            decided |= self._look(partial(inbox.states, keys=keys[start : start + PIECE]))
        found = []
        for order, signature in signatures.items():
            state = decided.get(f"{workflow.name}/{order}", {})
            asked, when = self._asked.get((workflow.name, order), ("", float("-inf")))
            known = signature in (state.get("signature"), asked)
            drifts = state.get("status") == AT_RISK or state.get("again")
            if known and not (drifts and now - max(when, self._since(order, now)) > AGAIN_S):
                continue
            self._asked[workflow.name, order] = signature, now
            found.append(_report(workflow.name, order, signature, at))
        for gone in [key for key in self._asked if key[0] == workflow.name and key[1] not in signatures]:
            del self._asked[gone]
        return found

    def _since(self, order: str, now: float) -> float:
        """Since when it is known here; after a start from now on."""
        return self._asked.setdefault(("", order), ("", now))[1]

    async def _put(self, intake: Intake, report: SegmentResponse) -> None:
        batch = Batch(own_events.SOURCE, (own_events.event_of(report),), self._clock(), lambda: None)
        while not await asyncio.to_thread(intake.put, batch, 5.0):
            pass  # the queue is full: orders can wait


def _report(kind: str, order: str, signature: str, at: datetime) -> SegmentResponse:
    """The same moment and signature are the same notice."""
    id = f"{order}/{sha256(signature.encode()).hexdigest()[:16]}/{at:%Y%m%dT%H%M%S%f}"
    return SegmentResponse(kind, id, order, "", at, data={"asked": "watch"})
