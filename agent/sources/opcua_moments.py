"""Many values of one message in the order in which they happened: one moment after the other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agent.tags.values import Change


def moments(changes: Sequence[Change]) -> list[list[Change]]:
    """Changes in the order of their time, parted where a tag changes again: each part is one moment.

    Those of one tag stay in the order in which the server told them.
    """
    if len(changes) == 1:
        return [list(changes)]
    latest: dict[str, datetime] = {}
    keyed: list[tuple[datetime, int, Change]] = []
    for change in changes:
        tag, at = change.tag, change.now.at
        if (before := latest.get(tag)) is not None and before > at:
            at = before
        latest[tag] = at
        keyed.append((at, len(keyed), change))
    if len(latest) == len(changes):
        return [list(changes)]
    parts: list[list[Change]] = [[]]
    seen: set[str] = set()
    for _, _, change in sorted(keyed, key=_place):
        if change.tag in seen:
            parts.append([])
            seen.clear()
        seen.add(change.tag)
        parts[-1].append(change)
    return parts


def _place(one: tuple[datetime, int, Change]) -> tuple[datetime, int]:
    return one[0], one[1]
