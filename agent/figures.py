"""What the loops count about themselves since the start: plain numbers, for metrics; nothing is decided by them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent.buckets import REQUEST_SECONDS, SCORES, Buckets
from agent.errors import GatepostError

T = TypeVar("T")


@dataclass(slots=True)
class Decided:
    """What became of events."""

    events: Counter[tuple[str, str]] = field(default_factory=Counter)  # (source, state)
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)  # (workflow, route)
    gaps: Counter[str] = field(default_factory=Counter)  # source
    scores: dict[tuple[str], Buckets] = field(default_factory=dict)  # (model,)

    def note(self, source: str, state: str, detail: Mapping[str, Any]) -> None:
        """Count one settled event by the record of its decision."""
        self.events[source, state] += 1
        workflow = detail.get("workflow")
        if workflow is not None:
            self.decisions[workflow, state] += 1
        if "gap" in detail:
            self.gaps[source] += 1
        score = detail.get("score")
        if score is not None:
            self.scores.setdefault((score["model"],), Buckets(SCORES)).observe(score["confidence"])


@dataclass(slots=True)
class Sent:
    """What became of postings at one target."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (kind, outcome)
    requests: dict[tuple[str, str], Buckets] = field(default_factory=dict)  # (operation, result)

    async def timed(self, operation: str, request: Awaitable[T]) -> T:
        """Wait for one answer of the target and note how long it took, and how it ended."""
        started, result = time.perf_counter(), "error"
        try:
            answer = await request
            result = "ok"
        except GatepostError as error:
            result = type(error).__name__
            raise
        finally:
            times = self.requests.setdefault((operation, result), Buckets(REQUEST_SECONDS))
            times.observe(time.perf_counter() - started)
        return answer
