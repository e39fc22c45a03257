"""What a challenger said about the decisions of the champion, and how far it has come. Leaves with its events."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

import apsw

from agent.store import audit, bulk
from agent.store.transaction import Transaction


class Said(NamedTuple):
    """A challenger's answer to one decision; None: it had none, and `why` says so."""

    event_id: int
    said: float | None
    why: str = ""
    outputs: tuple[float, ...] = ()  # of classes: the probability of each, in the order of its manifest


class Mark(NamedTuple):
    """Up to which row of the trail a challenger was asked, and what is wrong with it, told once."""

    version: str
    seq: int
    trouble: str = ""


def put(tx: Transaction, model: str, version: str, sha256: str, answers: Iterable[Said], ms: float) -> None:
    """Keep what this file said; `ms` is what each answer took, in milliseconds."""
    bulk.run(
        tx.connection,
        "INSERT OR REPLACE INTO shadow (event_id, model, version, sha256, said, why, ms, at_us, outputs) VALUES *",
        [
            (one.event_id, model, version, sha256, one.said, one.why, ms, tx.now_us, json.dumps(one.outputs))
            for one in answers
        ],
    )


def put_mark(tx: Transaction, model: str, mark: Mark) -> None:
    """Remember how far the challenger of this model has come."""
    tx.execute("INSERT OR REPLACE INTO shadow_mark (model, version, seq, trouble) VALUES (?, ?, ?, ?)", (model, *mark))


def begin(tx: Transaction, model: str, version: str) -> None:
    """This version is asked about what is decided from now on."""
    put_mark(tx, model, Mark(version, audit.read_head(tx.connection).seq))


def mark(connection: apsw.Connection, model: str) -> Mark | None:
    """How far the challenger of this model has come; None: there never was one."""
    row = connection.execute("SELECT version, seq, trouble FROM shadow_mark WHERE model = ?", (model,)).fetchone()
    return Mark(*row) if row else None


def said(connection: apsw.Connection, model: str, version: str, sha256: str, events: Iterable[int]) -> list[Said]:
    """What this very file said in shadow about these events, where it was asked."""
    sql = (
        "SELECT event_id, said, why, outputs FROM shadow WHERE event_id = ? AND model = ? AND version = ? "
        "AND sha256 = ?"
    )
    found = (row for event in events for row in connection.execute(sql, (event, model, version, sha256)))
    return [Said(event_id, told, why, tuple(json.loads(outputs))) for event_id, told, why, outputs in found]


def counted(connection: apsw.Connection, model: str, version: str) -> dict[str, int | float]:
    """How often this version was asked in shadow, how often it had no answer, and what an answer took on average."""
    sql = "SELECT count(*), count(*) - count(said), coalesce(avg(ms), 0) FROM shadow WHERE model = ? AND version = ?"
    asked, silent, ms = next(connection.execute(sql, (model, version)))
    return {"asked": asked, "no_answer": silent, "ms": ms}
