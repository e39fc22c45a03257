"""What goes over the wire: one MQTT message, and a report written as JSON with its exact decimals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """One PUBLISH of QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False


def encode(body: Mapping[str, Any]) -> bytes:
    """Write a flat report as UTF-8 JSON; a Decimal keeps every digit, which a float would not."""
    return ("{" + ",".join(f"{json.dumps(key)}:{_literal(value)}" for key, value in body.items()) + "}").encode()


def _literal(value: object) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)
