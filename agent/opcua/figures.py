"""The agent's state as values of its OPC UA variables: the same figures that /v1/status and /metrics show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from agent import __version__
from agent.app import Agent
from agent.opcua.nodes import STATES, Parts
from agent.store import lists

Value: TypeAlias = bool | int | float | str | datetime | None
WAITING = ("undecided", "ready", "sending", "in_doubt")  # what goes on by itself


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at the agent: which parts it has, and path → value. None: there is no such value yet."""

    parts: Parts
    values: Mapping[str, Value]


def look(agent: Agent) -> Seen:
    """Everything one second shows. Reads the store by running totals and indexes: call it from a thread."""
    status = agent.status()
    last = agent.desk.look(lists.last_of_lines)
    return Seen(parts_of(agent, last), {**_whole(status, agent.clock()), **_parts(agent, status), **_lines(last)})


def parts_of(agent: Agent, lines: Mapping[str, object]) -> Parts:
    """The names of its parts now; lines are those of the work centres and of every posting in the store."""
    known = {getattr(one, "line", "") for one in agent.rules.facts.facts() if one.kind == "work_center"}
    return Parts(
        [one.name for one in agent.sources],
        list(agent.dispatches),
        list(agent.config.workflows),
        sorted({*known, *lines} - {""}),
    )


def _whole(status: Mapping[str, Any], now: datetime) -> dict[str, Value]:
    events, postings = status["events"], status["postings"]
    since = [datetime.fromisoformat(at) for state, at in status["oldest"].items() if state in WAITING]
    trouble = status["store"]["trouble"]
    return {
        "Ready": bool(status["agent"]["ready"]) and not trouble,
        "WhyNotReady": str(status["agent"]["why_not"] or trouble or ""),
        "Version": __version__,
        "Backlog": events["undecided"] + sum(postings[state] for state in WAITING if state in postings),
        "OldestWaitingSeconds": max(0.0, round((now - min(since)).total_seconds(), 1)) if since else 0.0,
        "Held": postings["held"],
        "DeadLetters": postings["dead"],
        "Doubtful": postings["doubtful"],
        "Quarantined": events["quarantined"],
    }


def _parts(agent: Agent, status: Mapping[str, Any]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, one in status["sources"].items():
        found[f"Sources/{name}/Connected"] = bool(one.get("connected"))
        found[f"Sources/{name}/Since"] = _time(one.get("since"))
        found[f"Sources/{name}/LastDeliveryAt"] = _time(one.get("last_delivery_at"))
        found[f"Sources/{name}/Error"] = str(one.get("error") or "")
    for name, one in status["targets"].items():
        found[f"Targets/{name}/Available"] = not one["waiting"]
        found[f"Targets/{name}/Trouble"] = str(one["waiting"] or "")
        found[f"Targets/{name}/InTheAir"] = int(one["in_the_air"])
    counted = dict(agent.process.figures.decisions) if agent.process is not None else {}
    for workflow in agent.config.workflows:
        for name, state in STATES.items():
            found[f"Workflows/{workflow}/{name}"] = counted.get((workflow, state), 0)
    return found


def _lines(last: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    return {
        f"Lines/{line}/LastDecision/{name}": value
        for line, one in last.items()
        for name, value in (
            ("At", _time(one["created_at"])),
            ("Event", one["message"] or str(one["event"])),
            ("Posting", one["posting"]),
            ("State", one["state"]),
            ("Reason", one["error"] or "; ".join(map(str, one["reasons"]))),
        )
    }


def _time(written: object) -> datetime | None:
    """A source tells times as it likes: aware, or in ISO 8601."""
    if isinstance(written, str):
        return datetime.fromisoformat(written)
    return written if isinstance(written, datetime) else None
