"""The work of the plant in real time: which scan of which work centre is due, and who waits for an acknowledgement."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from simulators.line.tags import Scan, TagLot, Update

ACK, ERROR = "Lot/Ack", "Lot/Error"  # what the reader writes
TAKEN: Scan = (Update("Lot/Done", False),)  # the controller has seen that a lot was taken


class Due(NamedTuple):
    """A scan of a work centre; `completes` is the lot that is complete with it."""

    work_center: str
    scan: Scan
    completes: TagLot | None


class Waits(Enum):
    """What the controller waits for before its work centre begins the next lot."""

    NOT = "not"
    TAKEN = "taken"  # that the reader acknowledges or refuses the lot
    RELEASED = "released"  # that it takes its acknowledgement back: an old one would count for the next lot


@dataclass(slots=True)
class _Bench:
    """One work centre: its lots in order, and how far it is with the first of them."""

    lots: deque[TagLot] = field(default_factory=deque)
    scan: int = 0
    due: float = 0.0
    waits: Waits = Waits.NOT


class Production:
    """Lots come at `rate` reports per second (0: one after the other); times are the caller's monotonic seconds.

    With `handshake` a work centre begins its next lot when the reader has acknowledged the one before, or refused it,
    and has taken that back after `Lot/Done` fell.
    """

    def __init__(self, lots: Iterable[TagLot], rate: float, *, handshake: bool) -> None:
        self._coming: Iterator[TagLot] = iter(lots)
        self._rate, self._handshake = rate, handshake
        self._benches: dict[str, _Bench] = {}
        self._next_lot_at: float | None = None
        self._exhausted = False

    @property
    def over(self) -> bool:
        """Every lot is made, and none waits for its acknowledgement."""
        return self._exhausted and not any(bench.lots or bench.waits is Waits.TAKEN for bench in self._benches.values())

    def scans(self, now: float) -> Iterator[Due]:
        """What is due; a work centre shows at most one scan per call."""
        self._take_lots(now)
        for center, bench in self._benches.items():
            if not bench.lots or bench.waits is not Waits.NOT or now < bench.due:
                continue
            lot = bench.lots[0]
            scan, last = lot.scans[bench.scan], bench.scan == len(lot.scans) - 1
            bench.scan += 1
            bench.due = now + self._seconds(lot) / len(lot.scans)
            if last:
                bench.lots.popleft()
                bench.scan, bench.waits = 0, Waits.TAKEN if self._handshake else Waits.NOT
            yield Due(center, scan, lot if last else None)

    def answered(self, work_center: str, written: Mapping[str, Any]) -> Scan | None:
        """The reader has written: what the controller shows because of it. None: nothing."""
        bench = self._benches.get(work_center)
        if bench is None or not written.keys() & {ACK, ERROR}:
            return None
        answer = bool(written.get(ACK) or written.get(ERROR))
        if bench.waits is Waits.TAKEN and answer:
            bench.waits = Waits.RELEASED
            return TAKEN
        if bench.waits is Waits.RELEASED and not answer:
            bench.waits = Waits.NOT
        return None

    def _take_lots(self, now: float) -> None:
        """Hand lots out to their work centres, in the order in which the plant makes them."""
        self._next_lot_at = now if self._next_lot_at is None else self._next_lot_at
        while not self._exhausted and now >= self._next_lot_at:
            if not self._rate and any(bench.lots for bench in self._benches.values()):
                return
            lot = next(self._coming, None)
            if lot is None:
                self._exhausted = True
                return
            self._benches.setdefault(lot.work_center, _Bench()).lots.append(lot)
            self._next_lot_at += self._seconds(lot)

    def _seconds(self, lot: TagLot) -> float:
        return len(lot.truths) / self._rate if self._rate else 0.0
