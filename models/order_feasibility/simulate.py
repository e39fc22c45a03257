"""A job shop, event by event: orders on their routes, breakdowns, set-ups, late material; the same for the same seed.

Each order is asked about at its release. What the shop knows at that moment becomes the row, and what happens
afterwards the label: started and finished on time. Minutes are simulated minutes since the run began.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import exp, log, pi, sin
from random import Random
from typing import Final

from agent.features.order_feasibility import Asked, Shop, Step, Waiting, WorkCentreState
from agent.features.order_history import NEWEST, Done, of_route, paces

Route = Sequence[tuple[int, float]]  # work centre and planned minutes, step by step

SEASON: Final = 400  # orders
REPAIR: Final = 3.0  # usual steps
FORECAST_NOISE: Final = 0.25  # how well repair and arrival of material are known beforehand
WARM_UP: Final = 150  # orders before the first that is asked about
TURN: Final = 0.02  # of the steps after which a work centre goes at another pace: a worn tool, a new one
DRIFT: Final = 0.06  # by which share the pace of a work centre changes from step to step


@dataclass(frozen=True, slots=True)
class Floor:
    """What kind of a shop it is. Of pairs each order or work centre draws its own value between the two."""

    load: float = 0.68  # of the most loaded work centre, on average
    swing: float = 0.4  # how much more and less is released over a season
    allowance: tuple[float, float] = (2.1, 8.0)  # time until due over work at the usual pace
    planned_factor: float = 2.5  # the ERP schedules backwards from the due date with this much time per work
    families: int = 3
    set_up: float = 0.15  # of a usual step
    pace: tuple[float, float] = (1.0, 1.0)  # planned over actual minutes of a work centre that runs
    memory: float = 0.98  # of a work centre's OEE: what is kept of it with each step
    noise: float = 0.1  # sigma of the log of actual over planned minutes
    down_share: float = 0.04
    late_material: float = 0.12
    material_delay: float = 0.8  # of the order's work, exponential


JOB_SHOP: Final = Floor()


def any_floor(seed: int) -> Floor:
    """One of many: from hardly busy to choked, from new machines to worn ones, from no set-ups to long ones."""
    random = Random(f"floor/{seed}")
    worst = random.uniform(0.1, 1.0)
    return Floor(
        load=random.uniform(0.3, 0.95),
        swing=random.uniform(0.0, 0.5),
        allowance=(random.uniform(0.6, 2.5), random.uniform(4.0, 30.0)),
        planned_factor=random.uniform(1.2, 5.0),
        families=random.randint(1, 6),
        set_up=exp(random.uniform(log(0.02), log(1.0))),
        pace=(worst, random.uniform(max(worst, 0.6), 1.0)),
        memory=random.uniform(0.7, 0.95),
        noise=random.uniform(0.03, 0.3),
        down_share=random.uniform(0.0, 0.1),
        late_material=random.uniform(0.0, 0.4),
        material_delay=random.uniform(0.2, 3.0),
    )


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
    arrived: float = 0.0  # when the step before was finished
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
    usual_pace: float = 1.0
    pace: float = 1.0  # now
    planned: float = 0.0  # minutes of finished steps, and what they took
    taken: float = 0.0
    token: int = 0


@dataclass(frozen=True, slots=True)
class _Finished:
    order: _Order
    at: float
    flow: float
    minutes: float


@dataclass(frozen=True, slots=True)
class Case:
    """One order: as it was asked about, and how it went."""

    run: int
    asked: Asked
    shop: Shop
    started_on_time: bool
    finished_on_time: bool


def routes(seed: int, work_centers: int = 10, number: int = 300, shortest: int = 4) -> list[Route]:
    """Generated routes: `shortest` and more work centres in any order, 5 to 100 minutes each."""
    random = Random(f"routes/{seed}")
    return [
        [(place, float(random.randint(5, 100))) for place in random.sample(range(work_centers), length)]
        for length in (random.randint(shortest, work_centers) for _ in range(number))
    ]


def any_routes(seed: int) -> list[Route]:
    """Of one to twelve work centres, from one step on; some shops make in minutes what others make in days."""
    random = Random(f"any routes/{seed}")
    scale = exp(random.uniform(log(0.3), log(8.0)))
    plain = routes(seed, random.randint(1, 12), shortest=1)
    return [[(place, minutes * scale) for place, minutes in route] for route in plain]


def run(seed: int, choices: Sequence[Route], orders: int, floor: Floor = JOB_SHOP) -> list[Case]:
    """The cases of one run over routes drawn from `choices`, in order of release."""
    return list(_Run(seed, choices, orders, floor).cases())


class _Run:
    def __init__(self, seed: int, choices: Sequence[Route], orders: int, floor: Floor) -> None:
        self.seed, self.choices, self.orders, self.floor = seed, choices, orders, floor
        self.random = Random(f"shop/{seed}")
        self.number = 1 + max(place for route in choices for place, _ in route)
        steps = [minutes for route in choices for _, minutes in route]
        self.usual = sum(steps) / len(steps)
        self.centres = [self._centre() for _ in range(self.number)]
        self.open: dict[int, _Order] = {}
        self.done: list[deque[_Finished]] = [deque(maxlen=NEWEST) for _ in self.centres]
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
                season = 1 + self.floor.swing * sin(2 * pi * released / SEASON)
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

    def _centre(self) -> _WorkCentre:
        pace = self.random.uniform(*self.floor.pace)
        return _WorkCentre(self.floor.set_up * self.usual * self.random.uniform(0.5, 1.5), usual_pace=pace, pace=pace)

    def _plan(self, at: float, kind: str, which: int, token: int = 0) -> None:
        heapq.heappush(self.events, (at, next(self.sequence), kind, which, token))

    def _usual_gap(self) -> float:
        """Minutes between releases at which the most loaded work centre is as busy as the floor says."""
        loads = [0.0] * self.number
        for route in self.choices:
            for place, minutes in route:
                loads[place] += minutes / self.centres[place].usual_pace / len(self.choices)
        return max(loads) / self.floor.load

    def _release(self, number: int) -> _Order:
        random, floor = self.random, self.floor
        route = random.choice(self.choices)
        work = sum(minutes for _, minutes in route)
        lasting = sum(minutes / self.centres[place].usual_pace for place, minutes in route)
        due = self.now + lasting * random.uniform(*floor.allowance)
        material = self.now
        if random.random() < floor.late_material:
            material += random.expovariate(1 / (floor.material_delay * work))
        return _Order(
            number=number,
            route=route,
            family=f"F{random.randrange(floor.families)}",
            released=self.now,
            due=due,
            planned_start=max(self.now + 0.1 * work, due - floor.planned_factor * lasting),
            material=material,
            told_material=self.now + (material - self.now) * exp(random.gauss(0, FORECAST_NOISE)),
            work=work,
            arrived=-1.0,
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
        if self.floor.pace[0] < 1:
            self._drift(centre)
        taken = planned / centre.pace * exp(self.random.gauss(0, self.floor.noise))
        if centre.family != order.family:
            taken += centre.set_up
            centre.family = order.family
        if order.started < 0:
            order.started = order.arrived = self.now
        centre.order, centre.done = order, self.now + taken
        kept = self.floor.memory
        centre.planned, centre.taken = kept * centre.planned + planned, kept * centre.taken + taken
        centre.token += 1
        self._plan(centre.done, "done", place, centre.token)

    def _drift(self, centre: _WorkCentre) -> None:
        """The pace wavers about its usual one, and now and then that is another."""
        if self.random.random() < TURN:
            centre.usual_pace = self.random.uniform(*self.floor.pace)
        pace = centre.usual_pace + 0.9 * (centre.pace - centre.usual_pace)
        centre.pace = min(1.0, max(0.1, pace + self.random.gauss(0, DRIFT) * pace))

    def _done(self, place: int) -> None:
        centre = self.centres[place]
        order, centre.order = centre.order, None
        if order is None:
            raise ValueError(f"work centre {place} was done with nothing")
        self.done[place].append(_Finished(order, self.now, self.now - order.arrived, order.route[order.at][1]))
        order.at, order.arrived = order.at + 1, self.now
        if order.at < len(order.route):
            self._arrive(order)
        else:
            order.finished = self.now
            del self.open[order.number]
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
        down = max(1e-6, self.floor.down_share)
        return self.random.expovariate(down / (REPAIR * self.usual * (1 - down)))

    def _ask(self, order: _Order) -> tuple[Asked, Shop]:
        """What is known at this moment, in minutes from now."""
        coming: list[list[Waiting]] = [[] for _ in self.centres]
        for other in self.open.values():
            after = other.route[other.at][1] + max(0.0, other.told_material - self.now)
            for place, minutes in other.route[other.at + 1 :]:
                coming[place].append(Waiting(other.due - self.now, minutes, after))
                after += minutes
        states = {str(place): self._state(place, coming[place]) for place in range(self.number)}
        pace = of_route([(f"{place}", minutes) for place, minutes in order.route], *paces(self._history()))
        shop = Shop(states, pace.flow_factor, pace.late_share)
        steps = tuple(Step(str(place), minutes, order.family) for place, minutes in order.route)
        now = self.now
        return Asked(steps, order.due - now, order.planned_start - now, max(0.0, order.told_material - now)), shop

    def _history(self) -> Iterator[Done]:
        for place, finished in enumerate(self.done):
            for one in finished:
                ended = one.order.finished - self.now if one.order.finished >= 0 else None
                yield Done(f"{place}", one.at - self.now, one.flow, one.minutes, one.order.due - self.now, ended)

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
