"""What a status, a notice or the log shows of many tags: the first ones, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SHOWN: Final = 20  # tags and troubles in a status or notice


def first(reasons: Mapping[str, str]) -> dict[str, str]:
    """As many as are shown."""
    return dict(sorted(reasons.items())[:SHOWN])


def listed(reasons: Mapping[str, str]) -> str:
    """For a line of the log."""
    return "; ".join(f"{tag}: {why}" for tag, why in first(reasons).items())
