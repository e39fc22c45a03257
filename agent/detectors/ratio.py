"""How much is used of what a bill of material expects: a ratio with its interval, learnt lot by lot and faded.

The posterior of a normal mean whose weight is the expected quantity: what was used over what was expected, with a prior
worth a few lots. So sums come out right, which a mean of ratios would not see to. A lot that is far off counts as far
as the usual spread reaches (Huber), and lots of long ago fade, so that the ratio follows another supplier or recipe.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Any, Final, NamedTuple

MEMORY: Final = 60.0  # about so many lots back a ratio looks
PRIOR_LOTS: Final = 1.0  # what is believed before anything is known counts like so many lots
PRIOR_SPREAD: Final = 0.03  # of a lot, as a share; counts like PRIOR_SPREADS lots, for it is soon known better
PRIOR_SPREADS: Final = 0.5
CLIP: Final = 3.0  # standard deviations: more of a single lot is not believed, once a few were seen
FEW: Final = 5.0  # lots before anything is clipped
LEAST: Final = 1e-4  # of the spread
Z95: Final = 1.96


class Ratio(NamedTuple):
    """What was learnt at one place: sums over lots, each faded by its age."""

    lots: float = 0.0
    expected: float = 0.0  # by the bill of material, in one unit
    used: float = 0.0  # in the same, clipped
    squares: float = 0.0  # of deviations from the ratio, as shares


NOTHING: Final = Ratio()


def restored(state: Any) -> Ratio:
    """The state itself, or from what JSON made of it."""
    return Ratio(*state) if state else NOTHING


def centre(ratio: Ratio, prior: float = 1.0) -> float:
    """Used over expected, where `prior` is what is believed before a lot was seen."""
    if not ratio.lots:
        return prior
    weight = PRIOR_LOTS * ratio.expected / ratio.lots
    return (weight * prior + ratio.used) / (weight + ratio.expected)


def spread(ratio: Ratio) -> float:
    """Standard deviation of one usual lot, as a share of what is expected."""
    total = PRIOR_SPREADS * PRIOR_SPREAD**2 + ratio.squares
    return max(LEAST, sqrt(total / (PRIOR_SPREADS + ratio.lots)))


def half_width(ratio: Ratio, expected: float) -> float:
    """Half of the interval in which 95 % of such sums lie: of what is used where so much is expected, in its unit."""
    own = spread(ratio)
    lot = ratio.expected / ratio.lots if ratio.lots else expected
    of_lots = own * sqrt(lot * expected)
    of_ratio = own * expected / sqrt(PRIOR_LOTS + ratio.lots)
    return Z95 * sqrt(of_lots**2 + of_ratio**2)


def learn(ratio: Ratio, used: float, expected: float, prior: float = 1.0) -> Ratio:
    """The ratio after a lot. Raises ValueError unless both are finite, used at least 0 and expected above it."""
    if not (0.0 <= used < inf and 0.0 < expected < inf):
        raise ValueError(f"a ratio was given {used} used of {expected} expected: both are finite, expected is above 0")
    now, own, keep = centre(ratio, prior), spread(ratio), 1.0 - 1.0 / MEMORY
    off = used / expected - now
    if ratio.lots >= FEW:  # a small lot varies more than a large one
        reach = CLIP * own * max(1.0, sqrt(ratio.expected / ratio.lots / expected))
        off = max(-reach, min(reach, off))
    weight = expected * ratio.lots / ratio.expected if ratio.lots else 1.0
    return Ratio(
        ratio.lots * keep + 1.0,
        ratio.expected * keep + expected,
        ratio.used * keep + (now + off) * expected,
        ratio.squares * keep + min(weight, 4.0) * off * off,
    )


def shifted(ratio: Ratio) -> Ratio:
    """The ratio once a shift that stays was found: what came before counts like two lots."""
    share = min(1.0, 2.0 / ratio.lots) if ratio.lots else 1.0
    return Ratio(*(one * share for one in ratio))
