"""The usual level of a stream and its spread, learnt online and hardly moved by what is far off."""

from __future__ import annotations

from math import exp
from typing import Final

MEMORY: Final = 500  # about so many values back a level looks
_QUARTILE: Final = 0.6745  # half of a normal distribution lies within so many standard deviations
_SLOPE: Final = 1.25  # makes up for what is clipped off
_HASTE: Final = 1.5  # of the spread: from a guess that is wrong a hundred times within a few dozen values

Level = tuple[float, float, float]
"""n, centre, spread: a robust mean and standard deviation of n values, which counts shares of values."""


def learn(level: Level, off: float, width: float, share: float, least: float) -> Level:
    """The level after a value that is `off` its centre, where `width` was its standard deviation in all.

    `share` is the part of the variance that is the level's own; the rest has other causes, and teaches it nothing.
    A stochastic approximation: the centre moves by a share of the width at most, as Huber's mean, and the spread, never
    below `least`, until half of all values lie within 0.67 of it, as the median absolute deviation. The gain is 1/n,
    never less than 1/MEMORY.
    """
    n, centre, spread = level
    gain = share / (n + 1 if n < MEMORY else MEMORY)
    if -_QUARTILE * width < off < _QUARTILE * width:
        spread *= exp(-_HASTE * gain)
        step = off
    else:
        spread *= exp(_HASTE * gain)
        step = off if -width < off < width else width if off > 0 else -width
    return n + share, centre + _SLOPE * gain * step, spread if spread > least else least
