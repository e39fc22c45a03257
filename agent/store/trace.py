"""One event's whole life: what arrived, what was decided and why, every try, who signed, and the document."""

from __future__ import annotations

import json
from typing import Any

import apsw

from agent.store import reversals
from agent.store.approvals import show
from agent.store.became import became
from agent.store.encode import from_us
from agent.store.named import named


def trace(connection: apsw.Connection, name: str) -> dict[str, Any]:
    """Everything the store knows about one event, in the order in which it happened. Raises NotFound.

    `found_as` says what `name` was taken for, `also` what else it means and how to ask for that. `taken_back` has each
    reversal of one of the postings, and what those take back that are reversals themselves.
    """
    meaning, *others = named(connection, name)
    event_id, posting_id = meaning.event, meaning.posting
    if event_id is None:
        ids = [posting_id]
    else:
        ids = [id for (id,) in connection.execute("SELECT id FROM posting WHERE event_id = ? ORDER BY id", (event_id,))]
    postings = [show(connection, one) for one in ids if one is not None]
    return {
        "found_as": meaning.what,
        "also": [{"name": one.ask, "means": one.what} for one in others],
        "event": _event(connection, event_id) if event_id is not None else None,
        "history": _history(connection, event_id, ids),
        "postings": postings,
        "taken_back": list(reversals.of_postings(connection, postings)),
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
        "became": became(connection, [event_id]).get(event_id, row[6]),
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
