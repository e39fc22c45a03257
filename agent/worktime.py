"""Work within the periods in which somebody is there: when it is begun and done, and how much of a time that is. Pure.

Times are minutes from one moment; negative is past. Periods rise and do not touch. Without any, somebody is always
there; behind the last one nobody has planned yet: it is taken as there again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final

Window = tuple[float, float]

HORIZON: Final = 10 * 365 * 24 * 60.0  # minutes: nobody means work that takes longer, and calendars end
SPARE: Final = 0.2  # share of a work's minutes that its period must have more: not all goes as planned


def later(at: datetime, minutes: float) -> datetime:
    """So many minutes from then, and ten years at most."""
    return at + timedelta(minutes=min(minutes, HORIZON))


def worked(
    minutes: float, earliest: float, windows: Sequence[Window], *, spare: float = SPARE, begun: bool = False
) -> Window:
    """From when to when it is made: while somebody is there for as long as it takes, or with pauses.

    What takes longer than a period is begun in it and pauses until somebody is there again; so is what is `begun`.
    """
    needed = minutes * (1 + spare)
    for at, (start, end) in enumerate(windows):
        begin = max(start, earliest)
        if begin + needed <= end:
            return begin, begin + minutes
        if begin < end and (begun or needed > end - start):
            return begin, _with_pauses(minutes, begin, windows[at:])
    begin = max(earliest, windows[-1][1]) if windows else earliest
    return begin, begin + minutes


def worked_off(minutes: float, windows: Sequence[Window]) -> float:
    """When work is done that goes on from now, whenever somebody is there: what waits before an order."""
    return worked(minutes, 0.0, windows, begun=True)[1] if minutes > 0 else 0.0


def present(start: float, end: float, windows: Sequence[Window]) -> float:
    """Minutes between two times in which somebody is there; never more than lie between them."""
    if not windows:
        return end - start
    inside = sum(max(0.0, min(end, one_end) - max(start, one_start)) for one_start, one_end in windows)
    return inside + max(0.0, end - max(start, windows[-1][1]))


def present_until(windows: Sequence[Window]) -> Callable[[float], float]:
    """`present` from now on, for many times to come: the periods are added up once."""
    if not windows:
        return lambda end: end
    periods = [(max(0.0, start), end) for start, end in windows if end > 0.0]
    starts = [start for start, _ in periods]
    before = list(accumulate((end - start for start, end in periods), initial=0.0))
    last = max(0.0, windows[-1][1])

    def until(end: float) -> float:
        begun = bisect_left(starts, end)
        inside = before[begun - 1] + (min(end, periods[begun - 1][1]) - starts[begun - 1]) if begun else 0.0
        return inside + max(0.0, end - last)

    return until


def merged(windows: Iterable[Window]) -> Iterator[Window]:
    """Rising, and joined where one goes over into the next."""
    now: Window | None = None
    for start, end in sorted(windows):
        if now is not None and start <= now[1]:
            now = now[0], max(now[1], end)
            continue
        if now is not None:
            yield now
        now = start, end
    if now is not None:
        yield now


def _with_pauses(minutes: float, begin: float, windows: Sequence[Window]) -> float:
    """When so much work is done that is begun in the first of these periods."""
    for start, end in windows:
        here = max(start, begin)
        if here + minutes <= end:
            return here + minutes
        minutes -= end - here
    return windows[-1][1] + minutes
