"""How far what models are asked has drifted, as it is kept over restarts; and the rows it is seen from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any, Final

import apsw
from pydantic import TypeAdapter, ValidationError

from agent.scoring.drift import Row, State
from agent.store import audit, decisions, scored
from agent.store.encode import readable
from agent.store.labels import Label, labels
from agent.store.transaction import Transaction

PIECE: Final = 5_000  # rows of the trail that one look reads, the newest
LOOK_BACK: Final = 10  # pieces that the first look reads
MOST: Final = 2_000  # labels
_META: Final = "drift"
_STATES: Final = TypeAdapter(dict[str, State])
States = Mapping[str, State]  # by name/version


def kept(connection: apsw.Connection) -> dict[str, State]:
    """Where each version stands. What another release wrote, and this one cannot read, is learnt anew."""
    row: Any = connection.execute("SELECT value FROM meta WHERE key = ?", (_META,)).fetchone()
    try:
        return _STATES.validate_json(row[0]) if row else {}
    except ValidationError:
        return {}


def put(tx: Transaction, states: States) -> None:
    """Keep where each version stands."""
    value = _STATES.dump_json(dict(states)).decode()
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_META, value))


def outcomes(connection: apsw.Connection, version: str, sha256: str, after: int) -> list[Label]:
    """The newest labels that tell what was so, of this very version behind row `after` of the trail, at most MOST."""
    near = max(after, audit.read_head(connection).seq - scored.LOOKED_BACK)
    found = labels(connection, version.partition("/")[0], MOST, after=near)
    return [
        one
        for one in found
        if one.tells and (one.scored.model, one.scored.sha256) == (version, sha256) and one.scored.seq > after
    ]


def newest(connection: apsw.Connection, read_to: int) -> tuple[list[tuple[str, Row]], int]:
    """Hash of the model and row of what was decided since, the newest only, and how far the trail goes."""
    head = audit.read_head(connection).seq
    pieces = 1 if read_to else LOOK_BACK
    found = []
    for start in range(max(read_to, head - pieces * PIECE), head, PIECE):
        found += list(_decided(connection, start, min(start + PIECE, head)))
    return found, head


def _decided(connection: apsw.Connection, after: int, until: int) -> Iterator[tuple[str, Row]]:
    rows: Sequence[Any] = connection.execute(
        "SELECT seq, CAST(detail AS BLOB) FROM audit WHERE seq > ? AND seq <= ? AND action = 'decided' ORDER BY seq",
        (after, until),
    ).fetchall()
    for seq, raw in rows:
        for told in [told for one in decisions.asked(readable(raw)) if (told := one.get("score") or one.get("unfit"))]:
            features = tuple(nan if value is None else float(value) for value in told["features"])
            yield told["sha256"], Row(seq, features, told.get("confidence"))
