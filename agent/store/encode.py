"""The one way into JSON columns and time columns: refuses what SQLite or a reader would silently change."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False)


def encode(value: Any) -> str:
    """JSON text. NaN, Decimal and other foreign types raise; a lone surrogate is refused by SQLite's UTF-8 encoder."""
    return _encoder.encode(value)


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
