"""A winsorised CUSUM both ways: finds a small shift that stays, and is not alarmed by a single value that is far off.

Page, E. S. (1954), Continuous inspection schemes, Biometrika 41, with the weights of a likelihood ratio: a value whose
width is large beside the shift that is looked for says less, and counts less.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SHIFT: Final = 0.0125  # what is looked for, in the unit of the values: 1.25 % of a logarithm
CLIP: Final = 3.0  # standard deviations: more of a single value is not believed
SLACK: Final = 0.9  # standard deviations that a precise value must exceed to count
LIMIT: Final = 12.0  # a crossing needs six precise values at least

Side = tuple[float, int, float]
"""One direction: the sum beyond the slack, over how many values, and the sum of 1 / width of these."""

Cusum = tuple[Side, Side]
"""How far values went up, and down."""

NO_SIDE: Final[Side] = (0.0, 0, 0.0)
NOTHING: Final[Cusum] = (NO_SIDE, NO_SIDE)


class Shift(NamedTuple):
    """A crossing: by how much values are off on average, winsorised, and over how many of them."""

    by: float
    over: int


def step(cusum: Cusum, off: float, width: float) -> tuple[Cusum, Shift | None]:
    """The sums after a value that is `off` its level, with this standard deviation; and the shift that it completes.

    After a crossing both begin anew. Raises ValueError unless `off` is a number and the width is above 0.
    """
    if not (off * 0.0 == 0.0 and width > 0.0):  # NaN and infinity times 0 are not 0
        raise ValueError(f"a detector was given {off} ± {width}: it takes finite numbers, and a width above 0")
    z, weight = off / width, SHIFT / (2 * SLACK * width)
    z = z if -CLIP < z < CLIP else CLIP if z > 0 else -CLIP
    weight = min(weight, 1.0)
    up, down = cusum
    if -weight * SLACK <= z <= weight * SLACK and not (up[1] or down[1]):
        return NOTHING, None
    rise, fall = up[0] + weight * (z - weight * SLACK), down[0] - weight * (z + weight * SLACK)
    up = (rise, up[1] + 1, up[2] + 1 / width) if rise > 0 else NO_SIDE
    down = (fall, down[1] + 1, down[2] + 1 / width) if fall > 0 else NO_SIDE
    if rise > LIMIT:
        return NOTHING, Shift(_mean(up), up[1])
    if fall > LIMIT:
        return NOTHING, Shift(-_mean(down), down[1])
    return (up, down), None


def _mean(side: Side) -> float:
    """Of what was added: exact where all values were precise and within the clip, else less than it is."""
    total, over, precision = side
    return (total + over * SLACK) / precision
