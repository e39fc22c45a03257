"""What a name means that a person has at hand: an event, a posting, a message, a key, a document, an order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw

from agent.errors import NotFound
from agent.store import awaited, findings, reversals
from agent.store.approvals import SHOWN, shown, with_group

LONGEST_ID = 19  # digits: a longer number may not fit into SQLite's 64 bits
ORDER = "order:"
FINDING = re.compile("[0-9a-f]{6,20}")  # the first characters of its id


class Meaning(NamedTuple):
    """One thing that a name means; `ask` is a name that means this and nothing else."""

    what: str
    ask: str
    event: int | None
    posting: int | None


def named(connection: apsw.Connection, name: str) -> list[Meaning]:
    """Everything that `name` means, the likeliest first. Raises NotFound.

    ``event:NUMBER``, ``posting:NUMBER`` and ``finding:ID`` mean one thing only; a number alone is an event's before a
    posting's.
    """
    found = list(dict.fromkeys(_meanings(connection, name)))
    found = found or [*_in_quarantine(connection, name), *_parts_of_documents(connection, name)]
    if not found:
        raise NotFound(
            f"nothing is known as {name!r}: give an event's number, posting:NUMBER, a message id, the key or the "
            "number of a document, an order (order:NUMBER), or a finding (finding:ID)"
        )
    return found


def _meanings(connection: apsw.Connection, name: str) -> Iterator[Meaning]:
    sort, colon, rest = name.partition(":")
    if colon and sort == "finding":
        yield from _findings(connection, rest)
        return
    number = rest if colon and sort in ("event", "posting") else name
    if number.isdecimal() and number.isascii() and len(number) < LONGEST_ID:
        if sort != "posting":
            for (event,) in connection.execute("SELECT id FROM event WHERE id = ?", (int(number),)):
                yield Meaning(f"event {event}", f"event:{event}", event, None)
        if sort != "event":
            for event, posting in connection.execute("SELECT event_id, id FROM posting WHERE id = ?", (int(number),)):
                yield Meaning(f"posting {posting}", f"posting:{posting}", event, posting)
    if number != name:
        return
    for key in (name, *(f"{kind}:{name}" for kind in _kinds(connection))):
        for (event,) in connection.execute("SELECT event_id FROM identity WHERE message_key = ?", (key,)):
            yield Meaning(f"the message id of event {event}", key, event, None)
    rows: Any = connection.execute(
        "SELECT p.event_id, p.id FROM idempotency AS i JOIN posting AS p ON p.id = i.posting_id "
        "WHERE i.idempotency_key = ?",
        (name.upper(),),
    )
    for event, posting in rows:
        yield Meaning(f"the key of posting {posting}", f"posting:{posting}", event, posting)
    for event, posting in connection.execute(
        "SELECT event_id, id FROM posting WHERE document IS NOT NULL AND document = ?", (name,)
    ):
        yield Meaning(f"the document of posting {posting}", f"posting:{posting}", event, posting)
    yield from _findings(connection, name)


def _kinds(connection: apsw.Connection) -> Iterator[str]:
    """The kinds of report that were ever seen here: a message id alone is looked for under each.

    Every key begins with its kind and a colon, so the index is asked once for each kind, not for each key.
    """
    behind = ""
    while key := connection.execute("SELECT min(message_key) FROM identity WHERE message_key >= ?", (behind,)).get:
        kind = str(key).partition(":")[0]
        yield kind
        behind = kind + chr(ord(":") + 1)


def _findings(connection: apsw.Connection, id: str) -> Iterator[Meaning]:
    """Findings of reconciliation whose id begins so: sentences name the first eight characters of it."""
    if not FINDING.fullmatch(id):
        return
    first = findings.NAME + id
    for key, event in connection.execute(
        "SELECT message_key, event_id FROM identity WHERE message_key >= ? AND message_key < ? LIMIT 10",
        (first, first + "g"),
    ):
        whole = key.removeprefix(findings.NAME)
        yield Meaning(f"finding {whole[:8]} of reconciliation, event {event}", f"finding:{whole}", event, None)


def _in_quarantine(connection: apsw.Connection, name: str) -> Iterator[Meaning]:
    """A message that could not be read has no id yet: those that hold the name as a JSON string. The newest first."""
    rows = connection.execute(
        "SELECT id FROM event WHERE state = 'quarantined' AND instr(payload, CAST(? AS BLOB)) > 0 ORDER BY id DESC "
        "LIMIT 10",
        (json.dumps(name, ensure_ascii=False),),
    )
    for (event,) in rows:
        yield Meaning(f"in the message of event {event}, which is in quarantine", f"event:{event}", event, None)


def _parts_of_documents(connection: apsw.Connection, name: str) -> Iterator[Meaning]:
    """A document is called YEAR/NUMBER or GROUP/COUNT; people read off the number or the group. The newest first."""
    if not (name.isascii() and name.isalnum()):
        return
    for event, posting, document in connection.execute(
        "SELECT event_id, id, document FROM posting WHERE document IS NOT NULL "
        "AND (document LIKE '%/' || ?1 OR document LIKE ?1 || '/%') ORDER BY id DESC LIMIT 10",
        (name,),
    ):
        yield Meaning(f"document {document} of posting {posting}", f"posting:{posting}", event, posting)


def of_order(connection: apsw.Connection, order: str, limit: int = 100) -> dict[str, Any]:
    """The newest postings of an order, oldest first, messages about it too; what is in quarantine of it; whether it
    can be released, as it was decided last. Raises NotFound.

    Walks the postings of the live file: for a person's question, not for a program's every second.
    """
    rows = connection.execute(
        f"SELECT {SHOWN} FROM posting WHERE ordering_key = ?1 "  # noqa: S608  # own columns
        "OR substr(ordering_key, 1, length(?2)) = ?2 OR substr(ordering_key, 1, length(?3)) = ?3 "
        "ORDER BY id DESC LIMIT ?4",
        (f"order/{order}", f"notify/order/{order}/", f"notify/replenish/{order}/", limit),
    ).fetchall()
    waiting = sorted(event for _, event in awaited.in_quarantine(connection, [order]))
    release = _release(connection, order)
    if not (rows or waiting or release):
        raise NotFound(f"no posting and nothing in quarantine is known of order {order!r}")
    postings = [with_group(connection, shown(row)) for row in reversed(rows)]
    return {
        "order": order,
        "postings": postings,
        "taken_back": list(reversals.of_postings(connection, postings)),
        "quarantined": waiting,
        "release": release,
    }


def _release(connection: apsw.Connection, order: str) -> dict[str, Any] | None:
    """What was decided last about the release of an order, and the causes; None: nothing was."""
    row = connection.execute("SELECT value FROM state WHERE key = ?", (f"order_release/{order}",)).fetchone()
    last = json.loads(row[0]) if row else {}
    return {"status": last["status"], "causes": last["causes"]} if last.get("status") else None
