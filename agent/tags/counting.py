"""What an event has counted and not reported yet, and for whom: its totalisers, and the values they counted under.

Where `closed_by` names a tag (the order), growth belongs to the value that the tag had. What was counted while nobody
knew that value is `loose`: it joins the first value that is known again, and when that is another one than before,
somebody is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from agent.ports import Notice
from agent.tags.config import Counted, TagEvent
from agent.tags.counter import EXACT, ZERO, Total, fold, reading
from agent.tags.origin import Origin, changed, told_gone
from agent.tags.scale import trusted
from agent.tags.snapshot import Current, Values, field_values
from agent.tags.trigger import same
from agent.tags.values import Change, Quality, Scalar

_UNKNOWN: Final = object()


class One:
    """One totaliser of one event; quantities in its own unit."""

    def __init__(self, name: str, rule: Counted, address: str, kept: Mapping[str, Any]) -> None:
        self.name, self.rule = name, rule
        self.origin = Origin(rule.tag, address, rule.factor)
        before = Origin.of(kept) if kept else self.origin
        total = Total.of(kept["total"]) if kept.get("total") is not None else None
        self.begins_anew = total is not None and not self.origin.continues(before)
        self.total = None if self.begins_anew else total
        self.pending = self.origin.rescaled(Decimal(kept.get("pending", 0)), before)
        self.loose = self.origin.rescaled(Decimal(kept.get("loose", 0)), before)
        self.told = False
        self.away = True  # nothing was read since the connection was made
        self.crossed = False  # the next reading shows what was counted for nobody knows which order
        self.across = ZERO  # how much that was

    def kept(self) -> dict[str, Any]:
        """For the checkpoint."""
        total = None if self.total is None else self.total.kept()
        return {**self.origin.kept(), "total": total, "pending": str(self.pending), "loose": str(self.loose)}


class Counting:
    """All totalisers of one event."""

    def __init__(self, event: TagEvent, addresses: Mapping[str, str], kept: Mapping[str, Any]) -> None:
        self._event = event
        before = kept.get("counted", {})
        self._others = {name: one for name, one in before.items() if name not in event.counted}
        self._ones = [
            One(name, rule, addresses.get(rule.tag, ""), before.get(name, {})) for name, rule in event.counted.items()
        ]
        anew = [changed(event.name, one.name, one.origin, before[one.name]) for one in self._ones if one.begins_anew]
        self.news = [*anew, *told_gone(event.name, self._others)]  # what the configuration has changed
        self._closers: dict[str, Scalar] = {
            tag: thawed(value) for tag, value in kept.get("closers", {}).items() if tag in event.closed_by
        }
        self._values: Values | None = {
            name: thawed(value) for name, value in (kept.get("values") or {}).items()
        } or None
        self.grown_at = datetime.fromisoformat(kept["grown_at"]) if kept.get("grown_at") else None
        self.moved = False  # since `kept` was last asked for

    def kept(self) -> dict[str, Any]:
        """For the checkpoint. What a field counted that is no longer declared stays with it."""
        self.moved = False
        return {
            "counted": {**self._others, **{one.name: one.kept() for one in self._ones}},
            "closers": {tag: frozen(value) for tag, value in self._closers.items()},
            "values": self._values and {name: frozen(value) for name, value in self._values.items()},
            "grown_at": self.grown_at and self.grown_at.isoformat(),
        }

    def any_pending(self) -> bool:
        """Whether there is something to report."""
        return any(one.pending for one in self._ones)

    def reaches(self, least: Decimal) -> bool:
        """Whether one of the quantities is worth reporting."""
        return any(one.pending * one.rule.factor >= least for one in self._ones)

    def pending(self) -> dict[str, Decimal]:
        """What would be reported now."""
        return {one.name: EXACT.multiply(one.pending, one.rule.factor) for one in self._ones}

    def take(self) -> dict[str, Decimal]:
        """What is reported now: it is not pending any more."""
        quantities = self.pending()
        for one in self._ones:
            one.pending = ZERO
        self.moved = True
        return quantities

    def values(self, current: Current) -> Values | None:
        """The fields for what is pending: as they are, or as they were when it was counted. None: nobody knows."""
        return field_values(self._event, current) or (self._values if self._event.fields else {})

    def switched(self, touched: Sequence[Change], current: Current) -> bool:
        """Whether a tag of `closed_by` changes by this message; `current` is still without it."""
        found = False
        for tag, now, historical in touched:
            if tag in self._event.closed_by and not historical and now.quality is Quality.GOOD:
                before = self._closers.get(tag, _UNKNOWN)
                if before is _UNKNOWN or not same(before, now.value):  # type: ignore[arg-type]  # no Scalar: unknown
                    self._closers[tag], self.moved = now.value, True
                    found = found or before is not _UNKNOWN
        if found and not self._known(current):
            for one in self._ones:
                one.across, one.crossed = one.loose, one.crossed or one.away
        return found

    def lost(self, tags: Collection[str] | None) -> None:
        """Nobody says any more what these totalisers show (None: all of them)."""
        for one in self._ones:
            one.away = one.away or tags is None or one.rule.tag in tags

    def forget_values(self) -> None:
        """What is counted from now on belongs to other values."""
        self._values = None

    def read(self, touched: Sequence[Change], current: Current, now: datetime) -> list[Notice]:
        """Fold the readings of a message in; `current` is with it."""
        notices: list[Notice] = []
        for change in touched:
            for one in self._ones:
                if one.rule.tag == change.tag and change.now.quality is Quality.GOOD:
                    one.loose = EXACT.add(one.loose, self._reading(one, change, now, notices))
        if any(one.loose for one in self._ones) and self._known(current):
            self._settle(notices)
            if self._event.closed_by:
                self._values = field_values(self._event, current) or self._values
        return notices

    def _reading(self, one: One, change: Change, now: datetime, notices: list[Notice]) -> Decimal:
        _, (value, _, at), historical = change
        if historical and one.total is not None and at <= one.total.at:
            return ZERO  # a later reading has counted it
        number = reading(one.rule, value)
        if isinstance(number, str):
            if not one.told:
                about = {**self._about(one), "value": str(value)[:100], "why": number}
                notices.append(Notice("counter_refused", about))
            one.told = True
            return ZERO
        step = fold(one.rule, one.total, number, at, now)
        moved = one.total is None or step.total.last != one.total.last
        one.told, one.total = False, step.total
        if moved:  # a reading that is repeated is not worth writing down
            self.moved = True
        if one.crossed:
            one.across = EXACT.add(one.across, step.counted)
        one.away = one.crossed = False
        if step.counted:
            self.grown_at = at
        if step.notice is not None:
            about = {**self._about(one), **step.notice.detail, "at": at.isoformat()}
            notices.append(replace(step.notice, detail=about))
        return step.counted

    def _about(self, one: One) -> dict[str, str]:
        return {"event": self._event.name, "field": one.name, "tag": one.rule.tag}

    def _settle(self, notices: list[Notice]) -> None:
        """What is loose has found its values."""
        across = {one.name: str(EXACT.multiply(one.across, one.rule.factor)) for one in self._ones if one.across}
        if across:
            closers = {tag: str(value) for tag, value in self._closers.items()}
            notices.append(Notice("counted_across", {"event": self._event.name, "counted": across, "now": closers}))
        for one in self._ones:
            one.pending, one.loose = EXACT.add(one.pending, one.loose), ZERO
            one.across = ZERO

    def _known(self, current: Current) -> bool:
        return not any(trusted(current.get(tag)) for tag in self._event.closed_by)


def frozen(value: Scalar) -> Any:
    """A value for the checkpoint."""
    return {"decimal": str(value)} if isinstance(value, Decimal) else value


def thawed(kept: Any) -> Scalar:
    """A value from the checkpoint."""
    return Decimal(kept["decimal"]) if isinstance(kept, dict) else kept
