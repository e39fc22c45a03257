"""Notices what touches an order that is not released yet, and puts it before its workflow as an event of the agent.

An order is created or changed in the ERP, a machine goes down or comes back, stock moves, an operator logs off, a
certificate expires: a workflow that can be watched says of each order by which signature it would be decided now. Where
that is another one than it was decided by, it is decided again, once; so it is where authority allows more than it did,
and what was said came to nothing: advice, a dry run, a release that was refused. An order that is over in the
ERP is put before it once more where something of it waits for a person: there is nothing left to sign.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, Final, Protocol, runtime_checkable

import apsw

from agent import own_events
from agent.authority import Mode, Rule
from agent.configuration.settings import PostingMode
from agent.facts import Facts, LiveState
from agent.isa95 import SegmentResponse
from agent.judging.rules import OWN, Assignment, Rules
from agent.ports import Batch, Clock, Intake, Kind
from agent.store import inbox, proposals
from agent.store.proposals import Fate

log = logging.getLogger("gatepost")

EVERY_S: Final = 1.0
ANYWAY_S: Final = 60.0  # also where no fact has changed: time passes
AGAIN_S: Final = 900.0  # what is at risk may be no more, as the queue gets shorter; what depends on an OEE drifts
AT_RISK: Final = "AT_RISK"
OVER: Final = "over"  # in the place of a signature
PIECE: Final = 500  # states of one read


@runtime_checkable
class Watched(Protocol):
    """A workflow whose subjects are looked at again when what they depend on changes. Pure."""

    name: str

    def watched(self, facts: Facts, at: datetime) -> Iterator[tuple[str, str]]:
        """Each order, and the signature of what it depends on."""

    def over(self, facts: Facts) -> Iterator[tuple[str, str]]:
        """The lane of each order of which nothing is left to propose, and the order."""


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
        self._judged_by = ""  # the rules by which everything that is open was looked at last
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
        watched = {one.workflow.name: one for one in rules.assignments.values() if isinstance(one.workflow, Watched)}
        told = tuple((key, one.value, one.quality) for part in live.parts for key, one in part.facts.items())
        stale = tuple(part.silent_s > ANYWAY_S for part in live.parts)
        seen = (rules.facts.version, rules.version, told, stale)
        now = time.monotonic()
        if not watched or (seen == self._seen and now - self._looked_at < ANYWAY_S):
            return 0
        self._seen, self._looked_at = seen, now
        facts = rules.facts.seeing(live)
        found = [one for each in watched.values() for one in await asyncio.to_thread(self._changed, each, facts)]
        for one in found:
            await self._put(intake, one)
        self._judged_by = rules.version
        return len(found)

    def _changed(self, assignment: Assignment, facts: Facts) -> list[SegmentResponse]:
        """What is to be decided again. Runs beside the loops."""
        workflow: Any = assignment.workflow
        at, now = self._clock(), time.monotonic()
        signatures = dict(workflow.watched(facts, at))
        states = self._states({order: f"{workflow.name}/{order}" for order in signatures})
        due = {
            order for order, one in signatures.items() if self._is_due(workflow.name, order, one, states[order], now)
        }
        more = assignment.rule.version != self._judged_by and _writes(assignment)
        said = {order: state for order, state in states.items() if state and (more or order in due)}
        came_to = self._came_to(assignment, said)
        found = []
        for order, signature in signatures.items():
            told = came_to.get(order, {})
            if order in due or "anew" in told:
                self._asked[workflow.name, order] = signature, now
                found.append(_report(workflow.name, order, signature, at, told))
        over = {order: (workflow.name, order) for order in self._over(assignment, facts)}
        new = [order for order, key in over.items() if self._asked.get(key, ("", 0))[0] != OVER]
        found += [_report(workflow.name, order, OVER, at, {}) for order in new]
        for gone in [key for key in self._asked if key[0] == workflow.name and key[1] not in signatures]:
            del self._asked[gone]
        self._asked |= dict.fromkeys(over.values(), (OVER, now))
        return found

    def _over(self, assignment: Assignment, facts: Facts) -> list[str]:
        """Orders that are over, of which something waits for a person."""
        workflow: Any = assignment.workflow
        held = self._look(partial(proposals.held, workflow=workflow.name))
        return [order for lane, order in workflow.over(facts) if lane in held] if held else []

    def _states(self, keys: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """What was decided last of each order."""
        kept: dict[str, Any] = {}
        for start in range(0, len(keys), PIECE):
            kept |= self._look(partial(inbox.states, keys=list(keys.values())[start : start + PIECE]))
        return {order: kept.get(key, {}) for order, key in keys.items()}

    def _is_due(self, workflow: str, order: str, signature: str, state: Mapping[str, Any], now: float) -> bool:
        """Whether it depends on something else than when it was decided, or on what drifts."""
        asked, when = self._asked.get((workflow, order), ("", float("-inf")))
        if signature not in (state.get("signature"), asked):
            return True
        drifts = state.get("status") == AT_RISK or bool(state.get("again"))
        return drifts and now - max(when, self._since(order, now)) > AGAIN_S

    def _came_to(self, assignment: Assignment, states: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
        """What the workflow is told of what became of its proposals, by order (see `said_before`)."""
        kind, orders = assignment.workflow.name, list(states)
        told: dict[str, dict[str, str]] = {}
        for start in range(0, len(orders), PIECE):
            keys = {
                order: [f"{kind}:{id}" for id in (*states[order].get("by", ()), states[order].get("last", ""))]
                for order in orders[start : start + PIECE]
            }
            fates: dict[str, list[Fate]] = self._look(partial(_fates, keys=keys))
            told |= {order: _told(states[order], one, assignment) for order, one in fates.items()}
        return told

    def _since(self, order: str, now: float) -> float:
        """Since when it is known here; after a start from now on."""
        return self._asked.setdefault(("", order), ("", now))[1]

    async def _put(self, intake: Intake, report: SegmentResponse) -> None:
        batch = Batch(own_events.SOURCE, (own_events.event_of(report),), self._clock(), lambda: None)
        while not await asyncio.to_thread(intake.put, batch, 5.0):
            pass  # the queue is full: orders can wait


def _fates(connection: apsw.Connection, keys: Mapping[str, list[str]]) -> dict[str, list[Fate]]:
    return {order: proposals.fates(connection, each) for order, each in keys.items()}


def _told(state: Mapping[str, Any], fates: Sequence[Fate], assignment: Assignment) -> dict[str, str]:
    """What is told of the proposals of one order: `fates` are of its releases in order, and of the last proposal."""
    (*releases, last), by = fates, state.get("by", ())
    if not all(one.unsent for one in releases):
        return {}
    told = {"unsent": by[-1]} if by else {}
    if releases and releases[-1].refused:
        told["refused"] = releases[-1].refused
    release = bool(by) and by[-1] == state.get("last")
    if _writes(assignment) and _allows_more(assignment.rule, last, release=release):
        told["anew"] = state["last"]
    return told


def _writes(assignment: Assignment) -> bool:
    """Whether a release may reach the ERP at all."""
    live = assignment.doors[OWN].modes.get(Kind.ORDER_RELEASE) == PostingMode.LIVE
    return live and assignment.rule.mode is not Mode.ADVISE


def _allows_more(rule: Rule, last: Fate, *, release: bool) -> bool:
    """Whether what came to nothing under the rules of then could come to something under this one, which writes."""
    if last.end in (proposals.ADVISED, proposals.SIMULATED):
        return last.policy != rule.version
    return release and last.end == proposals.REFUSED and last.mode == Mode.ASSIST and rule.mode is Mode.AUTO


def _report(kind: str, order: str, signature: str, at: datetime, told: Mapping[str, str]) -> SegmentResponse:
    """The same moment and signature are the same notice."""
    id = f"{order}/{sha256(signature.encode()).hexdigest()[:16]}/{at:%Y%m%dT%H%M%S%f}"
    return SegmentResponse(kind, id, order, "", at, data={"asked": "watch", **told})
