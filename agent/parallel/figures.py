"""What the agent would have done beside what people did: agreement, money, minutes, misses. Pure.

A case is one decision that would post something. `alone` says whether the mode `auto` would have posted it by itself.
What people did about it is known where they decided, where they took a document back, and where the ERP's own list of
documents says so; what nobody looked at proves nothing and is counted apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from math import sqrt
from statistics import median
from typing import Final, NamedTuple

Z: Final = 1.959964  # two-sided 95 %
ZERO: Final = Decimal(0)


class People(StrEnum):
    """What people did about a case."""

    SAME = "same"  # approved as it was, or booked the same
    OTHERWISE = "otherwise"  # corrected it, or booked another quantity
    NOT = "not"  # refused it, took it back, or booked nothing
    OPEN = "open"  # it still waits, or nobody decided in time
    UNKNOWN = "unknown"  # nobody looked at it, and no list of the ERP's documents tells


JUDGED: Final = (People.SAME, People.OTHERWISE, People.NOT)


class Posted(NamedTuple):
    """One posting that a case would make, as it can be found in the ERP's own list."""

    kind: str
    order: str
    about: str  # the material of a movement, the operation of a confirmation
    quantity: Decimal
    unit: str
    day: str  # ISO, the plant's


@dataclass(frozen=True, slots=True)
class Case:
    """One decision."""

    event: int
    at: datetime
    workflow: str
    alone: bool
    confidence: float
    posts: tuple[Posted, ...]
    value: Decimal
    people: People = People.UNKNOWN
    by: str = ""
    how: str = ""  # in words: what people did
    waited_min: float | None = None  # minutes until people did it

    @property
    def wrong(self) -> bool:
        """Whether people did something else than what it proposed."""
        return self.people in (People.OTHERWISE, People.NOT)


class Share(NamedTuple):
    """So many of so many, with the bounds between which the true share lies in 95 of 100 such runs (Wilson)."""

    n: int
    of: int

    @property
    def share(self) -> float:
        """Between 0 and 1; 0 of none."""
        return self.n / self.of if self.of else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and most; 0 and 1 where nothing was seen."""
        if not self.of:
            return 0.0, 1.0
        square = Z * Z / self.of
        middle = (self.share + square / 2) / (1 + square)
        half = Z * sqrt(self.share * (1 - self.share) / self.of + square / (4 * self.of)) / (1 + square)
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Asked:
    """What must be shown before a workflow may do more."""

    cases: int = 100  # so many that people judged
    share: float = 0.95  # so many of them the same, surely: the lower bound


@dataclass(frozen=True, slots=True)
class Comparison:
    """One workflow in one span of time."""

    workflow: str
    mode: str  # how it decides now
    cases: Sequence[Case]
    asked: Asked = field(default_factory=Asked)
    by_people_alone: Sequence[str] = ()  # documents of people that no report explains
    has_documents: bool = False  # whether the ERP's own list was given

    def count(self, people: Iterable[People], *, alone: bool | None = None) -> int:
        """Cases in which people did one of these."""
        wanted = tuple(people)
        return sum(one.people in wanted for one in self._those(alone=alone))

    def money(self, people: Iterable[People], *, alone: bool | None = None) -> Decimal:
        """What these cases are worth."""
        wanted = tuple(people)
        return sum((one.value for one in self._those(alone=alone) if one.people in wanted), ZERO)

    def _those(self, *, alone: bool | None) -> Iterable[Case]:
        return (one for one in self.cases if alone is None or one.alone is alone)

    @property
    def agreement(self) -> Share:
        """Of what it would have posted by itself and people judged: how much they did the same."""
        return Share(self.count([People.SAME], alone=True), self.count(JUDGED, alone=True))

    @property
    def proposals(self) -> Share:
        """The same of everything that it proposed, also of what it would have asked about."""
        return Share(self.count([People.SAME]), self.count(JUDGED))

    @property
    def rightly_asked(self) -> Share:
        """Of what it would have asked about and people judged: where they did otherwise."""
        wrong = self.count([People.OTHERWISE, People.NOT], alone=False)
        return Share(wrong, self.count(JUDGED, alone=False))

    @property
    def misses(self) -> list[Case]:
        """What it would have posted by itself and people did not do so: dearest first."""
        return sorted((one for one in self.cases if one.alone and one.wrong), key=lambda one: -one.value)

    @property
    def waits(self) -> list[float]:
        """Minutes that cases waited for people which it would not have asked."""
        return [one.waited_min for one in self.cases if one.alone and one.waited_min is not None]

    @property
    def step(self) -> str:
        """The next mode, empty in `auto`."""
        return {"advise": "assist", "assist": "auto"}.get(self.mode, "")

    @property
    def enough(self) -> bool:
        """Whether what was asked for is shown, for the next step (in `auto`: to stay there)."""
        shown = self.proposals if self.mode == "advise" else self.agreement
        return shown.of >= self.asked.cases and shown.bounds[0] >= self.asked.share

    def speaks_for(self, currency: str) -> list[str]:
        """Sentences, each with its figures."""
        said, same = [], self.agreement
        if same.n:
            low = f"{same.bounds[0]:.1%}".replace("%", " %")
            worth = _money(self.money([People.SAME], alone=True), currency)
            said.append(
                f"Of {_cases(same.of)} that it would have posted by itself people did the same in {same.n} "
                f"({_percent(same.share)}; surely at least {low}), worth {worth}."
            )
        if not self.misses and same.of:
            said.append("It would have posted nothing by itself that people did not do the same way.")
        if self.rightly_asked.n:
            of = self.rightly_asked
            said.append(f"Where it would have asked a person, people did otherwise in {of.n} of {of.of}.")
        if self.waits:
            total = sum(self.waits)
            said.append(
                f"What it would have posted by itself waited {_minutes(median(self.waits))} for people (median; "
                f"{len(self.waits)} cases, {_minutes(total)} in all)."
            )
        return said

    def speaks_against(self, currency: str) -> list[str]:
        """Sentences, each with its figures."""
        said, judged = [], self.proposals if self.mode == "advise" else self.agreement
        if misses := self.misses:
            worth = _money(sum((one.value for one in misses), ZERO), currency)
            dearest = _money(misses[0].value, currency)
            said.append(
                f"It would have posted {_cases(len(misses))} by itself that people did otherwise, worth {worth}; "
                f"the dearest is event {misses[0].event}, {dearest}."
            )
        if judged.of < self.asked.cases:
            said.append(f"People have judged {_cases(judged.of)} of these; {self.asked.cases} are asked for.")
        elif judged.bounds[0] < self.asked.share:
            said.append(
                f"Surely only {_percent(judged.bounds[0])} is the same; {_percent(self.asked.share)} is asked for."
            )
        of = self.rightly_asked
        if vain := of.of - of.n:
            said.append(f"Where it would have asked a person it was right in {vain} of {of.of}: asked in vain.")
        if unseen := self.count([People.UNKNOWN]):
            said.append(f"Of {_cases(unseen)} nobody knows: nobody looked at them. They prove nothing.")
        if waiting := self.count([People.OPEN]):
            said.append(f"{_cases(waiting)} still wait, or nobody decided about them in time.")
        if self.by_people_alone:
            said.append(
                f"People booked {len(self.by_people_alone)} documents that no report explains: the agent would have "
                "missed these."
            )
        if not self.has_documents and self.mode == "advise":
            said.append(
                "The ERP's own documents were not given (--erp, --booked): what people booked by hand is not known."
            )
        return said

    def verdict(self) -> str:
        """What the figures allow, in words for whoever decides; a person decides."""
        shown = self.proposals if self.mode == "advise" else self.agreement
        which = {"advise": "of what it proposes", "auto": "of what it posts by itself"}.get(
            self.mode, "of what it would post by itself"
        )
        if self.mode == "auto":
            head = "It is in auto, and this time shows again that it may be" if self.enough else (
                "It is in auto, and this time does not show that it may be")  # fmt: skip
        else:
            head = f"{'Ready' if self.enough else 'Not ready yet'} for {self.step}"
        if not shown.of:
            return f"{head}: people have judged nothing {which}; {_cases(self.asked.cases)} are asked for."
        said = f"{head}: {which} people have judged {_cases(shown.of)}"
        if shown.of < self.asked.cases:
            return f"{said}, {self.asked.cases} are asked for; they did the same in {shown.n}."
        low, least = _percent(shown.bounds[0]), _percent(self.asked.share)
        return f"{said} and did the same in {shown.n}. Chance apart that is {low} or more; {least} is asked for."


def _cases(number: int) -> str:
    return "1 case" if number == 1 else f"{number} cases"


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def _money(value: Decimal, currency: str) -> str:
    return f"{value:.2f} {currency}"


def _minutes(minutes: float) -> str:
    """Short in minutes, long in hours."""
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
