"""SAP's spelling of dates, times, numbers, keys and URL literals (OData V2), both ways and without a loss."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final
from urllib.parse import quote

_EPOCH: Final = date(1970, 1, 1)
_EPOCH_MOMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TWO_DIGITS: Final = tuple(f"{number:02d}" for number in range(60))
_TICKS: Final = re.compile(r"/Date\((-?\d{1,17})(?:[+-]\d{1,4})?\)/")
_STAMP: Final = re.compile(r"\d{14}")
_KEY_SPACE: Final = uuid.UUID("6f1c1f0e-5b0f-5d0a-9d5e-3a3c7a2b9e41")  # fixed for ever: documents are found by it


def sap_date(day: date | str) -> str:
    """``/Date(ms)/`` at UTC midnight of the plant's calendar day; a text is ``YYYY-MM-DD``. Raises ValueError."""
    if isinstance(day, str):
        day = date.fromisoformat(day)
    return f"/Date({(day - _EPOCH).days * 86_400_000})/"


def read_date(value: str) -> date:
    """The calendar day of ``/Date(ms)/`` or an ISO date or time. Raises ValueError."""
    ticks = _TICKS.fullmatch(value)
    if ticks is None:
        return date.fromisoformat(value[:10])
    return (_EPOCH_MOMENT + timedelta(milliseconds=int(ticks[1]))).date()


def sap_time(moment: datetime) -> str:
    """``PT13H05M09S`` (Edm.Time) of a moment that is already in the plant's time zone."""
    return f"PT{_TWO_DIGITS[moment.hour]}H{_TWO_DIGITS[moment.minute]}M{_TWO_DIGITS[moment.second]}S"


def read_stamp(value: str) -> datetime | None:
    """The UTC moment of a LastChangeDateTime (``YYYYMMDDhhmmss``), None where SAP has left it initial."""
    if not _STAMP.fullmatch(value) or not value.strip("0"):
        return None
    return datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=UTC)


_STEPS = tuple(Decimal(1).scaleb(-decimals) for decimals in range(15))  # Edm.Decimal(31,14) has the most
_WRITTEN = tuple(  # by decimals: what is already as SAP writes it, which is nearly every quantity
    re.compile(r"(?:0|[1-9][0-9]{0,9})" + (rf"\.[0-9]{{{decimals}}}" if decimals else ""))
    for decimals in range(len(_STEPS))
)


def sap_decimal(value: str | Decimal, decimals: int = 3) -> str:
    """Edm.Decimal in JSON: a string, never an exponent, exactly `decimals` places. Raises ValueError on any loss."""
    if type(value) is str and _WRITTEN[decimals].fullmatch(value):
        return value
    try:
        number = Decimal(value)
    except (InvalidOperation, TypeError):
        raise ValueError(f"{value!r} is not a decimal number") from None
    if not number.is_finite() or number.adjusted() > 30:
        raise ValueError(f"{value!r} is not a finite quantity")
    try:
        exact = number.quantize(_STEPS[decimals])
    except InvalidOperation:
        raise ValueError(f"{value!r} has too many digits") from None
    if exact != number:
        raise ValueError(f"{number:f} has more than {decimals} decimals")
    return f"{exact:f}"


def read_decimal(value: object) -> Decimal:
    """A quantity of an SAP answer; the initial value ``""`` is 0. Raises ValueError."""
    try:
        number = Decimal(str(value or "0"))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a decimal number") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return number


@lru_cache(1024)
def key_guid(idempotency_key: str) -> str:
    """The Edm.Guid that stands for an idempotency key: UUID version 5 in a namespace that never changes."""
    return str(uuid.uuid5(_KEY_SPACE, idempotency_key))


def unpadded(number: str) -> str:
    """A number as people read it: SAP stores ``000001000123`` and shows ``1000123``; texts stay as they are."""
    return (number.lstrip("0") or "0") if number.isdigit() else number


def padded(number: str, width: int) -> str:
    """A NUMC field with its leading zeros: operation ``10`` is ``0010``; texts stay as they are."""
    return number.zfill(width) if number.isdigit() else number


def string_literal(value: str) -> str:
    """``'O''Brien'``: a string in a URL, quotes doubled; not yet percent-encoded."""
    return "'" + value.replace("'", "''") + "'"


def date_literal(day: str) -> str:
    """``datetime'2026-11-20T00:00:00'``. Raises ValueError."""
    return f"datetime'{date.fromisoformat(day).isoformat()}T00:00:00'"


def guid_literal(guid: str) -> str:
    """``guid'7c9e6679-…'``."""
    return f"guid'{guid}'"


def decimal_literal(value: str | Decimal, decimals: int = 3) -> str:
    """``10.000M``. Raises ValueError on any loss."""
    return f"{sap_decimal(value, decimals)}M"


def query(**options: str) -> str:
    """A query string of OData system options, percent-encoded: ``query(filter="A eq 'x'", top="3")``."""
    return "&".join(f"${name}={quote(value, safe=_SAFE)}" for name, value in options.items())


def parameters(values: dict[str, str]) -> str:
    """The literals of a function import as a percent-encoded query string."""
    return "&".join(f"{name}={quote(value, safe=_SAFE)}" for name, value in values.items())


_SAFE: Final = "',()/:"
