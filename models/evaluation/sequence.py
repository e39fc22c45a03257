"""The release sequence: what it saves against the order of the ERP, and how far it is from the best there is.

Weeks of one work centre are simulated with set-up families, late material and an operator who is there on one shift
only. The ERP goes by the day on which an order shall start by backward scheduling, then by order number; its list is
followed as a foreman does, who passes over what cannot begin yet. Every sequence is made with other times than the
planned ones. Small queues are compared with their exact optimum, and the search that
both rest on with published job shops, whose shortest makespans are known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, inf
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Final

from agent.sequence.sequencing import Centre, Job, by_due_date, followed, improved, planned, sequence
from models.evaluation.figures import Figure, dataset

SEEDS: Final = range(20)
WEEK: Final = 4800.0  # minutes of two shifts on five days
SHIFT: Final = 480.0
LOAD: Final = 0.85  # work without set-ups over the week
FAMILIES: Final = ("red", "blue", "white", "clear")
SET_UP: Final = 30.0  # minutes; from a dark colour to a clear one twice as long
LATE_MATERIAL: Final = 0.15
NOISE: Final = 0.1  # sigma of the log of actual over planned minutes
SMALL: Final = 8  # orders of which every sequence can be looked at

# Fisher and Thompson 1963, 6 jobs on 6 machines; Lawrence 1984, 10 jobs on 5. Per job (machine, minutes) in turn.
FT06: Final = (
    "2 1 0 3 1 6 3 7 5 3 4 6|1 8 2 5 4 10 5 10 0 10 3 4|2 5 3 4 5 8 0 9 1 1 4 7|"
    "1 5 0 5 2 5 3 3 4 8 5 9|2 9 1 3 4 5 5 4 0 3 3 1|1 3 3 3 5 9 0 10 4 4 2 1"
)
LA01: Final = (
    "1 21 0 53 4 95 3 55 2 34|0 21 3 52 4 16 2 26 1 71|3 39 4 98 1 42 2 31 0 12|1 77 0 55 4 79 2 66 3 77|"
    "0 83 3 34 2 64 1 19 4 37|1 54 2 43 4 79 0 92 3 62|3 69 4 77 1 87 2 87 0 93|2 38 0 60 1 41 3 24 4 83|"
    "3 17 1 49 4 25 0 44 2 98|4 77 3 79 2 43 1 75 0 96"
)
Routes = Sequence[Sequence[tuple[int, int]]]
LARGEST: Final = 100  # operations of a published shop that is compared


def measure(data: Path | None, folder: Path) -> list[Figure]:
    """Weeks against the order of the ERP, small queues against the optimum, published shops."""
    return _weeks() + _small() + _shops(data)


# ── weeks ───────────────────────────────────────────────────────────────────────────────────────────────────


def week(seed: int, orders: int = 32, load: float = LOAD) -> tuple[list[Job], Centre]:
    """The open orders of a work centre in the order of the ERP, and the work centre."""
    random = Random(f"week/{seed}")
    work = [random.uniform(40, 200) for _ in range(orders)]
    scale = WEEK * load * orders / 32 / sum(work)
    jobs = []
    for number, minutes in enumerate(work):
        late = random.random() < LATE_MATERIAL
        jobs.append(
            Job(
                order=f"{1000 + number}",
                minutes=minutes * scale,
                due=random.uniform(0.05, 1.1) * WEEK * orders / 32,
                weight=random.choice((1.0, 1.0, 2.0, 4.0)),
                family=random.choice(FAMILIES),
                ready=random.uniform(0, 0.4) * WEEK if late else 0.0,
                certificate="TORQUE" if random.random() < 0.2 else "",
            )
        )
    changes = {(dark, "clear"): 2 * SET_UP for dark in ("red", "blue")}
    early = tuple((2 * day * SHIFT, (2 * day + 1) * SHIFT) for day in range(8))
    centre = Centre(family="red", set_up=SET_UP, changes=changes, staffed={"TORQUE": early})
    return sorted(jobs, key=lambda job: (_start_day(job), job.order)), centre


def _start_day(job: Job) -> int:
    """On which day the ERP lets it start: so many days before it is due as its work and a usual wait take."""
    return int((job.due - job.minutes - 2 * SHIFT) // (2 * SHIFT))


def made(jobs: Sequence[Job], seed: int) -> list[Job]:
    """The same sequence with what the orders take in truth."""
    random = Random(f"made/{seed}")
    factors = {order: exp(random.gauss(0, NOISE)) for order in sorted(job.order for job in jobs)}
    return [replace(job, minutes=job.minutes * factors[job.order]) for job in jobs]


def _weeks() -> list[Figure]:
    found = []
    for load in (LOAD, 0.7):
        erp, to_the_letter, ours, earliest, changes = [], [], [], [], []
        for seed in SEEDS:
            given, centre = week(seed, load=load)
            proposed = sequence(given, centre)
            best = [slot.job for slot in proposed.plan.slots]
            real = replace(centre, spare=0.0)
            erp_order = followed(made(given, seed), real)
            erp.append(planned(erp_order, real).weighted_lateness)
            to_the_letter.append(planned(made(given, seed), real).weighted_lateness)
            ours.append(planned(made(best, seed), real).weighted_lateness)
            earliest.append(planned(followed(made(by_due_date(given), seed), real), real).weighted_lateness)
            changes.append(proposed.plan.set_ups / planned(erp_order, real).set_ups)
        protocol = f"{len(SEEDS)} simulated weeks of 32 orders, {load:.0%} load without set-ups, made with noise"
        name = f"release sequence at {load:.0%} load"
        found += [
            _ratio(f"{name}: weighted lateness over ERP order", ours, erp, protocol, 0.7),
            _ratio(f"{name}: the same, ERP order to the letter", ours, to_the_letter, protocol),
            _ratio(f"{name}: due dates alone over ERP order", earliest, erp, protocol),
            Figure(f"{name}: set-ups over ERP order", mean(changes), spread=stdev(changes), protocol=protocol),
        ]
    return found


def _ratio(name: str, ours: Sequence[float], erp: Sequence[float], protocol: str, goal: float | None = None) -> Figure:
    """Of all weeks together; the spread is that of single weeks in which anything is late."""
    each = [one / other for one, other in zip(ours, erp, strict=True) if other > 0]
    return Figure(name, sum(ours) / sum(erp), goal, at_least=False, spread=stdev(each), protocol=protocol)


# ── the exact optimum ───────────────────────────────────────────────────────────────────────────────────────


def exact(jobs: Sequence[Job], centre: Centre) -> float:
    """The least weighted lateness of any sequence: depth first, cut where what is begun is no better already."""
    best = planned(by_due_date(jobs), centre).weighted_lateness

    def deeper(free: float, family: str, done: float, left: tuple[Job, ...]) -> None:
        nonlocal best
        if not left:
            best = min(best, done)
            return
        least = sum(job.weight * max(0.0, max(free, job.ready) + job.minutes - job.due) for job in left)
        if done + least >= best:
            return
        here = replace(centre, free=free, family=family)
        for at, job in enumerate(left):
            slot = planned([job], here).slots[0]
            deeper(slot.end, job.family or family, done + job.weight * slot.late, left[:at] + left[at + 1 :])

    deeper(centre.free, centre.family, 0.0, tuple(by_due_date(jobs)))
    return best


def _small() -> list[Figure]:
    ours, best = [], []
    for seed in SEEDS:
        given, centre = week(seed, orders=SMALL, load=1.1)
        ours.append(sequence(given, centre).plan.weighted_lateness)
        best.append(exact(given, centre))
    protocol = f"{len(SEEDS)} queues of {SMALL} orders, all sequences looked at by branch and bound"
    reached = [one <= other + 1e-6 for one, other in zip(ours, best, strict=True)]
    return [
        Figure("release sequence: weighted lateness over the optimum", sum(ours) / sum(best), protocol=protocol),
        Figure("release sequence: share of optimal sequences", mean(reached), 0.95, protocol=protocol),
    ]


# ── published job shops ─────────────────────────────────────────────────────────────────────────────────────


def read(shop: str) -> Routes:
    """The routes of a shop as written above."""
    numbers = [list(map(int, job.split())) for job in shop.split("|")]
    return [list(zip(job[::2], job[1::2], strict=True)) for job in numbers]


def makespan(order: Sequence[int], routes: Routes, most: float = inf) -> float:
    """When all is made, where each job is named once for each of its operations; infinite above `most`."""
    step, free = [0] * len(routes), [0] * len(routes)
    machines: dict[int, int] = {}
    for job in order:
        machine, minutes = routes[job][step[job]]
        step[job] += 1
        end = max(free[job], machines.get(machine, 0)) + minutes
        if end > most:
            return inf
        free[job] = machines[machine] = end
    return max(free)


def most_work_left(routes: Routes) -> list[int]:
    """A start: of the operations that could end first at their machine, that of the job with most work left."""
    step, free = [0] * len(routes), [0] * len(routes)
    machines: dict[int, int] = {}
    order = []
    while any(at < len(route) for at, route in zip(step, routes, strict=True)):
        open_ = {job: routes[job][at] for job, at in enumerate(step) if at < len(routes[job])}
        ends = {job: max(free[job], machines.get(machine, 0)) + took for job, (machine, took) in open_.items()}
        first = min(ends, key=ends.__getitem__)
        machine = open_[first][0]
        rivals = [
            job
            for job, (on, took) in open_.items()
            if job == first or (on == machine and ends[job] - took < ends[first])
        ]
        job = max(rivals, key=lambda one: sum(took for _, took in routes[one][step[one] :]))
        free[job] = machines[machine] = ends[job]
        step[job] += 1
        order.append(job)
    return order


def shortest(routes: Routes) -> float:
    """The makespan that is found."""
    order, _ = improved(most_work_left(routes), lambda one, most: makespan(one, routes, most))
    return makespan(order, routes)


def _shops(data: Path | None) -> list[Figure]:
    found = [
        Figure(f"job shop {name}: makespan", shortest(read(shop)), best, at_least=False, protocol=f"optimum {best}")
        for name, shop, best in (("ft06", FT06, 55), ("la01", LA01, 666))
    ]
    place = dataset(data, "jobshop_instances")
    return found + _published(json.loads((place / "instances.json").read_text())) if place else found


def _published(instances: Mapping[str, Mapping[str, object]]) -> list[Figure]:
    """How far all published shops of a size are from their shortest makespan, where that is proven."""
    over = []
    for one in instances.values():
        machines, minutes, known = one["machines_matrix"], one["duration_matrix"], one["metadata"]
        if not isinstance(machines, list) or not isinstance(minutes, list) or not isinstance(known, dict):
            continue
        if known.get("optimum") and sum(map(len, machines)) <= LARGEST:
            routes = [list(zip(*job, strict=True)) for job in zip(machines, minutes, strict=True)]
            over.append(shortest(routes) / known["optimum"] - 1)
    protocol = f"{len(over)} published shops of at most {LARGEST} operations with a proven optimum"
    return [
        Figure("job shops: makespan above the optimum", mean(over), spread=stdev(over), protocol=protocol),
        Figure("job shops: share at the optimum", mean(one <= 0 for one in over), protocol=protocol),
    ]
