"""How fast an OPC UA source tries again and looks around."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the source tries again and looks around, in seconds."""

    first: float = 0.5
    most: float = 4.0  # data flows again within 15 s of a server's return, however long it was away
    refused: float = 20.0  # somebody must do something first; and accounts get locked by too many tries
    look: float = 1.0  # between two questions how the server is
    steady: float = 2.0  # a connection that ends sooner counts as a failure
    missing: float = 30.0  # between two searches for tags that have no node

    def delay(self, rounds: int, *, refused: bool) -> float:
        """After so many failed rounds over all endpoints."""
        if refused:
            return self.refused
        return random.uniform(0.5, 1.0) * min(self.most, self.first * 2.0 ** min(rounds, 10))  # noqa: S311  # no secret
