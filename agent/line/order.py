"""What a line is sent: one operation of one order, checked and frozen before the first byte leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from agent.ports import Posting

FIELDS: Final = ("order", "operation", "work_center", "material", "quantity", "unit", "due", "sequence", "text")
SENT: Final = ("id", "at", *FIELDS)  # what may be named by nodes and arguments
LONGEST_TEXT: Final = 200
_PLACE: Final = re.compile(r"[^\s+#/{}\0]{1,40}")  # it stands in topics and in addresses
_UNIT: Final = re.compile(r"[A-Z0-9]{2,3}")  # UN/ECE Recommendation 20


def refusals(payload: Mapping[str, Any]) -> list[str]:
    """What is wrong with the payload of a dispatch; empty: nothing. Pure."""
    found = [f"{name} is missing" for name in ("order", "material") if not payload.get(name)]
    if not _PLACE.fullmatch(str(payload.get("work_center", ""))):
        found.append(f"work_center {payload.get('work_center')!r} cannot stand in a topic or an address")
    if not _UNIT.fullmatch(str(payload.get("unit", ""))):
        found.append(f"unit {payload.get('unit')!r} is no code of UN/ECE Recommendation 20")
    if not _is_quantity(payload.get("quantity")):
        found.append(f"quantity {payload.get('quantity')!r} is no number above 0")
    if (due := payload.get("due")) and not _is_moment(due):
        found.append(f"due {due!r} is no time with its offset, as 2026-11-20T14:00:00+00:00")
    text = str(payload.get("text") or "")
    if len(text) > LONGEST_TEXT:
        found.append(f"text has {len(text)} characters, at most {LONGEST_TEXT} are sent: {text[:40]!r}…")
    return found


def frozen(posting: Posting) -> bytes:
    """The message, the same at every retry: by its `id` the line knows a repetition. Pure."""
    told = {"id": posting.idempotency_key, "at": posting.created_at.isoformat()}
    told |= {name: str(posting.payload[name]) for name in FIELDS if posting.payload.get(name) not in (None, "")}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def thawed(wire: bytes) -> dict[str, str]:
    """Field → text, as it was frozen."""
    found: dict[str, str] = json.loads(wire)
    return found


def _is_quantity(value: object) -> bool:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return False
    return number.is_finite() and number > 0


def _is_moment(value: object) -> bool:
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False
