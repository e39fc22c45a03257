"""What the tags of one source say about the plant as it is now: never on disk, read from any thread as a snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from agent.configuration.settings import LiveKind
from agent.tags.config import COUNTED, PERCENT, LiveTag
from agent.tags.values import Change, Key, Quality, Scalar, TagValue, Told

NO_REASONS: Final[Mapping[str, str]] = MappingProxyType({})


class LiveTags:
    """The live facts of one source. Changed by the source alone; `facts` is a snapshot that never changes."""

    def __init__(self, declared: Sequence[LiveTag], now: datetime) -> None:
        """Nothing is known before the source has read it."""
        self._of: dict[str, list[LiveTag]] = {}
        for one in declared:
            self._of.setdefault(one.tag, []).append(one)
        unknown = {(one.fact, one.of): Told(None, _unit(one), Quality.STALE, None, now) for one in declared}
        self._known = unknown  # replaced, never changed: `facts` shows it
        self.facts: Mapping[Key, Told] = MappingProxyType(unknown)

    def changed(self, changes: Iterable[Change], now: datetime, reasons: Mapping[str, str] = NO_REASONS) -> None:
        """What the changes of one message say; `reasons` are why tags are not good."""
        of = self._of
        if not of:
            return
        new: dict[Key, Told] = {}
        for tag, value, historical in changes:
            if historical:  # it was so once
                continue
            for one in of.get(tag, ()):
                key = one.fact, one.of
                new[key] = _told(one, value, reasons.get(tag, ""), new.get(key) or self._known[key], now)
        if new:
            self._replace(new)

    def lost(self, tags: Iterable[str] | None, why: str, now: datetime) -> None:
        """Nobody says any more what these tags are (None: all of them). The latest reason is the one to act on."""
        of = self._of
        new: dict[Key, Told] = {}
        for one in (one for tag in (of if tags is None else of.keys() & set(tags)) for one in of[tag]):
            told = self._known[one.fact, one.of]
            since = told.since if told.quality is Quality.STALE else now
            new[one.fact, one.of] = told._replace(quality=Quality.STALE, since=since, why=why)
        if new:
            self._replace(new)

    def _replace(self, new: Mapping[Key, Told]) -> None:
        self._known = {**self._known, **new}
        self.facts = MappingProxyType(self._known)


def _told(one: LiveTag, told: TagValue, why: str, before: Told, now: datetime) -> Told:
    value, quality, at = told
    if quality is Quality.GOOD and (unfit := _unfit(one, value)):
        quality, why = Quality.BAD, unfit
    elif one.unit in PERCENT and one.fact is LiveKind.OEE and isinstance(value, int | Decimal):
        value = Decimal(value) / 100  # who reads it finds 0 to 1
    since = before.since if before.quality is quality and before.at is not None else now
    return Told(value, _unit(one), quality, at, since, why)


def _unfit(one: LiveTag, value: Scalar) -> str:
    """Why a good value says nothing; empty: it does."""
    if value is None:
        return "the controller says that there is no value"
    if one.fact in COUNTED and (isinstance(value, bool | str) or not Decimal(value).is_finite()):
        return f"{one.tag} says {value!r}, which is no quantity"
    if one.fact is LiveKind.OEE:
        most = 100 if one.unit in PERCENT else 1
        if isinstance(value, bool | str) or not (Decimal(value).is_finite() and 0 <= value <= most):
            return f"{one.tag} says {value!r}, which is no OEE between 0 and {most}"
    return ""


def _unit(one: LiveTag) -> str:
    return "" if one.unit is None or one.fact is LiveKind.OEE else one.unit
