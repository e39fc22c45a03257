"""Whether live facts are fresh enough to decide by, why not, and how they are recorded. Pure.

The age of a fact counts from the last moment at which its source was known to be alive, not from the last change: a tag
that is reported by exception says nothing for as long as it stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from agent.configuration.settings import LiveKind
from agent.facts import LiveState
from agent.isa95 import MaterialUse, SegmentResponse
from agent.tags.values import Key, Quality, Told

TITLES: Final[Mapping[LiveKind, str]] = {
    LiveKind.EQUIPMENT_STATE: "equipment state",
    LiveKind.WIP: "work in progress",
    LiveKind.LINE_SIDE_STOCK: "line-side stock",
    LiveKind.OPERATOR: "operator",
    LiveKind.OEE: "OEE",
}


class Seen(NamedTuple):
    """One live fact that a decision looked at."""

    key: Key
    allowed_s: int
    told: Told | None  # None: no source tells it
    age_s: float


def look(needs: Mapping[LiveKind, int], live: LiveState, report: SegmentResponse) -> tuple[Seen, ...]:
    """What a decision about this report must look at: at its work centre, and there at the materials it consumes."""
    seen = []
    for kind, allowed in needs.items():
        for of in _places(kind, report):
            known = live.get((kind, of))
            told, age = known or (None, 0.0)
            seen.append(Seen((kind, of), allowed, told, age))
    return tuple(seen)


def _places(kind: LiveKind, report: SegmentResponse) -> Iterable[str]:
    if kind is not LiveKind.LINE_SIDE_STOCK:
        return (report.work_center,)
    consumed = (one.material for one in report.material_actuals if one.use is MaterialUse.CONSUMED)
    return dict.fromkeys(f"{report.work_center}/{material}" for material in consumed)


def not_fresh(seen: Iterable[Seen], zone: ZoneInfo, today: date) -> Iterator[str]:
    """Why a person must look, one sentence for each fact that is not fresh."""
    for one in seen:
        why = _why(one, zone, today)
        if why:
            yield f"{title(one.key)} {why}"


def title(key: Key) -> str:
    """A live fact in plain words."""
    return f"{TITLES[key[0]]} of {key[1] or 'no work centre'}"


def _why(one: Seen, zone: ZoneInfo, today: date) -> str:
    told = one.told
    if not one.key[1]:
        return "cannot be known: the report names none"
    if told is None:
        return "is told by no source; declare it under live of a source, with the tag that tells it"
    since, because = _time(told.since, zone, today), f" ({told.why})" if told.why else ""
    if told.at is None:
        return f"is not known: nothing has told it since {since}{because}"
    if told.quality is not Quality.GOOD:
        return f"is {told.quality} since {since}{because}"
    if not one.age_s <= one.allowed_s:
        return f"was last told {math.ceil(one.age_s)} s ago, {one.allowed_s} s are allowed"
    return ""


def _time(moment: datetime, zone: ZoneInfo, today: date) -> str:
    local = moment.astimezone(zone)
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"


def recorded(seen: Iterable[Seen]) -> list[dict[str, Any]]:
    """What the audit trail keeps of them."""
    return [_record(one) for one in seen]


def _record(one: Seen) -> dict[str, Any]:
    record: dict[str, Any] = {"fact": one.key[0].value, "of": one.key[1], "allowed_s": one.allowed_s}
    told = one.told
    if told is None or told.at is None:
        return {**record, "quality": "unknown"}
    record |= {"value": told.value, "quality": told.quality.value, "at": told.at.isoformat()}
    if told.unit:
        record["unit"] = told.unit
    if told.quality is Quality.GOOD:
        record["age_s"] = round(one.age_s, 1)
    else:
        record |= {"since": told.since.isoformat(), "why": told.why}
    return record


def summary(live: LiveState) -> dict[str, Any]:
    """How many facts there are, how many of them are not good, and which of these for the longest time."""
    every = [item for part in live.parts for item in part.facts.items()]
    stale = [(told.since, key, told) for key, told in every if told.quality is not Quality.GOOD]
    since, key, told = min(stale, default=(None, None, None), key=lambda one: one[:2])
    oldest = None
    if key is not None and since is not None and told is not None:
        quality = told.quality.value if told.at is not None else "unknown"
        oldest = {"fact": title(key), "quality": quality, "since": since.isoformat(), "why": told.why}
    return {"facts": len(every), "not_good": len(stale), "oldest": oldest}
