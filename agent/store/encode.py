"""The one way into JSON columns and time columns: refuses what SQLite or a reader would silently change."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import to_json  # five times as fast as json

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def encode(value: Any) -> str:
    """JSON text; a Decimal becomes its exact text, as do bytes in UTF-8, times in ISO 8601 and sets in any order.

    Raises ValueError for a float that is no number, lone surrogates, and types that have no text of their own.
    """
    text = to_json(value, inf_nan_mode="constants").decode()
    if "NaN" in text or "Infinity" in text:  # as a word, or as a number that SQLite would turn into NULL
        json.loads(text, parse_constant=_refuse)
    return text


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} cannot be kept: it is no number")


def readable(text: bytes) -> dict[str, Any]:
    """The object in a JSON column that was read as bytes; empty where damage on disk left none."""
    try:
        found = json.loads(text)
    except ValueError:  # neither JSON nor UTF-8 any more
        return {}
    return found if isinstance(found, dict) else {}


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC of an aware datetime; a naive one raises TypeError."""
    return (moment - EPOCH) // MICROSECOND


def from_us(microseconds: int) -> datetime:
    """The aware UTC datetime of a time column."""
    return EPOCH + timedelta(microseconds=microseconds)
