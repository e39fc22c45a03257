"""Builds a store with any number of waiting postings by SQL: 50 deep lanes, 30 % of them blocked by a dead head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from agent.store import audit
from tests.bench.dispatch import outbox
from tests.bench.stage import Stage

LANES, BLOCKED = 50, 15
PIECE = 20_000  # audit rows chained and written at a time

FILL = """
CREATE TEMP TABLE model AS
  SELECT row_number() OVER (ORDER BY ordering_key) - 1 AS lane, * FROM
    (SELECT * FROM posting WHERE state = 'ready' GROUP BY ordering_key HAVING id = min(id) LIMIT :lanes);
CREATE TEMP TABLE arrival AS SELECT m.lane, e.* FROM model AS m JOIN event AS e ON e.id = m.event_id;
DELETE FROM posting;
DELETE FROM idempotency;
DELETE FROM lane;
DELETE FROM identity;
DELETE FROM event;
INSERT INTO event (id, source, topic, payload, properties, received_us, state, message_key, settled_us)
  SELECT n, source, topic, payload, properties, received_us, 'posted', 'waiting:' || n, settled_us
  FROM number JOIN arrival ON lane = n % :lanes ORDER BY n;
INSERT INTO identity SELECT message_key, zeroblob(32), id FROM event ORDER BY message_key;
INSERT INTO posting (id, event_id, workflow, kind, target, ordering_key, line, idempotency_key, payload, payload_hash,
    value, confidence, reasons, policy, state, lane_seq, created_us, changed_us)
  SELECT n, n, workflow, kind, target, ordering_key, line, printf('%016d', n), payload, payload_hash, value,
    confidence, reasons, policy, iif(n <= :lanes AND lane < :blocked, 'dead', 'ready'), n, created_us, changed_us
  FROM number JOIN model ON lane = n % :lanes ORDER BY n;
INSERT INTO idempotency SELECT idempotency_key, id FROM posting ORDER BY idempotency_key;
INSERT INTO lane (target, ordering_key, head, head_seq, line, state)
  SELECT target, ordering_key, id, lane_seq, line, iif(state = 'dead', 'blocked', 'ready')
  FROM posting WHERE id <= :lanes;
DELETE FROM tally WHERE name LIKE 'events %' OR name LIKE 'postings %' OR name = 'lane_seq';
INSERT INTO tally (name, n) VALUES ('events received', :count), ('events posted', :count), ('events undecided', 0),
  ('postings created', :count), ('postings ready', :count - :blocked), ('postings dead', :blocked),
  ('lane_seq', :count);
"""


async def waiting(stage: Stage, count: int, name: str) -> Path:
    """A data folder with `count` waiting postings, their events and their audit rows; its target is paused."""
    seed = await stage.once("waiting-seed", lambda name: _seed(stage, name))
    data = stage.fresh(name, seed)
    with closing(apsw.Connection(str(data / "gatepost.db"))) as connection:
        connection.pragma("synchronous", 0)  # nobody relies on it while it is made
        connection.pragma("temp_store", 2)
        detail = connection.execute("SELECT detail FROM audit WHERE action = 'decided' LIMIT 1").fetchone()
        with connection:
            connection.execute("CREATE TEMP TABLE number (n INTEGER PRIMARY KEY)")
            connection.executemany("INSERT INTO number VALUES (?)", ((n,) for n in range(1, count + 1)))
            connection.execute(FILL, {"count": count, "lanes": LANES, "blocked": BLOCKED})
            _chain(connection, count, str(detail[0]) if detail else "{}")
        connection.pragma("wal_checkpoint(TRUNCATE)")
    return data


async def _seed(stage: Stage, name: str) -> Path:
    return (await outbox(stage, 500, name))[0]


def _chain(connection: apsw.Connection, count: int, detail: str) -> None:
    """One audit row per event, chained as the writer does it."""
    head = audit.read_head(connection)
    at_us = int(_one(connection, "SELECT max(at_us) FROM audit"))
    for first in range(1, count + 1, PIECE):
        rows, head = audit.chain(head, _records(first, min(count, first + PIECE - 1), at_us, detail))
        connection.executemany(f"INSERT INTO audit VALUES ({', '.join('?' * len(rows[0]))})", rows)


def _records(first: int, last: int, at_us: int, detail: str) -> Iterator[audit.Record]:
    for number in range(first, last + 1):
        yield at_us, "agent", "decided", number, None, 0, detail


def _one(connection: apsw.Connection, sql: str) -> Any:
    row = connection.execute(sql).fetchone()
    return row[0] if row else None
