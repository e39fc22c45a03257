"""A sender numbers its messages: the numbers are followed, and what is missing between two is told. Pure."""

from __future__ import annotations

from typing import Any

from agent.isa95 import SegmentResponse


def follow(states: dict[str, Any], key: str | None, report: SegmentResponse, event: int) -> dict[str, Any] | None:
    """Move the sender's number, which `states` keeps under `key`; returns first and last missing number of a gap."""
    number = report.sequence
    if key is None or number is None:
        return None
    seen = states.get(key, {})
    last = seen.get("last")
    if event < seen.get("event", 0):  # read again out of quarantine: it was counted when it arrived
        return None
    if last is None or number == last + 1:
        states[key] = {"last": number, "event": event}
        return None
    if number > last + 1:
        states[key] = {"last": number, "event": event}
        return {"sender": report.sender, "first_missing": last + 1, "last_missing": number - 1}
    if number <= 1 < last:
        states[key] = {"last": number, "event": event}  # the sender began anew
    return None
