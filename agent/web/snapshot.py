"""The agent as Prometheus sees it: running totals, figures that the loops keep, and a few cheap reads of the store."""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import apsw

from agent import __version__, logs
from agent.app import Agent
from agent.judging.rules import Rules
from agent.metrics import Snapshot
from agent.selfcheck import clock_synchronised
from agent.store import balance, lists
from agent.store.encode import to_us


def snapshot(agent: Agent) -> Snapshot:
    """Everything one scrape shows. Reads the store: call it from a thread."""
    store = agent.config.store.path
    disk = shutil.disk_usage(store.parent)
    stored = agent.desk.look(lambda connection: _stored(connection, to_us(agent.clock())))
    figures = agent.writer.figures
    wal = store.with_name(store.name + "-wal")
    return Snapshot(
        **stored,
        **_counted(agent),
        source_connected={one.name: float(bool(one.status().get("connected"))) for one in agent.sources},
        face_connected={name: float(bool(status()["connected"])) for name, status in list(agent.faces.items())},
        target_open={name: float(not one.availability.trouble) for name, one in agent.dispatches.items()},
        store_commit=figures.commit_times,
        store_commit_errors_total=dict(figures.errors),
        store_wal_bytes=wal.stat().st_size if wal.exists() else 0,
        store_free_bytes=disk.free,
        store_capacity_bytes=disk.total,
        store_damaged=bool(agent.health.damage),
        audit_chain_ok=agent.health.chain_ok,
        clock_step_total=agent.health.clock_steps,
        clock_unsynchronised=_unsynchronised(),
        progress=_progress(agent),
        log_lines_dropped_total=_dropped(),
        version=__version__,
    )


def _stored(connection: apsw.Connection, now_us: int) -> dict[str, Any]:
    """What the file says."""
    events, postings = balance.running(connection)
    ages = {state: max(0.0, (now_us - at) / 1e6) for state, at in lists.oldest(connection).items() if at is not None}
    blocked = connection.execute("SELECT count(*) FROM lane WHERE state = 'blocked'").fetchone()
    return {
        "events_undecided": events.by_state["undecided"],
        "event_oldest_age": ages.pop("undecided", 0.0),
        "quarantined": lists.quarantine_codes(connection) if events.by_state["quarantined"] else {},
        "held": postings.by_state["held"],
        "postings": postings.by_state,
        "posting_oldest_age": ages,
        "lanes_blocked": blocked[0] if blocked else 0,
        "balance_difference": {"events": events.difference, "postings": postings.difference},
    }


def _counted(agent: Agent) -> dict[str, Any]:
    """What the loops counted since the start."""
    intake, process = agent.intake, agent.process
    if intake is None or process is None:
        return {}
    seen = process.figures
    events = {(source, "stored"): float(n) for source, n in dict(intake.stored).items()}
    events |= {(source, state): float(n) for (source, state), n in dict(seen.events).items() if state in KEPT_BACK}
    return {
        "shortages": agent.shortages.likely,
        "model_fits": {name: float(not one.unfit) for name, one in process.rules.models.items()},
        "model_drift": _drift(agent, process.rules),
        "events_total": events,
        "decisions_total": dict(seen.decisions),
        "model_score": dict(seen.scores),
        "source_session_lost_total": _by_source(intake.notices, "session_lost"),
        "source_gap_total": Counter(seen.gaps) + Counter(_by_source(intake.notices, "sequence_gap")),
        "postings_total": {
            (name, *key): float(n)
            for name, one in agent.dispatches.items()
            for key, n in dict(one.figures.outcomes).items()
        },
        "erp_request": {
            (name, *key): times
            for name, one in agent.dispatches.items()
            for key, times in dict(one.figures.requests).items()
        },
    }


def _drift(agent: Agent, rules: Rules) -> dict[str, float]:
    """Of the models that workflows ask, and of the one that forecasts shortages, once it was asked."""
    asked = {name: one.name for name, one in rules.models.items()}
    if forecasts := agent.shortages.model:
        asked[forecasts.partition("/")[0]] = forecasts
    return {name: agent.doubt.severity(version) for name, version in asked.items()}


KEPT_BACK = ("duplicate", "quarantined")


def _by_source(notices: Mapping[tuple[str, str], int], action: str) -> dict[str, float]:
    return {source: float(n) for (source, what), n in dict(notices).items() if what == action}


def _progress(agent: Agent) -> dict[str, float]:
    """Loop → when it last finished a step, Unix time; a loop that has nothing to do is as fresh as now."""
    now, ticks = time.time(), time.monotonic()
    found = dict(agent.health.progress)
    for loop, since in (
        ("writer", agent.writer.figures.busy_since),
        ("process", agent.process.busy_since if agent.process else 0.0),
    ):
        found[loop] = now - (ticks - since) if since else now
    if agent.health.watched_at:
        found["watch"] = now - (ticks - agent.health.watched_at)
    for source in agent.sources:
        silent = source.status().get("loop_silent_s")
        if silent is not None:
            found[f"source {source.name}"] = now - silent
    return found


def _unsynchronised() -> bool:
    try:
        return not clock_synchronised()[0]
    except (OSError, AttributeError):  # not Linux, or a sandbox that hides the call: `selfcheck` says so
        return False


def _dropped() -> int:
    return sum(one.dropped for one in logging.getLogger().handlers if isinstance(one, logs.Sink))
