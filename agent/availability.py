"""Whether a target can be asked now: what it failed at, how many answers were lost, and how long it rests."""

from __future__ import annotations

import logging
import random
import time

from agent.errors import ErpError, ErpUnavailable

log = logging.getLogger("gatepost.pipeline")

DOUBTS_BEFORE_REST = 5  # answers lost in a row
LONGEST_REST_S = 60.0
NEVER_OPENED = "not opened yet"
LONGEST_ASKED_S = 3600.0  # that an ERP may ask us to wait


class Availability:
    """One target, and the lanes that its ERP has locked. While there is `trouble` nothing is claimed or counted."""

    def __init__(self, target: str) -> None:
        self.trouble = NEVER_OPENED
        self.rests_until = 0.0  # monotonic
        self._target = target
        self._failures = 0
        self._doubts = 0
        self._lane_waits: dict[str, int] = {}

    @property
    def resting(self) -> bool:
        """Whether nothing should be sent now."""
        return bool(self.trouble) or self.rests_until > time.monotonic()

    def opened(self, lacking: str = "") -> None:
        """A read was answered, or the target does with what it kept (`lacking` an answer): postings may be sent."""
        level = logging.INFO if self.trouble == NEVER_OPENED else logging.WARNING  # the end of a warning is one, too
        if lacking:
            log.log(level, "target %s has not answered yet; the first posting asks it again", self._target)
        else:
            log.log(level, "target %s is available", self._target)
        self.trouble = ""
        self._doubts = 0

    def answered(self, lane: str) -> None:
        """The ERP answered a posting of this lane."""
        self._failures = self._doubts = 0
        self._lane_waits.pop(lane, None)

    def unavailable(self, error: ErpUnavailable) -> None:
        """Nothing was sent: the target rests; what is in the air with it fails too and prolongs nothing."""
        if not self.trouble:
            self.rest(error)
        self.trouble = str(error)

    def rest(self, error: ErpError) -> None:
        """Wait with capped exponential back-off and full jitter, or as long as the ERP asked for."""
        if str(error) != self.trouble:
            log.warning("target %s is not available, postings wait: %s", self._target, error)
        self.trouble = str(error)
        self._failures += 1
        base = min(LONGEST_REST_S, 2.0 ** min(self._failures, 10))
        wait = asked(error) or random.uniform(0.2, base)  # noqa: S311  # jitter
        self.rests_until = time.monotonic() + wait

    def doubted(self, why: str) -> None:
        """An answer was lost; after some in a row the target gets a rest."""
        self._doubts += 1
        if self._doubts >= DOUBTS_BEFORE_REST:
            self.unavailable(ErpUnavailable(f"{self._doubts} answers in a row were lost; the last: {why}"))

    def lane_wait(self, lane: str, error: ErpUnavailable) -> float:
        """For how many seconds a lane waits whose object the ERP has locked."""
        tries = self._lane_waits[lane] = self._lane_waits.get(lane, 0) + 1
        return asked(error) or min(LONGEST_REST_S, 2.0 ** min(tries, 10))


def asked(error: ErpError) -> float | None:
    """How long the ERP asks us to wait, in seconds and within reason."""
    return min(LONGEST_ASKED_S, max(1.0, error.retry_after)) if error.retry_after else None
