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
    since = to_us(now) - HOUR_US
    events = _rate(connection, "SELECT received_us AS at FROM event ORDER BY id DESC", since)
    documents = _rate(
        connection,
        "SELECT changed_us AS at FROM posting WHERE state IN ('acknowledged', 'simulated') ORDER BY id DESC",
        since,
    )
    received, made = balance.running(connection)
    waiting = received.by_state["undecided"] + sum(made.by_state[one] for one in ("ready", "sending", "in_doubt"))
    live: int = connection.execute("SELECT count(*) FROM (SELECT 1 FROM event LIMIT 200000)").fetchone()[0]  # type: ignore[index]
    per_event = used / live if live else 0.0
    shrinking = documents - events if received.by_state["undecided"] else documents
    return Forecast(
        events,
        documents,
        free / (events * per_event) if events and per_event else None,
        0.0 if not waiting else waiting / shrinking if shrinking > 0 else None,
    )


def _rate(connection: apsw.Connection, newest: str, since: int) -> float:
    """Rows per second among the newest that are younger than `since`."""
    count, first, last = connection.execute(
        f"SELECT count(*), min(at), max(at) FROM (SELECT at FROM ({newest} LIMIT {NEWEST}) WHERE at > ?)",  # noqa: S608
        (since,),
    ).fetchone()  # type: ignore[misc]
    if not count:
        return 0.0
    seconds = HOUR_US / 1e6 if count < NEWEST else max(1.0, (last - first) / 1e6)
    return float(count / seconds)
