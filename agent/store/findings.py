"""Findings of reconciliation as the store has them: their events, the postings that put them right, who decided."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import apsw

from agent.ports import Event
from agent.store import decisions
from agent.store.approvals import SHOWN, shown
from agent.store.encode import from_us
from agent.store.transaction import Transaction

NAME: Final = "reconciliation:reconciliation/"  # and the id of a finding: the message key of its event
_BEHIND: Final = NAME[:-1] + chr(ord(NAME[-1]) + 1)  # the first key that is none
_EVENTS: Final = (
    "SELECT i.message_key, e.id, e.source, e.topic, e.payload, e.received_us, e.properties, e.state FROM identity i "
    "JOIN event e ON e.id = i.event_id WHERE i.message_key >= ? AND i.message_key < ?"
)
_VERSIONS: Final = (  # of an event and its postings: as long as they are the same, so is what became of the finding
    "e.state || coalesce((SELECT group_concat(p.id || '/' || p.version) FROM posting p WHERE p.event_id = e.id), '')"
)
PUT_RIGHT: Final = "put_right"  # action of the trail: what was only advised was done by somebody else
_ACT: Final = "SELECT actor, action, at_us, detail FROM audit WHERE"
_DONE: Final = f"action = '{PUT_RIGHT}'"
_OPEN: Final = (
    f"SELECT e.id, {_VERSIONS} FROM identity i JOIN event e ON e.id = i.event_id "  # noqa: S608  # own text
    "WHERE i.message_key >= ? AND i.message_key < ? AND (e.state = 'undecided' OR e.state = 'advised' "
    f"AND NOT EXISTS (SELECT 1 FROM audit a WHERE a.event_id = e.id AND a.{_DONE}) OR EXISTS (SELECT 1 FROM posting p "
    "WHERE p.event_id = e.id AND p.state NOT IN ('acknowledged', 'simulated', 'refused', 'superseded'))) ORDER BY e.id"
)
_OF_EVENT: Final = f"{_ACT} event_id = ? AND {_DONE} LIMIT 1"
_PEOPLE: Final = (
    f"{_ACT} posting_id = ? "
    "AND action IN ('approved', 'refused', 'corrected', 'signed', 'withdrawn') ORDER BY seq DESC LIMIT 1"
)


class Finding(NamedTuple):
    """One of them. `postings` as people read them; `decided` is who did, what, when and why.

    `advice` is what would be posted (kind, value and payload of each), where the workflow only advises.
    """

    id: str
    event: Event
    state: str  # of the event
    postings: list[dict[str, Any]]
    decided: dict[str, str] | None
    advice: tuple[dict[str, Any], ...] = ()


def put_right(tx: Transaction, event: int, why: str) -> None:
    """What was only advised by this event has been done by others: it is no longer open."""
    if tx.execute("SELECT 1 FROM event WHERE id = ? AND state = 'advised'", (event,)).fetchone():
        tx.audit(PUT_RIGHT, {"why": why}, event_id=event)


def newest(connection: apsw.Connection, limit: int, before: int) -> list[Finding]:
    """Those of events below `before`, the newest first. What has left the live file is not among them."""
    rows: Any = connection.execute(f"{_EVENTS} AND e.id < ? ORDER BY e.id DESC LIMIT ?", (NAME, _BEHIND, before, limit))
    return [_finding(connection, row) for row in rows]


def open_events(connection: apsw.Connection) -> list[tuple[int, str]]:
    """The events of findings of which something is still to come, oldest first, each with the versions of it all."""
    rows: Any = connection.execute(_OPEN, (NAME, _BEHIND)).fetchall()
    return [(id, versions) for id, versions in rows]


def of_event(connection: apsw.Connection, event: int) -> Finding | None:
    """The finding that this event is."""
    row: Any = connection.execute(f"{_EVENTS} AND e.id = ?", (NAME, _BEHIND, event)).fetchone()
    return _finding(connection, row) if row else None


def postings_of(connection: apsw.Connection, event: int) -> list[dict[str, Any]]:
    """What an event became, as people read it."""
    sql = f"SELECT {SHOWN} FROM posting WHERE event_id = ? ORDER BY id"  # noqa: S608  # own columns
    return [shown(one) for one in connection.execute(sql, (event,))]


def _finding(connection: apsw.Connection, row: Any) -> Finding:
    key, id, source, topic, payload, received, properties, state = row
    event = Event(id, source, topic, payload, from_us(received), json.loads(properties) if properties else {})
    postings = postings_of(connection, id)
    asked = [(_PEOPLE, one["id"]) for one in postings] + ([(_OF_EVENT, id)] if state == "advised" else [])
    acts = [act for sql, about in asked if (act := _act(connection, sql, about)) is not None]
    decided = max(acts, key=lambda one: one["at"], default=None)
    return Finding(key.removeprefix(NAME), event, state, postings, decided, _advice(connection, id, state))


def _advice(connection: apsw.Connection, event: int, state: str) -> tuple[dict[str, Any], ...]:
    decision = decisions.of_event(connection, event) if state == "advised" else None
    return tuple(decision.detail.get("would_post", ())) if decision is not None else ()


def _act(connection: apsw.Connection, sql: str, about: int) -> dict[str, str] | None:
    row: Any = connection.execute(sql, (about,)).fetchone()
    if row is None:
        return None
    actor, action, at, detail = row
    told = json.loads(detail)
    reason = str(told.get("reason") or told.get("why", ""))
    return {"by": actor, "did": action, "at": from_us(at).isoformat(), "reason": reason}
