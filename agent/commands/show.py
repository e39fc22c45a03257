"""How commands print: tables for people, JSON for programs, and nothing from outside that could fool a terminal."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.units import UnitTable

WIDE = 160  # columns, where no terminal says how many there are

STYLES = {
    "acknowledged": "green", "posted": "green", "ok": "green", "ready": "cyan", "sending": "cyan", "simulated": "cyan",
    "held": "yellow", "in_doubt": "yellow", "warn": "yellow", "advised": "cyan",
    "doubtful": "bold red", "dead": "bold red", "quarantined": "red", "fail": "bold red",
}  # fmt: skip

# terminal codes and direction overrides: a lot number may contain anything
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def clean(text: object) -> str:
    """The text with every character that a terminal would obey shown as its code."""
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", str(text))


def console() -> Console:
    """Where people read: as wide as their terminal (or COLUMNS says), wide enough for a file."""
    return Console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else WIDE, highlight=False)


def say(text: str) -> None:
    """A line or a paragraph."""
    click.echo(clean(text))


def folded(text: str) -> None:
    """A paragraph whose long lines go on below, folded at spaces and commas, within a word only if need be."""
    width = console().width
    for line in clean(text).split("\n"):
        click.echo("\n".join(_fold(line, width)))


def _fold(line: str, width: int) -> Iterator[str]:
    """The pieces of one line; nothing of it is left out but the spaces where it breaks."""
    indent = " " * min(len(line) - len(line.lstrip()) + 2, width // 2)
    while len(line) > width:
        ends = [found.end() for found in re.finditer(r"[ ,]", line[:width]) if found.end() > len(indent)]
        cut = ends[-1] if ends else width
        yield line[:cut].rstrip()
        line = indent + line[cut:].lstrip()
    yield line


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """A table; states are coloured on a terminal, long texts are folded, never cut."""
    shown = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in columns:
        shown.add_column(name, overflow="fold", header_style="bold")
    for row in rows:
        shown.add_row(*(Text(clean("" if cell is None else cell), STYLES.get(str(cell), "")) for cell in row))
    console().print(shown)


def entries(columns: Sequence[str], rows: Iterable[tuple[Sequence[object], Iterable[object]]]) -> None:
    """A list for narrow screens: what is short in columns, and below each row what must be read whole, folded."""
    listed = [([_one_line(cell) for cell in cells], [_one_line(text) for text in below]) for cells, below in rows]
    widths = [max(map(len, column)) for column in zip(columns, *(cells for cells, _ in listed), strict=True)]
    click.secho(_in_columns(columns, widths), bold=True)
    for cells, below in listed:
        line = _in_columns(cells, widths)
        if len(line) > console().width:
            folded(line)
        else:
            click.echo(_in_columns(cells, widths, STYLES))
        for text in below:
            folded(f"    {text}")


def _one_line(cell: object) -> str:
    return " ".join(clean("" if cell is None else cell).split("\n"))


def _in_columns(cells: Sequence[str], widths: Sequence[int], styles: Mapping[str, str] = MappingProxyType({})) -> str:
    """The cells side by side; coloured, where the terminal can, after they were padded."""
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    padded[-1] = cells[-1]
    colours = [styles.get(cell, "").split() for cell in cells]
    return "  ".join(
        click.style(text, fg=colour[-1], bold="bold" in colour) if colour else text
        for text, colour in zip(padded, colours, strict=True)
    ).rstrip()


def said(sentences: Mapping[str, str] | None, indent: str) -> Iterator[str]:
    """What it is about, a line for each reader."""
    yield from (f"{indent}for the {reader}: {sentence}" for reader, sentence in (sentences or {}).items())


def data(found: object) -> None:
    """JSON for programs."""
    click.echo(json.dumps(found, indent=2, default=str))


def moment(iso: str | None) -> str:
    """A stored time as people read it: UTC, to the second."""
    if not iso:
        return ""
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def age(iso: str | None, now: datetime) -> str:
    """How long ago a stored time is; empty where there is none."""
    return span(max(0.0, (now - datetime.fromisoformat(iso)).total_seconds())) if iso else ""


def span(seconds: float) -> str:
    """A duration in the two largest units that matter."""
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            rest = int(seconds % size // part)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{seconds:.0f} s"


def roughly(seconds: float) -> str:
    """A forecast, no finer than it can be known."""
    if seconds > 365 * 86400:
        return "more than a year"
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}"
    return "less than two minutes"


def rate(per_second: float) -> str:
    """A rate to two digits; what is lower than that is not nothing."""
    return f"{per_second:.2g}" if 0 < per_second < 10 else f"{per_second:.0f}"


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def kind(posting: Mapping[str, Any]) -> str:
    """What a posting is, in words: the same as at the console."""
    return str(posting["kind"]).replace("_", " ")


def content(posting: Mapping[str, Any], units: UnitTable) -> str:
    """What a posting would do, in one line; units as people call them, the payload itself has their codes.

    A goods issue that names a movement takes back what was issued before.
    """
    payload = posting["payload"]
    if posting["kind"] == "reversal":
        return f"take back {payload.get('document', '')}"
    unit = units.shown(payload.get("unit", ""))
    parts = [
        f"{name + ' ' if name != 'quantity' else ''}{payload[name]} {unit}".strip()
        for name in ("quantity", "yield", "scrap", "rework")
        if payload.get(name) not in (None, "", "0")
    ]
    parts += [str(payload["material"])] if payload.get("material") else []
    parts += [f"op {payload['operation']}"] if payload.get("operation") else []
    back = "take back " if posting["kind"] == "goods_issue" and payload.get("movement") else ""
    told = back + " ".join(parts) + (" final" if payload.get("final") else "")
    order = f"order {payload['order']}" if payload.get("order") else ""
    return told or str(payload.get("subject") or payload.get("text") or order)


def group(posting: Mapping[str, Any]) -> Iterator[str]:
    """The group that a posting is one of, a line each, in the order in which they are sent."""
    found = posting.get("group")
    if not found:
        return
    yield f"one of a group of {len(found['postings'])}: each is sent when the one before it is booked"
    for number, one in enumerate(found["postings"], 1):
        this = " (this one)" if one["id"] == posting["id"] else ""
        document = f": document {one['document']}" if one["document"] else ""
        yield f"  {number}. posting {one['id']}: {kind(one)} to {one['target']}, {one['state']}{document}{this}"
    if found["waits_for"] is not None:
        yield f"  it waits for posting {found['waits_for']}; what is decided about that counts for this one"
    elif posting["state"] == "held" and found["goes_with_it"]:
        yield f"  approved or refused with it: posting {', '.join(map(str, found['goes_with_it']))}"


def money(value: str | Decimal | None, currency: str) -> str:
    """An amount as people read it; empty where there is none."""
    return f"{Decimal(value):.2f} {currency}" if value is not None else ""


def payload(posting: Mapping[str, Any], units: UnitTable, indent: str = "    ") -> str:
    """The content that is signed, as `pairs`; units as people call them, ``--json`` has their codes."""
    return pairs({name: _called(name, value, units) for name, value in posting["payload"].items()}, indent)


def _called(name: str, value: Any, units: UnitTable) -> Any:
    return units.shown(value) if name.endswith("unit") and isinstance(value, str) else value


def pairs(found: Mapping[str, Any], indent: str = "  ") -> str:
    """A small document as lines of ``name: value``, without what is empty."""
    return "\n".join(
        f"{indent}{name}: {_readable(value)}"
        for name, value in found.items()
        if value not in (None, "", [], {}) and value is not False
    )


def _readable(value: object) -> object:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return figure(value) if isinstance(value, float) else value


def figure(value: float) -> str:
    """A binary fraction without the digits that mean nothing: four that count below 1, three places above."""
    if not math.isfinite(value):
        return str(value)
    exact = Decimal(repr(value)) if abs(value) >= 1 else Decimal(f"{value:.4g}")
    text = f"{round(exact, 3) if abs(value) >= 1 else exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
