"""Master data as the agent knew them: every version of every document, with where it came from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apsw

from agent.store.encode import encode
from agent.store.transaction import Transaction

Document = tuple[str, str, Mapping[str, Any]]
"""kind, key, content."""


def put(tx: Transaction, documents: Iterable[Document], origin: str) -> int:
    """Add a version of each document whose content changed; returns how many did."""
    changed = 0
    for kind, key, content in documents:
        text = encode(content)
        row = tx.execute(
            "SELECT version, document FROM masterdata WHERE kind = ? AND key = ? ORDER BY version DESC LIMIT 1",
            (kind, key),
        ).fetchone()
        if row is not None and row[1] == text:
            continue
        tx.execute(
            "INSERT INTO masterdata (kind, key, version, received_us, origin, document) VALUES (?, ?, ?, ?, ?, ?)",
            (kind, key, row[0] + 1 if row else 1, tx.now_us, origin, text),
        )
        changed += 1
    return changed


def current(connection: apsw.Connection, origin: str | None = None) -> list[Document]:
    """The newest version of every document, of one origin or of all."""
    return [
        (kind, key, json.loads(document))
        for kind, key, document, _ in connection.execute(
            "SELECT kind, key, document, max(version) FROM masterdata "
            "WHERE ?1 IS NULL OR origin = ?1 GROUP BY kind, key",
            (origin,),
        )
    ]


def versions(connection: apsw.Connection, kind: str, key: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Every version of one document, the oldest first, with the microsecond since when it is known."""
    rows = connection.execute(
        "SELECT received_us, document FROM masterdata WHERE kind = ? AND key = ? ORDER BY version", (kind, key)
    )
    return [(received_us, json.loads(document)) for received_us, document in rows]


def undecided(connection: apsw.Connection, sources: Sequence[str], limit: int) -> list[int]:
    """The oldest events of these sources that wait for a decision; walks the backlog, so only for the start."""
    rows = connection.execute(
        "SELECT id FROM event WHERE state = 'undecided' AND source IN (SELECT value FROM json_each(?)) "
        "ORDER BY id LIMIT ?",
        (encode(list(sources)), limit),
    )
    return [id for (id,) in rows]
