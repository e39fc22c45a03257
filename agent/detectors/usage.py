"""What a place usually uses of a material beside what is expected: shifts that stay, and single reports that are rare.

One stream per material and work centre, of log(used / (expected × ratio + allowance)). Both are learnt: the ratio from
large reports, the allowance (offcuts, rinsing: what a report takes whatever its quantity) from small ones, and of each
how much it varies. So a deviation is compared with what is usual for a report of its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, expm1, inf, log, sqrt
from typing import Any, Final, NamedTuple

from agent.detectors import cusum, level, rank
from agent.detectors.cusum import Cusum
from agent.detectors.level import Level

WARM_UP: Final = 40  # reports before anything is said; and after a shift, while the new level is learnt
LEAST: Final = 0.002  # of the spread: no scale and no recipe is finer, in logarithm
FIRST_GUESS: Final = 0.05  # of either spread: 5 % of the first report
FAR: Final = 5.0  # standard deviations: nearer to the usual nothing is said of a single report
_NO_LESS: Final = 1e-7  # of what is expected: the allowance's spread stays above 0


class Usage(NamedTuple):
    """The state of a stream."""

    ratio: Level  # logarithm of used over expected
    allowance: Level  # in the unit of the quantities
    sums: Cusum
    ranks: Sequence[int]


class Finding(NamedTuple):
    """What one report says of itself, and what it completes of its stream."""

    usual: float  # quantity that would have been usual
    width: float  # its standard deviation, in logarithm
    z: float  # of them off the usual
    p: float  # share of earlier reports that were as far off
    shift: float = 0.0  # 0.02: about 2 % more than usual are used; 0: nothing was found now
    over: int = 0  # reports that show the shift


def restored(state: Any) -> Usage | None:
    """The state itself, or from what JSON made of it; None where there is none yet."""
    if not state:
        return None
    return state if type(state) is Usage else Usage(*state)


def follow(
    usage: Usage | None, used: float, expected: float, set_up: float = 0.0, grain: float = 0.0
) -> tuple[Usage, Finding | None]:
    """The stream after one report, and what it says; None: it is near enough to what is usual, and completes nothing.

    All quantities are in one unit. `set_up` is what setting up takes, once per order: it counts where that explains the
    report better. `grain` is what rounding and counting hide. Raises ValueError unless used and expected are finite
    and above 0.
    """
    if not (0.0 < used < inf and 0.0 < expected < inf):
        raise ValueError(f"a detector was given {used} used of {expected} expected: both are finite and above 0")
    ratio, allowance, sums, ranks = usage or _new(expected)
    usual = expected * exp(ratio[1])
    if allowance[1] > 0.0:
        usual += allowance[1]
    off = log(used / usual)
    if set_up > 0.0 and abs(off_set_up := log(used / (usual + set_up))) < abs(off):
        usual, off = usual + set_up, off_set_up
    own, by_size = ratio[2] ** 2, (allowance[2] / usual) ** 2
    width = sqrt(own + by_size)
    share = own / (own + by_size)
    learnt = level.learn(ratio, off, width, share, LEAST)
    least = grain if grain > _NO_LESS * expected else _NO_LESS * expected
    allowed = level.learn(allowance, used - usual, width * usual, 1.0 - share, least)
    z, finding = off / width, None
    if ratio[0] + allowance[0] >= WARM_UP:
        if not -FAR < z < FAR:
            finding = Finding(usual, width, z, rank.p_value(ranks, abs(z)))
        sums, shift = cusum.step(sums, off, width)
        if shift is not None:
            finding = (finding or Finding(usual, width, z, 1.0))._replace(shift=expm1(shift.by), over=shift.over)
            learnt, allowed = (0.0, ratio[1] + shift.by, ratio[2]), (0.0, *allowance[1:])
    return Usage(learnt, allowed, sums, rank.learn(ranks, abs(z))), finding


def _new(expected: float) -> Usage:
    return Usage((0.0, 0.0, FIRST_GUESS), (0.0, 0.0, FIRST_GUESS * expected), cusum.NOTHING, ())
