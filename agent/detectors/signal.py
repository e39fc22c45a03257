"""How unusual the newest samples of a process signal are, without looking ahead: four scores, ranked, combined.

Each score asks another question of a sample and the samples before it:

- season: how far off is it what was seen at this time one, two and three days ago, a sample earlier or later?
- level: how far off are the nearest of the last week's values?
- shape: how far off are the nearest of the last week's curves of twelve samples, wherever their level was?
- variance: how much more, or less, does the signal move than it did over the last 500 samples?

A score counts by its rank among its own earlier values (see `rank`), as -log p, so that no unit and no distribution
matters; the four make one by their root mean square. What is no larger than another of the last 200 samples is told as
0: one event is one alarm. Samples are taken as equidistant. Needs numpy, and about a millisecond for a sample alone, a
tenth of it for each of a few hundred.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

DAYS: Final = 3
PAST: Final = 2000  # values and curves to compare with: a week of samples every five minutes
NEAREST: Final = 5  # the distance to this one counts: an event that was seen four times is still one
NOT_BEFORE: Final = 3  # samples: what is nearer in time is near in value by itself
CURVE: Final = 12
SHORT, LONG = 25, 500  # windows of the variance; the long one is made of short ones
LEAST: Final = 1e-3  # of the long variance: less is none
EXACT: Final = 1e-9  # of a value: a spread below that is the rounding of numbers
RANKED: Final = 4000  # earlier scores: two weeks of samples every five minutes
QUIET: Final = 200
BLOCK: Final = 512  # samples at a time: the matrices of a block stay small

Values = NDArray[np.float64]
Scores = NDArray[np.float32]  # coarser than the order of additions, so that blocks of any size give the same ranks


class Signal(NamedTuple):
    """What is kept of a signal: about 100 KiB. `day` is its number of samples in a day."""

    day: int
    values: Values
    scores: Scores  # the four in rows
    combined: Scores


def fresh(day: int) -> Signal:
    """A signal that has not begun. Raises ValueError for a day without samples."""
    if day < 1:
        raise ValueError(f"a day of {day} samples: there must be one at least")
    return Signal(day, np.empty(0), np.empty((4, 0), np.float32), np.empty(0, np.float32))


def follow(signal: Signal, values: Values) -> tuple[Signal, Scores]:
    """The signal after these samples, and for each how unusual it is: 0 … 1, 0 too where a larger one was just told.

    A sample's score depends on it and what came before, so any split of a stream gives the same scores. Raises
    ValueError where a sample is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise ValueError("a detector was given NaN or infinity among the samples: leave such samples out")
    told = [np.empty(0, np.float32)]
    for start in range(0, len(values), BLOCK):
        signal, block = _block(signal, np.asarray(values[start : start + BLOCK], np.float64))
        told.append(block)
    return signal, np.concatenate(told)


def written(signal: Signal) -> dict[str, Any]:
    """The state for JSON: arrays as base64 of their bytes."""
    arrays = signal.values, signal.scores, signal.combined
    return {"day": signal.day, "arrays": [b64encode(one.tobytes()).decode() for one in arrays]}


def restored(state: dict[str, Any]) -> Signal:
    """The state that `written` made."""
    values, scores, combined = (b64decode(one) for one in state["arrays"])
    return Signal(
        state["day"],
        np.frombuffer(values),
        np.frombuffer(scores, np.float32).reshape(4, -1),
        np.frombuffer(combined, np.float32),
    )


def _block(signal: Signal, new: Values) -> tuple[Signal, Scores]:
    count, known = len(new), np.concatenate([signal.values, new])
    four = np.stack([_season(known, count, signal.day), *_nearest(known, count), _variance(known, count)])
    scores = np.concatenate([signal.scores, four.astype(np.float32)], axis=1)
    surprise = np.stack([_surprise(one, count) for one in scores])
    now = np.sqrt((surprise**2).mean(axis=0)) / np.log(RANKED + 1)
    combined = np.concatenate([signal.combined, now.astype(np.float32)])
    largest = _before(combined, count, QUIET, -1.0).max(axis=1)
    keep = max(DAYS * signal.day + 1, PAST + 2 * CURVE, LONG + 1)
    after = Signal(signal.day, known[-keep:], scores[:, -RANKED:], combined[-QUIET:])
    return after, np.where(combined[-count:] > largest, combined[-count:], np.float32(0))


def _before(values: NDArray[Any], count: int, width: int, missing: float, lag: int = 1) -> NDArray[Any]:
    """For each of the last `count` values the `width` that end `lag` before it; `missing` before the first."""
    start = len(values) - count - width - lag + 1
    padding = np.full(max(0, -start), missing, values.dtype)
    windows = sliding_window_view(np.concatenate([padding, values[max(0, start) : max(0, len(values) - lag)]]), width)
    return windows[-count:]


def _season(known: Values, count: int, day: int) -> Values:
    best = np.full(count, np.inf)
    for lag in (days * day + around for days in range(1, DAYS + 1) for around in (-1, 0, 1)):
        if lag > 0:
            earlier = _before(known, count, 1, np.nan, lag)[:, 0]
            best = np.fmin(best, np.abs(known[-count:] - earlier))
    return np.where(np.isinf(best), 0.0, best)


def _nearest(known: Values, count: int) -> tuple[Values, Values]:
    """Level and shape: to the value, and to the curve that ends with it, the distance of the fifth nearest before."""
    rows = count + CURVE - 1  # a curve begins before the block
    padded = np.concatenate([np.full(max(0, rows - len(known)), np.nan), known])
    recent = padded[-rows:, None]
    level = np.abs(recent[-count:] - _before(padded, count, PAST, np.nan, NOT_BEFORE))
    apart = (recent - _before(padded, rows, PAST, np.nan, CURVE)).astype(np.float32)
    total, squares = np.zeros((2, count, PAST), np.float32)
    for at in range(CURVE):  # in this order for every sample: the same sum to the last bit
        part = apart[at : at + count]
        total += part
        squares += part * part
    return _fifth(level), np.sqrt(np.maximum(0.0, _fifth(squares - total * total / CURVE)))


def _fifth(distances: NDArray[Any]) -> Values:
    np.copyto(distances, np.inf, where=np.isnan(distances))
    distances.partition(NEAREST - 1, axis=1)
    fifth = distances[:, NEAREST - 1].astype(np.float64)
    return np.where(np.isinf(fifth), 0.0, fifth)


def _variance(known: Values, count: int) -> Values:
    """How far the short variance of the moves from sample to sample is from the long one, as a logarithm."""
    moves = np.diff(known, prepend=known[0])
    rows = count + LONG - SHORT
    sums, long = np.zeros((3, rows)), np.zeros((3, count))
    for part, values in enumerate((np.ones_like(moves), moves, moves * moves)):
        padded = np.concatenate([np.zeros(max(0, rows + SHORT - len(values))), values])
        for at in range(SHORT):  # in this order for every sample, as above
            sums[part] += padded[len(padded) - at - rows : len(padded) - at]
        for at in range(0, LONG, SHORT):
            long[part] += sums[part, rows - at - count : rows - at]
    near, far = (n_sum[2] / n_sum[0] - (n_sum[1] / n_sum[0]) ** 2 for n_sum in (sums[:, -count:], long))
    exact = (EXACT * known[-count:]) ** 2 + EXACT * long[2] / long[0]
    ratio = np.abs(np.log(np.maximum(0.0, near) / np.where(far > exact, far, 1.0) + LEAST))
    return np.where(far > exact, ratio, 0.0)


def _surprise(scores: Scores, count: int) -> Values:
    """-log of the share of earlier scores, this one included, that were at least as large."""
    past = _before(scores, count, RANKED, np.nan)
    as_large = (past >= scores[-count:, None]).sum(axis=1)
    first = len(scores) - count
    seen = np.minimum(np.arange(first, first + count), RANKED)
    surprise: Values = -np.log((1 + as_large) / (1 + seen))
    return surprise
