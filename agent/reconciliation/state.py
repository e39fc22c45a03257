"""What is kept between two looks: open orders, what is usual, how late things come, and the places with a gauge."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import BaseModel

from agent.detectors.balance import Change
from agent.reconciliation.account import Total
from agent.reconciliation.counting import Moved
from agent.reconciliation.lines import Line
from agent.reconciliation.observed import Place, Used
from agent.reconciliation.stock import Stock


class Lot(BaseModel):
    """The reports of one lot, as they come."""

    at: datetime
    uses: list[Used] = []


class Told(BaseModel):
    """A finding that a correction may put right; see `putright`."""

    material: str
    cause: str
    about: tuple[str, ...]
    misreported: bool
    expected: float
    signed: bool = False
    booked: Decimal = Decimal(0)  # for it
    excess: float = 0.0  # that its correction takes off again
    whole: float = 0.0  # of the booking that its correction takes back; 0: it takes none back
    by_hand: str = ""  # how it was put right without its correction, which is not to be signed any more


class Order(BaseModel):
    """One order under way."""

    needs: list[tuple[Place, float]] = []  # of one of the product
    lines: dict[str, Line] = {}  # material → what waits
    lots: dict[str, Lot] = {}
    unplanned: list[Used] = []
    totals: dict[str, Total] = {}  # material → what was expected, used and booked
    found: dict[str, str] = {}  # material → the cause of what was found
    told: dict[str, Told] = {}  # id of a finding → what putting it right changes
    said: dict[str, Decimal] = {}  # id of a report → how much of it counts, where a person decided that
    counts: bool = False  # whether anything says what it made
    seen: datetime

    def total(self, material: str) -> Total:
        """Of a component."""
        return self.totals.setdefault(material, Total())

    def line(self, material: str) -> Line:
        """Of a component, or of what was used instead."""
        return self.lines.setdefault(material, Line())

    @property
    def settled(self) -> bool:
        """Whether nothing waits."""
        return not self.lots and all(line.settled for line in self.lines.values())


class Waiting(NamedTuple):
    """A step at one place that may be half of a substitution."""

    place: Place
    change: Change
    found: datetime


class State(BaseModel):
    """All of it; changed by `step`."""

    orders: dict[str, Order] = {}
    streams: dict[str, Any] = {}  # see `usualuse`
    late: dict[str, tuple[int, float]] = {}  # see `lateness`
    stocks: list[tuple[Place, Stock]] = []
    steps: list[Waiting] = []
    moved: list[tuple[Place, Moved]] = []  # since each place was counted

    def written(self) -> bytes:
        """For the store."""
        return self.model_dump_json().encode()


def restored(kept: bytes | None) -> State:
    """The state that was written; a fresh one where there is none."""
    return State.model_validate_json(kept) if kept else State()
