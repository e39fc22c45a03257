"""What people look at: lists of postings and events that need somebody, alarms, the state of the whole."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import apsw

from agent.errors import NotFound
from agent.store import balance, groups
from agent.store.approvals import SHOWN, shown, with_group
from agent.store.became import became
from agent.store.encode import from_us
from agent.store.pauses import pauses

OPEN_STATES = ("held", "ready", "sending", "in_doubt", "doubtful", "dead")


# Named, because SQLite might walk the whole table in the order of ids. A partial index is only taken where its own
# condition is repeated. What was acknowledged is most of the table: there is no index of it, and no need for one.
NOT_ACKNOWLEDGED = "INDEXED BY posting_state WHERE state <> 'acknowledged' AND"
ON_LINES = "(?3 IS NULL OR line IN (SELECT value FROM json_each(?3)))"


def postings(
    connection: apsw.Connection, state: str, *, after: int = 0, limit: int = 100, lines: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Postings in one state, oldest first; those of `lines` only, where any are given."""
    if state not in balance.POSTING_STATES:
        raise NotFound(f"{state!r} is no state of a posting")
    return _listed(connection, _of(state), (after, limit, _json(lines)))


def to_decide(
    connection: apsw.Connection, *, after: int = 0, limit: int = 100, lines: Collection[str] = ()
) -> list[dict[str, Any]]:
    """What is held, oldest first, a group as one: what follows its first is decided with it."""
    which = f"{_of('held')} AND reasons <> '{groups.ONLY_FOLLOWS}'"
    return _listed(connection, which, (after, limit, _json(lines)))


def waiting(connection: apsw.Connection, *, lines: Collection[str] = ()) -> dict[str, int]:
    """How many entries the lists of what needs a person have: postings of `lines` only, where any are given.

    `to_decide` is what `to_decide` lists: what follows in a group is no entry of its own.
    """
    held, dead = connection.execute(
        f"SELECT count(*) FILTER (WHERE state = 'held' AND reasons <> '{groups.ONLY_FOLLOWS}'), "  # noqa: S608
        "count(*) FILTER (WHERE state IN ('dead', 'doubtful')) FROM posting INDEXED BY posting_state "
        f"WHERE state <> 'acknowledged' AND state IN ('held', 'dead', 'doubtful') AND {ON_LINES.replace('?3', '?1')}",
        (_json(lines),),
    ).get
    quarantined = 0 if lines else balance.running(connection)[0].by_state["quarantined"]  # it belongs to no line
    return {"to_decide": held, "dead": dead, "quarantined": quarantined}


def _listed(connection: apsw.Connection, which: str, given: tuple[int, int, str | None]) -> list[dict[str, Any]]:
    rows: list[Any] = connection.execute(
        f"SELECT {SHOWN} FROM posting {which} AND id > ?1 "  # noqa: S608
        f"AND {ON_LINES} ORDER BY id LIMIT ?2",  # own columns, a known state
        given,
    ).fetchall()
    return [with_group(connection, shown(row)) for row in rows]


def _of(state: str) -> str:
    """The condition that finds the postings of one state, and how."""
    return f"{'WHERE' if state == 'acknowledged' else NOT_ACKNOWLEDGED} state = '{state}'"


def _json(lines: Collection[str]) -> str | None:
    return json.dumps(sorted(lines)) if lines else None


def quarantined(connection: apsw.Connection, *, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    """Events that could not be read or were refused, with the raw payload beside the reason."""
    return [
        {
            "id": event, "source": source, "topic": topic, "reason": reason,
            "received_at": from_us(received).isoformat(), "payload": payload.decode("utf-8", "backslashreplace"),
        }
        for event, source, topic, reason, received, payload in connection.execute(
            "SELECT id, source, topic, reason, received_us, payload FROM event "
            "WHERE state = 'quarantined' AND id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
    ]  # fmt: skip


def quarantine_codes(connection: apsw.Connection) -> dict[str, int]:
    """Open quarantined events by the code of their reason; walks them, and nothing else."""
    return dict(
        connection.execute(
            "SELECT coalesce((SELECT json_extract(detail, '$.code') FROM audit WHERE event_id = event.id "
            "AND action = 'quarantined' ORDER BY seq DESC LIMIT 1), 'unknown'), count(*) "
            "FROM event WHERE state = 'quarantined' GROUP BY 1"
        )
    )


def recent_events(
    connection: apsw.Connection, *, after: int = 0, limit: int = 100, lines: Collection[str] = ()
) -> list[dict[str, Any]]:
    """What arrived behind event `after` and what it became, oldest first; without `after` the newest.

    With `lines` only what made postings of these lines.
    """
    where, ours = "id > ?1", []
    if lines:
        where, ours = (
            "id > ?1 AND id IN (SELECT value FROM json_each(?3))",
            [_events_of(connection, lines, after, limit)],
        )
    order = f"{where} ORDER BY id {'' if after else 'DESC'} LIMIT ?2"
    rows = [
        {
            "id": event, "source": source, "topic": topic, "state": state, "reason": reason, "message": key,
            "received_at": from_us(received).isoformat(),
        }
        for event, source, topic, state, reason, key, received in connection.execute(
            f"SELECT id, source, topic, state, reason, message_key, received_us FROM event WHERE {order}",  # noqa: S608
            (after, limit, *ours),
        )
    ]  # fmt: skip
    now = became(connection, [row["id"] for row in rows])
    rows = [{**row, "became": now.get(row["id"], row["state"])} for row in rows]
    return rows if after else rows[::-1]


def _events_of(connection: apsw.Connection, lines: Collection[str], after: int, limit: int) -> str:
    """As JSON the next events of each line behind `after`; without `after` its newest. Quiet lines cost no more."""
    sql = (
        "SELECT DISTINCT event_id FROM posting INDEXED BY posting_line WHERE line = ?1 AND event_id > ?2 "  # noqa: S608
        f"ORDER BY event_id {'' if after else 'DESC'} LIMIT ?3"
    )
    return json.dumps([event for line in lines for (event,) in connection.execute(sql, (line, after, limit))])


def history(
    connection: apsw.Connection, *, after: int = 0, limit: int = 100, alarms_only: bool = False
) -> list[dict[str, Any]]:
    """Audit rows behind `after`, oldest first; without `after` the newest."""
    which = "AND alarm = 1" if alarms_only else ""
    order = "seq > ? {} ORDER BY seq LIMIT ?" if after else "seq > ? {} ORDER BY seq DESC LIMIT ?"
    rows = [
        {
            "seq": seq, "at": from_us(at).isoformat(), "actor": actor, "action": action, "event": event,
            "posting": posting, "alarm": bool(alarm), "detail": json.loads(detail),
        }
        for seq, at, actor, action, event, posting, alarm, detail in connection.execute(
            f"SELECT seq, at_us, actor, action, event_id, posting_id, alarm, detail FROM audit "  # noqa: S608
            f"WHERE {order.format(which)}",
            (after, limit),
        )
    ]  # fmt: skip
    return rows if after else rows[::-1]


def oldest(connection: apsw.Connection) -> dict[str, int | None]:
    """When the oldest undecided event arrived and the oldest open posting of each state was made, in microseconds."""
    found: dict[str, int | None] = {
        "undecided": _first(connection, "SELECT received_us FROM event WHERE state = 'undecided' ORDER BY id LIMIT 1")
    }
    for state in ("held", "sending", "in_doubt", "doubtful", "dead"):
        found[state] = _first(
            connection,
            f"SELECT created_us FROM posting WHERE id = (SELECT min(id) FROM posting {_of(state)})",  # noqa: S608
        )
    found["ready"] = _first(
        connection,
        "SELECT created_us FROM posting "
        "WHERE id = (SELECT head FROM lane WHERE state = 'ready' ORDER BY head_seq LIMIT 1)",
    )
    return found


def last_of_lines(connection: apsw.Connection, most: int = 500) -> dict[str, dict[str, Any]]:
    """Line → its last posting, with the message it came from. Jumps from line to line, whatever the number of rows."""
    rows = connection.execute(
        "WITH RECURSIVE known (line) AS (SELECT min(line) FROM posting INDEXED BY posting_line UNION ALL "
        "SELECT (SELECT min(line) FROM posting INDEXED BY posting_line WHERE line > known.line) FROM known "
        "WHERE known.line IS NOT NULL) "
        "SELECT posting.line, posting.id, posting.event_id, event.message_key, posting.state, posting.created_us, "
        "posting.reasons, posting.error FROM known JOIN posting ON posting.id = (SELECT id FROM posting "
        "INDEXED BY posting_line WHERE line = known.line ORDER BY event_id DESC, id DESC LIMIT 1) "
        "LEFT JOIN event ON event.id = posting.event_id WHERE known.line IS NOT NULL LIMIT ?",
        (most,),
    )
    return {
        line: {
            "posting": posting, "event": event, "message": key, "state": state,
            "created_at": from_us(created).isoformat(), "reasons": json.loads(reasons), "error": error,
        }
        for line, posting, event, key, state, created, reasons, error in rows
    }  # fmt: skip


def blocked_lanes(connection: apsw.Connection, limit: int = 100) -> list[dict[str, Any]]:
    """Ordering keys that wait behind a dead or doubtful posting."""
    return [
        {"target": target, "ordering_key": key, "posting": head, "line": line}
        for target, key, head, line in connection.execute(
            "SELECT target, ordering_key, head, line FROM lane WHERE state = 'blocked' ORDER BY head_seq LIMIT ?",
            (limit,),
        )
    ]


def overview(connection: apsw.Connection) -> dict[str, Any]:
    """The state of the whole, by running totals: cheap with any number of rows."""
    events, made = balance.running(connection)
    ages = {state: from_us(at).isoformat() for state, at in oldest(connection).items() if at is not None}
    return {
        "events": {"received": events.total, **events.by_state},
        "postings": {"created": made.total, **made.by_state},
        "balance": {"events": events.difference, "postings": made.difference},
        "oldest": ages,
        "blocked_lanes": blocked_lanes(connection),
        "paused": pauses(connection),
    }


def _first(connection: apsw.Connection, sql: str) -> int | None:
    row = connection.execute(sql).fetchone()
    return row[0] if row else None
