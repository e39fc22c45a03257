"""Features of one order asked about: how its slack compares with what waits before it on its own route.

Pure, the same in training and in serving. Times are minutes from the moment of asking; negative is past. What the shop
does is told per work centre: what is being worked on, what waits there, and what open orders will still bring there.
An order goes before another whose due date is later (earliest due date first).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final, NamedTuple

CLASSES: Final = ("late finish", "late start", "on time")  # of the last, the probability to start and finish on time
LEAST_OEE: Final = 0.1  # with less nobody could say when anything is done
USUAL_FLOW_FACTOR: Final = 2.0  # flow time over work, where no order has been finished yet


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of the route: planned machine minutes without set-up."""

    work_center: str
    minutes: float
    family: str = ""  # what the work centre is set up for; empty: no set-up


@dataclass(frozen=True, slots=True)
class Asked:
    """The order that shall be released: `due` and `planned_start` as the ERP has them, `material` when it is there."""

    steps: tuple[Step, ...]
    due: float
    planned_start: float
    material: float = 0.0


class Waiting(NamedTuple):
    """One step of another order: `after` is the work of its own that it still has before it gets here."""

    due: float
    minutes: float
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkCentreState:
    """What a work centre does now: `oee` is its recent effectiveness, 0 to 1, `down` the minutes until it runs."""

    busy: float = 0.0
    down: float = 0.0
    queue: tuple[Waiting, ...] = ()
    coming: tuple[Waiting, ...] = ()
    oee: float = 1.0
    family: str = ""
    set_up: float = 0.0  # minutes of one change of family


@dataclass(frozen=True, slots=True)
class Shop:
    """The shop at the moment of asking. `flow_factor` and `late_share` are of the orders finished most recently."""

    work_centers: Mapping[str, WorkCentreState]
    flow_factor: float = USUAL_FLOW_FACTOR
    late_share: float = 0.0


FEATURES: Final = (
    "slack_h",  # due − now − work
    "critical_ratio",  # time until due over work
    "work_h",
    "steps",
    "material_wait_h",
    "ahead_first_h",  # before this order at its first work centre, the order being worked on included
    "ahead_sum_h",  # the same, over its route
    "ahead_max_h",
    "coming_sum_h",  # what open orders that are due earlier will still bring to its route
    "behind_sum_h",  # what waits on its route and is due later: it goes first only where the order is not there yet
    "down_h",  # until everything on the route runs again
    "set_up_h",
    "oee_mean",
    "oee_least",
    "flow_factor",
    "late_share",
    "start_margin_h",  # planned start − when the first work centre should be free for it
    "finish_margin_h",  # due − when it should be finished, going along its route
    "flow_margin_h",  # due − when it would be finished at the recent flow factor
)


def features(asked: Asked, shop: Shop) -> tuple[float, ...]:
    """The row in the order of FEATURES, hours where a name ends in ``_h``.

    Raises ValueError when the order has no step, a step takes no time, or a work centre of its route is not told.
    """
    states = _states(asked, shop)
    work = sum(step.minutes for step in asked.steps)
    ahead = [_ahead(state, asked.due) for state in states]
    coming = [_before(state.coming, asked.due) for state in states]
    behind = [sum(one.minutes for one in state.queue if one.due > asked.due) for state in states]
    set_ups = [_set_up(step, state) for step, state in zip(asked.steps, states, strict=True)]
    oees = [state.oee for state in states]
    wait = max(0.0, asked.material)
    start = max(wait, _free(states[0], asked.due)) + set_ups[0]
    minutes = (
        ("slack_h", asked.due - work),
        ("work_h", work),
        ("material_wait_h", wait),
        ("ahead_first_h", ahead[0]),
        ("ahead_sum_h", sum(ahead)),
        ("ahead_max_h", max(ahead)),
        ("coming_sum_h", sum(coming)),
        ("behind_sum_h", sum(behind)),
        ("down_h", max(state.down for state in states)),
        ("set_up_h", sum(set_ups)),
        ("start_margin_h", asked.planned_start - start),
        ("finish_margin_h", asked.due - _finish(asked, states, set_ups, wait)),
        ("flow_margin_h", asked.due - wait - work * shop.flow_factor),
    )
    found = {name: value / 60 for name, value in minutes}
    found |= {
        "critical_ratio": asked.due / work,
        "steps": float(len(asked.steps)),
        "oee_mean": sum(oees) / len(oees),
        "oee_least": min(oees),
        "flow_factor": shop.flow_factor,
        "late_share": shop.late_share,
    }
    return tuple(found[name] for name in FEATURES)


def _states(asked: Asked, shop: Shop) -> list[WorkCentreState]:
    if not asked.steps:
        raise ValueError("the order has no operation; give its route")
    for step in asked.steps:
        if not (isfinite(step.minutes) and step.minutes > 0):
            raise ValueError(f"an operation on {step.work_center} takes {step.minutes} minutes; give its planned time")
        if step.work_center not in shop.work_centers:
            raise ValueError(f"nothing is told about work centre {step.work_center}; tell what waits there")
    return [shop.work_centers[step.work_center] for step in asked.steps]


def _before(waiting: Sequence[Waiting], due: float) -> float:
    return sum(one.minutes for one in waiting if one.due <= due)


def _ahead(state: WorkCentreState, due: float) -> float:
    return state.busy + state.down + _before(state.queue, due)


def _free(state: WorkCentreState, due: float, arrived: float = 0.0) -> float:
    """When it has done what goes before, at its effectiveness."""
    return state.busy + state.down + (_before(state.queue, due) + arrived) / max(state.oee, LEAST_OEE)


def _set_up(step: Step, state: WorkCentreState) -> float:
    return state.set_up if step.family and step.family != state.family else 0.0


def _finish(asked: Asked, states: Sequence[WorkCentreState], set_ups: Sequence[float], wait: float) -> float:
    """Minutes until the order should be finished: at each work centre it waits for what is due earlier and is there.

    What waits there now has been worked on meanwhile; what is coming counts when its own work lets it arrive before.
    """
    at = wait
    for step, state, set_up in zip(asked.steps, states, set_ups, strict=True):
        arrived = sum(one.minutes for one in state.coming if one.due <= asked.due and one.after <= at)
        at = max(at, _free(state, asked.due, arrived)) + set_up + step.minutes / max(state.oee, LEAST_OEE)
    return at
