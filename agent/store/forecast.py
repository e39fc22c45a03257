"""When the disk will be full and when the backlog will be drained, from what the last hour was like."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import apsw

from agent.store import balance
from agent.store.encode import to_us

HOUR_US = 3_600_000_000
NEWEST = 20_000  # rows that are looked at: the newest, so that it costs the same with any number


@dataclass(frozen=True, slots=True)
class Forecast:
    """Rates per second over the last hour; None where nothing moves or nothing can be told."""

    events_per_s: float
    documents_per_s: float
    disk_full_in_s: float | None  # until only the reserve is left, if nothing is archived before
    drained_in_s: float | None  # 0: nothing waits; None: the backlog does not shrink


def forecast(connection: apsw.Connection, now: datetime, *, used: int, free: int) -> Forecast:
    """What is to come. `used` is the size of the store and `free` what it may still take, in bytes."""
    at = to_us(now)
    events = _rate(connection, "SELECT received_us FROM event ORDER BY id DESC", "1", at)
    documents = _rate(
        connection, "SELECT at_us, action FROM audit ORDER BY seq DESC", "action IN ('acknowledged', 'simulated')", at
    )
    received, made = balance.running(connection)
    undecided = received.by_state["undecided"]
    waiting = undecided + sum(made.by_state[one] for one in ("ready", "sending", "in_doubt"))
    shrinking = documents - events if undecided else documents
    grows = events * _bytes_per_event(connection, used)
    return Forecast(
        events,
        documents,
        free / grows if grows else None,
        0.0 if not waiting else waiting / shrinking if shrinking > 0 else None,
    )


def _rate(connection: apsw.Connection, newest: str, which: str, now: int) -> float:
    """Rows per second of the last hour, by the newest rows; `which` of them count."""
    rows = list(connection.execute(f"SELECT *, {which} FROM ({newest} LIMIT {NEWEST})"))  # noqa: S608
    young = [row for row in rows if row[0] > now - HOUR_US]
    whole = len(young) < NEWEST  # else the window ends with the rows that were looked at
    seconds = (HOUR_US if whole else max(1, now - young[-1][0])) / 1e6
    return float(sum(row[-1] for row in young) / seconds)


def _bytes_per_event(connection: apsw.Connection, used: int) -> float:
    """What one event takes with everything that follows from it."""
    first, last = next(iter(connection.execute("SELECT (SELECT min(id) FROM event), (SELECT max(id) FROM event)")))
    return used / (last - first + 1) if last else 0.0
