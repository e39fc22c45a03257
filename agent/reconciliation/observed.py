"""What is compared: what the floor used and made, what the ERP booked and has in its books, what lies there.

All quantities of a material are in the one unit that its stock is kept in. Times are UTC and aware.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple, TypeAlias


class Place(NamedTuple):
    """Where stock lies: a material, its storage location, and its batch where it is kept apart."""

    material: str
    storage_location: str = ""
    batch: str = ""

    def holds(self, other: Place) -> bool:
        """Whether what lies there lies here, too: a silo without a batch holds every batch of its material."""
        return self[:2] == other[:2] and self.batch in ("", other.batch)


class Used(NamedTuple):
    """A report of the floor: what a scale or a counter says that a lot took."""

    id: str
    at: datetime
    order: str
    place: Place
    quantity: Decimal
    expected: float = 0.0  # by the bill of material for the lot; 0: nothing to compare with
    lot: Decimal = Decimal(0)  # how much of the product was made of it
    work_center: str = ""
    first: bool = False  # of its order, of what had come by then: what setting up takes is in it


class Booked(NamedTuple):
    """What the ERP booked as used for an order; negative where it was taken back."""

    id: str
    at: datetime
    order: str
    place: Place
    quantity: Decimal
    corrects: str = ""  # id of the finding that it puts right
    takes_back: str = ""  # id of the booking that it takes back
    others: bool = False  # booked it, not this agent


class Corrected(NamedTuple):
    """What a person decided about a report: that it was this much, or (0) that nothing is to be booked of it."""

    use: Used  # as it was reported
    quantity: Decimal
    taken_back: bool = False  # its booking was, by hand: what is booked instead is right


class Made(NamedTuple):
    """What an order made, good and bad, as its counter or its confirmation says."""

    id: str
    at: datetime
    order: str
    quantity: Decimal


class Plan(NamedTuple):
    """What one unit of an order's product takes of each place."""

    order: str
    needs: tuple[tuple[Place, float], ...]


class Level(NamedTuple):
    """What lies at a place, by a silo's gauge, or as people counted it."""

    at: datetime
    place: Place
    quantity: float
    counted: bool = False


class InBooks(NamedTuple):
    """What the ERP says lies at a place."""

    at: datetime
    place: Place
    quantity: float


class Restated(NamedTuple):
    """A correction moved so much off the books of a place (below 0: to them), and nothing of what lies there."""

    at: datetime
    place: Place
    quantity: float
    counted: bool = False  # by a count, which leaves no doubt; else from or to another place


class Scrapped(NamedTuple):
    """A correction confirmed so much more of an order's product, as scrap that nobody had reported."""

    order: str
    quantity: Decimal  # in the unit of its lots
    corrects: str  # id of the finding


Observation: TypeAlias = Used | Booked | Corrected | Made | Plan | Level | InBooks | Restated | Scrapped


class Material(NamedTuple):
    """What must be known of a material. `confusions`: what a number may be meant in, and how much of `unit` that is."""

    unit: str  # as people know it
    step: Decimal  # of the ERP's precision
    confusions: Mapping[str, float] = MappingProxyType({})
    code: str = ""  # of the unit, UN/ECE Recommendation 20
