"""What became of the orders about which a model was asked: the label that nobody has to give.

An order has one: of the last time before it was begun that the model was asked about it as the ERP told it. Whether it
started and finished on time is seen from what the ERP tells of its operations, against the dates that it had then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

import apsw

from agent.errors import BadPayload
from agent.features.order_feasibility import CLASSES
from agent.masterdata.documents import from_document
from agent.masterdata.entities import Order
from agent.scoring.modelfiles import Manifest
from agent.store import masterdata
from agent.store.encode import to_us
from agent.store.labels import Label
from agent.store.scored import Scored
from agent.workflows.order_release import ONLY_ASKED

HOW: Final = "finished"  # how such a label came about, where those of people name an act
BY: Final = "erp"
LATE_FINISH, LATE_START, ON_TIME = CLASSES


def tells(manifest: Manifest) -> bool:
    """Whether a model tells what outcomes of orders are."""
    return sorted(manifest.classes) == sorted(CLASSES)


def labels(live: apsw.Connection, decided: Iterable[Scored]) -> list[Label]:
    """The labels among these decisions, which are in their order in time, in the same order.

    An order that is not finished has none, nor has one of which nobody tells when it was begun or due.
    """
    asked: dict[str, list[Scored]] = {}
    for one in decided:
        if one.order and ONLY_ASKED not in one.reasons:
            asked.setdefault(one.order, []).append(one)
    found = [label for number, each in asked.items() for label in _label(live, number, each)]
    return sorted(found, key=lambda one: one.scored.seq)


def _label(live: apsw.Connection, number: str, asked: list[Scored]) -> Iterator[Label]:
    versions = list(_versions(live, number))
    if not versions or (was := _was(versions[-1][1])) is None:
        return
    begun, ended = was
    for one in reversed(asked):
        then = next((order for known_us, order in reversed(versions) if known_us <= one.at_us), None)
        if then is None or then.status != "created" or one.at_us >= to_us(begun):
            continue
        if told := outcome(then, begun, ended):
            yield Label(one, told == one.likeliest, HOW, versions[-1][0], BY, "", told)
        return


def outcome(planned: Order, begun: datetime, ended: datetime) -> str:
    """The class of an order; a late finish says more than a late start. Empty where it had no due date."""
    if planned.due is None:
        return ""
    if ended > planned.due:
        return LATE_FINISH
    return LATE_START if planned.planned_start is not None and begun > planned.planned_start else ON_TIME


def _was(order: Order) -> tuple[datetime, datetime] | None:
    """When it was begun and finished; None while something of it is left, or where nobody tells."""
    starts = [one.started for one in order.operations if one.started is not None]
    ends = [one.finished for one in order.operations if one.finished is not None]
    return (min(starts), max(ends)) if starts and len(ends) == len(order.operations) else None


def _versions(live: apsw.Connection, number: str) -> Iterator[tuple[int, Order]]:
    """Since when it was known here, in microseconds, and the order; one that cannot be read any more is left out."""
    for known_us, document in masterdata.versions(live, Order.kind, number):
        try:
            order = from_document(Order.kind, document)
        except BadPayload:
            continue
        if isinstance(order, Order):
            yield known_us, order
