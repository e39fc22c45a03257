"""One lot's reports together: is one of them odd, or do all of them tell that more was made than is said?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import expm1, sqrt
from typing import Any, Final

from agent.detectors import level
from agent.detectors.level import Level
from agent.digits import plain
from agent.reconciliation.causes import slip
from agent.reconciliation.findings import Cause, Correction, Finding
from agent.reconciliation.observed import Material
from agent.reconciliation.usualuse import Off

EXPLAINED: Final = 4.0  # standard deviations: an error explains it
SWAPPED: Final = 5.5  # one of the many ways to swap two digits always comes near
UNEXPLAINED: Final = 8.0  # nothing explains it
NEAR: Final = 3.0  # so near to the usual lies what should have been reported
LEAST: Final = 0.5
TOGETHER: Final = 3.8  # of all components of a lot
AGREE: Final = 3.0  # of each of them around what they say together
LIKE: Final = 1 / 3  # of what another is off, as a share


def judged(lot: Sequence[Off], materials: Mapping[str, Material], usual: Any) -> tuple[list[Finding], Level]:
    """What the reports of one lot show. `usual` is what lots say together; returned with this one in it."""
    known, stream = [one for one in lot if one.known], usual or (0.0, 0.0, 1.0)
    if len(known) < 2 or known[0].used.first:  # what setting up takes is in all of them, and no two are alike
        return _odd_ones(known, materials), stream
    share, error = _share(known)
    z = share / error
    if more := _more_was_made(known, share, error, (z - stream[1]) / max(1.0, stream[2])):
        return [more], stream
    found = _odd_ones(known, materials)
    return found, stream if found else level.learn(stream, z - stream[1], stream[2], 1.0, LEAST)


def _share(lot: Sequence[Off]) -> tuple[float, float]:
    """How far all components are off, weighed by what is known of them, and the standard deviation of that."""
    weights = [one.width**-2 for one in lot]
    share = sum(weight * one.off for weight, one in zip(weights, lot, strict=True)) / sum(weights)
    return share, 1 / sqrt(sum(weights))


def _more_was_made(lot: Sequence[Off], share: float, error: float, z: float) -> Finding | None:
    """All components are above the usual by the same share: the rest of the product is somewhere."""
    if z < TOGETHER or any(abs(one.off - share) > AGREE * one.width for one in lot):
        return None
    if any(one.z < 1.0 for one in lot):  # one alone is no scrap of the product
        return None
    worst = max(lot, key=lambda one: one.z)
    pieces = float(worst.used.lot) * expm1(share)
    names = ", ".join(f"{one.used.place.material} {expm1(one.off):+.1%}" for one in lot).replace("%", " %")
    evidence = (
        f"all {len(lot)} components of the lot of {plain(worst.used.lot)} are above the usual by the same share: "
        f"{names}",
        f"together that is {z:.1f} standard deviations: about {pieces:.3g} more were made than is told",
    )
    used = worst.used
    return Finding(
        Cause.SCRAP, used.place, used.at, used.at, 0.0, error, Correction.SCRAP, evidence, used.order,
        used.work_center, tuple(sorted(one.used.id for one in lot)), scrapped=pieces,
    )  # fmt: skip


def _odd_ones(lot: Sequence[Off], materials: Mapping[str, Material]) -> list[Finding]:
    found = (_odd(one, materials[one.used.place.material]) for one in lot if not _set_up(one, lot))
    return [one for one in found if one is not None]


def _set_up(one: Off, lot: Sequence[Off]) -> bool:
    """Whether setting up took more this time: of a first lot another component is off likewise."""
    return one.used.first and any(
        other is not one and other.z > AGREE and one.off > other.off * LIKE > 0 and other.off > one.off * LIKE
        for other in lot
    )


def _odd(one: Off, material: Material) -> Finding | None:
    """One report that lies far off."""
    if abs(one.z) < EXPLAINED:
        return None
    used, unit = one.used, material.unit

    def fits(number: float, slack: float) -> bool:
        return number > 0 and abs(number - one.usual) <= NEAR * one.width * one.usual + slack

    said = (
        f"{plain(used.quantity)} {unit} reported, {one.usual:.4g} {unit} are usual here "
        f"({one.z:+.1f} standard deviations)"
    )
    excess, noise = float(used.quantity) - one.usual, one.usual * one.width
    found = slip(used.quantity, fits, material)
    if found is not None:
        cause, why = found
        if "swapped" in why and abs(one.z) < SWAPPED:
            return None
        correction, evidence = Correction.REVERSAL, (said, why)
    elif abs(one.z) < UNEXPLAINED:
        return None
    elif fits(float(used.quantity) / 2, 0.0):
        cause, correction = Cause.DOUBLE, Correction.REVERSAL
        evidence = (said, "twice the usual: two lots in one report, or one counted twice")
    else:
        cause, correction = Cause.RECORDING, Correction.COUNT
        why = "spilt, or typed wrongly" if one.z > 0 else "typed wrongly"
        evidence = (said, f"no slip of a unit, a point or two digits explains it, and no other component is off: {why}")
    return Finding(
        cause, used.place, used.at, used.at, excess, noise, correction, evidence, used.order, used.work_center,
        (used.id,), misreported=True, whole=float(used.quantity),
    )  # fmt: skip
