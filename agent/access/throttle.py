"""Which addresses clients may come from: not from where too many were refused lately."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

log = logging.getLogger("gatepost.throttle")

MOST_REFUSED: Final = 30  # within WINDOW_S, from one address
WINDOW_S: Final = 60.0
WAITING: Final = 10  # connections of one address without an entered session
REMEMBERED: Final = 1024  # addresses


class Throttle:
    """When each address was refused lately; old ones are forgotten."""

    def __init__(self, clients: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clients = clients  # what they are, for the log
        self.total = 0  # refusals since the start
        self._monotonic = monotonic
        self._refused: OrderedDict[str, deque[float]] = OrderedDict()

    def refused(self, address: str) -> None:
        """Somebody there was nobody of ours."""
        self.total += 1
        times = self._refused.setdefault(address, deque(maxlen=MOST_REFUSED))
        knew = self.shuts_out(address)
        times.append(self._monotonic())
        self._refused.move_to_end(address)
        while len(self._refused) > REMEMBERED:
            self._refused.popitem(last=False)
        if self.shuts_out(address) and not knew:
            log.warning(
                "%s at %s were refused %d times within %.0f s; no other comes in from there for a while",
                self._clients, address, MOST_REFUSED, WINDOW_S,
            )  # fmt: skip

    def shuts_out(self, address: str) -> bool:
        """Whether nobody comes in from there now."""
        times = self._refused.get(address)
        return times is not None and len(times) == MOST_REFUSED and self._monotonic() - times[0] < WINDOW_S


def address_of(peer: object) -> str:
    """Where a connection comes from, by its socket's peer; whoever is gone already has none."""
    return str(peer[0]) if isinstance(peer, tuple) else "unknown"
