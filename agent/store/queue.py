"""What waits for the writer: jobs that somebody waits for, and jobs that give way to them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

from agent.store.jobs import Entry

GIVES_WAY: Final = 2.0  # while somebody asks: what gives way rests so many times as long as it took
LONGEST_S: Final = 0.25  # of such a rest: behind a slow disk it would be minutes
LITTLE: Final = 32 << 10  # bytes of arrivals that go together then: a few milliseconds …
QUICK_S: Final = 0.008  # … where a flush takes no longer; where it does, in proportion more
MOST: Final = 16  # times as much
A_JOB: Final = 8 << 10  # bytes of arrivals that take as long as any other job
_PLACE: Final = attrgetter("place")


class Queue:
    """Jobs in order of arrival, those that give way behind the others; while `asked` only a few of them, and rarely.

    Not safe by itself: its owner has a lock.
    """

    def __init__(self) -> None:
        self.asked: Callable[[], bool] = lambda: False  # called with the owner's lock held
        self.bytes = 0  # of arrivals
        self.little = LITTLE  # so much of what gives way goes together
        self._jobs: deque[Entry] = deque()
        self._later: deque[Entry] = deque()
        self._rests_until = 0.0  # monotonic
        self._places = 0

    def __len__(self) -> int:
        return len(self._jobs) + len(self._later)

    def __iter__(self) -> Iterator[Entry]:
        return chain(self._jobs, self._later)

    def add(self, entry: Entry) -> None:
        """To the end of its kind."""
        entry.place = self._places = self._places + 1
        (self._later if entry.gives_way else self._jobs).append(entry)
        self.bytes += entry.size

    @property
    def due_s(self) -> float | None:
        """In how many seconds there is something to take; None: nothing waits."""
        if self._jobs:
            return 0.0
        return self._rest_s if self._later else None

    @property
    def only_arrivals(self) -> bool:
        """Whether nobody waits for any of it, nor may ask: they can linger, and more of them share a commit."""
        return not self.asked() and not any(one.future for one in self)

    def take(self, *, arrivals: bool) -> list[Entry]:
        """What is to be written now, as it came where nobody asks; without `arrivals` these stay."""
        taken = _out_of(self._jobs, arrivals=arrivals)
        if not self.asked():
            taken = sorted((*taken, *_out_of(self._later, arrivals=arrivals)), key=_PLACE)
        elif not self._rest_s:
            taken += _out_of(self._later, arrivals=arrivals, room=self.little)
        self.bytes -= sum(one.size for one in taken)
        return taken

    def take_all(self) -> list[Entry]:
        """Whoever waits and whatever it is."""
        taken = sorted(self, key=_PLACE)
        self._jobs.clear()
        self._later.clear()
        self.bytes = 0
        return taken

    def written(self, entries: Sequence[Entry], seconds: float) -> None:
        """A commit of these took so long. Where some of them gave way, the next do again, for the time that they took.

        The slower the flush, the more shares the next: else what gives way had next to nothing of a slow disk.
        """
        flush = seconds - sum(one.took_s for one in entries)
        self.little = round(LITTLE * min(MOST, max(1.0, flush / QUICK_S)))
        if took := sum(one.took_s for one in entries if one.gives_way):
            self._rests_until = time.monotonic() + min(LONGEST_S, GIVES_WAY * took)

    @property
    def _rest_s(self) -> float:
        return max(0.0, self._rests_until - time.monotonic()) if self.asked() else 0.0


def _out_of(jobs: deque[Entry], *, arrivals: bool, room: int | None = None) -> list[Entry]:
    """Take the first of them, until there is no room; the others stay in their order."""
    taken, stay = [], []
    for one in jobs:
        if (one.size and not arrivals) or (room is not None and room <= 0):
            stay.append(one)
        else:
            taken.append(one)
            room = room and room - (one.size or A_JOB)
    jobs.clear()
    jobs.extend(stay)
    return taken
