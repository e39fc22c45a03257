"""When the disk will be full and when the backlog will be drained, from what the last hour was like.

A store that is younger than an hour is judged by its whole life, and by a minute at least. When the disk will be full
is not said of it: what little it holds is mostly what every store starts with, and days are not told from minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import apsw

from agent.store import balance
from agent.store.encode import to_us

HOUR_US, MINUTE_US = 3_600_000_000, 60_000_000
NEWEST = 20_000  # rows that are looked at: the newest, so that it costs the same with any number


@dataclass(frozen=True, slots=True)
class Forecast:
    """Rates per second over the last hour, or the store's life; None where nothing moves or nothing can be told."""

    events_per_s: float
    documents_per_s: float
    disk_full_in_s: float | None  # until only the reserve is left, if nothing is archived before
    drained_in_s: float | None  # 0: nothing waits; None: the backlog does not shrink
    young: bool  # less than an hour of history: when the disk will be full is not known yet


def forecast(connection: apsw.Connection, now: datetime, *, used: int, free: int) -> Forecast:
    """What is to come. `used` is the size of the store and `free` what it may still take, in bytes."""
    at = to_us(now)
    life = _life(connection, at)
    window = min(HOUR_US, max(MINUTE_US, life))
    events = _rate(connection, "SELECT received_us FROM event ORDER BY id DESC", "1", at, window)
    booked = "action IN ('acknowledged', 'simulated')"
    documents = _rate(connection, "SELECT at_us, action FROM audit ORDER BY seq DESC", booked, at, window)
    received, made = balance.running(connection)
    undecided = received.by_state["undecided"]
    waiting = undecided + sum(made.by_state[one] for one in ("ready", "sending", "in_doubt"))
    shrinking = documents - events if undecided else documents
    young = life < HOUR_US
    grows = 0.0 if young else events * _bytes_per_event(connection, used)
    return Forecast(
        events,
        documents,
        free / grows if grows else None,
        0.0 if not waiting else waiting / shrinking if shrinking > 0 else None,
        young,
    )


def _life(connection: apsw.Connection, now: int) -> int:
    """How far back the store can tell; what was archived before its first row is older anyway."""
    row: Any = connection.execute("SELECT at_us FROM audit ORDER BY seq LIMIT 1").fetchone()
    return now - int(row[0]) if row else 0


def _rate(connection: apsw.Connection, newest: str, which: str, now: int, window: int) -> float:
    """Rows per second of the window, by the newest rows; `which` of them count."""
    rows = list(connection.execute(f"SELECT *, {which} FROM ({newest} LIMIT {NEWEST})"))  # noqa: S608
    young = [row for row in rows if row[0] > now - window]
    whole = len(young) < NEWEST  # else the window ends with the rows that were looked at
    seconds = (window if whole else max(1, now - young[-1][0])) / 1e6
    return float(sum(row[-1] for row in young) / seconds)


def _bytes_per_event(connection: apsw.Connection, used: int) -> float:
    """What one event takes with everything that follows from it."""
    first, last = next(iter(connection.execute("SELECT (SELECT min(id) FROM event), (SELECT max(id) FROM event)")))
    return used / (last - first + 1) if last else 0.0
