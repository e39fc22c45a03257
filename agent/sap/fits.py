"""The quick look: whether SAP would plainly take a payload, told without making its body.

When the $metadata of a service are read, the widest payload that it takes is found once, by the thorough check. What
lies within it would pass that check too. What does not is no refusal yet: the thorough check says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from operator import gt, itemgetter
from typing import Any, Final, NamedTuple

from agent.ports import Kind
from agent.sap.bodies import ACTIVITIES, call
from agent.sap.call import DAY, Rules, Unfit
from agent.sap.metadata import Metadata

Payload = Mapping[str, Any]
Fits = Callable[[Payload], bool]
Written = Callable[[str], object]  # None where this text is no quantity as it is usually written

ANY_KEY: Final = "0000000000000000"  # as long as every key
LONGEST: Final = 1000  # characters of a text that SAP does not limit
WHOLE: Final = 10  # digits before the point of a quantity in SAP
_DAY: Final = "0001-01-01"  # has the longest ticks
_MOMENT: Final = "0002-01-01T00:00:00+00:00"


class Outline(NamedTuple):
    """What of a payload goes where; all else in the body is made by the agent itself."""

    entity_set: str
    below: str  # navigation to the items that hold the texts; empty: the head itself
    texts: Mapping[str, str]  # field of the payload → field of SAP that takes it as it is
    quantity: str  # the one that must be there
    quantities: tuple[str, ...] = ()  # those that may be "0", and then are not sent
    days: tuple[str, ...] = ("posting_date",)
    moments: tuple[str, ...] = ()  # may be empty
    activities: tuple[str, ...] = ()  # numbers in the work centre


OUTLINES: Final[Mapping[Kind, Outline]] = {
    Kind.GOODS_ISSUE: Outline(
        "A_MaterialDocumentHeader",
        "to_MaterialDocumentItem",
        {
            "material": "Material",
            "plant": "Plant",
            "storage_location": "StorageLocation",
            "batch": "Batch",
            "order": "ManufacturingOrder",
            "reservation": "Reservation",
            "reservation_item": "ReservationItem",
            "text": "MaterialDocumentItemText",
        },
        "quantity",
        days=("posting_date", "document_date"),
    ),
    Kind.CONFIRMATION: Outline(
        "ProdnOrdConf2",
        "",
        {
            "order": "OrderID",
            "operation": "OrderOperation",
            "sequence": "Sequence",
            "scrap_reason": "VarianceReasonCode",
            "personnel": "Personnel",
            "text": "ConfirmationText",
        },
        "yield",
        ("scrap", "rework"),
        moments=("start", "end"),
        activities=tuple(ACTIVITIES),
    ),
}


class Bounds(NamedTuple):
    """The widest payload of a kind: what lies within it fits."""

    texts: Mapping[str, int]  # field → longest text
    units: Mapping[str, Written]
    activities: Mapping[str, Mapping[str, Written]]  # number in the work centre → unit
    quantities: tuple[str, ...]
    moments: tuple[str, ...]
    unused: tuple[str, ...]  # quantities and moments that this SAP system does not take


def quick_look(kind: Kind, rules: Rules, metadata: Metadata) -> Fits:
    """The quick look for a kind of posting. Where this service takes none of them, no payload fits."""
    outline = OUTLINES.get(kind)
    if outline is None or outline.entity_set not in metadata.sets:
        return _nothing_fits

    def passes(payload: Payload) -> bool:
        try:
            made = call(kind, payload, ANY_KEY, rules)
        except (Unfit, IndexError):  # the latter: no number has that many decimals
            return False
        return not metadata.check(made.resource, made.body)

    return _look(outline, _bounds(outline, rules, _limits(outline, metadata), passes))


def _nothing_fits(payload: Payload) -> bool:
    return False


def _look(outline: Outline, bounds: Bounds) -> Fits:
    texts, longest = itemgetter(*bounds.texts), tuple(bounds.texts.values())
    quantity, days = outline.quantity, outline.days
    _, units, activities, quantities, moments, unused = bounds

    def look(payload: Payload) -> bool:
        said = texts(payload)
        "".join(said)  # all of them are texts, or this is a TypeError
        if any(map(gt, map(len, said), longest)):
            return False
        for name in days:
            DAY(payload[name])
        written = units[payload["unit"]]
        if not written(payload[quantity]):
            return False
        for name in quantities:
            if (value := payload[name]) != "0" and not written(value):
                return False
        for name in moments:
            if (moment := payload[name]) != "" and not _is_moment(moment):
                return False
        for number, activity in payload["activities"].items() if activities else ():
            if not activities[number][activity["unit"]](activity["quantity"]):
                return False
        return all(payload[name] in ("", "0") for name in unused) if unused else True

    def fits(payload: Payload) -> bool:
        try:
            return look(payload)
        except (KeyError, TypeError, ValueError, AttributeError):  # something is missing or of another shape
            return False

    return fits


def _is_moment(text: str) -> bool:
    moment = datetime.fromisoformat(text)
    return moment.tzinfo is not None and 1 < moment.year < 9999  # so that it is a day in every zone


# ── the widest payload ──────────────────────────────────────────────────────────────────────────────────────


def _limits(outline: Outline, metadata: Metadata) -> dict[str, int]:
    """Field of the payload → the longest text that SAP takes; 0 where it takes none."""
    head = metadata.types[metadata.sets[outline.entity_set].type]
    entity = metadata.types[head.navigations[outline.below]] if outline.below in head.navigations else head
    limits = {name: min(entity.texts.get(field, 0), LONGEST) for name, field in outline.texts.items()}
    if limits.get("operation", 4) < 4:  # it is filled up with zeros to four characters
        limits["operation"] = 0
    return limits


def _bounds(outline: Outline, rules: Rules, limits: Mapping[str, int], passes: Fits) -> Bounds:
    """What passes by itself passes together: no field of SAP limits another."""
    empty = dict.fromkeys((*limits, *outline.moments), "") | dict.fromkeys(outline.days, _DAY)
    full = {name: "X" * limit for name, limit in limits.items()} | {"final": True, "backflush": True}
    written = {unit: _written(rules, unit) for unit in rules.units}

    def takes(unit: str, more: Payload) -> bool:
        return passes({**empty, "unit": unit, outline.quantity: _largest(rules, unit), **more})

    def takes_activity(number: str, unit: str) -> bool:
        activity = {"quantity": _largest(rules, unit), "unit": unit}
        return any(takes(one, {"activities": {number: activity}}) for one in units[:1])

    units = [unit for unit in rules.units if takes(unit, {}) and takes(unit, full)]
    quantities = [
        name for name in outline.quantities if all(takes(unit, {name: _largest(rules, unit)}) for unit in units)
    ]
    moments = [name for name in outline.moments if any(takes(unit, {name: _MOMENT}) for unit in units[:1])]
    activities = {
        number: {unit: written[unit] for unit in rules.units if takes_activity(number, unit)}
        for number in outline.activities
    }
    unused = {*outline.quantities, *outline.moments}.difference(quantities, moments)
    return Bounds(
        limits, {unit: written[unit] for unit in units}, activities, tuple(quantities), tuple(moments), tuple(unused)
    )


def _largest(rules: Rules, unit: str) -> str:
    decimals = _decimals(rules, unit)
    return "9" * WHOLE + ("." + "9" * decimals if decimals else "")


def _written(rules: Rules, unit: str) -> Written:
    """A quantity without a sign or needless zeros before it, and with no more decimals than the unit has."""
    decimals = _decimals(rules, unit)
    point = rf"(?:\.[0-9]{{1,{decimals}}})?" if decimals else ""
    return re.compile(rf"(?:0|[1-9][0-9]{{0,{WHOLE - 1}}}){point}").fullmatch


def _decimals(rules: Rules, unit: str) -> int:
    return rules.decimals.get(rules.units[unit], 3)
