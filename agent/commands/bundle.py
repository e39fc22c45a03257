"""`gatepost bundle`: one archive with what support needs, and nothing that must not leave the plant.

Redaction is done twice: what could hold a secret is not collected (keys by name, payloads, token hashes), and every
text that is collected is searched for the known secrets in every spelling before it is written.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import click

from agent.commands import reach, show
from agent.commands.box import rows_of
from agent.commands.place import Place, at_place, now
from agent.commands.status import gather
from agent.configuration.config import Node, SecretPlaces, read_yaml
from agent.errors import Conflict, GatepostError
from agent.logs import MASK, Redaction
from agent.store import balance, lists
from agent.strict.tagfile import MAX_BYTES, tag_files

ALARMS = 200
LOG_BYTES = 5 << 20  # of each log file, its end
PAYLOADS = 50  # of each kind, with --with-payloads
WRITES = 50

_SECRET_KEY = re.compile(r"pass|secret|token|credential|auth|private|sha256|api_?key", re.IGNORECASE)
_URL_USER = re.compile(r"(?<=://)[^/@\s\"']+@")
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_ASSIGNED = re.compile(r"(?i)((?:pass(?:word|wd)?|secret|token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)([^\s\"',;{}\[\]]+)")
_BUSINESS = ("would_post", "features", "payload", "body", "detail")  # of an audit row: what was in the message


@click.command()
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path), default=None, required=False)
@click.option(
    "--log",
    "logs",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="A log file to add; its last 5 MiB.",
)
@click.option("--with-payloads", is_flag=True, help="Add the newest quarantined, dead and doubtful messages.")
@at_place
def bundle(*, target: Path | None, logs: tuple[Path, ...], with_payloads: bool, place: Place) -> None:
    """Make a redacted archive for whoever supports you.

    It holds versions, the selfcheck, the configuration and mappings, the status, counts, the last alarms, the tables'
    schema and the logs you name. It holds no secrets, tokens or keys, and no messages unless --with-payloads is
    given; the sentence of an alarm may quote a value. Look into it before you send it: tar -xzf FILE

    \b
    Example:
      journalctl -u gatepost --since -1d > gatepost.log; gatepost bundle --log gatepost.log
    """
    target = target or Path(f"gatepost-{place.plant.site}-{now():%Y%m%dT%H%M%SZ}.tar.gz")
    if target.exists():
        raise Conflict(f"{target} is there already; name another file")
    redact = redaction(place)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, text in parts(place, logs, with_payloads=with_payloads):
                _add(archive, f"gatepost-bundle/{name}", scrub(text, redact))
    except OSError as error:
        raise GatepostError(f"{target}: {error.strerror}; the archive is not complete") from error
    show.say(f"{target}: {show.size(target.stat().st_size)}; look into it before you send it")


def parts(place: Place, logs: tuple[Path, ...], *, with_payloads: bool) -> Iterator[tuple[str, str]]:
    """Name and text of every file of the archive; what cannot be had says why instead."""
    rows = rows_of(place, WRITES)
    yield "selfcheck.txt", "\n".join(f"{row.level}\t{row.topic}\t{row.name}\t{row.value}\t{row.advice}" for row in rows)
    yield "versions.json", _json({row.name: row.value for row in rows if row.topic == "version"})
    yield f"config/{place.file.name}", as_yaml(read_yaml(place.file))
    for path in _beside(place):
        yield f"config/{path.parent.name}/{path.name}", _text(path, MAX_BYTES)
    for name, read in _of_store(place, with_payloads=with_payloads).items():
        try:
            yield name, _json(read())
        except GatepostError as error:
            yield name, _json({"error": str(error)})
    yield "files.txt", "\n".join(f"{one.stat().st_size:>14} {one.name}" for one in sorted(place.path.parent.glob("*")))
    for path in logs:
        yield f"logs/{path.name}", _text(path, LOG_BYTES)


def _of_store(place: Place, *, with_payloads: bool) -> dict[str, Any]:
    """File name → how to read what it holds."""
    found: dict[str, Any] = {
        "status.json": lambda: {**gather(place), "alarms": []},
        "tally.json": lambda: place.look(balance.totals),
        "alarms.json": lambda: place.look(alarms),
        "schema.json": lambda: place.look(schema),
    }
    if with_payloads:
        found["payloads.json"] = lambda: place.look(payloads)
    return found


def alarms(connection: apsw.Connection) -> list[dict[str, Any]]:
    """The newest alarms without what was in the messages."""
    rows = lists.history(connection, limit=ALARMS, alarms_only=True)
    return [{**row, "detail": _without(row["detail"])} for row in rows]


def _without(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in detail.items() if name not in _BUSINESS}


def schema(connection: apsw.Connection) -> dict[str, Any]:
    """The tables as they are, and how many rows each has."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
    rows = {name: list(connection.execute(f'SELECT count(*) FROM "{name}"'))[0][0] for name in tables}  # noqa: S608, RUF015
    made = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return {
        "user_version": connection.pragma("user_version"),
        "pages": connection.pragma("page_count"),
        "free_pages": connection.pragma("freelist_count"),
        "rows": rows,
        "sql": [sql for (sql,) in made],
    }


def payloads(connection: apsw.Connection) -> dict[str, Any]:
    """What could not be read or posted, with its content."""
    return {
        "quarantined": lists.quarantined(connection, limit=PAYLOADS),
        **{state: lists.postings(connection, state, limit=PAYLOADS) for state in ("dead", "doubtful")},
    }


# ── redaction ───────────────────────────────────────────────────────────────────────────────────────────────


def redaction(place: Place) -> Redaction:
    """Every secret that the configuration names or the machine holds for it."""
    known = Redaction()
    places = SecretPlaces.of(os.environ, place.secrets_dir)
    for name in set(_named(read_yaml(place.file))):
        try:
            known.conceal(places.find(name).reveal())
        except ValueError:  # missing or unfit: then it cannot be in here either
            continue
    for path in [one for one in places.folders if one.is_dir()]:
        for file in path.iterdir():
            if file.is_file() and file.stat().st_size < LOG_BYTES:
                _conceal_all(known, _text(file))
    for variable, value in os.environ.items():
        if variable.startswith("GATEPOST_SECRET_") or variable == reach.TOKEN:
            known.conceal(value)
    operator = place.path.parent / reach.OPERATOR
    if operator.exists():
        known.conceal(_text(operator).strip())
    return known


def _conceal_all(known: Redaction, text: str) -> None:
    """The whole secret, and each of its lines: a log breaks what spans several."""
    known.conceal(text.strip())
    for line in text.splitlines():
        if len(line.strip()) >= 8:
            known.conceal(line.strip())


def _named(node: Node) -> Iterator[str]:
    """The names in every ``{secret: NAME}``."""
    secret = node.mapping.get("secret")
    if secret is not None and secret.text:
        yield secret.text
    for child in (*node.mapping.values(), *node.items):
        yield from _named(child)


def scrub(text: str, known: Redaction) -> str:
    """The text without known secrets, and without what looks like one."""
    text = _KEY_BLOCK.sub(MASK, known.apply(text))
    text = _HEADER.sub(rf"\1 {MASK}", _URL_USER.sub(f"{MASK}@", text))
    return _ASSIGNED.sub(rf"\g<1>{MASK}", text)


def as_yaml(node: Node, indent: str = "", key: str = "") -> str:
    """The configuration as it was read, without comments; the value of a key that sounds like a secret is left out."""
    if node.children is None:
        return f" {MASK}" if _SECRET_KEY.search(key) else f" {json.dumps(node.text, ensure_ascii=False)}"
    if node.mapping:
        if set(node.mapping) == {"secret"}:
            return f" {{secret named {node.mapping['secret'].text}}}"
        return "".join(f"\n{indent}{name}:{as_yaml(one, indent + '  ', name)}" for name, one in node.mapping.items())
    return "".join(f"\n{indent}-{as_yaml(one, indent + '  ', key)}" for one in node.items)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────


def _beside(place: Place) -> list[Path]:
    """Mappings, units and tags: how messages are read. Master data has prices in it and stays here."""
    tags = tag_files(read_yaml(place.file))
    return [one for one in (*sorted(place.mappings.glob("*.yaml")), place.units, *tags) if one.is_file()]


def _text(path: Path, most: int = 1 << 20) -> str:
    """The end of a file, as text."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - most))
        return stream.read(most).decode("utf-8", "backslashreplace")


def _json(found: object) -> str:
    return json.dumps(found, indent=2, default=str, ensure_ascii=False)


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    raw = text.encode("utf-8", "backslashreplace")
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(raw), int(now().timestamp()), 0o600
    archive.addfile(entry, io.BytesIO(raw))
