"""In which order a work centre should make its open orders so that least is late, and why. Pure.

A dispatching rule that weighs due dates and set-ups (ATCS: Lee, Bhaskaran and Pinedo 1997, "A heuristic to minimize the
total weighted tardiness with sequence-dependent setups", IIE Transactions 29) gives starts, and a local search moves
and exchanges orders in the best of them. The same orders give the same sequence, as long as the effort is not cut off.

Times are minutes from the moment of planning; negative is past. What is minimised is the total weighted lateness: of
each order its weight times the minutes it is finished after it is due; between sequences that are equally late, the
minutes of set-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from math import exp, inf
from random import Random
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from agent.worktime import SPARE, Window, worked

T = TypeVar("T")
SLIGHT: Final = 1e-4  # of a weighted minute: what a minute of set-up counts between sequences that are equally late
LOOK_AHEAD: Final = (0.5, 1.0, 2.0, 4.0)  # usual orders: how soon urgency grows before an order must begin
AVERSION: Final = (0.25, 0.5, 1.0)  # usual set-ups: how much a set-up makes up for urgency
IMPATIENCE: Final = 0.5  # usual orders: how far a wait for material or people puts an order back
EFFORT: Final = 20_000  # sequences that are tried
REACH: Final = 40  # places over which an order is moved
MEMORY: Final = 200  # tries
STALE: Final = 1_000  # tries without a better one
CHANGES: Final = 6  # with which a search begins anew


@dataclass(frozen=True, slots=True)
class Job:
    """One open order at the work centre, without its set-up. `minutes` is above 0, `weight` at least 0."""

    order: str
    minutes: float
    due: float
    weight: float = 1.0
    family: str = ""  # what the work centre must be set up for; empty: nothing
    ready: float = 0.0  # when its last material is there
    waits_for: str = ""  # what that is, for people
    certificate: str = ""  # that whoever makes it must have; empty: none
    running: bool = False  # it is being made: it goes on as soon as somebody is there, and pauses where nobody is


@dataclass(frozen=True, slots=True)
class Centre:
    """The work centre. An order is begun and finished within one of the periods in which somebody may make it.

    One that takes longer than such a period is begun in it, and pauses until somebody is there again; nothing else is
    made in between. `staffed` is by certificate, rising, and may begin in the past; a certificate that it does not name
    is always there, and behind the last period nobody has planned yet: it is taken as there again. A set-up needs no
    certificate and no material.
    """

    free: float = 0.0  # when it has finished what it is at
    family: str = ""  # what it is set up for
    set_up: float = 0.0  # minutes of one change
    changes: Mapping[tuple[str, str], float] = field(default_factory=lambda: MappingProxyType({}))  # where it is other
    staffed: Mapping[str, tuple[Window, ...]] = field(default_factory=lambda: MappingProxyType({}))
    spare: float = SPARE

    def change(self, before: str, after: str) -> float:
        """Minutes of set-up from one family to another; none where the order needs none, or it is the same."""
        return 0.0 if not after or before == after else self.changes.get((before, after), self.set_up)


class Slot(NamedTuple):
    """One order in its place."""

    job: Job
    set_up: float  # minutes before it
    begin: float
    end: float

    @property
    def late(self) -> float:
        """Minutes after it is due."""
        return max(0.0, self.end - self.job.due)

    @property
    def pauses(self) -> float:
        """Minutes in which it is begun and nobody who may make it is there."""
        return self.end - self.begin - self.job.minutes


@dataclass(frozen=True, slots=True)
class Plan:
    """A sequence with its times."""

    slots: tuple[Slot, ...]

    @property
    def weighted_lateness(self) -> float:
        """Weight times minutes late, of all orders together."""
        return sum(one.job.weight * one.late for one in self.slots)

    @property
    def late(self) -> int:
        """Orders that are late."""
        return sum(one.late > 0 for one in self.slots)

    @property
    def set_ups(self) -> int:
        """Changes of the set-up."""
        return sum(one.set_up > 0 for one in self.slots)

    @property
    def set_up_minutes(self) -> float:
        """Minutes of all of them."""
        return sum(one.set_up for one in self.slots)

    @property
    def end(self) -> float:
        """When all is made."""
        return max((one.end for one in self.slots), default=0.0)


@dataclass(frozen=True, slots=True)
class Sequenced:
    """The sequence that is proposed, beside the one that came in. `reasons` has a tuple of sentences per slot."""

    plan: Plan
    given: Plan  # as it is followed
    reasons: tuple[tuple[str, ...], ...]
    whole: bool  # False: cut off before the whole effort was spent, so another run may find another sequence


# ── what a sequence costs ───────────────────────────────────────────────────────────────────────────────────


def planned(jobs: Iterable[Job], centre: Centre) -> Plan:
    """These orders, one after the other."""
    free, family, slots = centre.free, centre.family, []
    for job in jobs:
        set_up = centre.change(family, job.family)
        begin, free = _worked(job, max(free + set_up, job.ready), centre)
        family = job.family or family
        slots.append(Slot(job, set_up, begin, free))
    return Plan(tuple(slots))


def followed(jobs: Iterable[Job], centre: Centre) -> list[Job]:
    """This sequence as a foreman follows it: what cannot begin at once lets the next one that can go first."""
    left, done, here = list(jobs), [], centre
    while left:
        slots = [planned([job], here).slots[0] for job in left]
        waits = [slot.begin - slot.set_up - here.free for slot in slots]
        at = waits.index(min(waits))
        here = replace(here, free=slots[at].end, family=left[at].family or here.family)
        done.append(left.pop(at))
    return done


def _worked(job: Job, earliest: float, centre: Centre) -> Window:
    windows = centre.staffed.get(job.certificate, ())
    return worked(job.minutes, earliest, windows, spare=centre.spare, begun=job.running)


def cost(jobs: Iterable[Job], centre: Centre, most: float = inf) -> float:
    """What is minimised; infinite as soon as it is above `most`."""
    free, family, found = centre.free, centre.family, 0.0
    usual, changes = centre.set_up, centre.changes
    for job in jobs:  # as `planned`, written out: this is where the time goes
        if job.family and job.family != family:
            set_up = changes.get((family, job.family), usual) if changes else usual
            found += SLIGHT * set_up
            free += set_up
            family = job.family
        if free < job.ready:
            free = job.ready
        free = _worked(job, free, centre)[1] if job.certificate else free + job.minutes
        if free > job.due:
            found += job.weight * (free - job.due)
            if found > most:
                return inf
    return found


# ── where to start ──────────────────────────────────────────────────────────────────────────────────────────


def by_due_date(jobs: Iterable[Job]) -> list[Job]:
    """The earliest due date first."""
    return sorted(jobs, key=lambda job: (job.due, job.order))


def by_urgency(jobs: Sequence[Job], centre: Centre, look_ahead: float, aversion: float) -> list[Job]:
    """Each time the order with the highest apparent tardiness cost that the work centre could make next (ATCS)."""
    usual = sum(job.minutes for job in jobs) / len(jobs)
    changes = [centre.change(one.family, other.family) for one, other in combinations(jobs, 2)]
    usual_change = sum(changes) / len(changes) if any(changes) else 1.0
    left, done, free, family = list(jobs), [], centre.free, centre.family

    def urgency(job: Job) -> float:
        set_up = centre.change(family, job.family)
        earliest = max(free + set_up, job.ready)
        begin, end = _worked(job, earliest, centre)
        slack = max(0.0, job.due - end)
        idle = begin - free - set_up
        pressing = slack / (look_ahead * usual) + set_up / (aversion * usual_change) + idle / (IMPATIENCE * usual)
        return job.weight / job.minutes * exp(-min(pressing, 600.0))

    while left:
        best = max(left, key=lambda job: (urgency(job), -job.due))
        left.remove(best)
        done.append(best)
        last = planned([best], replace(centre, free=free, family=family)).slots[0]
        free, family = last.end, best.family or family
    return done


# ── how it gets better ──────────────────────────────────────────────────────────────────────────────────────


def improved(
    start: Sequence[T],
    cost: Callable[[Sequence[T], float], float],
    *,
    effort: int = EFFORT,
    seed: int = 7,
    out_of_time: Callable[[], bool] = lambda: False,
) -> tuple[list[T], bool]:
    """A sequence at least as good, by moving and exchanging what is in it; and whether the whole effort was spent.

    What is no worse than the sequence of MEMORY tries ago is gone on from, so that it leaves where no single move makes
    it better (late acceptance: Burke and Bykov 2017, European Journal of Operational Research 258); where that has come
    to rest it begins anew, from the best with some changes. `cost` is asked for a sequence and what is not to be
    exceeded, above which it may answer infinity.
    """
    random, now = Random(seed), list(start)  # noqa: S311  # a search, no secret
    now_cost = cost(now, inf)
    best, best_cost, ago, moved = now, now_cost, [now_cost] * MEMORY, 0
    for number in range(effort if len(now) > 1 else 0):
        if best_cost <= 0:
            break
        if number % 64 == 63 and out_of_time():
            return best, False
        if number - moved > STALE:
            now = best
            for _ in range(CHANGES):
                now = _neighbour(now, random)
            now_cost = cost(now, inf)
            ago, moved = [now_cost] * MEMORY, number
        candidate = _neighbour(now, random)
        most = max(now_cost, ago[number % MEMORY])
        found = cost(candidate, most)
        if found <= most:
            moved = number if found < now_cost else moved
            now, now_cost = candidate, found
            if found < best_cost:
                best, best_cost = candidate, found
        ago[number % MEMORY] = min(ago[number % MEMORY], now_cost)
    return best, True


def _neighbour(now: Sequence[T], random: Random) -> list[T]:
    """The sequence with one of it elsewhere, not too far, or with two exchanged."""
    last = len(now) - 1
    at = random.randint(0, last)
    to = random.randint(max(0, at - REACH), min(last, at + REACH))
    found = list(now)
    if random.random() < 0.5:
        found.insert(to, found.pop(at))
    else:
        found[at], found[to] = found[to], found[at]
    return found


def sequence(
    given: Sequence[Job],
    centre: Centre,
    *,
    running: Job | None = None,
    effort: int = EFFORT,
    seed: int = 7,
    out_of_time: Callable[[], bool] = lambda: False,
) -> Sequenced:
    """The best sequence found for these orders, which come in the order of the ERP; never worse than that as followed.

    The one that is `running` stays first, without a set-up. An order without a due date has an infinite one. Raises
    ValueError for an order that takes no time.
    """
    first = [] if running is None else [running]
    if wrong := [job.order for job in (*first, *given) if not job.minutes > 0]:
        raise ValueError(f"order {wrong[0]} takes no time; give its planned minutes")
    if running is not None:
        centre = replace(centre, family=running.family or centre.family)
    here = replace(centre, free=max((one.end for one in planned(first, centre).slots), default=centre.free))
    erp_order = followed(given, here)
    starts = [erp_order, followed(by_due_date(given), here)]
    if given:
        starts += [by_urgency(given, here, *one) for one in product(LOOK_AHEAD, AVERSION)]
    start = min(starts, key=lambda jobs: cost(jobs, here))
    found, whole = improved(
        start, lambda jobs, most: cost(jobs, here, most), effort=effort, seed=seed, out_of_time=out_of_time
    )
    found = [*first, *found]
    plan, before = planned(found, centre), planned([*first, *erp_order], centre)
    return Sequenced(plan, before, tuple(tuple(_why(plan, at, before, centre)) for at in range(len(found))), whole)


# ── why ─────────────────────────────────────────────────────────────────────────────────────────────────────


def span(minutes: float) -> str:
    """A time for people: ``35 min``, ``2 h 10 min``, ``3 d 4 h``."""
    whole = max(1, round(minutes))
    days, hours, rest = whole // 1440, whole % 1440 // 60, whole % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{rest} min"


def _why(plan: Plan, at: int, given: Plan, centre: Centre) -> Iterator[str]:
    """What speaks for this place, in the order in which people ask."""
    slot, job = plan.slots[at], plan.slots[at].job
    if job.running:
        yield "is being made"
    yield _set_up(plan, at)
    free = plan.slots[at - 1].end if at else centre.free
    if job.ready > free + slot.set_up:
        yield f"waits {span(job.ready - free - slot.set_up)} for {job.waits_for or 'its material'}"
    possible = max(free + slot.set_up, job.ready)
    if slot.begin > possible:
        yield f"waits {span(slot.begin - possible)} for somebody with {job.certificate}"
    if slot.pauses >= 0.5:
        yield f"pauses {span(slot.pauses)} in all, while nobody with {job.certificate} is there"
    yield _against_due(slot)
    if not job.running:
        yield from _against_next(plan, at, centre)
    yield from _against_given(slot, at, given)


def _against_due(slot: Slot) -> str:
    if slot.job.due == inf:
        return "has no due date, so it is never late"
    return f"{span(slot.late)} late" if slot.late > 0 else f"finished {span(slot.job.due - slot.end)} before it is due"


def _set_up(plan: Plan, at: int) -> str:
    slot = plan.slots[at]
    if slot.set_up > 0:
        return f"set up for {slot.job.family}: {span(slot.set_up)}"
    return f"goes on with {slot.job.family}, no set-up" if slot.job.family else "needs no set-up"


def _against_next(plan: Plan, at: int, centre: Centre) -> Iterator[str]:
    """What it would cost to make the next one first."""
    if at + 1 == len(plan.slots):
        return
    jobs = [one.job for one in plan.slots]
    jobs[at], jobs[at + 1] = jobs[at + 1], jobs[at]
    other, following = planned(jobs, centre), plan.slots[at + 1].job.order
    later = other.weighted_lateness - plan.weighted_lateness
    longer = other.set_up_minutes - plan.set_up_minutes
    if later > 0:
        yield f"behind {following} the orders would be {span(later)} later in all, weighted"
    elif longer > 0:
        yield f"behind {following} set-ups would take {span(longer)} longer"


def _against_given(slot: Slot, at: int, given: Plan) -> Iterator[str]:
    before = next(number for number, one in enumerate(given.slots) if one.job is slot.job)
    moved = before - at
    if moved:
        places = f"{abs(moved)} place{'s' if abs(moved) > 1 else ''} {'earlier' if moved > 0 else 'later'}"
        won = given.slots[before].late - slot.late
        effect = f", {span(abs(won))} {'less' if won > 0 else 'more'} late" if abs(won) >= 0.5 else ""
        yield f"{places} than by the order of the ERP{effect}"
