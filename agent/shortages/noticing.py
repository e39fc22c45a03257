"""Of what people are told: a material that is likely to run short, once while it lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from agent.configuration.settings import ShortageNotice
from agent.shortages.outlook import Kept, Outlook
from agent.store import notices
from agent.store.transaction import Transaction
from agent.units import UnitTable

Tell = Callable[[Transaction, str, Mapping[str, Any], int], bool]  # by a target, since a slot; whether it is told now
OVER: Final = 0.5  # times the probability from which people are told: below this it is over, not around the limit


class News(NamedTuple):
    """What is new since people were told the last time."""

    begun: list[Outlook]
    lasting: list[str]  # causes
    over: list[str]


def told(tx: Transaction, tell: Tell, settings: ShortageNotice, found: Kept, units: UnitTable) -> list[str]:
    """Tell what has begun, and end what is over, in the commit of the forecast. Returns the causes that last."""
    new = news(found.told, found.outlooks, settings.above)
    for cause in new.over:
        notices.over(tx, settings.target, cause)
    begun = [one for one in new.begun if tell(tx, settings.target, payload(one, settings.to, units), found.slot)]
    return [*new.lasting, *map(cause_of, begun)]


def cause_of(one: Outlook) -> str:
    """One per material and place."""
    return f"short/{one.material}/{one.storage_location}"


def news(before: Sequence[str], outlooks: Iterable[Outlook], above: float) -> News:
    """What people are to be told, what they know, and what is over. Where nobody can say, it stays as it is. Pure."""
    begun, lasting, over = list[Outlook](), list[str](), list(before)
    for one in outlooks:
        cause, short = cause_of(one), max((at.short for at in one.horizons if at.short is not None), default=None)
        known = cause in before
        if known and (short is None or short >= above * OVER):
            lasting.append(cause)
            over.remove(cause)
        elif not known and short is not None and short >= above:
            begun.append(one)
    return News(begun, lasting, over)


def payload(one: Outlook, to: Sequence[str], units: UnitTable) -> dict[str, Any]:
    """What they read. Pure."""
    unit = units.shown(one.unit)
    place = f"{one.material} at {one.storage_location}" if one.storage_location else one.material
    lines = [f"There are {one.stock:.6g} {unit}; the safety stock is {one.safety:.6g} {unit}."]
    for at in one.horizons:
        if at.short is not None:
            hours = f"{at.slots / 4:g} h"
            lines.append(f"Within {hours} less than that is left with a probability of {at.short:.0%}.")
    lines += [f"Likely from {one.likely_at:%Y-%m-%d %H:%M} UTC on."] * (one.likely_at is not None)
    lines.append("Forecast from what was used; receipts that are expected are not in it. Nothing was booked.")
    return {
        "to": list(to), "severity": "warning", "subject": f"{place} is likely to run short",
        "text": "\n".join(lines), "link": "", "cause": cause_of(one), "order": "", "line": "",
    }  # fmt: skip
