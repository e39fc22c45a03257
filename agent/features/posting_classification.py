"""Features of a goods movement for the model that looks over the account table: what the material is by itself.

Pure, the same in training and in serving. The valuation class, by which the table decides, is not among them: a
material that was given a wrong one is what shall be noticed.
"""

from __future__ import annotations

from decimal import Decimal
from math import log10
from typing import Final

from agent.features.row import Value

SMALLEST: Final = Decimal("0.0001")  # a price or quantity below counts as this before its logarithm
NUMBERS: Final = ("log_price", "log_quantity", "log_value")
CATEGORIES: Final = ("movement", "cost_object", "material_type", "base_unit", "storage_location")
NAMES: Final = (*NUMBERS, *CATEGORIES)


def features(
    movement: str,
    cost_object: str,
    material_type: str,
    base_unit: str,
    storage_location: str,
    price: Decimal,
    quantity: Decimal,
) -> dict[str, Value]:
    """The named values; `price` is money per base unit, `quantity` in base units.

    Raises ValueError where price or quantity is negative or no number.
    """
    for name, value in (("price", price), ("quantity", quantity)):
        if not value.is_finite() or value < 0:
            raise ValueError(f"{name} {value} must be a number of at least 0; look at the material and the posting")
    return {
        "log_price": _log(price),
        "log_quantity": _log(quantity),
        "log_value": _log(price * quantity),
        "movement": movement,
        "cost_object": cost_object,
        "material_type": material_type,
        "base_unit": base_unit,
        "storage_location": storage_location,
    }


def _log(value: Decimal) -> float:
    return log10(max(value, SMALLEST))
