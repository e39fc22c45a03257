"""One event's whole life: what arrived, what was decided and why, every try, who signed, and the document."""

from __future__ import annotations

import json
from typing import Any

import apsw

from agent.errors import NotFound
from agent.store.approvals import show
from agent.store.encode import from_us

LONGEST_ID = 19  # digits: a longer number may not fit into SQLite's 64 bits


def find_event(connection: apsw.Connection, name: str) -> tuple[int | None, int | None]:
    """The event and posting that `name` means: an event id, ``posting:ID``, a message id, a key or a document.

    Raises NotFound.
    """
    for sql, value in _ways(name):
        row = connection.execute(sql, (value,)).fetchone()
        if row is not None:
            return row[0], row[1]
    raise NotFound(
        f"nothing is known as {name!r}: give an event id, posting:ID, a message id, an idempotency key or a document"
    )


def _ways(name: str) -> list[tuple[str, Any]]:
    ways: list[tuple[str, Any]] = []
    number = name.removeprefix("posting:")
    if not (number.isdecimal() and len(number) < LONGEST_ID):
        number = ""
    if number and number != name:
        return [("SELECT event_id, id FROM posting WHERE id = ?", int(number))]
    if number:
        ways.append(("SELECT id, NULL FROM event WHERE id = ?", int(name)))
    ways += [
        ("SELECT event_id, NULL FROM identity WHERE message_key = ?", name),
        ("SELECT p.event_id, p.id FROM idempotency AS i JOIN posting AS p ON p.id = i.posting_id "
         "WHERE i.idempotency_key = ?", name.upper()),
        ("SELECT event_id, id FROM posting WHERE document IS NOT NULL AND document = ?", name),
    ]  # fmt: skip
    ways += [
        ("SELECT event_id, NULL FROM identity WHERE message_key = ?", f"{kind}:{name}")
        for kind in ("consumption", "confirmation")
    ]
    return ways


def trace(connection: apsw.Connection, name: str) -> dict[str, Any]:
    """Everything the store knows about one event, in the order in which it happened. Raises NotFound."""
    event_id, posting_id = find_event(connection, name)
    if event_id is None:
        ids = [posting_id]
    else:
        ids = [id for (id,) in connection.execute("SELECT id FROM posting WHERE event_id = ? ORDER BY id", (event_id,))]
    return {
        "event": _event(connection, event_id) if event_id is not None else None,
        "history": _history(connection, event_id, ids),
        "postings": [show(connection, one) for one in ids if one is not None],
    }


def _event(connection: apsw.Connection, event_id: int) -> dict[str, Any] | None:
    row = connection.execute(
        "SELECT id, source, topic, payload, properties, received_us, state, message_key, reason, settled_us "
        "FROM event WHERE id = ?",
        (event_id,),
    ).fetchone()
    if row is None:
        return {"id": event_id, "archived": True}
    payload = row[3]
    return {
        "id": row[0],
        "source": row[1],
        "topic": row[2],
        "payload": payload.decode("utf-8", "backslashreplace"),
        "properties": json.loads(row[4]) if row[4] else {},
        "received_at": from_us(row[5]).isoformat(),
        "state": row[6],
        "message": row[7],
        "reason": row[8],
        "settled_at": from_us(row[9]).isoformat() if row[9] else None,
    }


def _history(connection: apsw.Connection, event_id: int | None, postings: list[int | None]) -> list[dict[str, Any]]:
    found = {}
    for column, value in [("event_id", event_id), *(("posting_id", one) for one in postings)]:
        for row in connection.execute(
            f"SELECT seq, at_us, actor, action, posting_id, alarm, detail FROM audit WHERE {column} = ?",  # noqa: S608
            (value,),
        ):
            found[row[0]] = {
                "seq": row[0],
                "at": from_us(row[1]).isoformat(),
                "actor": row[2],
                "action": row[3],
                "posting": row[4],
                "alarm": bool(row[5]),
                "detail": json.loads(row[6]),
            }
    return [found[seq] for seq in sorted(found)]
