"""`gatepost export`: events, postings and the trail for spreadsheets, programs and analysis; tags for Ignition.

Rows are read in pieces from the live store, so that no long read holds up the agent, and streamed: a million rows
need no more memory than a thousand.
"""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

import apsw
import click

from agent.commands import show
from agent.commands.ignition import ignition_tags
from agent.commands.place import Place, at_place
from agent.errors import Conflict, GatepostError
from agent.store.encode import from_us, to_us

PIECE = 2000
TIMES = ("received_us", "settled_us", "created_us", "changed_us", "first_sent_us", "last_sent_us", "at_us")
COLUMNS = {
    "events": "id, source, topic, state, reason, message_key, received_us, settled_us, properties, payload",
    "postings": "id, event_id, workflow, kind, target, line, ordering_key, idempotency_key, state, document, error, "
    "value, confidence, attempts, created_us, changed_us, first_sent_us, last_sent_us, signed_by, reasons, payload",
    "audit": "seq, at_us, actor, action, event_id, posting_id, alarm, detail, prev, hash",
}
KEYS = {"events": "id", "postings": "id", "audit": "seq"}
SINCE = {"events": "received_us", "postings": "created_us", "audit": "at_us"}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "|")
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")

ABOUT_ROWS = """\
csv opens in a spreadsheet: a text that a spreadsheet would run as a formula gets an apostrophe in front. jsonl is
one JSON object a line. db is a SQLite file for analysis. '-' as FILE prints (csv unless --format says otherwise).
Rows that were archived are not in it; their files are SQLite files too.

\b
Example:
"""
FORMAT = click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl", "db"]), help="What FILE is.  [default: by its name]"
)


@click.group()
def export() -> None:
    """Write events, postings or the audit trail to FILE, or the tags of Ignition."""


def rows(what: str, about: str) -> click.Command:
    """The subcommand for one kind of rows."""

    @click.command(what, help=f"{about}\n\n{ABOUT_ROWS}  gatepost export {what} {what}.csv --since 2026-10-01")
    @click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
    @FORMAT
    @click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Only what is from this day (UTC) or later.")
    @at_place
    def command(*, target: Path, form: str | None, since: datetime | None, place: Place) -> None:
        write(place, what, target, form, since.date() if since else None)

    return command


export.add_command(rows("events", "Write what was received, and what became of it, to FILE."))
export.add_command(rows("postings", "Write postings, with their documents at the ERP, to FILE."))
export.add_command(rows("audit", "Write the audit trail to FILE."))
export.add_command(ignition_tags)


def write(place: Place, what: str, target: Path, form: str | None, since: date | None) -> None:
    """Read in pieces and write; an existing file is never written over. Raises Conflict."""
    form = form or {".jsonl": "jsonl", ".ndjson": "jsonl", ".db": "db", ".sqlite": "db"}.get(target.suffix, "csv")
    pieces = _rows(place, what, since)
    if str(target) == "-":
        if form == "db":
            raise click.UsageError("a SQLite file cannot be printed; name a FILE")
        _WRITERS[form](sys.stdout, _progress(pieces, 0))
        return
    if target.exists():
        raise Conflict(f"{target} is there already; name another file")
    total = place.look(lambda connection: _count(connection, what))
    try:
        if form == "db":
            target.touch(exist_ok=False)
            count = _write_db(target, what, _progress(pieces, total))
        else:
            with target.open("x", encoding="utf-8", newline="") as stream:
                count = _WRITERS[form](stream, _progress(pieces, total))
    except (OSError, sqlite3.Error) as error:
        raise GatepostError(f"{target}: {error}; the export is not complete") from error
    show.say(f"{count} {what} in {target}")


def _rows(place: Place, what: str, since: date | None) -> Iterator[dict[str, Any]]:
    after = 0
    first = to_us(datetime(since.year, since.month, since.day, tzinfo=UTC)) if since else 0
    while piece := place.look(partial(_piece, what=what, after=after, first=first)):
        yield from piece
        after = piece[-1][KEYS[what]]


def _piece(connection: apsw.Connection, what: str, after: int, first: int) -> list[dict[str, Any]]:
    key, table = KEYS[what], what.rstrip("s") if what != "audit" else what
    names = COLUMNS[what].split(", ")
    sql = f"SELECT {COLUMNS[what]} FROM {table} WHERE {key} > ? AND {SINCE[what]} >= ? ORDER BY {key} LIMIT {PIECE}"  # noqa: S608
    return [
        dict(_plain(name, value) for name, value in zip(names, row, strict=True))
        for row in connection.execute(sql, (after, first))
    ]


def _plain(name: str, value: Any) -> tuple[str, Any]:
    """A column as people keep it: times in ISO 8601 UTC, bytes as text or hex."""
    if name in TIMES:
        return name.removesuffix("_us") + "_at" * (name != "at_us"), None if value is None else from_us(
            value
        ).isoformat()
    if isinstance(value, bytes):
        return name, value.hex() if name in ("prev", "hash") else value.decode("utf-8", "backslashreplace")
    return name, value


def _count(connection: apsw.Connection, what: str) -> int:
    table = what.rstrip("s") if what != "audit" else what
    row = connection.execute(f"SELECT max({KEYS[what]}) FROM {table}").fetchone()  # noqa: S608  # own names
    return int(row[0] or 0) if row else 0


def _progress(rows: Iterable[dict[str, Any]], total: int) -> Iterator[dict[str, Any]]:
    """A bar on a terminal, where a file is written."""
    if not total or not show.console().is_terminal:
        yield from rows
        return
    from rich.progress import track  # only where somebody watches

    yield from track(rows, "writing", total=total, transient=True)


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; plain numbers stay numbers."""
    if isinstance(value, str) and value.startswith(FORMULA) and not _NUMBER.fullmatch(value):
        return "'" + value
    return value


def _write_csv(stream: IO[str], rows: Iterable[dict[str, Any]]) -> int:
    count, sheet = 0, csv.writer(stream, lineterminator="\n")
    for count, row in enumerate(rows, 1):
        if count == 1:
            sheet.writerow(row)
        sheet.writerow([harmless(value) for value in row.values()])
    return count


def _write_jsonl(stream: IO[str], rows: Iterable[dict[str, Any]]) -> int:
    return sum(1 for row in rows if stream.write(json.dumps(row, ensure_ascii=False) + "\n"))


def _write_db(target: Path, what: str, rows: Iterable[dict[str, Any]]) -> int:
    import sqlite_utils  # slow to import, and only this needs it

    database = sqlite_utils.Database(target)
    try:
        table = database.table(what)
        table.insert_all(rows, pk=KEYS[what], batch_size=PIECE)
        return int(table.count) if table.exists() else 0
    finally:
        database.close()


_WRITERS: dict[str, Callable[[IO[str], Iterable[dict[str, Any]]], int]] = {"csv": _write_csv, "jsonl": _write_jsonl}
