"""A ledger of goods movements of a small plant: what people booked, with the mistakes that people make; seeded.

Each material has a type and with it a usual price, unit and place. Its valuation class follows from the type, but a few
materials were given another one, some of them another type as well: the table then decides wrongly, and that is what
the model shall notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import exp
from random import Random
from typing import Final

from agent.features.posting_classification import features
from agent.features.row import Value
from agent.masterdata.accounts import Accounts

MISBOOKED: Final = 0.01  # of what people booked
WRONG_CLASS: Final = 0.05  # of the materials
COPIED: Final = 0.5  # of these, created as a copy of another material: the type is wrong as well
MATERIALS: Final = 120


@dataclass(frozen=True, slots=True)
class Kind:
    """One material type: SAP's code, the valuation class that belongs to it, and what such materials are like."""

    code: str
    valuation_class: str
    unit: str
    places: tuple[str, ...]
    price: float  # in the middle, log-normal around it
    movements: tuple[tuple[str, str], ...]  # movement type and cost object


KINDS: Final = (
    Kind("ROH", "3000", "KG", ("RAW1", "LINE"), 4.0, (("261", "order"), ("551", "cost_center"))),
    Kind("HIBE", "3030", "L", ("MAINT",), 12.0, (("261", "order"), ("201", "cost_center"))),
    Kind("VERP", "3050", "PC", ("PACK", "LINE"), 0.4, (("261", "order"), ("551", "cost_center"))),
    Kind("HALB", "7900", "PC", ("WIP1", "LINE"), 3.0, (("261", "order"), ("101", "order"), ("551", "cost_center"))),
    Kind("FERT", "7920", "PC", ("FG01",), 25.0, (("101", "order"), ("551", "cost_center"))),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One posting: its features, the right account, what the table says and what was booked; None: no rule."""

    features: dict[str, Value]
    right: str
    table: str | None
    booked: str


def ledger(seed: int, accounts: Accounts, lines: int) -> Iterator[Line]:
    """So many postings, of materials that are drawn from the seed as well."""
    random = Random(f"ledger/{seed}")
    materials = []
    for _ in range(MATERIALS):
        kind = random.choice(KINDS)
        told = random.choice(KINDS) if random.random() < WRONG_CLASS else kind
        code = told.code if random.random() < COPIED else kind.code
        price = Decimal(f"{kind.price * exp(random.gauss(0, 0.6)):.2f}")
        materials.append((kind, told.valuation_class, code, price, random.choice(kind.places)))
    every = sorted({rule for kind in KINDS for pair in kind.movements if (rule := _account(accounts, kind, pair))})
    for _ in range(lines):
        kind, valued, code, price, place = random.choice(materials)
        movement, cost_object = random.choice(kind.movements)
        right = _account(accounts, kind, (movement, cost_object))
        found = accounts.find(movement, valued, cost_object)
        if right is None:
            raise ValueError(f"no rule for movement {movement} of {kind.code}; complete the table")
        yield Line(
            features(movement, cost_object, code, kind.unit, place, price, _quantity(kind, random)),
            right,
            found.account if found else None,
            random.choice(every) if random.random() < MISBOOKED else right,
        )


def _account(accounts: Accounts, kind: Kind, pair: tuple[str, str]) -> str | None:
    rule = accounts.find(pair[0], kind.valuation_class, pair[1])
    return rule.account if rule else None


def _quantity(kind: Kind, random: Random) -> Decimal:
    size = exp(random.gauss(3, 1))
    return Decimal(max(1, round(size))) if kind.unit == "PC" else Decimal(f"{size:.3f}")
