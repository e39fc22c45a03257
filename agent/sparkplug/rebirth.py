"""When a node is asked for its births: at most once in a while, and ever more rarely where it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SLOWEST: Final = 16  # times the shortest pause between two requests


@dataclass(slots=True)
class Rebirths:
    """The requests to one node. Times are monotonic seconds."""

    least_s: float  # between two requests
    random: Callable[[], float]  # 0 … 1: spreads the requests to many nodes
    asked: int = 0
    unanswered: int = 0  # since the last birth
    _due: float | None = None
    _not_before: float = 0.0

    def want(self, ticks: float, delay_s: float = 0.0) -> None:
        """A birth is needed, now or in a moment; what is already wanted stays as it is."""
        if self._due is None:
            self._due = max(ticks + delay_s * (0.5 + self.random()), self._not_before)

    def done(self) -> None:
        """The node is born, or dead: nothing is needed."""
        self._due = None
        self.unanswered = 0

    @property
    def due(self) -> float | None:
        """When the next request is due; None: none is wanted."""
        return self._due

    def take(self, ticks: float) -> bool:
        """Whether to ask now; if so, it counts as asked."""
        if self._due is None or ticks < self._due:
            return False
        pause = self.least_s * min(2**self.unanswered, SLOWEST) * (1 + self.random() / 5)
        self.asked += 1
        self.unanswered += 1
        self._not_before = self._due = ticks + pause
        return True
