"""How fast work went through the work centres lately, and how much of it was late: what the next order may expect.

Pure, the same in training and in serving. Times are minutes from the moment of asking; negative is past. What lies
after that moment does not count, whoever told it. Few operations say little: their mean is drawn towards that of the
plant, and that of the plant towards what is usual (shrinkage: James and Stein 1961).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from operator import attrgetter
from typing import Final, NamedTuple

WINDOW: Final = 28 * 24 * 60.0  # minutes; older operations say nothing of now
NEWEST: Final = 40  # operations of each work centre that are looked at
STRENGTH: Final = 10  # operations that count as much as what is drawn towards


class Pace(NamedTuple):
    """Of one work centre or route: time in the queue and at work over planned work, and the share of late orders."""

    flow_factor: float
    late_share: float
    operations: int = 0  # that it rests on


USUAL: Final = Pace(2.0, 0.1)  # where nothing has been finished yet


class Done(NamedTuple):
    """An operation that was finished. `flow` runs from when its order came to the work centre until it was finished."""

    work_center: str
    finished: float
    flow: float  # minutes in which somebody was there
    minutes: float  # that were planned, above 0
    due: float | None  # of its order; None: it cannot be late
    order_finished: float | None  # the whole order; None: not yet

    @property
    def late(self) -> bool | None:
        """Whether its order is late, as far as that is known at the moment of asking."""
        if self.due is None:
            return None
        if self.order_finished is not None and self.order_finished <= 0:
            return self.order_finished > self.due
        return True if self.due < 0 else None


def paces(done: Iterable[Done]) -> tuple[Pace, Mapping[str, Pace]]:
    """That of the whole plant, and that of each work centre where something was finished."""
    by_place: dict[str, list[Done]] = {}
    for one in done:
        if -WINDOW <= one.finished <= 0:
            by_place.setdefault(one.work_center, []).append(one)
    newest = {place: nlargest(NEWEST, each, key=attrgetter("finished")) for place, each in by_place.items()}
    plant = _drawn([one for each in newest.values() for one in each], USUAL)
    return plant, {place: _drawn(each, plant) for place, each in newest.items()}


def of_route(steps: Sequence[tuple[str, float]], plant: Pace, places: Mapping[str, Pace]) -> Pace:
    """Of work centres and the minutes of work there, together: each weighs as much as the work it does."""
    known = [(minutes, places.get(place, plant)) for place, minutes in steps]
    work = sum(minutes for minutes, _ in known)
    factor = sum(minutes * pace.flow_factor for minutes, pace in known) / work
    late = sum(minutes * pace.late_share for minutes, pace in known) / work
    return Pace(factor, late, sum(pace.operations for _, pace in known))


def _drawn(done: Sequence[Done], towards: Pace) -> Pace:
    flow, planned = sum(one.flow for one in done), sum(one.minutes for one in done)
    judged = [one.late for one in done if one.late is not None]
    factor = flow / planned if done else 0.0
    return Pace(
        (len(done) * factor + STRENGTH * towards.flow_factor) / (len(done) + STRENGTH),
        (sum(judged) + STRENGTH * towards.late_share) / (len(judged) + STRENGTH),
        len(done),
    )
