"""A job shop, event by event: orders on their routes, breakdowns, set-ups, late material; seeded, the same every time.

Each order is asked about at its release. What the shop knows at that moment becomes the row, and what happens
afterwards the label: started and finished on time. Minutes are simulated minutes since the run began.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import exp, pi, sin
from random import Random
from typing import Final

from agent.features.order_feasibility import (
    USUAL_FLOW_FACTOR,
    Asked,
    Shop,
    Step,
    Waiting,
    WorkCentreState,
)

Route = Sequence[tuple[int, float]]  # work centre and planned minutes, step by step

LOAD: Final = 0.68  # of the most loaded work centre, on average
SWING: Final = 0.4  # how much more and less is released over a season
SEASON: Final = 400  # orders
ALLOWANCE: Final = (2.1, 8.0)  # time until due over work
PLANNED_FACTOR: Final = 2.5  # the ERP schedules backwards from the due date with this much time per work
FAMILIES: Final = ("A", "B", "C")
SET_UP: Final = 0.15  # of a usual step
NOISE: Final = 0.1  # sigma of the log of actual over planned minutes
DOWN_SHARE: Final = 0.04
REPAIR: Final = 3.0  # usual steps
LATE_MATERIAL: Final = 0.12
MATERIAL_DELAY: Final = 0.8  # of the order's work, exponential
FORECAST_NOISE: Final = 0.25  # how well repair and arrival of material are known beforehand
REMEMBERED: Final = 40  # finished orders in the recent flow factor
WARM_UP: Final = 150  # orders before the first that is asked about


@dataclass(slots=True)
class _Order:
    number: int
    route: Route
    family: str
    released: float
    due: float
    planned_start: float
    material: float
    told_material: float
    work: float
    at: int = 0  # step
    started: float = -1.0
    finished: float = -1.0


@dataclass(slots=True)
class _WorkCentre:
    set_up: float
    queue: list[_Order] = field(default_factory=list)
    order: _Order | None = None
    done: float = 0.0
    left: float = 0.0  # of the step, while it is down
    down_until: float = 0.0
    told_until: float = 0.0
    family: str = ""
    planned: float = 0.0  # minutes of finished steps, and what they took
    taken: float = 0.0
    token: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """One order: as it was asked about, and how it went."""

    run: int
    asked: Asked
    shop: Shop
    started_on_time: bool
    finished_on_time: bool


def routes(seed: int, work_centers: int = 10, number: int = 300) -> list[Route]:
    """Generated routes: four and more work centres in any order, 5 to 100 minutes each."""
    random = Random(f"routes/{seed}")
    return [
        [(place, float(random.randint(5, 100))) for place in random.sample(range(work_centers), length)]
        for length in (random.randint(4, work_centers) for _ in range(number))
    ]


def run(seed: int, choices: Sequence[Route], orders: int) -> list[Case]:
    """The cases of one run over routes drawn from `choices`, in order of release."""
    return list(_Run(seed, choices, orders).cases())


class _Run:
    def __init__(self, seed: int, choices: Sequence[Route], orders: int) -> None:
        self.seed, self.choices, self.orders = seed, choices, orders
        self.random = Random(f"shop/{seed}")
        self.number = 1 + max(place for route in choices for place, _ in route)
        steps = [minutes for route in choices for _, minutes in route]
        self.usual = sum(steps) / len(steps)
        self.centres = [_WorkCentre(SET_UP * self.usual * self.random.uniform(0.5, 1.5)) for _ in range(self.number)]
        self.open: dict[int, _Order] = {}
        self.recent: deque[tuple[float, bool]] = deque(maxlen=REMEMBERED)
        self.events: list[tuple[float, int, str, int, int]] = []
        self.sequence = count()
        self.now = 0.0

    def cases(self) -> Iterator[Case]:
        asked: list[tuple[_Order, Asked, Shop]] = []
        gap = self._usual_gap()
        self._plan(0.0, "release", 0)
        for place in range(self.number):
            self._plan(self._up_time(), "down", place)
        released = 0
        while len(asked) < self.orders or any(order.finished < 0 for order, _, _ in asked):
            self.now, _, kind, which, token = heapq.heappop(self.events)
            if kind == "release":
                order = self._release(released)
                if WARM_UP <= released < WARM_UP + self.orders:
                    asked.append((order, *self._ask(order)))
                self.open[order.number] = order
                self._plan(max(order.material, self.now), "material", order.number)
                released += 1
                season = 1 + SWING * sin(2 * pi * released / SEASON)
                self._plan(self.now + self.random.expovariate(season / gap), "release", 0)
            elif kind == "material":
                self._arrive(self.open[which])
            elif kind == "done" and token == self.centres[which].token:
                self._done(which)
            elif kind == "down":
                self._down(which)
            elif kind == "up":
                self._up(which)
        for order, one, shop in asked:
            yield Case(self.seed, one, shop, order.started <= order.planned_start, order.finished <= order.due)

    def _plan(self, at: float, kind: str, which: int, token: int = 0) -> None:
        heapq.heappush(self.events, (at, next(self.sequence), kind, which, token))

    def _usual_gap(self) -> float:
        """Minutes between releases at which the most loaded work centre is as busy as LOAD says."""
        loads = [0.0] * self.number
        for route in self.choices:
            for place, minutes in route:
                loads[place] += minutes / len(self.choices)
        return max(loads) / LOAD

    def _release(self, number: int) -> _Order:
        random = self.random
        route = random.choice(self.choices)
        work = sum(minutes for _, minutes in route)
        due = self.now + work * random.uniform(*ALLOWANCE)
        material = self.now
        if random.random() < LATE_MATERIAL:
            material += random.expovariate(1 / (MATERIAL_DELAY * work))
        return _Order(
            number=number,
            route=route,
            family=random.choice(FAMILIES),
            released=self.now,
            due=due,
            planned_start=max(self.now + 0.1 * work, due - PLANNED_FACTOR * work),
            material=material,
            told_material=self.now + (material - self.now) * exp(random.gauss(0, FORECAST_NOISE)),
            work=work,
        )

    def _arrive(self, order: _Order) -> None:
        place = order.route[order.at][0]
        self.centres[place].queue.append(order)
        self._begin(place)

    def _begin(self, place: int) -> None:
        centre = self.centres[place]
        if centre.order is not None or centre.down_until > self.now or not centre.queue:
            return
        order = min(centre.queue, key=lambda one: (one.due, one.number))
        centre.queue.remove(order)
        planned = order.route[order.at][1]
        taken = planned * exp(self.random.gauss(0, NOISE))
        if centre.family != order.family:
            taken += centre.set_up
            centre.family = order.family
        if order.started < 0:
            order.started = self.now
        centre.order, centre.done = order, self.now + taken
        centre.planned, centre.taken = 0.98 * centre.planned + planned, 0.98 * centre.taken + taken
        centre.token += 1
        self._plan(centre.done, "done", place, centre.token)

    def _done(self, place: int) -> None:
        centre = self.centres[place]
        order, centre.order = centre.order, None
        if order is None:
            raise ValueError(f"work centre {place} was done with nothing")
        order.at += 1
        if order.at < len(order.route):
            self._arrive(order)
        else:
            order.finished = self.now
            del self.open[order.number]
            self.recent.append(((self.now - order.released) / order.work, self.now > order.due))
        self._begin(place)

    def _down(self, place: int) -> None:
        centre = self.centres[place]
        repair = REPAIR * self.usual * exp(self.random.gauss(-0.18, 0.6))
        centre.down_until = self.now + repair
        centre.told_until = self.now + repair * exp(self.random.gauss(0, FORECAST_NOISE))
        centre.left = centre.done - self.now if centre.order else 0.0
        centre.taken = centre.taken + repair * 0.3
        centre.token += 1  # what would have been done is done later
        self._plan(centre.down_until, "up", place)

    def _up(self, place: int) -> None:
        centre = self.centres[place]
        if centre.order is not None:
            centre.done = self.now + centre.left
            centre.token += 1
            self._plan(centre.done, "done", place, centre.token)
        self._plan(self.now + self._up_time(), "down", place)
        self._begin(place)

    def _up_time(self) -> float:
        return self.random.expovariate(DOWN_SHARE / (REPAIR * self.usual * (1 - DOWN_SHARE)))

    def _ask(self, order: _Order) -> tuple[Asked, Shop]:
        """What is known at this moment, in minutes from now."""
        coming: list[list[Waiting]] = [[] for _ in self.centres]
        for other in self.open.values():
            after = other.route[other.at][1] + max(0.0, other.told_material - self.now)
            for place, minutes in other.route[other.at + 1 :]:
                coming[place].append(Waiting(other.due - self.now, minutes, after))
                after += minutes
        states = {str(place): self._state(place, coming[place]) for place in range(self.number)}
        factors = [factor for factor, _ in self.recent]
        shop = Shop(
            states,
            sum(factors) / len(factors) if factors else USUAL_FLOW_FACTOR,
            sum(late for _, late in self.recent) / len(factors) if factors else 0.0,
        )
        steps = tuple(Step(str(place), minutes, order.family) for place, minutes in order.route)
        now = self.now
        return Asked(steps, order.due - now, order.planned_start - now, max(0.0, order.told_material - now)), shop

    def _state(self, place: int, coming: list[Waiting]) -> WorkCentreState:
        centre, now = self.centres[place], self.now
        down = max(0.0, centre.told_until - now) if centre.down_until > now else 0.0
        busy = 0.0
        if centre.order is not None:
            busy = centre.left if centre.down_until > now else max(0.0, centre.done - now)
        return WorkCentreState(
            busy=busy,
            down=down,
            queue=tuple(Waiting(one.due - now, one.route[one.at][1]) for one in centre.queue),
            coming=tuple(coming),
            oee=centre.planned / centre.taken if centre.taken else 1.0,
            family=centre.family,
            set_up=centre.set_up,
        )
