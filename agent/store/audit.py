"""The audit trail: append-only rows, each carrying the hash of the one before.

``hash = SHA-256(prev ‖ seq ‖ at_us ‖ actor ‖ action ‖ event_id ‖ posting_id ‖ alarm ‖ detail)``, every part preceded
by its length, so that no two different rows share their bytes. Editing, inserting, removing or reordering a row
breaks the chain at that row; rebuilding the whole chain is found by the signed checkpoints that left the box.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import apsw

GENESIS = bytes(32)
PIECE = 5000  # rows
INSERT = "INSERT INTO audit (seq, at_us, actor, action, event_id, posting_id, alarm, detail, prev, hash) VALUES *"
READ = (
    "SELECT seq, at_us, actor, action, event_id, posting_id, alarm, detail, prev, hash FROM audit "
    "WHERE seq > ? ORDER BY seq LIMIT ?"
)

Record = tuple[int, str, str, int | None, int | None, int, str]
"""at_us, actor, action, event_id, posting_id, alarm, detail (JSON text): a row before it is chained."""

Row = tuple[int, int, str, str, int | None, int | None, int, str, bytes, bytes]
"""A chained row, in the order of the table's columns."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of the chain found; `broken_at` is the first row that does not fit, None when all do."""

    rows: int
    head: Head
    broken_at: int | None = None
    why: str = ""


def digest(prev: bytes, seq: int, record: Record) -> bytes:
    """The hash of one row."""
    at_us, actor, action, event_id, posting_id, alarm, detail = record
    text = f"{seq}|{at_us}|{event_id}|{posting_id}|{alarm}|{len(actor)}|{actor}|{len(action)}|{action}|{detail}"
    return sha256(prev + text.encode()).digest()


def chain(head: Head, records: Iterable[Record]) -> tuple[list[Row], Head]:
    """The rows to insert behind `head`, and the new head."""
    rows: list[Row] = []
    seq, prev = head.seq, head.hash
    for seq, record in enumerate(records, head.seq + 1):
        hashed = digest(prev, seq, record)
        rows.append((seq, *record, prev, hashed))
        prev = hashed
    return rows, Head(seq, prev)


def read_head(connection: apsw.Connection) -> Head:
    """Where the chain in the file ends; an archived chain goes on behind its archive."""
    row = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    if row is not None:
        return Head(row[0], row[1])
    mark = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('archived_to', 'archived_hash')"))
    if "archived_hash" not in mark:
        return Head(0, GENESIS)
    return Head(int(mark["archived_to"]), bytes.fromhex(mark["archived_hash"]))


def rows(connection: apsw.Connection, after: int = 0) -> Iterator[Row]:
    """The rows of the live file in order; read in pieces, so that no long read holds up the write-ahead log.

    Raises UnicodeDecodeError at a row whose text was damaged.
    """
    while True:
        try:
            piece: list[Row] = connection.execute(READ, (after, PIECE)).fetchall()  # type: ignore[assignment]  # STRICT
        except UnicodeDecodeError:  # a damaged row: those before it are told all the same
            yield from connection.execute(READ, (after, PIECE))
            raise
        yield from piece
        if len(piece) < PIECE:
            return
        after = piece[-1][0]


def verify(start: Head, chained: Iterable[Row]) -> Verdict:
    """Recompute the chain from `start` over `chained`; stops at the first row that does not fit."""
    count, head = 0, start
    source = iter(chained)
    while True:
        try:
            row = next(source)
        except StopIteration:
            return Verdict(count, head)
        except UnicodeDecodeError:
            return Verdict(count, head, head.seq + 1, "was damaged: its text is none any more")
        seq, prev, hashed = row[0], row[8], row[9]
        if seq != head.seq + 1:
            return Verdict(count, head, head.seq + 1, f"row {head.seq + 1} is missing, {seq} follows")
        if prev != head.hash:
            return Verdict(count, head, seq, "does not carry the hash of the row before it")
        if digest(head.hash, seq, row[1:8]) != hashed:
            return Verdict(count, head, seq, "was changed after it was written")
        head = Head(seq, hashed)
        count += 1


def verify_file(connection: apsw.Connection) -> Verdict:
    """Check the chain of the live file, behind its archive."""
    mark = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('archived_to', 'archived_hash')"))
    start = Head(int(mark.get("archived_to", 0)), bytes.fromhex(mark.get("archived_hash", "00" * 32)))
    return verify(start, rows(connection, start.seq))
