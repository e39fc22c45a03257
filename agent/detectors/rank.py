"""How unusual a score is among those before it: a conformal rank over a bounded memory.

The share of earlier scores that were at least as large is a p-value: of good values at most that share rank so high,
whatever their distribution (Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005). Scores are kept as
counts on a logarithmic scale, a hundredth of a ring buffer of numbers; full counts are halved, so that the memory
reaches between FULL / 2 and FULL scores back, and older ones fade.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log2
from typing import Final

FULL: Final = 1000
BINS: Final = 48  # a quarter of an octave each; the last one takes what is above 2^12
_PER_OCTAVE: Final = 4
_LAST: Final = 2.0 ** ((BINS - 1) / _PER_OCTAVE) - 1.0


def place(score: float) -> int:
    """The bin of a score. Raises ValueError for what is negative, NaN or infinite."""
    if not 0.0 <= score < inf:
        raise ValueError(f"a detector was given the score {score}: it takes finite numbers from 0 up")
    return int(_PER_OCTAVE * log2(1.0 + score)) if score < _LAST else BINS - 1


def p_value(counts: Sequence[int], score: float) -> float:
    """The share of scores, this one included, that fall into the bin of this one or above."""
    return (1 + sum(counts[place(score) :])) / (1 + sum(counts))


def learn(counts: Sequence[int], score: float) -> Sequence[int]:
    """The counts with this score among them; only as long as the highest bin that was used."""
    at, grown = place(score), list(counts)
    if at >= len(grown):
        grown += [0] * (at + 1 - len(grown))
    grown[at] += 1
    return grown if sum(grown) <= FULL else [count // 2 for count in grown]
