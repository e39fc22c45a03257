"""What the loops and the writer know about themselves since the start: plain numbers, for metrics and status."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent.buckets import COMMIT_SECONDS, REQUEST_SECONDS, SCORES, Buckets
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
        for score in (detail.get("score"), detail.get("account", {}).get("score")):
            if score is not None:
                of = self.scores.get((score["model"],))
                if of is None:
                    of = self.scores[score["model"],] = Buckets(SCORES)
                of.observe(score["confidence"])


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


@dataclass(slots=True)
class Written:
    """What the writer knows about itself."""

    commits: int = 0
    jobs: int = 0
    commit_seconds: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    trouble: str = ""  # why nothing can be committed now; empty when all is well
    short_of_space: bool = False  # below the reserve: arrivals wait, decisions and the trail go on
    wal_bytes: int = 0  # size of the write-ahead log; grows while a reader does not end
    last_commit_at: float = 0.0  # monotonic
    busy_since: float = 0.0  # monotonic: since when the commit under way runs; 0: there is none
    commit_times: Buckets = field(default_factory=lambda: Buckets(COMMIT_SECONDS))
