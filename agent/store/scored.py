"""What models said: the decisions of the audit trail that carry a score, read back for comparing and learning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from math import nan
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import apsw

from agent.store import decisions
from agent.store.encode import readable

PIECE: Final = 5000  # rows of the trail looked at by one statement: no long read holds up the write-ahead log
LOOKED_BACK: Final = 200_000  # rows of the trail at most, for the latest decisions
CAUSE, ACCOUNT = "cause", "account"
_COLUMNS: Final = "seq, event_id, at_us, CAST(detail AS BLOB)"
_OF_MODEL: Final = (
    "action = 'decided' AND (json_extract(detail, '$.score.model') GLOB :model "
    "OR json_extract(detail, '$.account.score.model') GLOB :model)"
)
_PIECE: Final = f"seq > :after AND seq <= :until AND {_OF_MODEL} ORDER BY seq"


class Scored(NamedTuple):
    """One decision with the features of its moment."""

    seq: int  # of its row in the trail
    event_id: int
    at_us: int
    model: str  # name/version
    sha256: str  # of its graph
    said: float
    bar: float | None  # that was applied; None: the record does not say
    features: tuple[float, ...]  # a value that is missing is NaN
    mode: str  # of the workflow's authority; empty: the record does not say
    reasons: tuple[str, ...]
    likeliest: str = ""  # of classes
    possible: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # of classes: by share of error, not ruled out
    taken_for: str = ""  # of classes: the one that was proposed, by model, table of accounts or whoever reported it
    outputs: tuple[float, ...] = ()  # of classes: the probability of each, as the version that scored orders them
    unknown: Mapping[str, str] = MappingProxyType({})  # of classes: values of categories that this version did not know
    tells: str = CAUSE  # of classes: which field of a posting they are
    order: str = ""  # that it was about


def after(connection: apsw.Connection, model: str, seq: int, most: int) -> tuple[list[Scored], int]:
    """Decisions of this model (its name) behind a row of the trail, oldest first, and how far was looked."""
    head: int = connection.execute("SELECT coalesce(max(seq), 0) FROM audit").get
    found: list[Scored] = []
    while seq < head and len(found) < most:
        end = min(head, seq + PIECE)
        rows = _rows(connection, _PIECE, model, after=seq, until=end)
        found += islice(rows, most - len(found))
        seq = found[-1].seq if len(found) >= most else end
    return found, seq


def newest(connection: apsw.Connection, model: str, most: int) -> list[Scored]:
    """The last decisions of this model among the last rows of the trail, oldest first."""
    end: int = connection.execute("SELECT coalesce(max(seq), 0) FROM audit").get
    stop = max(0, end - LOOKED_BACK)
    found: list[Scored] = []
    while end > stop and len(found) < most:
        rows = _rows(connection, f"{_PIECE} DESC", model, after=end - PIECE, until=end)
        found += islice(rows, most - len(found))
        end -= PIECE
    return found[::-1]


def every(connection: apsw.Connection, model: str) -> Iterator[Scored]:
    """Every decision of this model in a file, oldest first; one piece after the other."""
    head: int = connection.execute("SELECT coalesce(max(seq), 0) FROM audit").get
    first: int = connection.execute("SELECT coalesce(min(seq), 1) FROM audit").get
    for seq in range(first - 1, head, PIECE):
        yield from _rows(connection, _PIECE, model, after=seq, until=seq + PIECE)


def of_event(connection: apsw.Connection, event_id: int, model: str) -> Scored | None:
    """The last decision about this event, if this model scored it and it is in the live file."""
    where = f"event_id = :event AND {_OF_MODEL} ORDER BY seq DESC LIMIT 1"
    return next(iter(_rows(connection, where, model, event=event_id)), None)


def _rows(connection: apsw.Connection, where: str, model: str, **values: int) -> Iterator[Scored]:
    bound = {**values, "model": f"{model}/*"}
    for seq, event_id, at_us, raw in connection.execute(f"SELECT {_COLUMNS} FROM audit WHERE {where}", bound):  # noqa: S608
        detail = readable(raw)
        try:
            part = next(one for one in decisions.asked(detail) if _is_of(one, model))
            score, tells = part["score"], CAUSE if part is detail else ACCOUNT
            told = _score(score)
            possible = {alpha: tuple(classes) for alpha, classes in score.get("possible", {}).items()}
            more = detail.get("mode", ""), tuple(detail.get("reasons", ())), score.get("said", ""), possible
            proposed = detail.get("subject", {}) if part is detail else part
            outputs = tuple(map(float, score["outputs"])) if score.get("kind") == "classes" else ()
            taken_for, unknown = str(proposed.get(tells, "")), dict(score.get("unknown", {}))
            order = str(detail.get("subject", {}).get("order", ""))
            yield Scored(seq, event_id, at_us, *told, *more, taken_for, outputs, unknown, tells, order)
        except (AttributeError, KeyError, StopIteration, TypeError, ValueError):  # no release writes such a record
            continue


def _is_of(part: Mapping[str, Any], model: str) -> bool:
    return str(part.get("score", {}).get("model", "")).startswith(f"{model}/")


def _score(told: dict[str, Any]) -> tuple[str, str, float, float | None, tuple[float, ...]]:
    features = tuple(nan if value is None else float(value) for value in told["features"])
    return told["model"], told["sha256"], float(told["confidence"]), told.get("bar"), features
