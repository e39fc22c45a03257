"""Who waits for a decision: programs that asked something find their answer by its id, after the commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from weakref import WeakValueDictionary

from agent.judging.judgement import Verdict

ASKED_S = 1.0  # for so long after a question the next one is expected


class Waiters:
    """Futures by message key. Used on the event loop alone, but for `any` and `expected`."""

    def __init__(self) -> None:
        self._of: dict[str, asyncio.Future[Verdict]] = {}
        self._asked_at = float("-inf")  # monotonic
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.underway: set[str] = set()  # message keys that are handed over and not on disk yet

    def turn(self, id: str) -> asyncio.Lock:
        """Held by whoever asks under this id: who repeats it meanwhile finds the first answer, and asks nothing new."""
        return self._turns.setdefault(id, asyncio.Lock())

    @property
    def any(self) -> bool:
        """Whether somebody waits now. Asked from any thread."""
        return bool(self._of)

    @property
    def expected(self) -> bool:
        """Whether somebody waits, or asked a moment ago and may ask again. Asked from any thread."""
        return self.any or time.monotonic() - self._asked_at < ASKED_S

    def foresee(self) -> None:
        """Somebody may ask at any moment: who waited for the agent to be there asks first of all."""
        self._asked_at = time.monotonic()

    def expect(self, message_key: str) -> asyncio.Future[Verdict]:
        """The verdict about this message, once it is on disk. Whoever stops waiting says so by `forget`."""
        self.foresee()
        future = self._of.get(message_key)
        if future is None:
            future = self._of[message_key] = asyncio.get_running_loop().create_future()
        return future

    def forget(self, message_key: str) -> None:
        """Nobody waits for it any more."""
        self._of.pop(message_key, None)

    def tell(self, verdicts: Iterable[Verdict]) -> None:
        """What was decided in a commit that is on disk."""
        if not self._of:
            return
        for one in verdicts:
            future = self._of.pop(one.message_key or "", None)
            if future is not None and not future.done():
                future.set_result(one)
